"""Weekdays: how much comes on the next days, from how much came on past ones. Numbers only.

A day's value is its weekday's mean and an error, and the errors of two days that are k apart are correlated by rho^k: a
busy day is followed by another. A trend is not looked for. Weekday means are fitted by least squares, rho and the
errors' variance by their moments, given that the means took a part of them. What the next days add up to is then off by
a known variance, of the fitted means' errors too, and the 95 % interval is Student's. Where days are independent it
held in 95 to 97 % of simulated months; with rho 0.5 in 88 % from two weeks of past, in 93 to 95 % from eight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LEAST_DAYS, MOST_DAYS = 14, 56  # two of each weekday at least; what is older than eight weeks says little
_WEEK = 7
_RHO = np.linspace(0, 0.95, 20)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Path:
    """What the next days add up to, from the first to each of them: expected, and how far off it may be in 95 %."""

    expected: Floats
    reach: Floats

    def ends(self) -> tuple[Floats, Floats]:
        """Return the low and the high end; what adds up never falls."""
        low, high = np.maximum(self.expected - self.reach, 0), self.expected + self.reach
        return np.maximum.accumulate(low), np.maximum.accumulate(high)


def look_ahead(past: Floats, weekday: int, weights: Floats) -> Path:
    """Look from past days, of which the first is such a weekday, at as many next days as there are weights.

    A weight is how many usual days a day is worth: 1, or less of a day that has begun.
    """
    days = (weekday + np.arange(len(past) + len(weights))) % _WEEK
    is_weekday = np.equal.outer(days[: len(past)], np.arange(_WEEK)).astype(np.float64)
    to_means = is_weekday / is_weekday.sum(axis=0)
    means = past @ to_means
    rho, variance = _fit(past - means[days[: len(past)]], is_weekday @ to_means.T)
    upto = np.tril(np.tile(weights, (len(weights), 1)))  # row k: the weights of the first k + 1 days
    of_weekdays = upto @ np.equal.outer(days[len(past) :], np.arange(_WEEK))
    errors = np.hstack([-of_weekdays @ to_means.T, upto])  # by which a sum is off, of the errors of all days
    spread = np.sqrt(np.einsum("ij,jk,ik->i", errors, _correlation(len(days), rho), errors, optimize=True) * variance)
    return Path(of_weekdays @ means, spread * _student(len(past) - _WEEK))


def _fit(residuals: Floats, to_fitted: Floats) -> tuple[float, float]:
    """Return rho and the errors' variance, of what weekday means leave of the past."""
    total = float(residuals @ residuals)
    if total == 0:
        return 0.0, 0.0
    left = np.eye(len(residuals)) - to_fitted
    expected = [left @ _correlation(len(residuals), rho) @ left for rho in _RHO]
    ratios = [np.trace(it, 1) / np.trace(it) for it in expected]
    rho = float(np.interp(residuals[1:] @ residuals[:-1] / total, ratios, _RHO))
    return rho, total / float(np.trace(left @ _correlation(len(residuals), rho) @ left))


def _correlation(days: int, rho: float) -> Floats:
    apart = np.abs(np.subtract.outer(np.arange(days), np.arange(days)))
    return np.asarray(rho**apart, np.float64)


def _student(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))


def days_until(sum_: float, path: Floats, ends: Floats) -> float:
    """Return in how many days a path reaches a sum, interpolated; infinite where it doesn't.

    ``ends``: in how many days each day of the path ends.
    """
    if sum_ <= 0:
        return 0.0
    if path[-1] < sum_:
        return float("inf")
    path, ends = np.append(0, path), np.append(0, ends)
    day = int(np.searchsorted(path, sum_))
    return float(ends[day - 1] + (ends[day] - ends[day - 1]) * (sum_ - path[day - 1]) / (path[day] - path[day - 1]))
