"""Fleet: how a master and its workers stay one run: when a worker is lost, and when all end.

Locust moves a lost worker's users, or shares of the arrivals, to the others, once it has waited three seconds for a
sign of life; a worker that the master has forked is missed within half a second. Its calls up to then are in its part
of the records. Of the arrivals that nobody owned meanwhile, whoever takes the share over knows how many they were.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from datetime import UTC, datetime
from typing import Any

import gevent
import locust.runners
from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING, MasterRunner, WorkerRunner

from toolkit.load_test.generator.locust_plugin.shutdown import begin_end, end, is_ending, leave
from toolkit.runs import run_folder

_LOOK_EVERY_S = 0.1
_SIGN_EVERY_S = 0.5  # of life, from each worker to its master
_SIGNS_MISSED = 4  # in a row, and the worker counts as lost with the next
_SILENT_SIGNS = 2  # missed, and it was lost when it gave the last, should it turn out to be
_TAKEN_OVER_S = 6.0  # so long after a loss its share has been taken over
_LAST_WORD_S = 4.0  # beyond what users get to finish their calls; by then a lost worker counts as lost
_HERE = "sms-here"

logger = logging.getLogger(__name__)


class WorkerRegistry:
    """The workers that a master has at hand."""

    def __init__(self, runner: MasterRunner) -> None:
        self._runner = runner
        self._present: set[str] = set()

    def __len__(self) -> int:
        return len(self._present)

    def call(self) -> list[int]:
        """Return the indexes of the workers that are gone since the last time, but for those that left at the end."""
        nodes, is_on = self._runner.clients, self._runner.state in (STATE_SPAWNING, STATE_RUNNING)
        missing = {node.id for node in nodes.missing}
        present = {node.id for node in nodes.all} - missing
        gone, self._present = self._present - present, present
        return sorted(self._runner.worker_indexes[worker] for worker in gone if is_on or worker in missing)


class LostWorkerDetector:
    """Notes when a worker falls silent, in ``sms_lost_s`` of the options, which go to whoever takes its share over."""

    def __init__(self, environment: Environment, runner: MasterRunner) -> None:
        self._options: Any = environment.parsed_options
        self._runner = runner
        self._forked: dict[str, int] = {}
        runner.register_message(_HERE, self._hear)

    def look(self, now_s: float) -> None:
        """Look for workers that are silent; have locust miss a forked one that has ended."""
        options = self._options
        if self._runner.state not in (STATE_SPAWNING, STATE_RUNNING):
            return
        if options.sms_lost_s is not None and now_s - options.sms_lost_s > _TAKEN_OVER_S:
            options.sms_lost_s = None
        for node in self._runner.clients.all:
            if node.heartbeat >= 0 and node.id in self._forked and _has_ended(self._forked[node.id]):
                node.heartbeat, options.sms_lost_s = -1, now_s
            missed = _SIGNS_MISSED - node.heartbeat
            if missed == _SILENT_SIGNS:
                options.sms_lost_s = now_s - missed * _SIGN_EVERY_S

    def _hear(self, msg: Any, **_: object) -> None:
        pid, parent, host = msg.data
        if (parent, host) == (os.getpid(), socket.gethostname()):
            self._forked[msg.node_id] = pid


def _has_ended(pid: int) -> bool:
    """Tell whether a child has ended; what it ended with is left for others to ask."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True  # gevent has asked


def _watch(environment: Environment) -> None:
    assert isinstance(environment.runner, MasterRunner)
    roll, losses = WorkerRegistry(environment.runner), LostWorkerDetector(environment, environment.runner)
    while True:
        losses.look(time.time())
        gone = roll.call()
        for index in () if is_ending(environment) else gone:
            _report(environment, f"worker {index} was lost at {datetime.now(UTC):%H:%M:%S} UTC", len(roll))
        gevent.sleep(_LOOK_EVERY_S)


def _report(environment: Environment, loss: str, left: int) -> None:
    if left:
        note = f"{loss}; its share moved to the other {left}"
        logger.warning(note)
        leave(environment, run_folder.NOTES_NAME, note)
    else:
        logger.error("%s, and none is left: the run ends", loss)
        environment.process_exit_code = 1
        begin_end(environment)


def _hear_last_words(environment: Environment, **_: object) -> None:
    """Have the workers quit, and wait for that: locust gives their last reports half a second."""
    runner, options = environment.runner, environment.parsed_options
    if not isinstance(runner, MasterRunner) or not (options and options.headless):
        return
    runner.send_message("quit")
    with gevent.Timeout(environment.stop_timeout + _LAST_WORD_S, False):
        while runner.worker_count:
            gevent.sleep(0.05)


def _keep_folder(environment: Environment) -> None:
    """Let a worker that has a folder of its own record there: with the first users come the master's options."""
    options: Any = environment.parsed_options
    hooks: Any = environment.events
    if folder := options.sms_run_dir:
        hooks.test_start.add_listener(lambda **_: setattr(options, "sms_run_dir", folder))


def _tell_where(environment: Environment) -> None:
    """Have the master know which process this worker is, as soon as it is given users."""
    runner, hooks = environment.runner, environment.events
    here = [os.getpid(), os.getppid(), socket.gethostname()]
    assert runner
    hooks.test_start.add_listener(lambda **_: runner.send_message(_HERE, here))  # type: ignore[no-untyped-call]


def _leave_with_master(environment: Environment) -> None:
    """End a worker once the master that forked it is gone, where locust would go on for a minute."""
    master = os.getppid()
    while os.getppid() == master:
        gevent.sleep(_LOOK_EVERY_S)
    end(environment)


def _set_up(environment: Environment, **_: object) -> None:
    if isinstance(environment.runner, MasterRunner):
        gevent.spawn(_watch, environment)
    elif isinstance(environment.runner, WorkerRunner):
        _keep_folder(environment)
        _tell_where(environment)
        if environment.parsed_options and environment.parsed_options.processes:
            gevent.spawn(_leave_with_master, environment)


def _rebalance(parser: LocustArgumentParser, **_: object) -> None:
    parser.set_defaults(enable_rebalancing=True)
    locust.runners.HEARTBEAT_INTERVAL = _SIGN_EVERY_S  # type: ignore[assignment] # it says int; any number serves
    locust.runners.HEARTBEAT_LIVENESS = _SIGNS_MISSED


_hooks: Any = events
_hooks.init_command_line_parser.add_listener(_rebalance)
_hooks.init.add_listener(_set_up)
_hooks.test_stop.add_listener(_hear_last_words)
