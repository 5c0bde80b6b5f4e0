"""Statistics: what the calls of a run came to, while it goes on; on a master, those of all its workers.

Workers tell what they have counted since the test began with each of locust's reports, so a report that is lost, or
comes twice, changes nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self, TypeAlias

import numpy as np
from locust import events
from locust.env import Environment
from locust.runners import WorkerRunner

from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.http.blocking import classify
from toolkit.load_test.generator.journeys.steps import CallResult
from toolkit.load_test.plan.schedule import Arrivals
from toolkit.records.histogram import Histogram
from toolkit.runs.thresholds import Figures, Measure

_FOLD_AFTER_CALLS = 4096
_REPORT_KEY = "smscode_statistics"

Outcome: TypeAlias = tuple[Endpoint, int | str]
Outcomes: TypeAlias = Counter[Outcome]
Times: TypeAlias = dict[tuple[Endpoint, Measure], Histogram]


class Statistics:
    """What the calls came to that one process made.

    ``arrivals``: what became of those that it should have begun.
    """

    def __init__(self) -> None:
        self.arrivals = Arrivals()
        self._latencies: dict[Endpoint, Histogram] = defaultdict(Histogram)
        self._waited: dict[Outcome, Histogram] = defaultdict(Histogram)
        self._pending: dict[Outcome, list[int]] = defaultdict(list)  # latency and wait of each call, in turn
        self._unfolded = 0

    @property
    def outcomes(self) -> Outcomes:
        """Calls by endpoint and return code, or the error's name where no answer was read."""
        return Counter({outcome: len(times) for outcome, times in self.waited.items()})

    @property
    def waited(self) -> Mapping[Outcome, Histogram]:
        """What the callers waited, by endpoint and return code or error."""
        self._fold()
        return self._waited

    @property
    def times(self) -> Times:
        """The times of every endpoint that had calls, as of now."""
        self._fold()
        times: Times = defaultdict(Histogram)
        for endpoint, latencies in self._latencies.items():
            times[endpoint, Measure.LATENCY_MS] += latencies
        for (endpoint, _), waited in self._waited.items():
            times[endpoint, Measure.CALLER_MS] += waited
        return dict(times)

    @property
    def late(self) -> int:
        """Arrivals that were begun later than they should have been, the load generator being busy."""
        return self.arrivals.late

    @property
    def queued(self) -> int:
        """Arrivals that had to wait for a connection."""
        return self.arrivals.queued

    @property
    def dropped(self) -> int:
        """Arrivals that were never begun."""
        return self.arrivals.dropped

    def count(self, endpoint: Endpoint, outcome: int | str, latency_ns: int, wait_ns: int) -> None:
        """Count one call."""
        self._pending[endpoint, outcome] += latency_ns, wait_ns
        self._note(1)

    def count_all(self, kept: Sequence[CallResult]) -> None:
        """Count calls, which costs a third of one by one."""
        pending = self._pending
        for _, outcome, _ in kept:
            came: int | str
            if (answer := outcome.answer) is not None:
                came = answer.return_code
            else:
                assert outcome.error is not None
                came = classify(outcome.error)
            times = pending[outcome.endpoint, came]
            times.append(outcome.latency_ns)
            times.append(outcome.wait_ns)
        self._note(len(kept))

    def figures(self, duration_s: float) -> Figures:
        """Return what thresholds look at, so many seconds after the run's first call."""
        return Figures(duration_s, self.outcomes, self.times)

    def grow(self, before: Statistics, now: Statistics) -> None:
        """Add what another process has counted between two of its reports."""
        self.arrivals = self.arrivals + now.arrivals - before.arrivals
        for endpoint, latencies in now._latencies.items():
            self._latencies[endpoint] += latencies.since(before._latencies[endpoint])
        for outcome, waited in now._waited.items():
            self._waited[outcome] += waited.since(before._waited[outcome])

    def pack(self) -> dict[str, Any]:
        """Return them as what travels between processes."""
        return {
            "arrivals": list(asdict(self.arrivals).values()),
            "waited": [[*outcome, times.pack()] for outcome, times in self.waited.items()],
            "latencies": [[endpoint, times.pack()] for endpoint, times in self._latencies.items()],
        }

    @classmethod
    def unpack(cls, packed: Mapping[str, Any]) -> Self:
        """Return what was packed."""
        statistics = cls()
        statistics.arrivals = Arrivals(*packed["arrivals"])
        for endpoint, outcome, times in packed["waited"]:
            statistics._waited[Endpoint(endpoint), outcome] = Histogram.unpack(times)
        for endpoint, times in packed["latencies"]:
            statistics._latencies[Endpoint(endpoint)] = Histogram.unpack(times)
        return statistics

    def _note(self, calls: int) -> None:
        self._unfolded += calls
        if self._unfolded >= _FOLD_AFTER_CALLS:
            self._fold()

    def _fold(self) -> None:
        """Sort what was counted into histograms, many at once, which costs a fifth of one by one."""
        for of, times_ns in self._pending.items():
            latency_ns, wait_ns = np.array(times_ns, np.int64).reshape(-1, 2).T
            self._latencies[of[0]].add(latency_ns)
            self._waited[of].add(latency_ns + wait_ns)
        self._pending.clear()
        self._unfolded = 0


class _Known:
    """What one locust process knows: ``whole`` is its own calls, or those that its workers told of."""

    def __init__(self) -> None:
        self.clear()

    def clear(self, **_: object) -> None:
        self.whole = Statistics()
        self._told: dict[str, Statistics] = defaultdict(Statistics)

    def tell(self, client_id: str, data: dict[str, Any]) -> None:
        data[_REPORT_KEY] = self.whole.pack()

    def hear(self, client_id: str, data: dict[str, Any]) -> None:
        if _REPORT_KEY in data:
            before, now = self._told[client_id], Statistics.unpack(data[_REPORT_KEY])
            self.whole.grow(before, now)
            self._told[client_id] = now


_known: dict[Environment, _Known] = {}


def statistics_of(environment: Environment) -> Statistics:
    """Return what this process knows of the test that is on, or was last; each test has its own.

    On a master these are the sums over all workers.
    """
    return _known_of(environment).whole


def _known_of(environment: Environment) -> _Known:
    if environment not in _known:
        known = _known[environment] = _Known()
        hooks: Any = environment.events
        hooks.test_start.add_listener(known.clear)
        if isinstance(environment.runner, WorkerRunner):
            hooks.report_to_master.add_listener(known.tell)
        else:
            hooks.worker_report.add_listener(known.hear)
    return _known[environment]


def _take_part(environment: Environment, **_: object) -> None:
    _known_of(environment)


events.init.add_listener(_take_part)  # type: ignore[no-untyped-call]
