"""Count calls and their times while a load test runs, and merge the counts of all workers on the master.

A worker reports its counts since the test began, not since its last report. So a report that is lost or arrives twice
changes nothing.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any, Self, TypeAlias

import numpy as np

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.http.call_outcome import classify
from toolkit.load_test.generator.results.in_flight import InFlight, add_times
from toolkit.load_test.generator.steps import CallResult
from toolkit.load_test.plan.schedule import ArrivalCounts
from toolkit.records.call_record import Failure, is_failed
from toolkit.records.latency_histogram import Histogram
from toolkit.runs.thresholds import Measure, RunFigures

_FOLD_AFTER_CALLS = 4096
_REPORT_AGE_S = 8.0  # a worker reports every 3 s: the calls in flight of an older report are those of a lost worker
_MAX_POINTS = 240
_SUCCESS = ReturnCode.SUCCESS  # looking up an enum's attribute runs Python code

CallKind: TypeAlias = tuple[Endpoint, int | str]
"""An endpoint with a return code, or with the name of the error that kept a response from being read."""
Times: TypeAlias = dict[tuple[Endpoint, Measure], Histogram]


class Metrics:
    """Counts of the calls of one test: a process's own, or on a master the sums over its workers.

    Args:
        expected: the kinds and return codes that the scenario expects, see ``call_record.is_failed``.

    Attributes:
        expected: as given.
        arrivals: counts of the journeys that an open loop should have begun.
        failed: the number of failed calls by endpoint.
        sample_in_flight: returns the calls in flight of this process; None while it makes none.
    """

    def __init__(self, expected: Collection[int | str] = ()) -> None:
        self.arrivals = ArrivalCounts()
        self.failed: Counter[Endpoint] = Counter()
        self.expected = expected
        self._latencies: dict[CallKind, Histogram] = defaultdict(Histogram)
        self._caller_times: dict[CallKind, Histogram] = defaultdict(Histogram)
        self._pending: dict[CallKind, list[int]] = defaultdict(list)  # latency and wait of each call, in turn
        self._unfolded = 0
        self._reported: dict[str, Metrics] = defaultdict(Metrics)
        self.sample_in_flight: Callable[[], InFlight] | None = None
        self._in_flight, self._arrived_s = InFlight(), 0.0  # of a worker, as of its last report
        self._checked: Times = {}

    @property
    def calls(self) -> Counter[CallKind]:
        """The number of calls by endpoint and return code or error."""
        return Counter({kind: len(times) for kind, times in self.caller_times.items()})

    @property
    def caller_times(self) -> Mapping[CallKind, Histogram]:
        """The times from the intended start to the response, by endpoint and return code or error."""
        self._fold()
        return self._caller_times

    @property
    def latencies(self) -> Mapping[CallKind, Histogram]:
        """The times from the first byte of the request to the response, by endpoint and return code or error."""
        self._fold()
        return self._latencies

    @property
    def times(self) -> Times:
        """The latencies and the caller's times of every endpoint that had calls."""
        return self._sum_times(self.caller_times)

    @property
    def in_flight(self) -> InFlight:
        """The calls in flight: this process's own, and those of the workers as of their last reports."""
        now_s = time.monotonic()
        recent = [it._in_flight for it in self._reported.values() if now_s - it._arrived_s < _REPORT_AGE_S]
        return sum(recent, self.sample_in_flight() if self.sample_in_flight else InFlight())

    def count(self, results: Sequence[CallResult]) -> None:
        """Count calls. Counting many at once costs a third of counting them one by one."""
        pending = self._pending
        for _, outcome in results:
            code: int | str
            if (response := outcome.response) is not None:
                code = response.return_code
                if code is not _SUCCESS and is_failed(code, response.kind, None, self.expected):
                    self.failed[outcome.endpoint] += 1
            else:
                assert outcome.error is not None
                code = classify(outcome.error)
                self.failed[outcome.endpoint] += is_failed(None, None, code)
            times = pending[outcome.endpoint, code]
            times.append(outcome.latency_ns)
            times.append(outcome.wait_ns)
        self._unfolded += len(results)
        if self._unfolded >= _FOLD_AFTER_CALLS:
            self._fold()

    def figures(self, duration_s: float, sending_s: float | None = None) -> RunFigures:
        """Return the figures that thresholds are checked against; calls in flight count with their age.

        Args:
            duration_s: time since the first call.
            sending_s: time in which calls were due; None for the whole duration.
        """
        times = add_times(self._connected_times(), self.in_flight.ages)
        due, dropped = self.arrivals.due, self.arrivals.dropped
        return RunFigures(duration_s, self.calls, times, dict(self.failed), sending_s, due, dropped)

    def recent_times(self) -> Times:
        """Return the times of the calls in flight, and of those that ended since this method was called last."""
        before, now = self._checked, self._connected_times()
        self._checked = now
        ended = {kind: times.since(before[kind]) if kind in before else times for kind, times in now.items()}
        return add_times({kind: times for kind, times in ended.items() if len(times)}, self.in_flight.ages)

    def _connected_times(self) -> Times:
        return self._sum_times([kind for kind in self.caller_times if kind[1] != Failure.CONNECT])

    def pack(self) -> dict[str, Any]:
        """Return the counts as a worker reports them to its master."""
        return {
            "arrivals": list(asdict(self.arrivals).values()),
            "failed": dict(self.failed),
            "waited": [[*kind, times.pack()] for kind, times in self.caller_times.items()],
            "latencies": [[*kind, times.pack()] for kind, times in self._latencies.items()],
            "in_flight": self.in_flight.pack(),
        }

    @classmethod
    def unpack(cls, packed: Mapping[str, Any]) -> Self:
        """Return the counts of a report."""
        metrics = cls()
        metrics.arrivals = ArrivalCounts(*packed["arrivals"])
        metrics._in_flight, metrics._arrived_s = InFlight.unpack(packed["in_flight"]), time.monotonic()
        for endpoint, code, times in packed["waited"]:
            metrics._caller_times[Endpoint(endpoint), code] = Histogram.unpack(times)
        for endpoint, code, times in packed["latencies"]:
            metrics._latencies[Endpoint(endpoint), code] = Histogram.unpack(times)
        metrics.failed = Counter({Endpoint(endpoint): calls for endpoint, calls in packed["failed"].items()})
        return metrics

    def merge(self, worker: str, packed: Mapping[str, Any]) -> None:
        """Add the calls that a worker has counted since its last report."""
        before, now = self._reported[worker], Metrics.unpack(packed)
        self._reported[worker] = now
        self.arrivals = self.arrivals + now.arrivals - before.arrivals
        self.failed.update(now.failed - before.failed)
        for kind, latencies in now._latencies.items():
            self._latencies[kind] += latencies.since(before._latencies[kind])
        for kind, times in now._caller_times.items():
            self._caller_times[kind] += times.since(before._caller_times[kind])

    @classmethod
    def between(cls, before: Mapping[str, Any], now: Mapping[str, Any]) -> Self:
        """Return the counts between two states that ``pack`` returned, with the calls in flight of the later one."""
        metrics = cls()
        metrics._reported[""] = cls.unpack(before)
        metrics.merge("", now)
        return metrics

    def _sum_times(self, kinds: Iterable[CallKind]) -> Times:
        times: Times = defaultdict(Histogram)
        for kind in kinds:
            times[kind[0], Measure.LATENCY_MS] += self._latencies[kind]
            times[kind[0], Measure.CALLER_MS] += self._caller_times[kind]
        return dict(times)

    def _fold(self) -> None:
        """Sort the pending times into histograms. Many at once cost a fifth of one by one."""
        for kind, times_ns in self._pending.items():
            latency_ns, wait_ns = np.array(times_ns, np.int64).reshape(-1, 2).T
            self._latencies[kind].add(latency_ns)
            self._caller_times[kind].add(latency_ns + wait_ns)
        self._pending.clear()
        self._unfolded = 0


