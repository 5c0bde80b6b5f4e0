"""Serves one port from several processes: starts the workers, keeps them running, and ends with them.

Each worker has a listening socket of its own on the port (SO_REUSEPORT), which is held here: one that is started in
place of another that died serves those who knocked meanwhile. The workers share nothing but the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from toolkit.service import server, worker
from toolkit.service.logs import LineWriter, logging_json, open_stderr
from toolkit.service.server import ServiceConfig
from toolkit.service.tally import Tally

log = logging.getLogger(__name__)

_RESTART_S = 0.5


def serve(config: ServiceConfig, announce: Callable[[dict[str, Any]], None]) -> None:
    """Run the service in as many processes as configured, until SIGTERM or SIGINT."""
    if config.workers == 1:
        server.serve(config, announce)
    else:
        asyncio.run(_serve(config, announce))


async def _serve(config: ServiceConfig, announce: Callable[[dict[str, Any]], None]) -> None:
    about = await server.prepare(config)  # what can't work is told before anything is started
    with contextlib.ExitStack() as stack:
        stack.enter_context(logging_json(LineWriter(open_stderr(), Tally())))
        listeners = [stack.enter_context(it) for it in _bind(config)]
        its_config = replace(config, until_stdin_closes=True)
        workers = [_Worker(number, listener, its_config) for number, listener in enumerate(listeners, 1)]

        def stop() -> None:
            for each in workers:
                each.stop()

        with server.stopping(stop, config.until_stdin_closes):
            kept: asyncio.Future[Any] = asyncio.gather(*[each.keep() for each in workers])
            answering: asyncio.Future[Any] = asyncio.gather(*[each.ready.wait() for each in workers])
            await asyncio.wait([kept, answering], return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                announce({"url": server.url(config.host, listeners[0])} | about)
            answering.cancel()
            await kept


@dataclass(slots=True)
class _Worker:
    """A process that serves one of the sockets, and the next one when it dies."""

    number: int
    listener: socket.socket
    config: ServiceConfig
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _process: Process | None = None

    async def keep(self) -> None:
        """Keep a process running until it is to stop."""
        while not self._stopped.is_set():
            self._process = process = await self._start()
            if self._stopped.is_set():
                process.terminate()
            await self._follow(process)
            if not self._stopped.is_set():
                log.error(
                    "worker %d (pid %d) ended with %s: starting another", self.number, process.pid, process.returncode
                )
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), _RESTART_S)

    def stop(self) -> None:
        """Have it answer what is under way, and end; at the second call end at once."""
        self._stopped.set()
        self.listener.close()
        if self._process and self._process.returncode is None:
            self._process.terminate()

    async def _start(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", worker.__name__, str(self.listener.fileno())),
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=[self.listener.fileno()],
            start_new_session=True,  # a terminal's Ctrl-C is for us: we tell the workers
        )
        assert process.stdin
        process.stdin.write(worker.pack(self.config))
        return process

    async def _follow(self, process: Process) -> None:
        """Read what a process tells until it has ended."""
        assert process.stdout
        async for line in process.stdout:
            if line == worker.READY:
                self.ready.set()
        await process.wait()


def _bind(config: ServiceConfig) -> list[socket.socket]:
    """Listen once for each worker; raise RunError where somebody else does."""
    with server.bind(config.host, config.port) as alone:  # ports are shared with whoever asks: so make sure of it first
        port: int = alone.getsockname()[1]
    return [server.bind(config.host, port, shared=True) for _ in range(config.workers)]
