"""Find one lasting change of latency in a log that is too short for a search by segments.

Problem. A load test of a few seconds has some dozens of calls. That is too few to estimate the noise of a series, but
a target that becomes ten times slower is plain to see.

Method. A. N. Pettitt, A non-parametric approach to the change-point problem, Applied Statistics 28 (1979). For each
point in time, each call before it is compared with each call after it:

    U(k) = number of pairs in which the later call is slower - number of pairs in which it is faster

The change is where |U| is largest. With n calls in all, that is by chance with a probability of about
2 * exp(-6 * U**2 / (n**3 + n**2)). Only ranks count, so one very slow call makes no change.

Worked example. 10 calls of 50 ms, then 18 of 500 ms: U(10) = 10 * 18 = 180, and n = 28. The probability is
2 * exp(-194400 / 22736) = 0.0004, so this is reported. After 3 fast calls of 21, U = 54 has one of 0.33.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from toolkit.analysis.change_detection.time_buckets import Floats

_SIGNIFICANT = 0.001  # of one endpoint and measure; latencies are not independent, so 0.05 would report noise


@dataclass(frozen=True, slots=True)
class SingleChange:
    """A lasting change. ``start`` is the first row of the new level, ``score`` is in standard errors."""

    start: int
    score: float


def find_single_change(calls: Floats) -> SingleChange | None:
    """Find a lasting change of the times of calls; return None if chance explains every change.

    ``calls``: counts by bucket of time (rows) and bin of latency (columns), both ascending.

    >>> find_single_change(np.array([[10, 0], [0, 18]])).start
    1
    """
    in_bins, in_rows = calls.sum(axis=0), calls.sum(axis=1)
    total = in_rows.sum()
    below = np.cumsum(in_bins) - in_bins
    ranks = 2 * below + in_bins - total  # of a call in each bin: calls that are faster less calls that are slower
    pairs = -np.cumsum(calls @ ranks)[:-1]
    if not len(pairs) or not total:
        return None
    last = int(np.abs(pairs).argmax())
    most = abs(float(pairs[last]))
    if 2 * math.exp(-6 * most**2 / (total**3 + total**2)) >= _SIGNIFICANT:
        return None
    before = in_rows[: last + 1].sum()
    return SingleChange(last + 1, most / math.sqrt(before * (total - before) * (total + 1) / 3))
