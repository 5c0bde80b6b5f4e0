"""Find the runs since which a figure of many runs has another level, with a false-discovery rate.

Problem. A figure such as p99 differs from run to run. A machine that is busy for some runs makes a burst of slow ones.
Since which run is the service slower, and is that more than such noise? Half a dozen figures are searched at once.

Method. The steps of Apache Otava (split, test, merge; M. Fleming et al., Hunter: Using change point detection to hunt
for performance regressions, ICPE 2023), with other statistics, because its t-tests take bursts for changes:

1. Leave out bursts. A run that differs from the median of the 11 runs around it by more than 3 times the usual
   deviation is no observation (the filter of F. Hampel; L. Davies and U. Gather, JASA 88 (1993)). So up to 5 runs in a
   row are a burst. A level counts as new from its 6th run on.
2. Split. Replace the runs by their normal scores (B. van der Waerden, Indagationes Mathematicae 14 (1952)): an outlier
   counts little, and normal noise costs less power than with ranks. Find the boundary, or the stretch of runs, whose
   scores differ most from all others. The stretch finds a level that went back (A. Olshen et al., Circular binary
   segmentation, Biostatistics 5 (2004)).
3. Test. The p-value is the share of random orders of the runs with a difference at least as large anywhere, times 2 for
   the two searches. If neighbouring runs are alike, also within a level, a difference counts less: its variance is
   multiplied by (1 + r) / (1 - r), where r is the correlation of neighbours.
4. Correct. The p-values of all figures are corrected by Y. Benjamini and Y. Hochberg, Controlling the false discovery
   rate, JRSS B 57 (1995). A figure whose corrected value is at most the rate is split, and its parts are tested in the
   same way, as one family (D. Yekutieli, Hierarchical false discovery rate, JASA 103 (2008)).
5. Merge. Remove the boundary with the least difference between its neighbours until each has a p-value of at most the
   rate, and a reportable difference.

If nothing changed, a report with any change is as rare as the rate. If something did, the share of false ones among all
changes is at most about three times the rate. Both hold for runs without bursts; bursts that are too slight or too long
for the filter make both several times as high. `benchmarks/trend.py` measures them.

Worked example. 60 runs have a spread of 3 %, and the level rises by 5 % after the 40th: the mean score is -0.4 before
and 0.8 after. That is 4.7 standard errors. A random order has 3.5 or more in 0.5 % of the cases, so p is below 0.001.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

import numpy as np

from toolkit.analysis.change_detection.resampling import Bools
from toolkit.analysis.change_detection.time_buckets import Floats, Ints

MAX_FDR = 0.01  # by default; bursts make it several times as high
MIN_RUNS = 6  # at a level: with fewer, a burst would be one
_AROUND = 11  # runs whose median is the local level: bursts of up to 5 are less than half of them
_BURST = 3.0  # deviations from the local level: fewer leave out usual runs, more leave bursts in
_MAD = 1.482602218505602  # standard deviation of a normal distribution / its median absolute deviation
_DRAWS = 4_999  # random orders
_LENGTHS = 24  # of stretches that are searched: more take longer and find hardly more
_MIN_RATIO = 1.02  # of levels: a smaller change is never important
_MAX_WIDENING = 6.0


@dataclass(frozen=True, slots=True)
class LevelChange:
    """A change of a figure's level.

    Attributes:
        start: index of the first run at the new level.
        before, after: the medians of the runs at the two levels.
        p_corrected: the corrected p-value.

    """

    start: int
    before: float
    after: float
    p_corrected: float


@dataclass(frozen=True, slots=True)
class RunLevels:
    """The levels of a figure over many runs.

    Attributes:
        changes: the changes of its level, in order.
        levels: the level of each run; NaN for a run without a value.
        is_burst: for each run, whether it was left out as one of a burst.

    """

    levels: Floats
    is_burst: Bools
    changes: list[LevelChange] = field(default_factory=list)


def find_lasting_changes(
    figures: Mapping[str, Sequence[float]], max_fdr: float = MAX_FDR, min_difference: Mapping[str, float] | None = None
) -> dict[str, RunLevels]:
    """Find the lasting changes of each figure.

    Args:
        figures: the values of each figure by its name, one for each run, in the order of time; NaN for no value.
        max_fdr: the false-discovery rate, 0..1.
        min_difference: for figures by name, the smallest difference of levels to report, besides 2 %.

    >>> slow = find_lasting_changes({"p99": [100, 101, 99, 102, 100, 98, 101, 100] * 2 + [130, 131, 129, 130] * 3})
    >>> [(it.start, it.before, it.after) for it in slow["p99"].changes]
    [(16, 100.0, 130.0)]
    """
    parts = {name: _RunSeries.of(values) for name, values in figures.items()}
    least = min_difference or {}
    family = [(name, (0, len(series.values)), 0.0) for name, series in parts.items()]
    bounds: dict[str, dict[int, float]] = {name: {} for name in parts}
    first = True
    while family:
        found = [(name, (start, end), above, parts[name].split(start, end)) for name, (start, end), above in family]
        # The first family is all figures; below it, the parts of one figure are a family each.
        groups = [found] if first else [[it for it in found if it[0] == name] for name in parts]
        family, first = [], False
        for group in groups:
            corrected = _benjamini_hochberg([split.p_value for *_, split in group])
            for (name, (start, end), above, split), p in zip(group, corrected, strict=True):
                p_value = max(above, p)
                if split.cuts and p_value <= max_fdr:
                    bounds[name] |= dict.fromkeys(split.cuts, p_value)
                    edges = [start, *split.cuts, end]
                    family += [(name, pair, p_value) for pair in pairwise(edges)]
    return {name: series.levels(bounds[name], max_fdr, least.get(name, 0.0)) for name, series in parts.items()}


@dataclass(frozen=True, slots=True)
class _Split:
    """The most different boundaries of a part of a series, and the p-value of their difference."""

    cuts: tuple[int, ...] = ()
    p_value: float = 1.0


@dataclass(frozen=True, slots=True)
class _RunSeries:
    """The observations of a figure: its values without those that are missing or in a burst.

    ``index``: the run of each observation; ``runs``: the number of all runs; ``is_burst``: of each run.
    """

    values: Floats
    index: Ints
    is_burst: Bools

    @classmethod
    def of(cls, values: Sequence[float]) -> _RunSeries:
        every = np.asarray(values, np.float64)
        index = np.flatnonzero(~np.isnan(every))
        in_burst = find_bursts(every[index])
        is_burst = np.zeros(len(every), bool)
        is_burst[index[in_burst]] = True
        return cls(every[index[~in_burst]], index[~in_burst], is_burst)

    def split(self, start: int, end: int) -> _Split:
        """Return the most different boundary or stretch of the observations from ``start`` to ``end``."""
        values, n = self.values[start:end], end - start
        scores = _normal_scores(values)
        if n < 2 * MIN_RUNS or not scores.any():
            return _Split()
        searches, splits = (_search_boundary, _search_stretch), []
        for search, by_chance in zip(searches, _search_random_orders(np.sort(scores).tobytes()), strict=True):
            highest, cuts = search(_running_sums(scores[None]))
            if cuts:
                observed = highest[0] / np.sqrt(_widening(values, cuts))
                p_value = 2 * (1 + int((by_chance >= observed - 1e-9).sum())) / (1 + _DRAWS)
                splits.append(_Split(tuple(start + cut for cut in cuts), min(1.0, p_value)))
        return min(splits, key=lambda it: it.p_value)  # the boundary, which comes first, if both are as rare

    def levels(self, bounds: Mapping[int, float], max_p: float, min_difference: float) -> RunLevels:
        """Merge neighbours that do not differ, and return the levels."""
        kept = dict(sorted(bounds.items()))
        while kept:
            edges = [0, *kept, len(self.values)]
            tests = {
                cut: self._differ(start, cut, end, min_difference)
                for start, cut, end in zip(edges, kept, edges[2:], strict=False)
            }
            weakest = max(tests, key=lambda cut: tests[cut])
            if tests[weakest] <= max_p:
                break
            del kept[weakest]
        edges = [0, *kept, len(self.values)]
        medians = [float(np.median(self.values[start:end])) for start, end in pairwise(edges) if end > start]
        levels = np.full(len(self.is_burst), np.nan)
        for start, end, level in zip(edges, edges[1:], medians, strict=False):
            first, last = (
                (int(self.index[start]) if start else 0),
                (int(self.index[end]) if end < len(self.index) else None),
            )
            levels[first:last] = level
        changes = [
            LevelChange(int(self.index[cut]), before, after, p)
            for (cut, p), before, after in zip(kept.items(), medians, medians[1:], strict=False)
        ]
        return RunLevels(levels, self.is_burst, changes)

    def _differ(self, start: int, cut: int, end: int, min_difference: float) -> float:
        """Return the p-value of a boundary between its neighbours; 1 if the difference is too small to report."""
        before, after = (float(np.median(self.values[it])) for it in (slice(start, cut), slice(cut, end)))
        low, high = sorted(map(abs, (before, after)))
        if abs(after - before) < min_difference or high < _MIN_RATIO * low:
            return 1.0
        scores = _normal_scores(self.values[start:end])
        n, size = end - start, cut - start
        sums = np.concatenate([[0.0], np.cumsum(scores)])
        z = abs(sums[size]) / np.sqrt(size * (n - size) / (n * (n - 1)) * (scores @ scores))
        from scipy.special import ndtr  # takes half a second to import

        return float(2 * ndtr(-z / np.sqrt(_widening(self.values[start:end], (size,)))))


def find_bursts(values: Floats) -> Bools:
    """Return which values differ from the median of the values around them far more than is usual.

    >>> find_bursts(np.array([10, 11, 10, 12, 11, 50, 52, 10, 11, 12, 10, 11.0])).nonzero()[0].tolist()
    [5, 6]
    """
    n = len(values)
    if n < MIN_RUNS:
        return np.zeros(n, bool)
    width = min(_AROUND, n)
    around = np.median(np.lib.stride_tricks.sliding_window_view(values, width), axis=1)
    # At the ends it is the median of the first or the last 11 values, so that a burst is one there too.
    distance = np.abs(values - around[np.clip(np.arange(n) - width // 2, 0, n - width)])
    usual = float(np.median(distance))
    if not usual and distance.any():  # most runs have the same value, such as no failure
        usual = float(np.median(distance[distance > 0]))
    return np.asarray(distance > _BURST * _MAD * usual)


@lru_cache(maxsize=32)  # scores without ties are the same for all series of this length
def _search_random_orders(scores: bytes) -> tuple[Floats, Floats]:
    """Return the largest differences at a boundary and of a stretch in random orders of some scores (float64)."""
    values = np.frombuffer(scores)
    draw = np.random.default_rng((1, len(values)))
    sums = _running_sums(draw.permuted(np.broadcast_to(values, (_DRAWS, len(values))), axis=1))
    return _search_boundary(sums)[0], _search_stretch(sums)[0]


def _running_sums(orders: Floats) -> Floats:
    """Return the running sums of each row, which begin with 0."""
    sums = np.zeros((len(orders), orders.shape[1] + 1))
    np.cumsum(orders, axis=1, out=sums[:, 1:])
    return sums


def _search_boundary(sums: Floats) -> tuple[Floats, tuple[int, ...]]:
    """Return the largest difference at a boundary in each order, and the boundary of the first order."""
    n = sums.shape[1] - 1
    sizes = np.arange(MIN_RUNS, n - MIN_RUNS + 1)
    differences = np.abs(sums[:, sizes]) / np.sqrt(sizes * (n - sizes))
    return differences.max(axis=1), (int(sizes[differences[0].argmax()]),)


def _search_stretch(sums: Floats) -> tuple[Floats, tuple[int, ...]]:
    """Return the largest difference between a stretch and all other runs in each order, and that of the first one."""
    n = sums.shape[1] - 1
    highest, cuts = np.zeros(len(sums)), tuple[int, ...]()
    for size in np.unique(np.geomspace(MIN_RUNS, n - MIN_RUNS, _LENGTHS).round().astype(int)):
        differences = np.abs(sums[:, size + 1 : n] - sums[:, 1 : n - size]) / np.sqrt(size * (n - size))
        if differences.shape[1]:
            if differences[0].max() > highest[0]:
                start = int(differences[0].argmax()) + 1
                cuts = (start, start + int(size))
            highest = np.maximum(highest, differences.max(axis=1))
    return highest, cuts


def _normal_scores(values: Floats) -> Floats:
    """Return the normal scores of values: the quantiles of the normal distribution at their ranks, with mean 0.

    Equal values share a score. The same ranks give the same bits in any order, so that random orders are cached.
    """
    from scipy.special import ndtri  # takes half a second to import

    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    scores = ndtri((np.cumsum(counts) - (counts - 1) / 2) / (len(values) + 1))
    return np.asarray((scores - scores @ counts / max(len(values), 1))[place], np.float64)


def _widening(values: Floats, cuts: Sequence[int]) -> float:
    """Return by which factor the correlation of neighbours raises the variance of a difference, 1 to 6.

    Each part between the cuts is cut once more where it differs most, so that another change is not taken for a
    correlation.
    """
    parts = [half for part in np.split(values, cuts) for half in _halve(part)]
    scores = _normal_scores(np.concatenate([part - np.median(part) for part in parts]))
    if not scores.any():
        return 1.0
    # An autocorrelation of n values is too low by about 1/n for each level that was taken from them.
    correlation = float(scores[1:] @ scores[:-1] / (scores @ scores)) + len(parts) / len(scores)
    return min(max(1.0, (1 + correlation) / max(1 - correlation, 1e-9)), _MAX_WIDENING)


def _halve(values: Floats) -> list[Floats]:
    """Return the two parts of a series that differ most, or the series if it is too short for two."""
    scores = _normal_scores(values)
    if len(values) < 2 * MIN_RUNS or not scores.any():
        return [values] if len(values) else []
    return np.split(values, _search_boundary(_running_sums(scores[None]))[1])


def _benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by the false-discovery rate."""
    values = np.asarray(p, np.float64)
    order = np.argsort(values)
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return np.minimum(1.0, corrected).tolist()  # type: ignore[no-any-return]
