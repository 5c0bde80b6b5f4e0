"""Compare the levels of segments of a time series: the cost functions of the change point search.

A segment is a range of observations, start included and end excluded. Both kinds of series keep running sums, so that
the level of any segment takes constant time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from toolkit.analysis.change_detection.time_buckets import Floats, Ints

MIN_CALLS = 10.0  # by which a change has more or fewer calls: a smaller change is certain at times, but never important
_MIN_LOG_VARIANCE = 1e-4  # of the logarithm of a latency: percentiles within 1 % are equal


class LevelSegment(NamedTuple):
    """One segment of a series, or arrays of many segments."""

    start: Ints
    end: Ints


class LevelSeries(Protocol):
    """A series of levels. Its unit is the standard deviation of a level if calls were independent of each other."""

    @property
    def min_noise(self) -> float:
        """The least variance of the noise, in squared units, even if the series shows less."""

    def standardized(self, edges: Ints) -> Floats:
        """Return the levels between edges, with a variance of 1 if calls were independent."""

    def gain(self, one: LevelSegment, other: LevelSegment) -> Floats:
        """Return how much better two levels fit two segments than one level does, in squared units."""

    def variance(self, one: LevelSegment, other: LevelSegment) -> Floats:
        """Return the variance of the difference between two levels if calls were independent."""

    def is_reportable(self, one: LevelSegment, other: LevelSegment, least_ratio: float) -> npt.NDArray[np.bool_]:
        """Return whether two levels differ enough to matter."""

    def level(self, segment: LevelSegment) -> Floats:
        """Return the level on a scale of constant variance, on which two levels can be compared by their distance."""


@dataclass(frozen=True, slots=True)
class OutcomeCounts:
    """Calls with one outcome in each bucket, as a Poisson variable around the expected number.

    ``found`` and ``expected`` are running sums that begin with 0; ``share`` is the expected share of all calls.
    """

    found: Floats
    expected: Floats
    share: float
    min_noise: ClassVar[float] = 1.0

    def standardized(self, edges: Ints) -> Floats:
        """Return the difference of the square roots of found and expected calls, whose variance is 1.

        F. J. Anscombe, The transformation of Poisson, binomial and negative-binomial data, Biometrika 35 (1948).
        """
        found, expected = np.diff(self.found[edges]), np.diff(self.expected[edges])
        return 2 * (np.sqrt(found + 3 / 8) - np.sqrt(expected + 3 / 8))

    def gain(self, one: LevelSegment, other: LevelSegment) -> Floats:
        """Return the smaller of the log likelihood ratio (doubled) and the squared difference of the roots.

        The likelihood ratio overstates clusters of a rare outcome, the roots overstate a segment without any.
        """
        (found, expected), (found_2, expected_2) = self._sums(one), self._sums(other)
        pooled = np.maximum(found + found_2, 1) / (expected + expected_2)  # at least 1: the logarithm of 0 is infinite
        ratio = 2 * (_log_likelihood(found, expected * pooled) + _log_likelihood(found_2, expected_2 * pooled))
        roots = 2 * (np.sqrt((found + 3 / 8) / expected) - np.sqrt((found_2 + 3 / 8) / expected_2))
        return np.asarray(np.minimum(ratio, roots**2 / self.variance(one, other)))

    def variance(self, one: LevelSegment, other: LevelSegment) -> Floats:
        """Return the variance of the difference between two doubled roots."""
        return np.asarray(1 / self._sums(one)[1] + 1 / self._sums(other)[1])

    def is_reportable(self, one: LevelSegment, other: LevelSegment, least_ratio: float) -> npt.NDArray[np.bool_]:
        """Return whether the odds differ by ``least_ratio``, and the calls with the outcome by 10."""
        (found, expected), (found_2, expected_2) = self._sums(one), self._sums(other)
        rate, rate_2 = found / expected, found_2 / expected_2
        calls = np.minimum(np.abs(found - rate_2 * expected), np.abs(found_2 - rate * expected_2))
        odds, odds_2 = self._odds(rate), self._odds(rate_2)
        differs = np.maximum(odds, odds_2) >= least_ratio * np.minimum(odds, odds_2)
        return np.asarray(differs & (calls >= MIN_CALLS))

    def level(self, segment: LevelSegment) -> Floats:
        """Return the square root of found / expected calls."""
        found, expected = self._sums(segment)
        return np.asarray(np.sqrt(found / expected))

    def _sums(self, segment: LevelSegment) -> tuple[Floats, Floats]:
        start, end = segment
        return self.found[end] - self.found[start], self.expected[end] - self.expected[start]

    def _odds(self, rate: Floats) -> Floats:
        share = np.minimum(rate * self.share, 1 - 1e-9)
        return np.asarray(share / (1 - share))


def _log_likelihood(found: Floats, expected: Floats) -> Floats:
    """Return the log likelihood ratio of the found number of calls to the expected one, without terms that cancel."""
    return np.asarray(found * np.log(np.maximum(found, 1) / expected))


@dataclass(frozen=True, slots=True)
class LogLatencies:
    """Logarithms of latencies, each a percentile of a group of calls, as a normal variable.

    ``sums`` and ``weights`` are running sums, which begin with 0, of the weighted logarithms and of their weights.
    """

    sums: Floats
    weights: Floats
    min_noise: ClassVar[float] = _MIN_LOG_VARIANCE

    def standardized(self, edges: Ints) -> Floats:
        """Return the difference of each weighted mean from the mean of all, times the root of its weight."""
        weights = np.diff(self.weights[edges])
        mean = self.sums[-1] / self.weights[-1]
        return np.asarray((np.diff(self.sums[edges]) / weights - mean) * np.sqrt(weights))

    def gain(self, one: LevelSegment, other: LevelSegment) -> Floats:
        """Return the squared difference of the means, divided by its variance."""
        return np.asarray((self.level(one) - self.level(other)) ** 2 / self.variance(one, other))

    def variance(self, one: LevelSegment, other: LevelSegment) -> Floats:
        """Return the variance of the difference between two means, in squared units."""
        return np.asarray(1 / self._weight(one) + 1 / self._weight(other))

    def is_reportable(self, one: LevelSegment, other: LevelSegment, least_ratio: float) -> npt.NDArray[np.bool_]:
        """Return whether the latencies differ by ``least_ratio``."""
        return np.asarray(np.abs(self.level(one) - self.level(other)) >= np.log(least_ratio))

    def level(self, segment: LevelSegment) -> Floats:
        """Return the mean of the logarithms."""
        return np.asarray((self.sums[segment.end] - self.sums[segment.start]) / self._weight(segment))

    def _weight(self, segment: LevelSegment) -> Floats:
        return np.asarray(self.weights[segment.end] - self.weights[segment.start])
