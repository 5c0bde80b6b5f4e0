"""Find changes of a share in segments of the calls, and name the segment that explains each.

Problem. A template is broken for good, but it has few calls, so the share of all calls hardly rises. Then a campaign
with another template multiplies the traffic: the share of all calls falls, and the fault looks repaired.

Method. Count calls, and those with an outcome, by bucket of time and by segment: carrier, template, app and source. The
share within each value of each dimension is a series of its own, and is searched like the share of all calls.

One fault changes many of these series. A fault of a template is one of its app, too, and a campaign changes every app
that has good and bad templates. So the calls are divided into cells: combinations of a carrier, a template, an app and
a source. Each cell's share before the change gives the expected number of its calls with the outcome after it.

- If a segment's calls are as its cells expect them, only the mix of calls has changed. The change is left out.
- A segment explains a change if the calls outside of it are as expected, or if 90 % of the deviation is inside.
- Among changes that begin at the same time, the change of one segment is kept: the segment that explains the change and
  whose calls deviate most. It is the most likely single cause, because with each such cause the likelihood of the calls
  outside is that of no change.

Two numbers of calls deviate if their odds differ by 1.5, and the calls by 10.

Worked example. 1 % of the calls fail. Then 80 % of the calls with template 4 fail, which make up 10 % of all calls and
half of app B's.
The share rises to 9 % in all, to 80 % for template 4 and to 40 % for app B. Outside of app B and outside of template 4,
1 % fail, so both explain it. In 1,000 calls of app B 405 failed and 10 were expected, which deviates by 2 * 1000 *
KL(0.405, 0.01) = 2,392; in 500 of template 4, 400 and 5 by 3,186. Template 4 is named. During a campaign it makes only
3 % of all calls, so 3.4 % fail, which is nearer to 1 % than to 9 %. Within template 4 the share stays at 80 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from toolkit.analysis.change_detection.resampling import Bools
from toolkit.analysis.change_detection.share_changes import ChangeRow, ShareSeries, deviates, periods, share_changes
from toolkit.analysis.change_detection.time_buckets import TEXT, WIDTHS_NS, Floats, Ints

SEGMENTS = ("temp_id", "app_key", "carrier", "source")  # of segments with equal calls, the first one is named
ALL_CALLS: ChangeRow = {"dimension": None, "value": None}
"""The segment of all calls."""

_MAX_BUCKETS = 400  # more are finer in time and take longer
_MIN_SEGMENT = 200  # calls of a segment: fewer can't have a reportable change
_MAX_VALUES = 30  # of a dimension, those with most calls: more take longer and raise the threshold
_SAME_TIME = 3  # buckets between the starts of two changes with one cause
_REST_RATIO = 0.1  # of the deviating calls may be outside of a segment that explains a change, by chance
_PRIOR_CALLS = 10.0  # of a cell before, with the share of its template, then app: a cell with few calls shows little


def coarse_width_ns(duration_ns: int, least_ns: int) -> int:
    """Return the width of the buckets in which segments are searched."""
    fitting = [width for width in WIDTHS_NS if width >= least_ns and width * _MAX_BUCKETS >= duration_ns]
    return min(fitting, default=WIDTHS_NS[-1])


@dataclass(frozen=True, slots=True)
class SegmentCounts:
    """Calls, and those with an outcome, of each bucket and cell; one array element per bucket and cell with calls.

    ``starts``: of the buckets, ns since 1970, ascending. ``bucket`` and ``cell``: numbers. ``values``: one row per
    cell, with its value in each dimension. ``groups``: for the first dimension, the first two, and so on, the number of
    each cell's combination.
    """

    width: int
    starts: Ints
    bucket: Ints
    cell: Ints
    values: pd.DataFrame
    groups: list[Ints]
    calls: Floats
    found: Floats

    @classmethod
    def of(cls, counts: pd.DataFrame, dimensions: Sequence[str], width: int) -> SegmentCounts:
        """Arrange a frame with the columns bucket_ns, calls, found and the dimensions."""
        starts, bucket = np.unique(counts["bucket_ns"].to_numpy(np.int64), return_inverse=True)
        cell = number_rows(counts, dimensions)
        _, first = np.unique(cell, return_index=True)
        values = counts[list(dimensions)].iloc[first].astype(TEXT).reset_index(drop=True)
        groups = [number_rows(values, dimensions[: number + 1]) for number in range(len(dimensions))]
        calls, found = (counts[name].to_numpy(np.float64) for name in ("calls", "found"))
        return cls(width, starts, bucket, cell, values, groups, calls, found)

    def segments(self) -> Iterator[ChangeRow]:
        """Yield the fields dimension and value of each segment that has enough calls, but not all."""
        calls = np.bincount(self.cell, self.calls, len(self.values))
        for dimension in self.values:
            of_values = pd.Series(calls).groupby(self.values[dimension]).sum()
            enough = of_values[(of_values >= _MIN_SEGMENT) & (of_values < calls.sum())]
            for value in enough.nlargest(_MAX_VALUES).index:
                yield {"dimension": str(dimension), "value": str(value)}

    def cells_of(self, segment: ChangeRow) -> Bools:
        """Return for each cell whether it is in a segment; all are, if its dimension is None."""
        if segment["dimension"] is None:
            return np.ones(len(self.values), np.bool_)
        is_inside = (self.values[segment["dimension"]] == segment["value"]).fillna(False)
        return np.asarray(is_inside.to_numpy(np.bool_))

    def series(self, segment: ChangeRow) -> ShareSeries:
        """Return the series of a segment's share."""
        which = self.cells_of(segment)[self.cell]
        buckets, size = self.bucket[which], len(self.starts)
        found, calls = (np.bincount(buckets, of[which], size).astype(np.float64) for of in (self.found, self.calls))
        used = np.flatnonzero(calls)
        return ShareSeries(found[used], calls[used], self.starts[used], self.width)

    def deviations(self, row: ChangeRow) -> Deviations:
        """Return the calls of each cell during a change, with those that the level before lets expect."""
        (calls_before, found_before), (calls, found) = (
            [self._by_cell(of, is_in[self.bucket]) for of in (self.calls, self.found)]
            for is_in in periods(row, self.starts)
        )
        share = np.full(len(calls), found_before.sum() / max(calls_before.sum(), 1.0))
        for group in self.groups:
            of_group, found_of_group = (np.bincount(group, it)[group] for it in (calls_before, found_before))
            share = (found_of_group + _PRIOR_CALLS * share) / (of_group + _PRIOR_CALLS)
        return Deviations(calls, found, calls * share)

    def _by_cell(self, values: Floats, which: Bools) -> Floats:
        return np.bincount(self.cell[which], values[which], len(self.values)).astype(np.float64)

    def shows_in(self, cells: Bools, row: ChangeRow) -> bool:
        """Return whether a change of a segment shows in the part of the segment that is in some cells."""
        return deviates(*self.deviations(row).of(cells & self.cells_of(row)))


