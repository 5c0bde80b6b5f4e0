"""Forecast sums of the next days from past days, with a 95 % interval. Numbers only, no dates and no frames.

Problem: estimate the sum from today to the end of the month. Traffic has a weekly pattern, and a busy day is often
followed by another. A trend is not estimated: a few weeks are too short to distinguish it from chance.

Model: the value of day t is the mean of its weekday plus an error, y[t] = m[weekday(t)] + e[t]. The errors are an AR(1)
process: those of days that are k apart have the correlation rho^k.

Method (generalized least squares with moment estimates):

1. The weekday means are the plain means of the past days (ordinary least squares).
2. rho is the value for which the expected lag-1 autocorrelation of the residuals equals the observed one. The
   expectation takes into account that the fitted means removed a part of the errors. The error variance follows from
   the sum of squared residuals in the same way.
3. The sum of the next k days is forecast as the sum of the means. Its error is a linear combination of the errors of
   past days (through the fitted means) and of the next days, so its variance is known.
4. The interval is the forecast plus or minus the standard error times the quantile of Student's t with (past days - 7)
   degrees of freedom.

Example: after 14 days with 100 messages on workdays and 50 on weekends, without noise, the forecast from a Friday on is
100, 150, 200, 300 with an interval of width 0.

In simulated months with independent errors, 95 to 97 % of the sums were inside the interval. With rho = 0.5 it was 88 %
from two weeks of past days, and 93 to 95 % from eight weeks. MIN_DAYS = 14 gives two days of each weekday, the least
from which an error can be estimated. MAX_DAYS = 56 is a trade-off: more days make the means more precise, but older
days say little about next week.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MIN_DAYS, MAX_DAYS = 14, 56
_WEEK = 7
_RHO_GRID = np.linspace(0, 0.95, 20)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CumulativeForecast:
    """Forecast sums, each from the first of the next days to a later day.

    Attributes:
        expected: The expected sums.
        half_width: The half widths of their 95 % intervals.
    """

    expected: Floats
    half_width: Floats

    def interval(self) -> tuple[Floats, Floats]:
        """Return the lower and the upper ends of the intervals; like the sums, they never decrease."""
        low, high = np.maximum(self.expected - self.half_width, 0), self.expected + self.half_width
        return np.maximum.accumulate(low), np.maximum.accumulate(high)


def forecast_sums(past: Floats, first_weekday: int, weights: Floats) -> CumulativeForecast:
    """Forecast the sums of the days that follow past days.

    Args:
        past: The values of past days, two of each weekday at least.
        first_weekday: The weekday of the first past day, 0 for Monday.
        weights: For each of the next days, the share of the day that is forecast: 1, or less for a day that has begun.

    >>> past = np.array([100.0, 100, 100, 100, 100, 50, 50] * 2)
    >>> forecast_sums(past, 0, np.ones(3)).expected.round(6).tolist()
    [100.0, 200.0, 300.0]
    """
    from scipy.stats import t

    weekdays = (first_weekday + np.arange(len(past) + len(weights))) % _WEEK
    is_weekday = np.equal.outer(weekdays[: len(past)], np.arange(_WEEK)).astype(np.float64)
    to_means = is_weekday / is_weekday.sum(axis=0)
    means = past @ to_means
    rho, variance = _estimate_errors(past - means[weekdays[: len(past)]], is_weekday @ to_means.T)
    cumulate = np.tril(np.tile(weights, (len(weights), 1)))  # row k: the weights of the first k + 1 days
    weekday_counts = cumulate @ np.equal.outer(weekdays[len(past) :], np.arange(_WEEK))
    error_weights = np.hstack([-weekday_counts @ to_means.T, cumulate])  # of all days, in the error of each sum
    correlation = _correlation(len(weekdays), rho)
    error_variance = np.einsum("ij,jk,ik->i", error_weights, correlation, error_weights, optimize=True) * variance
    quantile = float(t.ppf(0.975, len(past) - _WEEK))
    return CumulativeForecast(weekday_counts @ means, np.sqrt(error_variance) * quantile)


def _estimate_errors(residuals: Floats, to_fitted: Floats) -> tuple[float, float]:
    """Estimate rho and the error variance from residuals.

    Args:
        residuals: The past values less the fitted means.
        to_fitted: The matrix that maps past values to fitted means.
    """
    total = float(residuals @ residuals)
    if total == 0:
        return 0.0, 0.0
    to_residuals = np.eye(len(residuals)) - to_fitted
    expected = [to_residuals @ _correlation(len(residuals), rho) @ to_residuals for rho in _RHO_GRID]
    ratios = [np.trace(it, 1) / np.trace(it) for it in expected]
    rho = float(np.interp(residuals[1:] @ residuals[:-1] / total, ratios, _RHO_GRID))
    return rho, total / float(np.trace(to_residuals @ _correlation(len(residuals), rho) @ to_residuals))


def _correlation(days: int, rho: float) -> Floats:
    distance = np.abs(np.subtract.outer(np.arange(days), np.arange(days)))
    return np.asarray(rho**distance, np.float64)


def days_until(amount: float, sums: Floats, day_ends: Floats) -> float:
    """Return the number of days until cumulative sums reach an amount, interpolated linearly; infinite if they don't.

    Args:
        amount: The amount.
        sums: The sum at the end of each day.
        day_ends: The time until the end of each day, in days.

    >>> days_until(15, np.array([10.0, 20.0]), np.array([1.0, 2.0]))
    1.5
    """
    if amount <= 0:
        return 0.0
    if sums[-1] < amount:
        return float("inf")
    sums, day_ends = np.append(0, sums), np.append(0, day_ends)
    day = int(np.searchsorted(sums, amount))
    day_length, missing = day_ends[day] - day_ends[day - 1], amount - sums[day - 1]
    return float(day_ends[day - 1] + day_length * missing / (sums[day] - sums[day - 1]))
