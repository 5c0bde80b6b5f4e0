"""How anything here listens: uvicorn on our sockets and at our signals, with an end that answers what is under way."""

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
_SWEEP_TICKS = 10  # of uvicorn's ticks, which are 0.1 s apart


class Server(uvicorn.Server):
    """uvicorn's server, which tells when it answers, and leaves signals to us."""

    def __init__(self, app: Any, http: type[Connection] | Literal["httptools"], started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=http,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if self.started:
            self._started()

    async def on_tick(self, counter: int) -> bool:
        """Do what is due every 0.1 s; return whether to end."""
        if counter % _SWEEP_TICKS == 0:
            connections: Iterable[object] = self.server_state.connections
            sweep([it for it in connections if isinstance(it, Connection)], time.monotonic())
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to ``stopping``."""
        yield

    def stop(self) -> None:
        """Accept no more connections, answer what is under way, and end; at the second call end at once."""
        self.force_exit = self.should_exit
        self.should_exit = True


@contextlib.contextmanager
def stopping(stop: Callable[[], None], until_stdin_closes: bool) -> Iterator[None]:
    """Stop on SIGTERM, SIGINT and SIGHUP, and where asked when the process that holds our stdin ends."""
    loop = asyncio.get_running_loop()
    is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    endings = (signal.SIGTERM, signal.SIGINT) if is_nohup else (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in endings:
        loop.add_signal_handler(number, stop)
    if until_stdin_closes:
        loop.add_reader(sys.stdin.fileno(), _stop_at_end, stop)
    try:
        yield
    finally:
        for number in endings:
            loop.remove_signal_handler(number)
        if until_stdin_closes:
            loop.remove_reader(sys.stdin.fileno())


def _stop_at_end(stop: Callable[[], None]) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop()


def bind(host: str, port: int, shared: bool = False) -> socket.socket:
    """Listen; raise RunError where that can't be. ``shared``: beside others who share the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048, reuse_port=shared)
    except (OSError, OverflowError, TypeError, ValueError) as problem:
        raise RunError(f"can't listen on {host} port {port}: {problem}; give another --host or --port") from None


def url(host: str, listener: socket.socket) -> str:
    """Return where the service is reached."""
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


def raise_file_limit() -> None:
    """Take as many connections as this process may: the usual soft limit, 1024, is there for programs that select()."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS names a hard limit that it doesn't grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the fastest event loop there is."""
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.new_event_loop
