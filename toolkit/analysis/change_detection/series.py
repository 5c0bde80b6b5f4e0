"""Series: a level over time of which any stretch can be summed up, and any two held against each other.

A stretch is given by the places it starts and ends at: the number of observations before them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from toolkit.analysis.change_detection.time_buckets import Floats, Ints

LEAST_CALLS = 10.0  # more or fewer than the other level gives: less is nothing to tell
_BIN_NOISE = 1e-4  # of the logarithm of a time: what is within a hundredth is the same


class Stretch(NamedTuple):
    """One or many stretches."""

    start: Ints
    end: Ints


class Series(Protocol):
    """A level over time. Its unit is the spread that it would have if calls came independently of each other."""

    @property
    def least_noise(self) -> float:
        """The variance of the level, in that unit, where the series shows less."""

    def standard(self, edges: Ints) -> Floats:
        """Return the levels between edges, each in its unit."""

    def gain(self, one: Stretch, other: Stretch) -> Floats:
        """Return how much better two levels fit two stretches than one level does, in squares of the unit."""

    def variance(self, one: Stretch, other: Stretch) -> Floats:
        """Return that of the difference of two levels, in squares of the unit."""

    def is_told(self, one: Stretch, other: Stretch, least_ratio: float) -> npt.NDArray[np.bool_]:
        """Return whether two levels are so far apart that it is worth telling."""

    def level(self, stretch: Stretch) -> Floats:
        """Return the level on a scale on which what lies half-way between two levels is as far from both."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Calls with an outcome: a Poisson variable around what is expected of them, but for clusters.

    ``found``, ``expected``: running sums, of which the first is 0. ``share``: of all calls, that is expected.
    """

    found: Floats
    expected: Floats
    share: float
    least_noise: ClassVar[float] = 1.0

    def standard(self, edges: Ints) -> Floats:
        """Return them by F. J. Anscombe, The transformation of Poisson, binomial and negative-binomial data (1948)."""
        found, expected = np.diff(self.found[edges]), np.diff(self.expected[edges])
        return 2 * (np.sqrt(found + 3 / 8) - np.sqrt(expected + 3 / 8))

    def gain(self, one: Stretch, other: Stretch) -> Floats:
        """Return the lesser of what likelihood says, which makes much of clusters, and roots, which do of a lack."""
        (found, expected), (found_2, expected_2) = self._sums(one), self._sums(other)
        both = np.maximum(found + found_2, 1) / (expected + expected_2)  # of none at all any level is as likely
        likelihood = 2 * (_surprise(found, expected * both) + _surprise(found_2, expected_2 * both))
        apart = 2 * (np.sqrt((found + 3 / 8) / expected) - np.sqrt((found_2 + 3 / 8) / expected_2))
        return np.asarray(np.minimum(likelihood, apart**2 / self.variance(one, other)))

    def variance(self, one: Stretch, other: Stretch) -> Floats:
        """Return that of the difference of two roots, doubled."""
        return np.asarray(1 / self._sums(one)[1] + 1 / self._sums(other)[1])

    def is_told(self, one: Stretch, other: Stretch, least_ratio: float) -> npt.NDArray[np.bool_]:
        """Tell of odds that are so many times as large, and of 10 calls more or fewer."""
        (found, expected), (found_2, expected_2) = self._sums(one), self._sums(other)
        rate, rate_2 = found / expected, found_2 / expected_2
        calls = np.minimum(np.abs(found - rate_2 * expected), np.abs(found_2 - rate * expected_2))
        odds, odds_2 = self._odds(rate), self._odds(rate_2)
        apart = np.maximum(odds, odds_2) >= least_ratio * np.minimum(odds, odds_2)
        return np.asarray(apart & (calls >= LEAST_CALLS))

    def level(self, stretch: Stretch) -> Floats:
        """Return the square root of how many times as many there were as expected."""
        found, expected = self._sums(stretch)
        return np.asarray(np.sqrt(found / expected))

    def _sums(self, stretch: Stretch) -> tuple[Floats, Floats]:
        return (
            self.found[stretch.end] - self.found[stretch.start],
            self.expected[stretch.end] - self.expected[stretch.start],
        )

    def _odds(self, rate: Floats) -> Floats:
        share = np.minimum(rate * self.share, 1 - 1e-9)
        return np.asarray(share / (1 - share))


def _surprise(found: Floats, expected: Floats) -> Floats:
    return np.asarray(found * np.log(np.maximum(found, 1) / expected))


@dataclass(frozen=True, slots=True)
class Times:
    """Logarithms of times, each a percentile of some calls.

    ``sums``, ``weights``: running sums, of which the first is 0, of the weighted logarithms and of their weights.
    """

    sums: Floats
    weights: Floats
    least_noise: ClassVar[float] = _BIN_NOISE

    def standard(self, edges: Ints) -> Floats:
        """Return weighted means, each from the one of all."""
        weights = np.diff(self.weights[edges])
        middle = self.sums[-1] / self.weights[-1]
        return np.asarray((np.diff(self.sums[edges]) / weights - middle) * np.sqrt(weights))

    def gain(self, one: Stretch, other: Stretch) -> Floats:
        """Return the squared difference of the means over what its variance would be."""
        return np.asarray((self.level(one) - self.level(other)) ** 2 / self.variance(one, other))

    def variance(self, one: Stretch, other: Stretch) -> Floats:
        """Return that of the difference of two means, in squares of the unit."""
        return np.asarray(1 / self._weights(one) + 1 / self._weights(other))

    def is_told(self, one: Stretch, other: Stretch, least_ratio: float) -> npt.NDArray[np.bool_]:
        """Tell of times that are so many times as long."""
        return np.asarray(np.abs(self.level(one) - self.level(other)) >= np.log(least_ratio))

    def level(self, stretch: Stretch) -> Floats:
        """Return the mean of the logarithms."""
        return np.asarray((self.sums[stretch.end] - self.sums[stretch.start]) / self._weights(stretch))

    def _weights(self, stretch: Stretch) -> Floats:
        return np.asarray(self.weights[stretch.end] - self.weights[stretch.start])
