"""Detect a lost worker early, so that others take its share over, and end all processes of a run together.

Locust moves the users of a lost worker to the others, and with a user goes its share of the arrivals. It waits three
seconds for a sign of life; a worker that the master has forked is missed within half a second. The calls of a lost
worker are in its part of the records. The user that takes a share over counts the arrivals that were orphaned.

A lost worker may still be alive, behind a cut network. Locust would let it back in, with its share that another worker
plays by then. So the master removes a lost worker, and ends it when its next report arrives.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import gevent
import locust.runners
from gevent.socket import wait_read
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import STATE_MISSING, STATE_RUNNING, STATE_SPAWNING, MasterRunner

from toolkit.load_test.generator.locust_plugin.shutdown import Shutdown
from toolkit.load_test.generator.utc_clock import UTC_CLOCK
from toolkit.runs import run_folder
from toolkit.runs.run_folder import Cause

PROCESS_MESSAGE = "sms-here"
_LOOK_EVERY_S = 0.1
_HEARTBEAT_EVERY_S = 0.5
_MAX_MISSED = 4  # heartbeats in a row: with the next one the worker is lost
_SUSPECT_AFTER = 2  # missed heartbeats: if the worker turns out to be lost, it was lost with the last one it sent
_MASTER_SILENT_S = 15.0  # others have taken over the share of the worker by then
_TAKEN_OVER_S = 6.0  # after a loss, the share has been taken over
_LAST_REPORT_S = 4.0  # beyond the time that users get to finish their calls; by then a lost worker is known
_ORPHAN_GRACE_S = 3.0

logger = logging.getLogger(__name__)


class WorkerRegistry:
    """The workers that are connected to a master."""

    def __init__(self, runner: MasterRunner) -> None:
        self._runner = runner
        self._present: set[str] = set()

    def __len__(self) -> int:
        return len(self._present)

    def update(self) -> list[str]:
        """Return the workers that were lost since the last call, without those that left at the end."""
        nodes, is_on = self._runner.clients, self._runner.state in (STATE_SPAWNING, STATE_RUNNING)
        missing = {node.id for node in nodes.missing}
        present = {node.id for node in nodes.all} - missing
        gone, self._present = self._present - present, present
        lost = (worker for worker in gone if is_on or worker in missing)
        return sorted(lost, key=self._runner.worker_indexes.__getitem__)


class LostWorkerDetector:
    """Sets the option ``sms_lost_s`` to the time of a lost worker's last heartbeat, for its successor.

    A worker that was lost and reports again is ended.
    """

    def __init__(self, environment: Environment, runner: MasterRunner) -> None:
        self._options: Any = environment.parsed_options
        self._runner = runner
        self._forked: dict[str, int] = {}  # the process id of each worker that this process has forked
        self._lost: set[str] = set()
        runner.register_message(PROCESS_MESSAGE, self._on_process)
        hooks: Any = environment.events
        hooks.worker_report.add_listener(self._on_report)

    def look(self, now_s: float) -> None:
        """Find workers that miss heartbeats, and report a forked one that has ended as missing."""
        options = self._options
        if self._runner.state not in (STATE_SPAWNING, STATE_RUNNING):
            return
        if options.sms_lost_s is not None and now_s - options.sms_lost_s > _TAKEN_OVER_S:
            options.sms_lost_s = None
        for node in list(self._runner.clients.all):
            if node.heartbeat >= 0 and node.id in self._forked and _has_ended(self._forked[node.id]):
                node.heartbeat, options.sms_lost_s = -1, now_s
            missed = _MAX_MISSED - node.heartbeat
            if missed == _SUSPECT_AFTER:
                options.sms_lost_s = now_s - missed * _HEARTBEAT_EVERY_S
            if node.heartbeat < 0:
                self._lost.add(node.id)
            if node.state == STATE_MISSING:
                del self._runner.clients[node.id]  # locust lets a listed worker back in

    def _on_report(self, client_id: str, **_: object) -> None:
        if client_id in self._lost:
            logger.warning("worker %d is back, and has to end", self._runner.worker_indexes[client_id])
            self._runner.send_message("quit", client_id=client_id)

    def _on_process(self, msg: Any, **_: object) -> None:
        pid, parent, host = msg.data
        if (parent, host) == (os.getpid(), socket.gethostname()):
            self._forked[msg.node_id] = pid


def _has_ended(pid: int) -> bool:
    """Return whether a child has ended, and leave its exit status to be collected by others."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True  # gevent has collected it


