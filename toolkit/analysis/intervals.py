"""Compute confidence intervals of shares."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Z95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution, for an interval of 95 %


def wilson(
    found: npt.ArrayLike, calls: npt.ArrayLike, z: float = Z95
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the lower and the upper ends of Wilson's score interval for the shares found / calls.

    Unlike the usual normal interval it also holds for rare outcomes. E. B. Wilson, Probable inference, the law of
    succession, and statistical inference, JASA 22 (1927).

    Args:
        found: number of calls with the outcome.
        calls: number of all calls.
        z: half width of the interval in standard deviations; default 1.96, for 95 %.

    Returns two arrays (float64, 0..1), with NaN where there are not calls.

    >>> low, high = wilson([0, 5], [1000, 10])
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.0, 0.237], [0.004, 0.763])
    """
    k, n = np.asarray(found, np.float64), np.asarray(calls, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        share, spread = k / n, z**2 / n
        middle = (share + spread / 2) / (1 + spread)
        reach = z * np.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    # For shares of 0 and 1 the formula gives exactly 0 and 1, but for rounding errors.
    return np.where(share == 0, 0.0, middle - reach), np.where(share == 1, 1.0, middle + reach)
