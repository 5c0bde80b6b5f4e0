"""Test and estimate differences between two samples of blocks of time by permutation and bootstrap.

A block is moved or drawn whole, with the cluster of errors in it. So the results hold for clustered calls, as long as
a cluster rarely spans two blocks. ``block_length`` chooses the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from toolkit.analysis.change_detection.time_buckets import Floats
from toolkit.analysis.intervals import Z95, wilson

Bools = npt.NDArray[np.bool_]

_CHUNK_VALUES = 8_000_000  # draws × blocks at a time: 64 MB
_INTERVAL = (0.025, 0.975)


def permuted_p(
    calls: Floats, found: Floats, is_b: Bools, draws: int, seed: int, widening: Floats | float = 1.0
) -> Floats:
    """Return the p-value of the difference of each share between two sides.

    The p-value is the share of random assignments of blocks to the sides with a difference at least as large,
    including the observed assignment. The statistic is the difference of the pooled shares divided by its
    standard error, which is estimated from the spread of the blocks. So the test also holds if the sides differ in
    traffic or in clusters: E. Chung and J. P. Romano, Exact and asymptotically robust permutation tests, Annals of
    Statistics 41 (2013).

    ``calls``: of each block; ``found``: blocks × outcomes; ``is_b``: for each block, whether it is of the second side;
    ``widening``: for each outcome, by which factor the correlation of blocks raises the variance of a difference.
    """
    terms = np.hstack([calls[:, None], calls[:, None] ** 2, found, found**2, found * calls[:, None]])
    total, sizes = terms.sum(axis=0), (int((~is_b).sum()), int(is_b.sum()))
    observed = _squared_t(is_b[None].astype(float) @ terms, total, sizes) / widening
    as_large, draw = np.zeros(found.shape[1]), np.random.default_rng(seed)
    for size in _chunks(draws, len(is_b)):
        sides = draw.permuted(np.broadcast_to(is_b, (size, len(is_b))), axis=1).astype(np.float64)
        as_large += (_squared_t(sides @ terms, total, sizes) >= observed * (1 - 1e-9)).sum(axis=0)
    return (1 + as_large) / (1 + draws)


def expansion(*blocks: int) -> float:
    """Return by which factor a percentile interval of the bootstrap is too narrow for samples of some sizes.

    It lacks the quantile of Student's t and the factor n / (n - 1) of a variance: T. C. Hesterberg, What teachers
    should know about the bootstrap, The American Statistician 69 (2015), section 5.3.

    >>> round(expansion(8, 8), 3), round(expansion(1000, 1000), 3)
    (1.17, 1.001)
    """
    from scipy.special import stdtrit  # takes half a second to import

    freedom, n = sum(blocks) - len(blocks), min(blocks)
    return float(stdtrit(freedom, _INTERVAL[1]) / Z95 * (n / (n - 1)) ** 0.5)


def _chunks(draws: int, blocks: int) -> Iterator[int]:
    """Yield the numbers of draws to make at a time, so that memory is limited."""
    largest = max(1, _CHUNK_VALUES // blocks)
    yield from (min(largest, draws - done) for done in range(0, draws, largest))


def _squared_t(sums_b: Floats, total: Floats, sizes: tuple[int, int]) -> Floats:
    """Return the squared statistic of each draw and outcome from the sums of the terms over b's blocks."""
    (share_a, variance_a), (share_b, variance_b) = _share(total - sums_b, sizes[0]), _share(sums_b, sizes[1])
    with np.errstate(over="ignore"):  # of two sides without any spread, it is infinite
        return (share_b - share_a) ** 2 / (variance_a + variance_b + np.finfo(np.float64).tiny)


def _share(sums: Floats, blocks: int) -> tuple[Floats, Floats]:
    """Return pooled shares and their variances as ratios of means, from sums of the terms of ``permuted_p``."""
    calls, squared = sums[:, :1], sums[:, 1:2]
    found, found_squared, product = np.split(sums[:, 2:], 3, axis=1)
    share = found / calls
    spread = found_squared - 2 * share * product + share**2 * squared
    spread = np.where(spread > 1e-9 * found_squared, spread, 0)  # rounding errors of a spread of 0
    return share, spread / calls**2 * blocks / (blocks - 1)


def bootstrap(
    a: Floats, b: Floats, statistic: Callable[[Floats], Floats], draws: int, seed: int
) -> tuple[Floats, Floats]:
    """Return the ends of the 95 % percentile intervals of statistic(b) - statistic(a).

    ``a`` and ``b`` are blocks × terms; ``statistic`` takes sums over blocks, one draw per row. Each side is resampled
    with replacement. B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    draw = np.random.default_rng(seed)

    def resample(side: Floats) -> Floats:
        count = len(side)
        times = (draw.multinomial(count, np.full(count, 1 / count), size) for size in _chunks(draws, count))
        return np.concatenate([statistic(drawn.astype(np.float64) @ side) for drawn in times])

    low, high = np.quantile(resample(b) - resample(a), _INTERVAL, axis=0)
    return low, high


def newcombe(
    found_a: npt.ArrayLike, calls_a: npt.ArrayLike, found_b: npt.ArrayLike, calls_b: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Return the ends of the 95 % interval of the difference b - a of two shares of independent calls.

    It also holds for rare outcomes. R. G. Newcombe, Interval estimation for the difference between independent
    proportions, Statistics in Medicine 17 (1998), method 10.
    """
    (low_a, high_a), (low_b, high_b) = wilson(found_a, calls_a), wilson(found_b, calls_b)
    a, b = np.divide(found_a, calls_a), np.divide(found_b, calls_b)
    down, up = np.hypot(b - low_b, high_a - a), np.hypot(high_b - b, a - low_a)
    return b - a - down, b - a + up


def holm(p: Floats) -> Floats:
    """Return p-values corrected for their number; NaN stays NaN and isn't counted.

    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).

    >>> holm(np.array([0.01, 0.04, np.nan])).tolist()
    [0.02, 0.04, nan]
    """
    tests = int(np.isfinite(p).sum())
    order = np.argsort(p)[:tests]  # NaN is sorted last
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(tests, 0, -1)))
    return corrected


def cohen_h(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """Return Cohen's h, the distance of two shares on a scale of constant variance: 0.2 is small, 0.8 large, pi most.

    J. Cohen, Statistical Power Analysis for the Behavioral Sciences (1988), chapter 6.
    """
    angle_a, angle_b = (2 * np.arcsin(np.sqrt(np.asarray(share, np.float64))) for share in (a, b))
    return np.asarray(angle_b - angle_a)
