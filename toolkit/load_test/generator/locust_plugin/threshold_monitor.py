"""Check the thresholds of a run: once a second while it goes on if one may abort it, and when locust ends.

The master checks them, or the only process. `smscode load` checks them once more, from the run's records.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import gevent
from locust.env import Environment

from toolkit.load_test.generator.locust_plugin.shutdown import Shutdown
from toolkit.load_test.generator.results.metrics import Metrics
from toolkit.runs import run_folder, thresholds
from toolkit.runs.run_folder import Cause
from toolkit.runs.thresholds import RunFigures, Status, Threshold

BOTTLENECK_MESSAGE = "sms-bottleneck"
_CHECK_EVERY_S = 1.0

logger = logging.getLogger(__name__)


class ThresholdMonitor:
    """Checks thresholds against the metrics of one test, from its creation on."""

    def __init__(
        self, environment: Environment, shutdown: Shutdown, metrics: Metrics, held: Sequence[Threshold]
    ) -> None:
        self._environment, self._shutdown, self._metrics, self._thresholds = environment, shutdown, metrics, held
        self._started_s = time.monotonic()
        self._stopped_s: float | None = None
        self._reported_s: dict[str, float] = {}
        self._bottleneck = ""
        may_abort = any(it.abort_after_s is not None for it in held)
        self._aborter = gevent.spawn(self._abort_when_missed) if may_abort else None

    def on_report(self, worker: str) -> None:
        """Note the time of a worker's report."""
        self._reported_s[worker] = time.monotonic()

    def on_bottleneck(self, msg: Any) -> None:
        """Note that a process of the load generator was its own bottleneck: no threshold may pass then."""
        self._bottleneck = str(msg.data)

    def stop(self) -> None:
        """Note that the test has stopped."""
        self._stopped_s = time.monotonic()
        if self._aborter:
            self._aborter.kill(block=False)

    def conclude(self) -> None:
        """Log every verdict and choose the exit code. With thresholds, they decide and not single failed calls."""
        figures = self._figures()
        verdicts = [thresholds.judge(it, figures) for it in self._thresholds]
        if self._bottleneck:
            verdicts = list(map(thresholds.mark_inconclusive, verdicts))
        for verdict in verdicts:
            logger.log(logging.INFO if verdict.status is Status.PASS else logging.ERROR, "%s", verdict)
        environment = self._environment
        if environment.runner and environment.runner.exceptions:
            return
        if self._bottleneck:
            environment.process_exit_code = run_folder.BOTTLENECK
        elif any(verdict.status is not Status.PASS for verdict in verdicts):
            environment.process_exit_code = run_folder.THRESHOLD_MISSED
        elif verdicts:
            environment.process_exit_code = environment.process_exit_code or 0

    def _abort_when_missed(self) -> None:
        while True:
            gevent.sleep(_CHECK_EVERY_S)
            figures = self._figures()
            for it in self._thresholds:
                if it.abort_after_s is None or it.abort_after_s > figures.duration_s:
                    continue
                if thresholds.judge(it, figures).status is Status.FAIL:
                    self._environment.process_exit_code = run_folder.THRESHOLD_MISSED
                    self._shutdown.end_early(Cause.MISSED, str(it))
                    return

    def _figures(self) -> RunFigures:
        """Return the figures as of the workers' last reports: each reports every 3 s."""
        known_s = self._stopped_s or (fmean(self._reported_s.values()) if self._reported_s else time.monotonic())
        return self._metrics.figures(known_s - self._started_s)
