"""Count the calls and deliveries of a service process, in numbers that can be summed over several processes.

Counting happens on every call, so it is a few additions to plain dictionaries and lists. ``prometheus`` formats them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field

from toolkit.api.return_codes import ReturnCode

LATENCY_BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
UNKNOWN_APP = "unknown"  # in place of a claimed app key that no app has
COMMIT_SIZE_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


@dataclass(slots=True)
class Histogram:
    """Counts values by bucket.

    A bucket holds values up to and including its upper bound. One more bucket holds values above the last bound.

    >>> latencies = Histogram((0.1, 1.0))
    >>> latencies.observe(0.1)
    >>> latencies.observe(5)
    >>> latencies.counts, latencies.total
    ([1, 0, 1], 5.1)
    """

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add(self, other: Histogram) -> None:
        """Add the counts of a histogram with the same bounds."""
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


def latencies() -> Histogram:
    """Return an empty histogram of latencies in seconds. A lambda in its place could not be pickled."""
    return Histogram(LATENCY_BOUNDS_S)


def commit_sizes() -> Histogram:
    """Return an empty histogram of the number of calls in each commit."""
    return Histogram(COMMIT_SIZE_BOUNDS)


@dataclass(slots=True)
class Counters:
    """The counts of one process, or the sum of several. They can be pickled.

    - ``calls``: answered calls by endpoint and return code
    - ``latencies``: seconds from a complete request to its response, by endpoint
    - ``attempts``: delivery attempts by provider
    - ``deliveries``: recorded results of deliveries by provider and state, receipts included
    - ``batches``: calls in each commit of the store
    - ``unanswered``: calls whose connection the sandbox dropped
    - ``in_flight``: calls that have begun and not ended
    - ``queued``: calls in flight that wait for the turn of their app
    - ``waiting``: calls in flight that wait for the store
    - ``failed_auths``: calls with refused credentials, by the app key that they claim, or "unknown"
    - ``lost_lines``: log lines that were dropped
    - ``refunded``: messages that were credited again, because a wrong setting of the provider kept them from delivery
    - ``delivery_problem``: why the provider refuses every message at present, or an empty string
    """

    calls: defaultdict[tuple[str, ReturnCode], int] = field(default_factory=lambda: defaultdict(int))
    latencies: defaultdict[str, Histogram] = field(default_factory=lambda: defaultdict(latencies))
    attempts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    deliveries: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    failed_auths: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    batches: Histogram = field(default_factory=commit_sizes)
    unanswered: int = 0
    in_flight: int = 0
    queued: int = 0
    waiting: int = 0
    lost_lines: int = 0
    refunded: int = 0
    delivery_problem: str = ""

    def count(self, endpoint: str, return_code: ReturnCode, latency_s: float) -> None:
        """Count an answered call."""
        self.calls[endpoint, return_code] += 1
        self.latencies[endpoint].observe(latency_s)

    def add(self, other: Counters) -> None:
        """Add the counts of another process."""
        for key, number in other.calls.items():
            self.calls[key] += number
        for endpoint, histogram in other.latencies.items():
            self.latencies[endpoint].add(histogram)
        for provider, number in other.attempts.items():
            self.attempts[provider] += number
        for outcome, number in other.deliveries.items():
            self.deliveries[outcome] += number
        for app_key, number in other.failed_auths.items():
            self.failed_auths[app_key] += number
        self.batches.add(other.batches)
        self.unanswered += other.unanswered
        self.in_flight += other.in_flight
        self.queued += other.queued
        self.waiting += other.waiting
        self.lost_lines += other.lost_lines
        self.refunded += other.refunded
        self.delivery_problem = self.delivery_problem or other.delivery_problem
