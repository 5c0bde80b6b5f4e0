"""Segments: the stretches of a series between the places where its level changed.

ruptures proposes places. What stays is decided by the noise that the series itself shows over stretches as long as the
shorter side of a change: so neither clusters nor a level that wanders about raise an alarm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from toolkit.analysis.change_detection.series import Series, Stretch
from toolkit.analysis.change_detection.time_buckets import Floats, Ints

_PENALTY = 4.0  # times the logarithm of the observations: so much the best of all places may gain from mere noise
_PROPOSED = 0.25  # of that, for a place to be proposed
_AT_ONCE = 1_000  # observations that are searched together: the time of a search goes with their square
_LEAST_BLOCKS = 16
_APART = 3  # stretches: nearer ones may share a cluster
_ROUNDS = 3
_LEAST_OBSERVATIONS = 8
_MAD = 1.482602218505602  # the standard deviation of a normal distribution, in its median deviations


@dataclass(frozen=True, slots=True)
class Judge:
    """Decides whether a series is at two levels in two stretches.

    ``edges``: places between which the observations are about equally certain; ``noise``: the variance of the level
    between them, and over 2, 4, 8, ... of them.
    """

    series: Series
    edges: Ints
    noise: Floats
    least_ratio: float

    @classmethod
    def of(cls, series: Series, edges: Ints, least_ratio: float) -> Judge:
        """Make a judge who has looked at the series' noise."""
        return cls(series, edges, _noise(series, edges), least_ratio)

    @property
    def penalty(self) -> float:
        """What a change has to gain, in variances of the noise."""
        return _PENALTY * math.log(max(2, len(self.edges) - 1))

    def gain(self, one: Stretch, other: Stretch) -> Floats:
        """Return by how much two levels fit two stretches better than one, in variances of the noise."""
        return self.series.gain(one, other) / self.noise_of(one, other)

    def noise_of(self, one: Stretch, other: Stretch) -> Floats:
        """Return the variance of the level over stretches as long as the shorter of two."""
        scale = np.log2(np.maximum(1, np.minimum(self._length(one), self._length(other)))).astype(np.int64)
        return self.noise[np.minimum(scale, len(self.noise) - 1)]

    def differs(self, one: Stretch, other: Stretch) -> bool:
        """Tell whether two stretches are at two levels, and that is worth telling."""
        told = self.series.is_told(one, other, self.least_ratio)
        return bool(told and self.gain(one, other) >= self.penalty)

    def _length(self, stretch: Stretch) -> Ints:
        return np.searchsorted(self.edges, stretch.end) - np.searchsorted(self.edges, stretch.start)


def _noise(series: Series, edges: Ints) -> Floats:
    """Take it from the median difference of near stretches, which incidents and lasting changes leave as it is."""
    found = [series.least_noise]
    while len(edges) > _LEAST_BLOCKS:
        level = series.standard(edges)
        steps = np.abs(level[_APART:] - level[:-_APART])
        found.append(max(found[-1], (_MAD * float(np.median(steps))) ** 2 / 2))
        edges = edges[: len(edges) - (len(edges) - 1) % 2 : 2]
    return np.array(found[1:] or found)


def find_segments(judge: Judge, *coarser: Ints) -> Ints:
    """Return the places where the level changes, between the first and the last.

    They are looked for between the judge's edges, and between ``coarser`` ones, where slight changes for long show.
    """
    series = judge.series
    cuts = np.unique(np.concatenate([_propose(series, edges, judge.penalty) for edges in (judge.edges, *coarser)]))
    for _ in range(_ROUNDS):
        found = _refine(series, _prune(judge, cuts))
        if len(found) == len(cuts):
            break
        cuts = found
    return found


