"""Check the thresholds of a run: once a second while it goes on if one may abort it, and when locust ends.

The master checks them, or the only process. `smscode load` checks them once more, from the run's records.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import gevent
from locust.env import Environment

from toolkit.load_test.generator.locust_plugin.shutdown import Shutdown
from toolkit.load_test.generator.results.metrics import Metrics
from toolkit.runs import thresholds
from toolkit.runs.exit_codes import ExitCode, worst
from toolkit.runs.run_folder import Cause
from toolkit.runs.thresholds import ResponseTime, RunFigures, Status, Threshold

BOTTLENECK_MESSAGE = "sms-bottleneck"
_CHECK_EVERY_S = 1.0
_MIN_MISSED_S = 3.0  # of seconds in a row that miss a threshold: fewer are a hiccup

logger = logging.getLogger(__name__)


class ThresholdMonitor:
    """Checks thresholds against the metrics of one test, from its creation on.

    Args:
        environment: locust's environment.
        shutdown: ends the run.
        metrics: the metrics of the test.
        held: the thresholds.
        run_time_s: the time in which calls are due, if it is limited.
        decides: whether they decide about the exit code even if all pass, instead of single failed calls.

    Attributes:
        bottleneck: how the load generator held the run back; "" if it didn't.
    """

    def __init__(
        self,
        environment: Environment,
        shutdown: Shutdown,
        metrics: Metrics,
        held: Sequence[Threshold],
        run_time_s: float = math.inf,
        *,
        decides: bool = True,
    ) -> None:
        self._environment, self._shutdown, self._metrics, self._thresholds = environment, shutdown, metrics, held
        self._started_s, self._run_time_s = time.monotonic(), run_time_s
        self._stopped_s: float | None = None
        self._reported_s: dict[str, float] = {}
        self.bottleneck = ""
        self._decides = decides
        self._sending_until_s: float | None = None
        self._missed_since_s: dict[Threshold, float] = {}
        self._has_report = True
        may_abort = any(it.abort_after_s is not None for it in held)
        self._aborter = gevent.spawn(self._abort_when_missed) if may_abort else None

    def on_report(self, worker: str) -> None:
        """Note the time of a worker's report."""
        self._reported_s[worker] = time.monotonic()
        self._has_report = True

    def on_bottleneck(self, msg: Any) -> None:
        """Note that a process of the load generator was its own bottleneck: no threshold may pass then."""
        self.bottleneck = str(msg.data)

    def stop_sending(self) -> None:
        """Note that no call is due any more; those that are under way may still end."""
        self._sending_until_s = self._sending_until_s or time.monotonic()

    def stop(self) -> None:
        """Note that the test has stopped."""
        self._stopped_s = time.monotonic()
        if self._aborter:
            self._aborter.kill(block=False)

    def conclude(self) -> None:
        """Log every verdict and choose the exit code."""
        figures = self._figures()
        verdicts = [thresholds.judge(it, figures) for it in self._thresholds]
        if self.bottleneck:
            verdicts = list(map(thresholds.mark_inconclusive, verdicts))
        for verdict in verdicts:
            logger.log(logging.INFO if verdict.status is Status.PASS else logging.ERROR, "%s", verdict)
        self.conclude_with([it.status for it in verdicts])

    def conclude_with(self, statuses: Iterable[Status]) -> None:
        """Make the exit code agree with more verdicts.

        Without own thresholds and checks, a code is only set if something is wrong: locust then decides.
        """
        environment, code = self._environment, ExitCode.BOTTLENECK if self.bottleneck else ExitCode.DONE
        for status in statuses:
            self._decides = self._decides or status is not Status.PASS
            # If the load generator was the bottleneck, missing data may be its fault.
            if status is Status.FAIL or (status is Status.NO_DATA and not self.bottleneck):
                code = ExitCode.FAILED
        if code or self._decides:
            environment.process_exit_code = worst([environment.process_exit_code, code])

    def _abort_when_missed(self) -> None:
        while True:
            gevent.sleep(_CHECK_EVERY_S)
            figures, missed_for_s = self._figures(), self._recently_missed_for_s()
            for it in self._thresholds:
                after_s = it.abort_after_s
                if after_s is None:
                    continue
                is_missed = after_s <= figures.duration_s and thresholds.judge(it, figures).status is Status.FAIL
                if is_missed or missed_for_s.get(it, 0.0) >= max(after_s, _MIN_MISSED_S):
                    self._environment.process_exit_code = ExitCode.FAILED
                    self._shutdown.end_early(Cause.MISSED, str(it))
                    return

    def _recently_missed_for_s(self) -> dict[Threshold, float]:
        """Return for how long the calls of each second alone have missed a threshold on a time, without a break.

        In a closed loop, few calls are in flight when a target hangs. Among the many calls before, they would be in no
        percentile of the whole run.
        """
        if not self._has_report:  # the workers report every 3 s: there is nothing new
            return {}
        now_s, self._has_report = time.monotonic(), not self._reported_s
        recent = RunFigures(_CHECK_EVERY_S, {}, self._metrics.recent_times())
        for it in self._thresholds:
            is_time = isinstance(it.metric, ResponseTime) and it.metric.statistic != "max"
            if is_time and thresholds.judge(it, recent).status is Status.FAIL:
                self._missed_since_s.setdefault(it, now_s)
            else:
                self._missed_since_s.pop(it, None)
        return {it: now_s - since_s for it, since_s in self._missed_since_s.items()}

    def _figures(self) -> RunFigures:
        """Return the figures as of the workers' last reports: each reports every 3 s."""
        known_s = self._stopped_s or (fmean(self._reported_s.values()) if self._reported_s else time.monotonic())
        sending_s = min(known_s, self._sending_until_s or known_s) - self._started_s
        return self._metrics.figures(known_s - self._started_s, min(sending_s, self._run_time_s))
