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
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from toolkit.api.errors import RunError
from toolkit.service.admin.health import DRAINING, Health
from toolkit.service.http.server import bind, stopping, url
from toolkit.service.metrics.call_log import LineWriter, logging_json, open_stderr
from toolkit.service.metrics.counters import Counters
from toolkit.service.process import runtime, worker_process
from toolkit.service.process.config import ServiceConfig

log = logging.getLogger(__name__)

_RESTART_S = 0.5


def serve(config: ServiceConfig, announce: runtime.Announce) -> None:
    """Run the service in as many processes as configured, until SIGTERM or SIGINT."""
    if config.workers == 1:
        runtime.serve(config, announce)
    else:
        asyncio.run(_serve(config, announce, open_stderr()))


async def _serve(config: ServiceConfig, announce: runtime.Announce, stderr: int) -> None:
    async with AsyncExitStack() as stack:
        listeners = [stack.enter_context(it) for it in _bind(config)]
        stack.enter_context(logging_json(LineWriter(stderr, Counters())))
        # What can't work is told before anything is started.
        store = await stack.enter_async_context(runtime.opened(config, Counters(), config.speed))
        about = {"url": url(config.host, listeners[0])} | await runtime.sandbox_app(store, config.production)
        its_config = replace(config, admin_port=None, until_stdin_closes=True)
        crew = _Crew([_Worker(number, listener, its_config) for number, listener in enumerate(listeners, 1)])
        about |= await stack.enter_async_context(runtime.watched(config, Health(store, crew.counters, crew.unready)))
        with stopping(crew.stop, config.until_stdin_closes):
            await crew.work(lambda: announce(about))


@dataclass(frozen=True, slots=True)
class _Crew:
    """All workers of a service."""

    workers: list[_Worker]

    async def work(self, answering: Callable[[], None]) -> None:
        """Keep all of them running until they are to stop; ``answering`` is called once all of them answer.

        Raise RunError where one can't begin: so might it be with every one that is started in its place.
        """
        keeping = [asyncio.create_task(each.keep()) for each in self.workers]
        ready = asyncio.create_task(self._ready())
        await asyncio.wait([*keeping, ready], return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            answering()
        ready.cancel()
        try:
            await asyncio.gather(*keeping)
        finally:
            self.stop()
            await asyncio.gather(*keeping, return_exceptions=True)

    async def _ready(self) -> None:
        for each in self.workers:
            await each.ready.wait()

    def stop(self) -> None:
        """Have them answer what is under way, and end."""
        for each in self.workers:
            each.stop()

    def counters(self) -> Counters:
        """Return what all of them have counted, those included that are no more."""
        whole = Counters()
        for each in self.workers:
            whole.add(each.past)
            whole.add(each.counters)
        return whole

    def unready(self) -> str:
        """Tell why the service is not to be called, if it isn't."""
        if any(each.is_stopped for each in self.workers):
            return DRAINING
        starting = [str(each.number) for each in self.workers if not each.ready.is_set()]
        return f"starting: worker {', '.join(starting)}" if starting else ""


@dataclass(slots=True)
class _Worker:
    """A process that serves one of the sockets, and the next one when it dies.

    ``counters``: what the process that runs has counted; ``past``: what those before it had.
    """

    number: int
    listener: socket.socket
    config: ServiceConfig
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    counters: Counters = field(default_factory=Counters)
    past: Counters = field(default_factory=Counters)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _process: Process | None = None
    _has_answered: bool = False

    async def keep(self) -> None:
        """Keep a process running until it is to stop; raise RunError where the first one never answers."""
        while not self._stopped.is_set():
            self._process = process = await self._start()
            if self._stopped.is_set():
                process.terminate()
            await self._follow(process)
            if not self._stopped.is_set():
                await self._rest(process)

    async def _rest(self, ended: Process) -> None:
        """Say that a process has ended, and wait before another is started."""
        if not self._has_answered:
            raise RunError(f"worker {self.number} ended before it answered: it has told why")
        log.error("worker %d (pid %d) ended with %s: starting another", self.number, ended.pid, ended.returncode)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), _RESTART_S)

    @property
    def is_stopped(self) -> bool:
        """Whether it is to end, or has."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Have it answer what is under way, and end; at the second call end at once."""
        self._stopped.set()
        self.listener.close()
        if self._process and self._process.returncode is None:
            self._process.terminate()

    async def _start(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", worker_process.__name__, str(self.listener.fileno())),
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=[self.listener.fileno()],
            start_new_session=True,  # a terminal's Ctrl-C is for us: we tell the workers
        )
        assert process.stdin
        process.stdin.write(worker_process.pack(self.config))
        return process

    async def _follow(self, process: Process) -> None:
        """Read what a process tells until it has ended."""
        assert process.stdout
        async for line in process.stdout:
            if line == worker_process.READY:
                self._has_answered = True
                self.ready.set()
            else:
                self.counters = worker_process.unpack(line)
        await process.wait()
        self.ready.clear()
        self._bury()

    def _bury(self) -> None:
        self.past.add(replace(self.counters, in_flight=0, waiting=0))
        self.counters = Counters()


def _bind(config: ServiceConfig) -> list[socket.socket]:
    """Listen once for each worker; raise RunError where somebody else does."""
    with bind(config.host, config.port) as alone:  # ports are shared with whoever asks: so make sure of it first
        port: int = alone.getsockname()[1]
    return [bind(config.host, port, shared=True) for _ in range(config.workers)]