def set_defaults(parser: LocustArgumentParser, **_: object) -> None:
    """Make locust move the users of a lost worker, and miss a worker after two seconds."""
    parser.set_defaults(enable_rebalancing=True)
    locust.runners.HEARTBEAT_INTERVAL = _HEARTBEAT_EVERY_S  # type: ignore[assignment] # declared as int, but any number works
    locust.runners.HEARTBEAT_LIVENESS = _MAX_MISSED
    locust.runners.MASTER_HEARTBEAT_TIMEOUT = math.inf  # type: ignore[assignment] # ``end_with_master`` watches


def watch_workers(environment: Environment, shutdown: Shutdown, on_lost: Callable[[str], object]) -> None:
    """Report lost workers of a master for as long as the process lives. End the run with the last worker.

    Args:
        environment: locust's environment.
        shutdown: ends the run.
        on_lost: called with the id of each lost worker, also of one that was lost when the run was being ended.
    """
    runner = environment.runner
    assert isinstance(runner, MasterRunner)
    registry, detector = WorkerRegistry(runner), LostWorkerDetector(environment, runner)

    def watch() -> None:
        while True:
            detector.look(UTC_CLOCK.now_ns() / 1e9)
            lost = registry.update()
            for worker in lost:
                on_lost(worker)
            for worker in () if shutdown.is_running else lost:
                loss = f"worker {runner.worker_indexes[worker]} was lost at {datetime.now(UTC):%H:%M:%S} UTC"
                if len(registry):
                    note = f"{loss}; its share moved to the other {len(registry)}"
                    logger.warning(note)
                    shutdown.note(run_folder.NOTES_NAME, note)
                else:
                    logger.error("%s, and none is left: the run ends", loss)
                    environment.process_exit_code = 1
                    shutdown.begin()
            gevent.sleep(_LOOK_EVERY_S)

    gevent.spawn(watch)


def await_last_reports(runner: MasterRunner, stop_timeout_s: float) -> None:
    """Stop the workers of a master, and wait for their last reports: locust waits only half a second."""
    runner.send_message("quit")
    with gevent.Timeout(stop_timeout_s + _LAST_REPORT_S, False):
        while runner.worker_count:
            gevent.sleep(0.05)


def end_with_master(environment: Environment, shutdown: Shutdown, *, is_forked: bool) -> None:
    """End a worker when its master is gone: when the process that forked it has ended, or when it has fallen silent.

    Locust's own watch goes on for a minute, and a step of the system's clock by as much makes it end a worker.
    """
    master = os.getppid()
    heard_s: float | None = None
    hooks: Any = environment.events

    def on_heartbeat(**_: object) -> None:
        nonlocal heard_s
        heard_s = time.monotonic()

    def watch() -> None:
        while not (is_forked and os.getppid() != master):
            if heard_s is not None and time.monotonic() - heard_s > _MASTER_SILENT_S:
                logger.error("the master has sent nothing for %d s: this worker ends", _MASTER_SILENT_S)
                break
            gevent.sleep(_LOOK_EVERY_S)
        shutdown.end_now()

    hooks.heartbeat_received.add_listener(on_heartbeat)
    gevent.spawn(watch)


def end_without_parent(shutdown: Shutdown) -> None:
    """End a run that nobody sees any more: the shell, notebook or CI job that started it is gone.

    A process that was detached on purpose goes on: with nohup, in the background of a script, or in its own session.
    """
    parent = os.getppid()
    is_ignored = signal.SIG_IGN in (signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGINT))
    if is_ignored or os.getsid(0) == os.getpid():
        return

    def watch() -> None:
        while os.getppid() == parent:
            gevent.sleep(_LOOK_EVERY_S)
        shutdown.end_early(Cause.INTERRUPTED, "the end of the process that had started it")

    gevent.spawn(watch)


def end_with_parent(environment: Environment, shutdown: Shutdown, lifeline_fd: int) -> None:
    """End the process when its parent closes a pipe, or is gone."""

    def watch() -> None:
        wait_read(lifeline_fd)
        gevent.spawn_later(_ORPHAN_GRACE_S, os._exit, 1)
        environment.stop_timeout = 0.0
        shutdown.end_now()

    gevent.spawn(watch)
