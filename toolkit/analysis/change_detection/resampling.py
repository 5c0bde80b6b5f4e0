"""Resampling: what two samples of buckets of time say of a difference. A bucket is drawn whole, with its clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from toolkit.analysis.change_detection.time_buckets import Floats
from toolkit.analysis.intervals import wilson

Bools = npt.NDArray[np.bool_]

_VALUES_AT_A_TIME = 8_000_000
_ENDS = (0.025, 0.975)


def permuted_p(calls: Floats, found: Floats, is_b: Bools, draws: int, seed: int) -> Floats:
    """Return the p-value of the difference of each share between two sides: how often a mere draw of sides is as far.

    ``calls``: of each bucket; ``found``: buckets × outcomes; ``is_b``: which buckets are the second side's. What is
    compared is the difference of the pooled shares over its standard error, by the buckets' own spread: so it holds
    also where one side has more traffic, or other clusters. E. Chung and J. P. Romano, Exact and asymptotically robust
    permutation tests, Annals of Statistics 41 (2013).
    """
    terms = np.hstack([calls[:, None], calls[:, None] ** 2, found, found**2, found * calls[:, None]])
    whole, buckets = terms.sum(axis=0), (int((~is_b).sum()), int(is_b.sum()))
    seen = _squared_t(is_b[None].astype(float) @ terms, whole, buckets)
    beyond = np.zeros(found.shape[1])
    for sides in _permutations(is_b, draws, np.random.default_rng(seed)):
        beyond += (_squared_t(sides @ terms, whole, buckets) >= seen * (1 - 1e-9)).sum(axis=0)
    return (1 + beyond) / (1 + draws)


def _permutations(is_b: Bools, draws: int, draw: np.random.Generator) -> Iterator[Floats]:
    """Yield draws × buckets, 1 where a bucket is drawn for the second side, some draws at a time."""
    for size in _portions(draws, len(is_b)):
        yield draw.permuted(np.broadcast_to(is_b, (size, len(is_b))), axis=1).astype(np.float64)


def _portions(draws: int, buckets: int) -> Iterator[int]:
    most = max(1, _VALUES_AT_A_TIME // buckets)
    yield from (min(most, draws - done) for done in range(0, draws, most))


def _squared_t(b: Floats, whole: Floats, buckets: tuple[int, int]) -> Floats:
    (share_a, variance_a), (share_b, variance_b) = _share(whole - b, buckets[0]), _share(b, buckets[1])
    return (share_b - share_a) ** 2 / (variance_a + variance_b + np.finfo(np.float64).tiny)


def _share(sums: Floats, buckets: int) -> tuple[Floats, Floats]:
    """Return pooled shares and their variances, as of ratios of means, from the sums of the terms of ``permuted_p``."""
    calls, squared = sums[:, :1], sums[:, 1:2]
    found, found_squared, product = np.split(sums[:, 2:], 3, axis=1)
    share = found / calls
    spread = found_squared - 2 * share * product + share**2 * squared
    spread = np.where(spread > 1e-9 * found_squared, spread, 0)  # what the rounding of floats leaves of none
    return share, spread / calls**2 * buckets / (buckets - 1)


def bootstrap(
    a: Floats, b: Floats, statistic: Callable[[Floats], Floats], draws: int, seed: int
) -> tuple[Floats, Floats]:
    """Return the ends of the 95 % intervals of the differences b - a of what ``statistic`` makes of sums of buckets.

    ``a``, ``b``: buckets × terms. The ends are those of 95 % of such differences between as many buckets, drawn again.
    """
    draw = np.random.default_rng(seed)
    low, high = np.quantile(_redraw(b, statistic, draws, draw) - _redraw(a, statistic, draws, draw), _ENDS, axis=0)
    return low, high


def _redraw(side: Floats, statistic: Callable[[Floats], Floats], draws: int, draw: np.random.Generator) -> Floats:
    count = len(side)
    times = (draw.multinomial(count, np.full(count, 1 / count), size) for size in _portions(draws, count))
    return np.concatenate([statistic(taken.astype(np.float64) @ side) for taken in times])


def newcombe(
    found_a: npt.ArrayLike, calls_a: npt.ArrayLike, found_b: npt.ArrayLike, calls_b: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Return the ends of the 95 % interval of the difference b - a of two shares of calls that don't come in clusters.

    It holds for rare outcomes too. R. G. Newcombe, Interval estimation for the difference between independent
    proportions, Statistics in Medicine 17 (1998), method 10.
    """
    (low_a, high_a), (low_b, high_b) = wilson(found_a, calls_a), wilson(found_b, calls_b)
    a, b = np.divide(found_a, calls_a), np.divide(found_b, calls_b)
    down, up = np.hypot(b - low_b, high_a - a), np.hypot(high_b - b, a - low_a)
    return b - a - down, b - a + up


def holm(p: Floats) -> Floats:
    """Correct p-values for their number; NaN is none of them.

    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    tests = int(np.isfinite(p).sum())
    order = np.argsort(p)[:tests]  # which puts NaN last
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(tests, 0, -1)))
    return corrected


def cohen_h(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """Return how far two shares are apart whatever their level: 0.2 is little, 0.8 much; at most pi."""
    angle_a, angle_b = (2 * np.arcsin(np.sqrt(np.asarray(share, np.float64))) for share in (a, b))
    return np.asarray(angle_b - angle_a)
