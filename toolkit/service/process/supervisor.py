"""Serve one port from several worker processes: start them, restart those that die, and stop them all.

Each worker has a separate listening socket on the port (SO_REUSEPORT), and the kernel spreads connections over the
sockets. The supervisor holds the sockets, so connections that arrive after a worker died wait for its successor. The
workers share nothing but the store.
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

_RESTART_DELAY_S = 0.5


def serve(config: ServiceConfig, announce: runtime.Announce) -> None:
    """Run the service in as many processes as configured, until SIGTERM or SIGINT.

    ``announce`` gets the service's description once every worker answers.
    """
    if config.workers == 1:
        runtime.serve(config, announce)
    else:
        asyncio.run(_serve(config, announce, open_stderr()))


async def _serve(config: ServiceConfig, announce: runtime.Announce, stderr: int) -> None:
    with bind(config.host, config.port) as probe:  # fails if the port is taken; SO_REUSEPORT alone would share it
        port: int = probe.getsockname()[1]
    async with AsyncExitStack() as stack:
        listeners = [stack.enter_context(bind(config.host, port, shared=True)) for _ in range(config.workers)]
        stack.enter_context(logging_json(LineWriter(stderr, Counters())))
        runtime.warn(config)
        # Opening the store here reports its problems once, before any worker starts.
        store = await stack.enter_async_context(runtime.configured_store(config, Counters(), config.speed))
        description = {"url": url(config.host, listeners[0])}
        description |= await runtime.ensure_sandbox_app(store, config.production, config.ttl_s)
        worker_config = replace(config, admin_port=None, until_stdin_closes=True)
        workers = [_Worker(number, listener, worker_config) for number, listener in enumerate(listeners, 1)]
        supervisor = Supervisor(workers)
        health = Health(store, supervisor.counters, supervisor.unready)
        description |= await stack.enter_async_context(runtime.serving_admin_port(config, health))
        with stopping(supervisor.stop, config.until_stdin_closes):
            await supervisor.run(lambda: announce(description))


@dataclass(frozen=True, slots=True)
class Supervisor:
    """Keeps the workers of a service running."""

    workers: list[_Worker]

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Run all workers until ``stop`` is called; call ``on_ready`` once every worker answers.

        Raise RunError if a worker ends before it has answered, because its successors would do the same.
        """

        async def all_ready() -> None:
            for worker in self.workers:
                await worker.ready.wait()

        running = [asyncio.create_task(worker.run()) for worker in self.workers]
        ready = asyncio.create_task(all_ready())
        await asyncio.wait([*running, ready], return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            on_ready()
        ready.cancel()
        try:
            await asyncio.gather(*running)
        finally:
            self.stop()
            await asyncio.gather(*running, return_exceptions=True)

    def stop(self) -> None:
        """Stop all workers gracefully; a second call ends them at once."""
        for worker in self.workers:
            worker.stop()

    def counters(self) -> Counters:
        """Return the sum of all workers' counters, including processes that have ended."""
        total = Counters()
        for worker in self.workers:
            total.add(worker.past_counters)
            total.add(worker.counters)
        return total

    def unready(self) -> str:
        """Return why the service should get no traffic now, or an empty string."""
        if any(worker.is_stopped for worker in self.workers):
            return DRAINING
        starting = [str(worker.number) for worker in self.workers if not worker.ready.is_set()]
        return f"starting: worker {', '.join(starting)}" if starting else ""


@dataclass(slots=True)
class _Worker:
    """One worker: a listening socket, and the process that serves it at present.

    ``counters`` are those of the present process, ``past_counters`` the sum of its predecessors'.
    """

    number: int
    listener: socket.socket
    config: ServiceConfig
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    counters: Counters = field(default_factory=Counters)
    past_counters: Counters = field(default_factory=Counters)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _process: Process | None = None
    _has_answered: bool = False

    async def run(self) -> None:
        """Run processes until ``stop`` is called; raise RunError if the first ends before it answers."""
        while not self._stopped.is_set():
            self._process = process = await self._start()
            if self._stopped.is_set():
                process.terminate()
            await self._read_output(process)
            if self._stopped.is_set():
                return
            if not self._has_answered:
                raise RunError(f"worker {self.number} ended before it was ready: see its error message above")
            pid, status = process.pid, process.returncode
            log.error("worker %d (pid %d) ended with %s: starting another", self.number, pid, status)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), _RESTART_DELAY_S)

    @property
    def is_stopped(self) -> bool:
        """Whether ``stop`` was called."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """End the process after the requests in flight; a second call ends it at once."""
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
            start_new_session=True,  # Ctrl-C in a terminal reaches the supervisor only, which stops the workers
        )
        assert process.stdin
        process.stdin.write(worker_process.pack(self.config))
        return process

    async def _read_output(self, process: Process) -> None:
        """Read a process's readiness and counters until it ends, then add its counters to the past ones."""
        assert process.stdout
        async for line in process.stdout:
            if line == worker_process.READY:
                self._has_answered = True
                self.ready.set()
            else:
                self.counters = worker_process.unpack(line)
        await process.wait()
        self.ready.clear()
        self.past_counters.add(replace(self.counters, in_flight=0, queued=0, waiting=0, delivery_problem=""))
        self.counters = Counters()
