"""Fleet: how a master and its workers stay one run: when a worker is lost, and when all end.

Locust moves a lost worker's users, or shares of the arrivals, to the others; with a loss that takes the three seconds
it waits for a sign of life. Its calls up to then are in its part of the records.
"""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from typing import Any

import gevent
from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING, MasterRunner, WorkerRunner

from toolkit import runs
from toolkit.load.ending import begin_end, end, is_ending, leave

_LOOK_EVERY_S = 0.5
_LAST_WORD_S = 4.0  # beyond what users get to finish their calls; by then a lost worker counts as lost

logger = logging.getLogger(__name__)


class Roll:
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


def _watch(environment: Environment) -> None:
    assert isinstance(environment.runner, MasterRunner)
    roll = Roll(environment.runner)
    while True:
        gone = roll.call()
        for index in () if is_ending(environment) else gone:
            _report(environment, f"worker {index} was lost at {datetime.now(UTC):%H:%M:%S} UTC", len(roll))
        gevent.sleep(_LOOK_EVERY_S)


def _report(environment: Environment, loss: str, left: int) -> None:
    if left:
        note = f"{loss}; its share moved to the other {left}"
        logger.warning(note)
        leave(environment, runs.NOTES_NAME, note)
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
        if environment.parsed_options and environment.parsed_options.processes:
            gevent.spawn(_leave_with_master, environment)


def _rebalance(parser: LocustArgumentParser, **_: object) -> None:
    parser.set_defaults(enable_rebalancing=True)


_hooks: Any = events
_hooks.init_command_line_parser.add_listener(_rebalance)
_hooks.init.add_listener(_set_up)
_hooks.test_stop.add_listener(_hear_last_words)
