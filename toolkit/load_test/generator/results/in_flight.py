"""Collect the calls in flight, with their ages.

A call counts in the metrics when it ends. While a target hangs, no call ends, and the metrics look as good as before.
The age of a call in flight is a lower bound of its time, so adding it makes the hang visible at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from toolkit.api.wire import Endpoint
from toolkit.records.latency_histogram import Histogram
from toolkit.runs.thresholds import Measure

Ages: TypeAlias = dict[tuple[Endpoint, Measure], Histogram]


class InFlight:
    """The calls in flight at one instant.

    Attributes:
        calls: calls whose connection is being opened, or whose response is not complete.
        waiting: calls that are due and wait for a connection.
        oldest_ns: age of the oldest of both, counted from when it was due.
        ages: the ages of the calls (latency_ms), and of the calls and those that wait (caller_ms), as histograms.

    """

    __slots__ = ("_ages_ns", "_waiting_ns", "ages", "calls", "oldest_ns", "waiting")

    def __init__(self) -> None:
        self.calls = self.waiting = self.oldest_ns = 0
        self.ages: Ages = {}
        self._ages_ns: defaultdict[tuple[Endpoint, Measure], list[int]] = defaultdict(list)
        self._waiting_ns: list[tuple[Endpoint, NDArray[np.int64]]] = []

    def add_call(self, endpoint: Endpoint, age_ns: int | None, caller_age_ns: int) -> None:
        """Add a call in flight.

        Args:
            endpoint: the API's endpoint.
            age_ns: time since its request was sent; None while its connection is being opened.
            caller_age_ns: time since it was due.
        """
        self.calls += 1
        if age_ns is not None:
            self._ages_ns[endpoint, Measure.LATENCY_MS].append(age_ns)
        self._ages_ns[endpoint, Measure.CALLER_MS].append(caller_age_ns)

    def add_waiting(self, endpoint: Endpoint, ages_ns: NDArray[np.int64]) -> None:
        """Add calls that wait for a connection: under overload, hundreds of thousands."""
        self.waiting += ages_ns.size
        self._waiting_ns.append((endpoint, ages_ns))

    def close(self) -> Self:
        """Sort the ages into histograms. Nothing can be added afterwards."""
        self.ages = {kind: Histogram.of(ages_ns) for kind, ages_ns in self._ages_ns.items()}
        for endpoint, ages_ns in self._waiting_ns:
            self.ages.setdefault((endpoint, Measure.CALLER_MS), Histogram()).add(ages_ns)
        self.oldest_ns = round(max((ages.max() for ages in self.ages.values()), default=0) * 1e6)
        return self

    def __add__(self, other: InFlight) -> InFlight:
        both = InFlight()
        both.calls, both.waiting = self.calls + other.calls, self.waiting + other.waiting
        both.oldest_ns = max(self.oldest_ns, other.oldest_ns)
        both.ages = add_times(self.ages, other.ages)
        return both

    def pack(self) -> dict[str, Any]:
        """Return the calls as a worker reports them to its master."""
        ages = [[*kind, times.pack()] for kind, times in self.ages.items()]
        return {"calls": self.calls, "waiting": self.waiting, "oldest_ns": self.oldest_ns, "ages": ages}

    @classmethod
    def unpack(cls, packed: Mapping[str, Any]) -> Self:
        """Return the calls of a worker's report."""
        in_flight = cls()
        in_flight.calls, in_flight.waiting = packed["calls"], packed["waiting"]
        in_flight.oldest_ns = packed["oldest_ns"]
        for endpoint, measure, times in packed["ages"]:
            in_flight.ages[Endpoint(endpoint), Measure(measure)] = Histogram.unpack(times)
        return in_flight


def add_times(times: Mapping[tuple[Endpoint, Measure], Histogram], more: Ages) -> Ages:
    """Return the sums of two sets of histograms."""
    sums = dict(times)
    for kind, histogram in more.items():
        sums[kind] = sums[kind] + histogram if kind in sums else histogram
    return sums


class Caller(Protocol):
    """A user or an engine, which makes calls."""

    def add_in_flight(self, in_flight: InFlight) -> None:
        """Add the calls in flight and those that wait for a connection."""


class CallersRegistry:
    """The callers of one process during one test. They join when they are created and leave when they have ended."""

    def __init__(self) -> None:
        self._callers: dict[Caller, None] = {}

    def add(self, caller: Caller) -> None:
        """Add a caller."""
        self._callers[caller] = None

    def discard(self, caller: Caller) -> None:
        """Remove a caller, if it is registered."""
        self._callers.pop(caller, None)

    def sample(self) -> InFlight:
        """Return the calls in flight of all callers."""
        in_flight = InFlight()
        for caller in self._callers:
            caller.add_in_flight(in_flight)
        return in_flight.close()


def spread_ages_ns(oldest_ns: int, count: int) -> NDArray[np.int64]:
    """Return the ages of arrivals that were due at even distances, the oldest first.

    >>> spread_ages_ns(300, 3).tolist()
    [300, 200, 100]
    """
    return np.linspace(oldest_ns, 0, count, endpoint=False).astype(np.int64)
