"""Check the thresholds of a run: once a second while it goes on if one may abort it, and when locust ends.

The master checks them, or the only process. `smscode load` checks them once more, from the run's records.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import gevent
from locust.env import Environment

from toolkit.load_test.generator.locust_plugin.shutdown import Shutdown
from toolkit.load_test.generator.results.metrics import Metrics
from toolkit.runs import thresholds
from toolkit.runs.exit_codes import ExitCode, worst
from toolkit.runs.run_folder import Cause
from toolkit.runs.thresholds import ResponseTime, RunFigures, Status, Threshold, Verdict

BOTTLENECK_MESSAGE = "sms-bottleneck"
_CHECK_EVERY_S = 1.0
_STATES = 10  # that are kept of a window
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
        warm_up_s: the time at the start of the test whose calls are not in ``metrics``.
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
        warm_up_s: float = 0.0,
        *,
        decides: bool = True,
    ) -> None:
        self._environment, self._shutdown, self._metrics, self._thresholds = environment, shutdown, metrics, held
        self._started_s, self._run_time_s = time.monotonic() + warm_up_s, run_time_s - warm_up_s
        self._stopped_s: float | None = None
        self._reported_s: dict[str, float] = {}
        self.bottleneck = ""
        self._decides = decides
        self._sending_until_s: float | None = None
        self._missed_since_s: dict[Threshold, float] = {}
        self._has_report = True
        self._windows = [SlidingWindow(it) for it in held if it.window_s is not None]
        is_watched = bool(self._windows) or any(it.abort_after_s is not None for it in held)
        self._watch = gevent.spawn(self._keep_watching) if is_watched else None

    def on_report(self, worker: str) -> None:
        """Note the time of a worker's report."""
        self._reported_s[worker] = time.monotonic()
        self._has_report = True

    def on_bottleneck(self, msg: Any) -> None:
        """Note that a process of the load generator was the bottleneck: no threshold may pass then."""
        self.bottleneck = str(msg.data)

    def stop_sending(self) -> None:
        """Note that no call is due any more; those in flight may still end."""
        self._sending_until_s = self._sending_until_s or time.monotonic()

    def stop(self) -> None:
        """Note that the test has stopped."""
        self._stopped_s = time.monotonic()
        if self._watch:
            self._watch.kill(block=False)

    @property
    def has_stopped(self) -> bool:
        """Whether the test has stopped."""
        return self._stopped_s is not None

    def conclude(self, *, is_whole: bool = True) -> None:
        """Log every verdict and choose the exit code.

        Args:
            is_whole: whether the last calls of every process are in the metrics; else nothing passes.
        """
        self._look_at_windows(is_last=True)
        verdicts = self.verdicts(is_whole=is_whole)
        if self.bottleneck:
            verdicts = list(map(thresholds.mark_inconclusive, verdicts))
        for verdict in verdicts:
            logger.log(logging.INFO if verdict.status is Status.PASS else logging.ERROR, "%s", verdict)
        self.conclude_with([it.status for it in verdicts])

    def verdicts(self, *, is_whole: bool = True) -> list[Verdict]:
        """Return the verdicts on the calls so far, without regard to a bottleneck.

        Args:
            is_whole: whether the calls of every process are in the metrics; else nothing passes.
        """
        figures, worst_parts = self._figures(), {it.threshold: it.worst for it in self._windows}
        found = [worst_parts[it] if it in worst_parts else thresholds.judge(it, figures) for it in self._thresholds]
        return found if is_whole else [replace(it, status=thresholds.without_pass(it.status)) for it in found]

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

    def _keep_watching(self) -> None:
        while True:
            gevent.sleep(_CHECK_EVERY_S)
            if self._known_s() < self._started_s:
                continue  # the warm-up is not over
            self._look_at_windows()
            elapsed_s, missed_for_s = self._known_s() - self._started_s, self._recently_missed_for_s()
            for verdict in self.verdicts():
                it, after_s = verdict.threshold, verdict.threshold.abort_after_s
                if after_s is None:
                    continue
                is_missed = after_s <= elapsed_s and verdict.status is Status.FAIL
                if is_missed or missed_for_s.get(it, 0.0) >= max(after_s, _MIN_MISSED_S):
                    self._environment.process_exit_code = ExitCode.FAILED
                    self._shutdown.end_early(Cause.MISSED, str(it))
                    return

    def _look_at_windows(self, is_last: bool = False) -> None:
        known_s = self._known_s()
        if self._windows:
            packed = self._metrics.pack()
            until_s = min(known_s, self._sending_until_s or known_s, self._started_s + self._run_time_s)
            for window in self._windows:
                window.add(known_s - self._started_s, until_s - self._started_s, packed, is_last)

    def _recently_missed_for_s(self) -> dict[Threshold, float]:
        """Return for each threshold on a time how long the calls of every single second have missed it.

        In a closed loop, few calls are in flight when a target hangs. Among the many calls before, they would be in no
        percentile of the whole run.
        """
        if not self._has_report:  # the workers report every 3 s: there is nothing new
            return {}
        now_s, self._has_report = time.monotonic(), not self._reported_s
        recent = RunFigures(_CHECK_EVERY_S, {}, self._metrics.recent_times())
        for it in self._thresholds:
            is_time = isinstance(it.metric, ResponseTime) and it.metric.statistic != "max" and it.window_s is None
            if is_time and thresholds.judge(it, recent).status is Status.FAIL:
                self._missed_since_s.setdefault(it, now_s)
            else:
                self._missed_since_s.pop(it, None)
        return {it: now_s - since_s for it, since_s in self._missed_since_s.items()}

    def _figures(self) -> RunFigures:
        known_s = self._known_s()
        sending_s = min(known_s, self._sending_until_s or known_s) - self._started_s
        return self._metrics.figures(known_s - self._started_s, min(sending_s, self._run_time_s))

    def _known_s(self) -> float:
        """Return the time until which the calls are known: that of the workers' last reports, each 3 s."""
        return self._stopped_s or (fmean(self._reported_s.values()) if self._reported_s else time.monotonic())


class SlidingWindow:
    """Judges a threshold with a window while the run goes on, by the calls that ended in the window."""

    def __init__(self, threshold: Threshold) -> None:
        assert threshold.window_s is not None
        self.threshold, self._window_s = threshold, threshold.window_s
        self._worst: Verdict | None = None
        self._states: deque[tuple[float, float, dict[str, Any]]] = deque()

    @property
    def worst(self) -> Verdict:
        """The worst verdict so far."""
        return self._worst or Verdict(self.threshold, Status.NO_DATA, None)

    def add(self, at_s: float, sending_until_s: float, packed: dict[str, Any], is_last: bool = False) -> None:
        """Judge the window that ends now.

        Args:
            at_s: the time since the test began.
            sending_until_s: the time until which calls were due so far, since the test began.
            packed: the counts, see ``Metrics.pack``.
            is_last: whether the test has ended.
        """
        states = self._states
        if not states:
            states.append((0.0, 0.0, Metrics().pack()))
        if not is_last and at_s - states[-1][0] < self._window_s / _STATES:
            return
        states.append((at_s, sending_until_s, packed))
        while len(states) > 2 and states[1][0] <= at_s - self._window_s:
            states.popleft()
        from_s, sent_from_s, before = states[0]
        if at_s - from_s >= self._window_s:
            figures = Metrics.between(before, packed).figures(at_s - from_s, max(0.0, sending_until_s - sent_from_s))
            part = thresholds.judge_part(self.threshold, figures)
            if part is not None:
                self._worst = thresholds.worst_part(self.threshold, [self._worst, part])