class History:
    """The number of calls at points in time, for a chart.

    Once there are more points than a chart has room for, every second one is dropped and their distance doubles. The
    time since the last point is shown when it is as long as the first distance.

    Args:
        every_s: The distance of two points, at first.
        is_late: Whether calls are counted later than they end, as those of workers are by their master.
    """

    def __init__(self, every_s: float, is_late: bool = False) -> None:
        self._every_s = self._first_every_s = every_s
        self._is_late = is_late
        self._points: list[tuple[float, Mapping[CallKind, int]]] = []
        self._has_ended = False

    def begin(self, at_s: float) -> None:
        """Start over without calls, as a test begins at ``at_s``, in s since 1970."""
        self._every_s = self._first_every_s
        self._points = [(at_s, {})]
        self._latest = self._points[0]

    def add(self, at_s: float, calls: Mapping[CallKind, int]) -> None:
        """Add the number of all calls so far. ``at_s``: in s since 1970."""
        self._latest, self._has_ended = (at_s, dict(calls)), False
        if at_s - self._points[-1][0] < self._every_s:
            return
        self._points.append(self._latest)
        if len(self._points) > _MAX_POINTS:
            self._points = self._points[::2]
            self._every_s *= 2

    def end(self, at_s: float, calls: Mapping[CallKind, int]) -> None:
        """Add the number of all calls of the test, which ended at ``at_s``, in s since 1970.

        A last time shorter than the first distance is joined with the one before it. If the test has ended already, the
        number is replaced: a worker's last report may arrive later.
        """
        if not self._points:
            return
        if self._has_ended:
            at_s, _ = self._points.pop()
        elif len(self._points) > 1 and at_s - self._points[-1][0] < self._first_every_s:
            self._points.pop()
        self._latest = (at_s, dict(calls))
        self._points.append(self._latest)
        self._has_ended = True

    def times_s(self) -> list[float]:
        """Return the points, in s since 1970."""
        return [at_s for at_s, _ in self._shown()]

    def calls(self) -> dict[CallKind, list[int]]:
        """Return the number of calls of each kind between each two points."""
        points = self._shown()
        kinds = points[-1][1] if points else {}
        spans = [(before, after) for (_, before), (_, after) in pairwise(points)]
        return {kind: [after.get(kind, 0) - before.get(kind, 0) for before, after in spans] for kind in kinds}

    def partial(self) -> list[bool]:
        """Return for each time between two points whether its calls are counted only in part.

        Those of the last one are while it goes on, and those of the first one are if calls are counted late.
        """
        goes_on = [end_s > self._points[-1][0] for end_s in self.times_s()[1:]]
        return [it or (self._is_late and place == 0) for place, it in enumerate(goes_on)]

    def _shown(self) -> list[tuple[float, Mapping[CallKind, int]]]:
        goes_on = self._points and self._latest[0] - self._points[-1][0] >= self._first_every_s
        return [*self._points, self._latest] if goes_on else self._points