def number_rows(frame: pd.DataFrame, names: Sequence[str]) -> Ints:
    """Number the distinct combinations of values; return each row's number."""
    return np.asarray(frame.groupby(list(names), dropna=False, observed=True).ngroup(), np.int64)


@dataclass(frozen=True, slots=True)
class Deviations:
    """Calls of each cell, those with an outcome, and how many of these were expected."""

    calls: Floats
    found: Floats
    expected: Floats

    def of(self, cells: Bools) -> tuple[float, float, float]:
        """Return the sums over some cells: the calls, those with the outcome, and the expected ones."""
        calls, found, expected = (float(it[cells].sum()) for it in (self.calls, self.found, self.expected))
        return calls, found, expected

    def is_explained_by(self, cells: Bools) -> bool:
        """Return whether the calls outside of some cells don't deviate, or by much less than those inside."""
        if cells.all():
            return False
        (_, found, expected), outside = self.of(cells), self.of(~cells)
        return not deviates(*outside) or abs(outside[1] - outside[2]) < _REST_RATIO * abs(found - expected)

    def gain(self, cells: Bools) -> float:
        """Return how much more likely the calls found in some cells are by their share than by the expected one."""
        calls, found, expected = (it + more for it, more in zip(self.of(cells), (1.0, 0.5, 0.5), strict=True))
        rest = (calls - found) * math.log((calls - found) / (calls - expected))
        return 2 * (found * math.log(found / expected) + rest)


def changes_of_segments(
    counts: SegmentCounts, segments: Sequence[ChangeRow], least_ratio: float, tests: int
) -> Iterator[ChangeRow]:
    """Yield the changes of the share in each segment that aren't changes of the mix of calls.

    ``tests``: number of series that are searched in all. The rows have the fields dimension and value.
    """
    for segment in segments:
        for row in share_changes(counts.series(segment), least_ratio, tests):
            if deviates(*counts.deviations(row).of(counts.cells_of(segment))):
                yield row | segment


def one_per_cause(rows: Iterable[ChangeRow], counts: SegmentCounts) -> Iterator[ChangeRow]:
    """Yield one row for the changes that begin at about the same time: that of the segment that explains them.

    While it goes on, changes that don't show outside of the segment are left out. If no segment explains them, yield
    the change of all calls, or the one with the highest score. The field is_explained shows which.
    """
    left = sorted(rows, key=lambda row: -row["score"])
    while left:
        first = left[0]
        together = [row for row in left if begin_together(row, first, counts.width)]
        left = [row for row in left if not begin_together(row, first, counts.width)]
        found = counts.deviations(first)
        cells = [counts.cells_of(row) for row in together]
        gains = [found.gain(it) if found.is_explained_by(it) else -1.0 for it in cells]
        best = int(np.argmax(gains))
        if gains[best] < 0:
            yield next((row for row in together if row["dimension"] is None), first) | {"is_explained": False}
        else:
            chosen, outside = together[best], ~cells[best]
            yield chosen | {"is_explained": True}
            left = [row for row in left if not overlap(row, chosen) or counts.shows_in(outside, row)]


def begin_together(row: ChangeRow, other: ChangeRow, width: int) -> bool:
    """Return whether two changes can have one cause by the times at which they begin."""
    return bool(abs(row["changed_ns"] - other["changed_ns"]) <= _SAME_TIME * width)


def overlap(row: ChangeRow, other: ChangeRow) -> bool:
    """Return whether two changes go on at the same time."""
    (start, end), (other_start, other_end) = (
        (it["changed_ns"], math.inf if it["until_ns"] is None else it["until_ns"]) for it in (row, other)
    )
    return bool(start < other_end and other_start < end)
