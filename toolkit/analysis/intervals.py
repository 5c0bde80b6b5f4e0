"""Intervals: how far a share that was counted may lie from the true one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Z95 = 1.959963984540054  # of the normal distribution, 95 % lies within so many standard deviations


def wilson(
    found: npt.ArrayLike, calls: npt.ArrayLike, z: float = Z95
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the low and the high end of the 95 % score interval of shares, 0..1, NaN where there were no calls.

    ``z``: within how many standard deviations the share lies, for another interval.
    It also holds for rare outcomes, where the textbook's interval doesn't. E. B. Wilson, Probable inference, the law of
    succession, and statistical inference, JASA 22 (1927).
    """
    k, n = np.asarray(found, np.float64), np.asarray(calls, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        share, spread = k / n, z**2 / n
        middle = (share + spread / 2) / (1 + spread)
        reach = z * np.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    # At none and at all the formula's end is exact, but for the rounding of floats.
    return np.where(share == 0, 0.0, middle - reach), np.where(share == 1, 1.0, middle + reach)
