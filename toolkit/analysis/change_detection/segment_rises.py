"""Find outcomes that rise within a segment, and correct the changes of all calls by them.

A rise within a segment replaces a rise of all calls that begins at the same time and ends earlier: the share of all
calls fell because other calls became more. While it goes on, other changes of the outcome are left out, unless they
show in the calls outside of the segment, too. A rise within a segment that has no counterpart is a change by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

import narwhals as nw
import numpy as np
import pandas as pd

from toolkit.analysis.calls_table import LazyTable, collect
from toolkit.analysis.carriers import with_carrier
from toolkit.analysis.change_detection.segments import (
    SEGMENTS,
    SegmentCounts,
    begin_together,
    changes_of_segments,
    number_rows,
    one_per_cause,
    overlap,
)
from toolkit.analysis.change_detection.share_changes import MIN_FOUND, ChangeRow, ShareSeries, share_changes
from toolkit.analysis.change_detection.time_buckets import OUTCOME
from toolkit.analysis.timestamps import bucket_start_ns
from toolkit.api.return_codes import ReturnCode

Outcome: TypeAlias = tuple[str, int | None, str | None]
"""An endpoint, and a return code or an error."""

_SAME_END = 3  # buckets between the ends of a rise of all calls and of the same rise within a segment


def find_rises(table: LazyTable, width: int, least_ratio: float) -> dict[Outcome, list[ChangeRow]]:
    """Return the rises of each outcome within segments, one for each cause.

    ``width``: of a bucket, ns. The fields of a row are those of ``changes``.
    """
    marked = with_carrier(table).with_columns(bucket_ns=bucket_start_ns(pd.Timedelta(width, unit="ns")))
    counts = collect(marked.group_by("bucket_ns", "endpoint", *OUTCOME, *SEGMENTS).agg(calls=nw.len()))
    rises = defaultdict[Outcome, list[ChangeRow]](list)
    for endpoint, of_endpoint in counts.groupby("endpoint", observed=True):
        searched = [(*it, _with_enough_found(it[1])) for it in _by_outcome(of_endpoint, width)]
        tests = sum(len(segments) for *_, segments in searched)
        for outcome, of_outcome, segments in searched:
            found = changes_of_segments(of_outcome, segments, least_ratio, tests)
            for row in one_per_cause([row for row in found if row["after"] > row["before"]], of_outcome):
                if row["is_explained"]:
                    rises[str(endpoint), *outcome].append(row)
    return rises


def _by_outcome(counts: pd.DataFrame, width: int) -> Iterator[tuple[tuple[int | None, str | None], SegmentCounts]]:
    """Yield the counts of each outcome that isn't success."""
    row = number_rows(counts, ["bucket_ns", *SEGMENTS])
    _, first = np.unique(row, return_index=True)
    calls = counts["calls"].to_numpy(np.float64)
    base = counts.iloc[first].assign(calls=np.bincount(row, calls), found=0.0)
    of_all = SegmentCounts.of(base, SEGMENTS, width)
    outcomes = counts[OUTCOME].astype(object).where(counts[OUTCOME].notna(), None)
    numbers = number_rows(outcomes, OUTCOME)
    for number in np.unique(numbers):
        which = np.flatnonzero(numbers == number)
        code, error = outcomes.iloc[which[0]]
        if code != ReturnCode.SUCCESS:
            found = np.bincount(row[which], calls[which], len(first)).astype(np.float64)
            yield (code, error), replace(of_all, found=found)


def _with_enough_found(counts: SegmentCounts) -> list[ChangeRow]:
    """Return the segments that have enough calls with the outcome for a reportable rise."""
    found = np.bincount(counts.cell, counts.found, len(counts.values))
    return [segment for segment in counts.segments() if found[counts.cells_of(segment)].sum() >= MIN_FOUND]


def with_rise(
    rows: list[ChangeRow],
    rise: ChangeRow,
    whole: ShareSeries,
    count: Callable[[], ShareSeries],
    width: int,
    least_ratio: float,
) -> list[ChangeRow]:
    """Return the changes of an outcome's share, corrected by a rise within a segment.

    ``rows`` and ``whole`` are those of all calls; ``count`` returns the series of the segment. ``width``: of the
    buckets in which the rise was found, ns.
    """
    rises = [row for row in rows if row["after"] > row["before"] and begin_together(row, rise, width)]
    same = max(rises, key=lambda row: float(row["score"]), default=None)
    others = [row for row in rows if row is not same]
    is_shown = same is not None and not _ends_later(rise, same, width)
    if is_shown and not any(overlap(row, rise) for row in others):
        return rows
    of_segment = count()
    elsewhere = whole.without(of_segment)
    others = [row for row in others if not overlap(row, rise) or elsewhere.deviates(row)]
    return [same if same and is_shown else _refined(rise, of_segment, width, least_ratio), *others]


def _ends_later(rise: ChangeRow, other: ChangeRow, width: int) -> bool:
    if other["until_ns"] is None:
        return False
    return rise["until_ns"] is None or bool(rise["until_ns"] > other["until_ns"] + _SAME_END * width)


def _refined(rise: ChangeRow, of_segment: ShareSeries, width: int, least_ratio: float) -> ChangeRow:
    """Return a rise with its times in the buckets of the segment's series; unchanged if it doesn't show there."""
    for row in share_changes(of_segment, least_ratio):
        has_end = (row["until_ns"] is None) == (rise["until_ns"] is None)
        if has_end and row["after"] > row["before"] and begin_together(row, rise, width):
            return rise | row
    return rise


def count_segment(table: LazyTable, outcome: Outcome, rise: ChangeRow, width: int) -> ShareSeries:
    """Count the calls of a rise's segment, and those with the outcome, in buckets of time."""
    endpoint, code, error = outcome
    dimension, value = rise["dimension"], rise["value"]
    located = with_carrier(table) if dimension == "carrier" else table
    is_inside = (nw.col("endpoint") == endpoint) & (nw.col(dimension).cast(nw.String) == value)
    is_found = nw.col("error") == error if code is None else nw.col("return_code") == code
    marked = located.filter(is_inside).with_columns(
        bucket_ns=bucket_start_ns(pd.Timedelta(width, unit="ns")),
        found=nw.when(is_found.fill_null(False)).then(nw.lit(1)).otherwise(nw.lit(0)),
    )
    counts = collect(marked.group_by("bucket_ns").agg(calls=nw.len(), found=nw.col("found").sum()))
    counts = counts.sort_values("bucket_ns")
    found, calls = (counts[name].to_numpy(np.float64) for name in ("found", "calls"))
    return ShareSeries(found, calls, counts["bucket_ns"].to_numpy(np.int64), width)
