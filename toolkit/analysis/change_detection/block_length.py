"""Choose how long blocks of time must be, so that the calls of one block are nearly independent of the next one's.

Problem. Latencies and shares wander: a slow minute is followed by another slow minute. Blocks shorter than this memory
look like many independent observations, and two runs of one service "differ". Blocks longer than needed lose power.

Method. Each column of counts has a series of residuals: the calls found in a bucket, less those that the side's share
lets expect. From its autocorrelations R(k) follows the block length that estimates the variance of a mean best:

1. The memory m is the last lag before 5 or more autocorrelations in a row that are within 2 * sqrt(log10(n) / n).
2. With the trapezoid weights w(k), which are 1 up to k = m and fall to 0 at 2 m:
   g = sum of w(k) * R(k), and h = sum of w(k) * abs(k) * R(k), over all k from -2 m to 2 m.
3. length = (2 h**2 / (4/3 g**2) * n) ** (1/3).

D. N. Politis and H. White, Automatic block-length selection for the dependent bootstrap, Econometric Reviews 23 (2004),
with the correction of A. Patton, D. N. Politis and H. White, Econometric Reviews 28 (2009), for circular blocks.

That length minimizes the mean squared error of the variance, at which the variance is still too low by a fifth or so.
A test needs the bias more than the error, so the length is multiplied by 1.5. The correlation r that is left between
neighbouring blocks widens the result by (1 + r) / (1 - r), as for an autoregressive process of order 1.

Worked example. Latencies wander with a memory of 22 s (their autocorrelation falls to 1/e) during two runs of 10
minutes, counted in buckets of 5 s. Most of such pairs give a length of 10 to 15 buckets, and blocks of 75 s: 8 a run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.analysis.change_detection.time_buckets import Floats, Ints

_LENGTH_FACTOR = 1.5  # higher has fewer false alarms and less power
_MAX_WIDENING = 4.0  # of a variance: the correlation of few blocks is uncertain
_QUIET_LAGS = 5  # autocorrelations in a row near 0 that end the memory


def block_length(residuals: Sequence[Floats]) -> float:
    """Return the length of a block in observations, at least 1.

    ``residuals``: one series of evenly spaced values with mean 0 for each side; they share one autocorrelation.

    >>> block_length([np.tile([1.0, -1.0], 50)])
    1.0
    """
    n = min(len(series) for series in residuals)
    most = math.ceil(math.sqrt(n)) + _QUIET_LAGS
    found = _autocovariances(residuals, min(2 * most, n - 1))
    if len(found) <= _QUIET_LAGS or found[0] <= 0:
        return 1.0
    is_quiet = np.abs(found[1:] / found[0]) < 2 * math.sqrt(math.log10(n) / n)
    ends = np.flatnonzero(np.convolve(is_quiet, np.ones(_QUIET_LAGS), "valid") == _QUIET_LAGS)
    memory = min(int(ends[0]) if len(ends) else most, most)
    lags = np.arange(1, min(2 * memory, len(found) - 1) + 1)
    weighted = np.minimum(1, 2 - lags / max(memory, 1)) * found[lags]
    total = found[0] + 2 * weighted.sum()
    if not len(lags) or total <= 0 or weighted.sum() <= 0:  # alternating values cancel within a block of any length
        return 1.0
    slope = 2 * (lags * weighted).sum()
    return max(1.0, _LENGTH_FACTOR * float((1.5 * (slope / total) ** 2 * n) ** (1 / 3)))


def widening(blocks: Sequence[Floats]) -> float:
    """Return by which factor the correlation of neighbouring blocks raises the variance of their mean, 1 to 4.

    ``blocks``: the residuals of the blocks of each side, in order of time.
    """
    variance, covariance = map(float, _autocovariances(blocks, 1))
    if variance <= 0:
        return 1.0
    # An autocorrelation of n values is too low by about 1/n, because their mean is taken from them.
    correlation = covariance / variance + len(blocks) / sum(map(len, blocks))
    return min(max(1.0, (1 + correlation) / max(1 - correlation, 1e-9)), _MAX_WIDENING)


def cut_blocks(observations: int, length: float) -> Ints:
    """Return the first observation of each block, if observations are cut into blocks of nearly equal length."""
    blocks = max(1, round(observations / length))
    return np.arange(blocks) * observations // blocks


def _autocovariances(residuals: Sequence[Floats], lags: int) -> Floats:
    """Return the autocovariances of lags 0 to ``lags``, without pairs of different sides."""
    whole = sum(map(len, residuals))
    sums = [sum(float(row[lag:] @ row[: len(row) - lag]) for row in residuals) for lag in range(lags + 1)]
    return np.array(sums) / whole