def _propose(series: Series, edges: Ints, penalty: float) -> Ints:
    """Return places where the level may change: those that ruptures finds, and the ends of what it was given."""
    from ruptures import KernelCPD  # takes a second or two to import

    level = series.standard(edges) / math.sqrt(_noise(series, edges)[0])
    places = [0, len(level)]
    for start in range(0, len(level), _AT_ONCE):
        part = level[start : start + _AT_ONCE]
        if len(part) > 3:
            search = KernelCPD(kernel="linear", min_size=2).fit(part[:, None])
            places += [start, *(start + int(end) for end in search.predict(pen=penalty * _PROPOSED))]
    return edges[np.unique(places)]


def _prune(judge: Judge, cuts: Ints) -> Ints:
    """Remove the least change, again and again, until each is one."""
    while len(cuts) > 2:
        before, after = Stretch(cuts[:-2], cuts[1:-1]), Stretch(cuts[1:-1], cuts[2:])
        gain = judge.gain(before, after)
        told = judge.series.is_told(before, after, judge.least_ratio)
        worth = np.where(told, gain, np.minimum(gain, judge.penalty * 0.999))
        if worth.min() >= judge.penalty:
            break
        cuts = np.delete(cuts, int(worth.argmin()) + 1)
    return cuts


def _refine(series: Series, cuts: Ints) -> Ints:
    """Move each place to where two levels fit best what lies between its neighbours."""
    cuts = cuts.copy()
    for place in range(1, len(cuts) - 1):
        start, end = cuts[place - 1], cuts[place + 1]
        middle = np.arange(start + 1, end)
        if len(middle):
            ends = np.full(len(middle), start), np.full(len(middle), end)
            cuts[place] = middle[series.gain(Stretch(ends[0], middle), Stretch(middle, ends[1])).argmax()]
    return cuts


@dataclass(slots=True)
class Change:
    """A change of the level from one stretch to another.

    ``until``: the place where it went back, if it did. ``began``: the place before ``after`` where it was on its way.
    """

    before: Stretch
    after: Stretch
    gain: float
    until: int | None = None
    began: int | None = None

    @property
    def place(self) -> int:
        """Return the first observation that isn't at the level before."""
        return int(self.after.start) if self.began is None else self.began


def find_changes(judge: Judge, *coarser: Ints) -> list[Change]:
    """Return the changes of a series in their order. What ends when the level goes back is one change, not two."""
    if len(judge.edges) <= _LEAST_OBSERVATIONS:
        return []
    cuts = find_segments(judge, *coarser)
    found: list[Change] = []
    for place in range(1, len(cuts) - 1):
        before, after = Stretch(cuts[place - 1], cuts[place]), Stretch(cuts[place], cuts[place + 1])
        first = next((it for it in found if it.until is None and _is_undone(judge.series, it, after)), None)
        if first:
            _end(found[found.index(first) :], int(after.start))
        if first is None or judge.differs(before := first.before, after):
            found.append(Change(before, after, float(judge.gain(before, after))))
    return _join_steps(judge, found)


def _end(changes: list[Change], place: int) -> None:
    """End a change, and the steps that were taken within it."""
    for change in changes:
        change.until = place if change.until is None else change.until


def _join_steps(judge: Judge, changes: list[Change]) -> list[Change]:
    """Make one change of two where the first has but the observation in which it began, and the second goes on."""
    found: list[Change] = []
    for change in changes:
        last = found[-1] if found else None
        if last and last.after == change.before and change.before.end - change.before.start == 1:
            levels = [float(judge.series.level(it)) for it in (last.before, last.after, change.after)]
            if levels == sorted(levels) or levels == sorted(levels, reverse=True):
                gain = float(judge.gain(last.before, change.after))
                found[-1] = Change(last.before, change.after, gain, change.until, last.place)
                continue
        found.append(change)
    return found


def _is_undone(series: Series, change: Change, now: Stretch) -> bool:
    """Tell whether a level is nearer to what was before a change than to what was after it."""
    before, after, level = (float(series.level(stretch)) for stretch in (change.before, change.after, now))
    return abs(level - before) < abs(level - after)
