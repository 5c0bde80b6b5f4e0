"""Divide a series into segments of constant level: the change point search.

Problem. Given n observations of a level, find the boundaries at which the level changed. The noise isn't independent:
errors come in clusters and levels drift, so the usual threshold for independent noise raises false alarms every day.

Method.

1. Propose. Find the segmentation with the least squared error + penalty * boundaries, by PELT: R. Killick, P. Fearnhead
   and I. Eckley, Optimal detection of changepoints with a linear computational cost, JASA 107 (2012), as implemented in
   ruptures: C. Truong, L. Oudre and N. Vayatis, Selective review of offline change point detection methods, Signal
   Processing 167 (2020). The penalty here is a quarter of the final one, so that no boundary is missed.
2. Prune. The gain of a boundary is how much better two levels fit its two segments than one level, divided by the
   noise. Remove the boundary with the least gain until each has at least 4 log n and a reportable difference. There are
   about n ** 2 pairs of segments, and the largest of N chi-square values is about 2 log N: hence 4 log n. If m series
   are searched, 2 log m is added.
3. Refine. Move each boundary to where its gain is largest. Repeat from 2 while boundaries disappear.
4. Combine. A level that changes and goes back is one change with an end. Two steps in one direction, with a single
   observation between them, are one change that began within that observation.

The noise is measured on the series itself, over blocks of 1, 2, 4, ... observations: the median difference of blocks
near each other. A change is compared with the noise of blocks as long as its shorter side. Clusters raise the noise of
short blocks, a drifting level that of long ones, and neither is reported as a change.

Worked example. 10 calls with an outcome are expected in each of 18 minutes, and these are found:

    9 11 10 8 12 10 9 11 | 30 33 28 31 | 10 9 12 8 11 10

The noise is 1, the variance of independent calls. The penalty is 4 log 18 = 11.6. PELT proposes the boundaries 8 and
12. Their gains are 59.5 and 53.4; a boundary at 4 would have 0.2. At 12 the level goes back, so the result is one
change, from minute 8 until minute 12, with a score of sqrt(59.5) = 7.7 standard errors. If only two minutes had been
raised, to 17 and 16, the gain would be 5.4: an increase by 13 calls in two minutes can be chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from toolkit.analysis.change_detection.series import LevelSegment, LevelSeries
from toolkit.analysis.change_detection.time_buckets import Floats, Ints

_PENALTY = 4.0  # times log n; lower reports changes of pure noise, higher misses short or slight changes
_PROPOSAL_RATIO = 0.25  # of the penalty for a proposal: lower proposes more boundaries and takes longer to prune them
_SEARCH_SIZE = 300  # observations searched at once, because the time of a search grows with their square
_MIN_BLOCKS = 16  # for a variance: fewer make it unreliable, more leave long segments without one
_BLOCK_DISTANCE = 3  # nearer blocks may share a cluster, farther ones a change of the level
_ROUNDS = 3  # of pruning and refining; usually the second changes nothing
_MIN_OBSERVATIONS = 8  # in shorter series the noise is unknown
_MAD = 1.482602218505602  # standard deviation of a normal distribution / its median absolute deviation


@dataclass(frozen=True, slots=True)
class ChangeTest:
    """Tests whether two segments of a series are at different levels.

    ``edges`` separate observations of about equal certainty. ``noise`` is the variance of the level between them, then
    over 2, 4, 8, ... of them. ``tests`` is the number of series that are searched.
    """

    series: LevelSeries
    edges: Ints
    noise: Floats
    least_ratio: float
    tests: int = 1

    @classmethod
    def of(cls, series: LevelSeries, edges: Ints, least_ratio: float, tests: int = 1) -> ChangeTest:
        """Estimate the noise of a series and return the test."""
        return cls(series, edges, _noise(series, edges), least_ratio, tests)

    @property
    def penalty(self) -> float:
        """Return the least gain of a change, in variances of the noise."""
        return _PENALTY * math.log(max(2, len(self.edges) - 1)) + 2 * math.log(self.tests)

    def gain(self, one: LevelSegment, other: LevelSegment) -> Floats:
        """Return how much better two levels fit two segments than one, in variances of the noise."""
        gain: Floats = self.series.gain(one, other) / self.noise_of(one, other)
        return gain

    def noise_of(self, one: LevelSegment, other: LevelSegment) -> Floats:
        """Return the variance of the level over blocks as long as the shorter of two segments."""
        lengths = [np.searchsorted(self.edges, it.end) - np.searchsorted(self.edges, it.start) for it in (one, other)]
        scale = np.log2(np.maximum(1, np.minimum(*lengths))).astype(np.int64)
        noise: Floats = self.noise[np.minimum(scale, len(self.noise) - 1)]
        return noise

    def differs(self, one: LevelSegment, other: LevelSegment) -> bool:
        """Return whether two segments are at different levels, by a reportable difference."""
        is_reportable = self.series.is_reportable(one, other, self.least_ratio)
        return bool(is_reportable and self.gain(one, other) >= self.penalty)


def _noise(series: LevelSeries, edges: Ints) -> Floats:
    """Return the variance of the level in blocks of 1, 2, 4, ... observations, while there are 16 blocks.

    It is estimated from the median difference of blocks near each other, which incidents and lasting changes don't
    affect. The variance at one scale is at least the variance at the scales below.
    """
    found = [series.min_noise]
    while len(edges) > _MIN_BLOCKS:
        level = series.standardized(edges)
        steps = np.abs(level[_BLOCK_DISTANCE:] - level[:-_BLOCK_DISTANCE])
        found.append(max(found[-1], (_MAD * float(np.median(steps))) ** 2 / 2))
        edges = edges[: len(edges) - (len(edges) - 1) % 2 : 2]
    return np.array(found[1:] or found)


def find_boundaries(test: ChangeTest, *coarse_edges: Ints) -> Ints:
    """Return the boundaries of the segments, with the start and the end of the series.

    Boundaries are searched between the edges of the test and between ``coarse_edges``, where slight but long changes
    show.
    """
    proposals = [_propose(test.series, edges, test.penalty) for edges in (test.edges, *coarse_edges)]
    boundaries = np.unique(np.concatenate(proposals))
    for _ in range(_ROUNDS):
        kept = _refine(test.series, _prune(test, boundaries))
        if len(kept) == len(boundaries):
            break
        boundaries = kept
    return kept


def _propose(series: LevelSeries, edges: Ints, penalty: float) -> Ints:
    """Return the boundaries that ruptures finds at a low penalty, and the ends of the parts that it searched."""
    from ruptures import KernelCPD  # takes a second or two to import

    level = series.standardized(edges) / math.sqrt(_noise(series, edges)[0])
    proposed = [0, len(level)]
    for start in range(0, len(level), _SEARCH_SIZE):
        part = level[start : start + _SEARCH_SIZE]
        if len(part) > 3:
            search = KernelCPD(kernel="linear", min_size=2).fit(part[:, None])
            proposed += [start, *(start + int(end) for end in search.predict(pen=penalty * _PROPOSAL_RATIO))]
    return edges[np.unique(proposed)]


def _prune(test: ChangeTest, boundaries: Ints) -> Ints:
    """Remove the boundary with the least gain until each has the penalty's gain and a reportable difference."""
    while len(boundaries) > 2:
        before = LevelSegment(boundaries[:-2], boundaries[1:-1])
        after = LevelSegment(boundaries[1:-1], boundaries[2:])
        gain = test.gain(before, after)
        is_reportable = test.series.is_reportable(before, after, test.least_ratio)
        worth = np.where(is_reportable, gain, np.minimum(gain, test.penalty * 0.999))
        if worth.min() >= test.penalty:
            break
        boundaries = np.delete(boundaries, int(worth.argmin()) + 1)
    return boundaries


