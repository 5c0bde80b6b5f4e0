"""Verdicts: thresholds held against what a run's processes have counted: while it goes on, and when locust ends.

The master judges, or the only process. A run that ``smscode load`` started is judged once more, from its records.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from statistics import fmean
from typing import Any

import gevent
from locust import events
from locust.env import Environment
from locust.rpc import Message
from locust.runners import WorkerRunner

from toolkit.api.errors import InputError
from toolkit.load_test.generator.locust_plugin.shutdown import end_early
from toolkit.load_test.generator.results.metrics import statistics_of
from toolkit.runs import run_folder, thresholds
from toolkit.runs.run_folder import Cause
from toolkit.runs.thresholds import Figures, Status, Threshold, Verdict

_EVERY_S = 1.0
_DOUBT = "sms-bottleneck"

logger = logging.getLogger(__name__)


class ThresholdMonitor:
    """Holds the thresholds of one locust process's tests."""

    def __init__(self, environment: Environment, held: Iterable[Threshold]) -> None:
        self._environment = environment
        self._thresholds = tuple(held)
        self._started_s = self._ended_s = time.monotonic()
        self._heard_s: dict[str, float] = {}
        self._watch: gevent.Greenlet | None = None
        self._bottleneck = ""

    def begin(self, **_: object) -> None:
        """Begin to watch a test, where a threshold might abort it."""
        self._started_s, self._ended_s = time.monotonic(), 0.0
        self._heard_s.clear()
        self._bottleneck = ""
        if any(it.abort_after_s is not None for it in self._thresholds):
            self._watch = gevent.spawn(self._abort_when_missed)

    def hear(self, client_id: str, **_: object) -> None:
        """Note when a worker told what it has counted."""
        self._heard_s[client_id] = time.monotonic()

    def end(self, **_: object) -> None:
        """Note that the test is over."""
        self._ended_s = time.monotonic()
        if self._watch:
            self._watch.kill(block=False)

    def tell(self, **_: object) -> None:
        """Print every verdict, and choose the exit code: with thresholds, they decide and not single failures."""
        figures = self._figures()
        verdicts = [thresholds.judge(it, figures) for it in self._thresholds]
        if self._bottleneck:
            verdicts = list(map(thresholds.mark_inconclusive, verdicts))
        for verdict in verdicts:
            logger.log(logging.INFO if verdict.status is Status.PASS else logging.ERROR, "%s", verdict)
        assert self._environment.runner
        if not self._environment.runner.exceptions:
            self._environment.process_exit_code = self._choose_exit_code(verdicts)

    def mark_inconclusive(self, environment: Environment, msg: Message) -> None:
        """Note that a load generator was its own bottleneck."""
        self._bottleneck = str(msg.data)

    def _choose_exit_code(self, verdicts: list[Verdict]) -> int | None:
        if self._bottleneck:
            return run_folder.BOTTLENECK
        if any(verdict.status is not Status.PASS for verdict in verdicts):
            return run_folder.THRESHOLD_MISSED
        return self._environment.process_exit_code or (0 if verdicts else None)

    def _abort_when_missed(self) -> None:
        while True:
            gevent.sleep(_EVERY_S)
            for verdict in self._due():
                if verdict.status is Status.FAIL:
                    self._environment.process_exit_code = run_folder.THRESHOLD_MISSED
                    end_early(self._environment, Cause.MISSED, str(verdict.threshold))
                    return

    def _due(self) -> list[Verdict]:
        figures = self._figures()
        due = [it for it in self._thresholds if it.abort_after_s is not None and it.abort_after_s <= figures.duration_s]
        return [thresholds.judge(it, figures) for it in due]

    def _figures(self) -> Figures:
        """Return the figures as of when they were told: a worker tells its own every 3 s."""
        known_s = self._ended_s or (fmean(self._heard_s.values()) if self._heard_s else time.monotonic())
        return statistics_of(self._environment).figures(known_s - self._started_s)


def mark_inconclusive(environment: Environment, bottleneck: str) -> None:
    """Tell whoever judges how this process's load generator was the bottleneck."""
    assert environment.runner
    environment.runner.send_message(_DOUBT, bottleneck)


def _set_up(environment: Environment, **_: object) -> None:
    options: Any = environment.parsed_options
    if environment.runner is None or isinstance(environment.runner, WorkerRunner):
        return
    try:
        judge = ThresholdMonitor(environment, map(thresholds.parse, options.threshold))
    except InputError as problem:
        raise SystemExit(str(problem)) from problem
    hooks: Any = environment.events
    environment.runner.register_message(_DOUBT, judge.mark_inconclusive)
    hooks.test_start.add_listener(judge.begin)
    hooks.worker_report.add_listener(judge.hear)
    hooks.test_stop.add_listener(judge.end)
    hooks.quitting.add_listener(judge.tell)


_hooks: Any = events
_hooks.init.add_listener(_set_up)
