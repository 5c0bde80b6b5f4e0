"""Histogram: how long calls took, in buckets of three significant digits from a nanosecond to twenty minutes.

A time's bucket is its binary exponent and the ten bits that follow its first one, so a bucket is at most a thousandth
of its time wide. Histograms of two processes add up to that of both. After G. Tene's HdrHistogram.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Self

import numpy as np
from numpy.typing import NDArray

_BITS = 10
_LONGEST_NS = 2**40  # what takes longer, 18 minutes, counts as this
_BUCKETS = (40 - _BITS + 1) << _BITS
_NS_PER_MS = 1e6

Packed = tuple[bytes, bytes, int, int]


class Histogram:
    """The times of calls. Times go in in ns and come out in ms."""

    __slots__ = ("_counts", "_longest_ns", "_total_ns")

    def __init__(self) -> None:
        self._counts = np.zeros(_BUCKETS, np.int64)
        self._total_ns = self._longest_ns = 0

    @classmethod
    def of(cls, times_ns: Iterable[int]) -> Self:
        """Count times."""
        histogram = cls()
        histogram.add(np.fromiter(times_ns, np.int64))
        return histogram

    def add(self, times_ns: NDArray[np.int64]) -> None:
        """Count times too."""
        if times_ns.size:
            np.add.at(self._counts, _bucket(times_ns), 1)
            self._total_ns += int(times_ns.sum())
            self._longest_ns = max(self._longest_ns, int(times_ns.max()))

    def __len__(self) -> int:
        return int(self._counts.sum())

    def __add__(self, other: Self) -> Self:
        both = type(self)()
        both._counts = self._counts + other._counts
        both._total_ns = self._total_ns + other._total_ns
        both._longest_ns = max(self._longest_ns, other._longest_ns)
        return both

    def since(self, before: Self) -> Self:
        """Return the times that came after an earlier state of this histogram; ``max`` is still that of all."""
        new = type(self)()
        new._counts = self._counts - before._counts
        new._total_ns, new._longest_ns = self._total_ns - before._total_ns, self._longest_ns
        return new

    def percentile(self, percentile: float) -> float:
        """Return a percentile, 0..100, in ms: the time that so many of the calls took at most; 0 without calls."""
        upto = np.cumsum(self._counts)
        rank = max(1, math.ceil(percentile / 100 * int(upto[-1])))
        bucket = min(int(np.searchsorted(upto, rank)), _BUCKETS - 1)
        return min(_middle_ns(bucket), self._longest_ns) / _NS_PER_MS

    def mean(self) -> float:
        """Return the mean in ms; 0 without calls."""
        return self.total() / max(1, len(self))

    def total(self) -> float:
        """Return the sum of all times in ms."""
        return self._total_ns / _NS_PER_MS

    def max(self) -> float:
        """Return the longest time in ms, exactly; 0 without calls."""
        return self._longest_ns / _NS_PER_MS

    def buckets(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the numbers of the buckets that hold calls, ascending, and how many calls each holds."""
        filled = np.flatnonzero(self._counts)
        return filled, self._counts[filled]

    def pack(self) -> Packed:
        """Return it as what travels between processes."""
        filled = np.flatnonzero(self._counts)
        return filled.astype("<u2").tobytes(), self._counts[filled].astype("<i8").tobytes(), *self._sums()

    @classmethod
    def unpack(cls, packed: Iterable[bytes | int]) -> Self:
        """Return what was packed."""
        buckets, counts, total_ns, longest_ns = packed
        histogram = cls()
        histogram._counts[np.frombuffer(buckets, "<u2")] = np.frombuffer(counts, "<i8")  # type: ignore[arg-type]
        histogram._total_ns, histogram._longest_ns = int(total_ns), int(longest_ns)
        return histogram

    def _sums(self) -> tuple[int, int]:
        return self._total_ns, self._longest_ns


def _bucket(times_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    times = np.clip(times_ns, 0, _LONGEST_NS - 1)
    exponent = np.maximum(np.frexp(times)[1].astype(np.int64) - _BITS - 1, 0)
    return (exponent << _BITS) + (times >> exponent)


def middles_ms() -> list[float]:
    """Return the times that the buckets stand for, by their numbers."""
    return [_middle_ns(bucket) / _NS_PER_MS for bucket in range(_BUCKETS)]


def _middle_ns(bucket: int) -> int:
    exponent = max(0, (bucket >> _BITS) - 1)
    lowest = (bucket - (exponent << _BITS)) << exponent
    return lowest + ((1 << exponent) >> 1)