def _refine(series: LevelSeries, boundaries: Ints) -> Ints:
    """Move each boundary, one after the other, to where the gain between its neighbours is largest."""
    boundaries = boundaries.copy()
    for number in range(1, len(boundaries) - 1):
        start, end = boundaries[number - 1], boundaries[number + 1]
        inner = np.arange(start + 1, end)
        if len(inner):
            starts, ends = np.full(len(inner), start), np.full(len(inner), end)
            gains = series.gain(LevelSegment(starts, inner), LevelSegment(inner, ends))
            boundaries[number] = inner[gains.argmax()]
    return boundaries


@dataclass(slots=True)
class LevelChange:
    """A change of the level from one segment to another.

    ``until``: the observation at which the level went back; None if it didn't. ``transition``: the observation between
    the two levels, in which the change began; None if the level changed between two observations.
    """

    before: LevelSegment
    after: LevelSegment
    gain: float
    until: int | None = None
    transition: int | None = None

    @property
    def start(self) -> int:
        """Return the first observation that isn't at the level before."""
        return int(self.after.start) if self.transition is None else self.transition


def find_changes(test: ChangeTest, *coarse_edges: Ints) -> list[LevelChange]:
    """Return the changes of a series in order; a level that rises and goes back is one change with an end."""
    if len(test.edges) <= _MIN_OBSERVATIONS:
        return []
    boundaries = find_boundaries(test, *coarse_edges)
    found: list[LevelChange] = []
    for start, middle, end in zip(boundaries, boundaries[1:], boundaries[2:], strict=False):
        before, after = LevelSegment(start, middle), LevelSegment(middle, end)
        undone = _first_undone(test.series, found, after)
        if undone is not None:
            for change in found[undone:]:  # with the steps within it
                change.until = int(middle) if change.until is None else change.until
            before = found[undone].before
        if undone is None or test.differs(before, after):
            found.append(LevelChange(before, after, float(test.gain(before, after))))
    return _merge_steps(test, found)


def _first_undone(series: LevelSeries, changes: list[LevelChange], now: LevelSegment) -> int | None:
    """Return the number of the first open change whose level before is nearer to the level now than its level after."""
    for number, change in enumerate(changes):
        if change.until is None:
            before, after, level = (float(series.level(segment)) for segment in (change.before, change.after, now))
            if abs(level - before) < abs(level - after):
                return number
    return None


def _merge_steps(test: ChangeTest, changes: list[LevelChange]) -> list[LevelChange]:
    """Merge two steps in one direction if the segment between them is a single observation: the change began in it."""
    found: list[LevelChange] = []
    for change in changes:
        last = found[-1] if found else None
        if last and last.after == change.before and change.before.end - change.before.start == 1:
            levels = [float(test.series.level(it)) for it in (last.before, last.after, change.after)]
            if levels == sorted(levels) or levels == sorted(levels, reverse=True):
                gain = float(test.gain(last.before, change.after))
                found[-1] = LevelChange(last.before, change.after, gain, change.until, last.start)
                continue
        found.append(change)
    return found
