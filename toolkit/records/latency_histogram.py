"""A histogram of durations with three significant digits, from one nanosecond to 18 minutes.

The bucket of a duration is its binary exponent and the ten bits after its first one, so a bucket is at most a
thousandth of its duration wide:

    duration_ns = 1 bbbbbbbbbb xxx...x       exponent = number of bits x
    bucket      = (exponent << 10) + (duration_ns >> exponent)

Histograms of several processes can be added. Source: G. Tene's HdrHistogram. Ten bits trade memory (31,744 counters,
248 KiB) for precision: eleven would double both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

_BITS = 10
_EXPONENTS = 40
_LONGEST_NS = 2**_EXPONENTS  # longer durations, above 18 minutes, are counted as this
_BUCKETS = (_EXPONENTS - _BITS + 1) << _BITS
_NS_PER_MS = 1e6

PackedHistogram: TypeAlias = tuple[bytes, bytes, int, int]
"""A histogram for another process: bucket numbers (<u2), counts (<i8), sum in ns, maximum in ns."""


class Histogram:
    """Durations of calls, counted in buckets. Durations are added in ns and returned in ms.

    >>> histogram = Histogram.of([1_000_000, 2_000_000, 9_000_000])
    >>> len(histogram), round(histogram.percentile(50), 2), histogram.max()
    (3, 2.0, 9.0)
    """

    __slots__ = ("_counts", "_longest_ns", "_total_ns")

    def __init__(self) -> None:
        self._counts = np.zeros(_BUCKETS, np.int64)
        self._total_ns = self._longest_ns = 0

    @classmethod
    def of(cls, durations_ns: Iterable[int]) -> Self:
        """Return a histogram of durations in ns."""
        histogram = cls()
        histogram.add(np.fromiter(durations_ns, np.int64))
        return histogram

    @classmethod
    def of_buckets(cls, buckets: Sequence[int], counts: Sequence[int]) -> Self:
        """Return a histogram of the buckets that ``buckets`` returned. Durations are those of the buckets' middles."""
        histogram = cls()
        histogram._counts[np.array(buckets, np.int64)] = counts
        middles_ns = [_middle_ns(bucket) for bucket in buckets]
        histogram._total_ns = sum(middle_ns * count for middle_ns, count in zip(middles_ns, counts, strict=True))
        histogram._longest_ns = max(middles_ns, default=0)
        return histogram

    def add(self, durations_ns: NDArray[np.int64]) -> None:
        """Add durations in ns."""
        if not durations_ns.size:
            return
        clipped = np.clip(durations_ns, 0, _LONGEST_NS - 1)
        exponents = np.maximum(np.frexp(clipped)[1].astype(np.int64) - _BITS - 1, 0)
        np.add.at(self._counts, (exponents << _BITS) + (clipped >> exponents), 1)
        self._total_ns += int(durations_ns.sum())
        self._longest_ns = max(self._longest_ns, int(durations_ns.max()))

    def __len__(self) -> int:
        return int(self._counts.sum())

    def __add__(self, other: Self) -> Self:
        both = type(self)()
        both._counts = self._counts + other._counts
        both._total_ns = self._total_ns + other._total_ns
        both._longest_ns = max(self._longest_ns, other._longest_ns)
        return both

    def since(self, before: Self) -> Self:
        """Return the durations added after an earlier state of this histogram; ``max`` is still the overall maximum."""
        new = type(self)()
        new._counts = self._counts - before._counts
        new._total_ns, new._longest_ns = self._total_ns - before._total_ns, self._longest_ns
        return new

    def percentile(self, percentile: float) -> float:
        """Return a percentile (0..100) in ms, or 0 if the histogram is empty."""
        cumulative = np.cumsum(self._counts)
        rank = max(1, math.ceil(percentile / 100 * int(cumulative[-1])))
        bucket = min(int(np.searchsorted(cumulative, rank)), _BUCKETS - 1)
        return min(_middle_ns(bucket), self._longest_ns) / _NS_PER_MS

    def mean(self) -> float:
        """Return the mean in ms, or 0 if the histogram is empty."""
        return self.total() / max(1, len(self))

    def total(self) -> float:
        """Return the sum in ms."""
        return self._total_ns / _NS_PER_MS

    def max(self) -> float:
        """Return the exact maximum in ms, or 0 if the histogram is empty."""
        return self._longest_ns / _NS_PER_MS

    def buckets(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the numbers of the non-empty buckets, ascending, and their counts."""
        filled = np.flatnonzero(self._counts)
        return filled, self._counts[filled]

    def pack(self) -> PackedHistogram:
        """Return the histogram in a compact form for another process."""
        filled, counts = self.buckets()
        return filled.astype("<u2").tobytes(), counts.astype("<i8").tobytes(), self._total_ns, self._longest_ns

    @classmethod
    def unpack(cls, packed: Iterable[bytes | int]) -> Self:
        """Return the histogram that ``pack`` packed."""
        buckets, counts, total_ns, longest_ns = packed
        histogram = cls()
        histogram._counts[np.frombuffer(buckets, "<u2")] = np.frombuffer(counts, "<i8")  # type: ignore[arg-type]
        histogram._total_ns, histogram._longest_ns = int(total_ns), int(longest_ns)
        return histogram


def middles_ms() -> list[float]:
    """Return the duration in ms at the middle of each bucket."""
    return [_middle_ns(bucket) / _NS_PER_MS for bucket in range(_BUCKETS)]


def _middle_ns(bucket: int) -> int:
    exponent = max(0, (bucket >> _BITS) - 1)
    lowest = (bucket - (exponent << _BITS)) << exponent
    return lowest + ((1 << exponent) >> 1)
