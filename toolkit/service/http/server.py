"""Run uvicorn on our sockets and with our signal handlers, and stop it after the requests under way are answered."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import uvicorn

from toolkit.api.errors import RunError
from toolkit.service.http.connection import Connection, sweep

DRAIN_S = 10
BACKLOG = 2048  # connections that wait to be accepted
_SWEEP_TICKS = 10  # of uvicorn's ticks, which are 0.1 s apart
_LAST_POLLS = 10  # accepting takes one poll of the loop, and reading one more; the rest is in case the loop skips any
_FEW_FILES = 4096  # of open files: enough for a thousand connections and their spares


class Server(uvicorn.Server):
    """uvicorn's server, without its signal handlers. It calls ``on_started`` once it accepts connections.

    ``tasks`` are awaited when it stops, and cancelled after DRAIN_S.
    """

    def __init__(
        self,
        app: Any,
        http: type[Connection] | Literal["httptools"],
        on_started: Callable[[], None],
        tasks: set[asyncio.Task[Any]] | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=http,
                interface="asgi3",  # not an ASGI application: this keeps uvicorn from wrapping it
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        self._on_started = on_started
        if tasks is not None:
            self.server_state.tasks = tasks

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting connections."""
        await super().startup(sockets)
        if self.started:
            self._on_started()

    async def on_tick(self, counter: int) -> bool:
        """Check timeouts every second; return whether the server stops. uvicorn calls it every 0.1 s."""
        if counter % _SWEEP_TICKS == 0:
            connections: Iterable[object] = self.server_state.connections
            sweep([it for it in connections if isinstance(it, Connection)], time.monotonic())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting connections, and end those that are open after their requests are answered.

        First read the connections and requests that have arrived already: the kernel holds them until the loop has
        polled, and to close their sockets unread would reset them.
        """
        for _ in range(_LAST_POLLS):
            await asyncio.sleep(0)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing, since ``stopping`` handles the signals."""
        yield

    def stop(self) -> None:
        """Stop after the requests under way are answered; at the second call, stop at once."""
        self.force_exit = self.should_exit
        self.should_exit = True


@contextlib.contextmanager
def stopping(stop: Callable[[], None], until_stdin_closes: bool) -> Iterator[None]:
    """Call ``stop`` on SIGTERM, SIGINT and SIGHUP.

    ``until_stdin_closes``: also when stdin is closed, as it is when the parent process ends.
    """
    loop = asyncio.get_running_loop()
    is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    signals = (signal.SIGTERM, signal.SIGINT) if is_nohup else (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def read_stdin() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            stop()

    for number in signals:
        loop.add_signal_handler(number, stop)
    if until_stdin_closes:
        loop.add_reader(sys.stdin.fileno(), read_stdin)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        if until_stdin_closes:
            loop.remove_reader(sys.stdin.fileno())


def bind(host: str, port: int, shared: bool = False) -> socket.socket:
    """Return a listening socket.

    Args:
        host: an address or a name. An IPv6 address has no brackets.
        port: 0 for a free one.
        shared: whether other sockets may share the port (SO_REUSEPORT).

    Raises:
        RunError: if the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)  # socket.create_server leaves it open on some errors
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError, TypeError, ValueError) as problem:
        listener.close()
        raise RunError(f"can't listen on {host} port {port}: {problem}; choose another --host or --port") from None
    return listener


def url(host: str, listener: socket.socket) -> str:
    """Return the base URL of a listening socket."""
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


def raise_file_limit() -> str:
    """Raise the limit of open files to the maximum; return a warning if that is low, else an empty string.

    The usual limit, 1024, exists for programs that use select().
    """
    try:
        import resource
    except ImportError:  # not on Windows
        return ""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS reports a hard limit that it does not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= _FEW_FILES:
        return ""
    return (
        f"the process may open only {limit} files, and each connection is one: further callers wait; raise the limit,"
        f" e.g. ulimit -n {_FEW_FILES}, or LimitNOFILE={_FEW_FILES} for systemd"
    )


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory of event loops; None, for asyncio's own, if uvloop is not installed."""
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.new_event_loop
