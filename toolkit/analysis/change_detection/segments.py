"""Check the end of a rise in the segment of calls in which the rise is concentrated.

Problem. A template is broken for good. Then a campaign with another template doubles the traffic, so the share of the
failed calls falls by half, and the fault looks repaired.

Method. If a rise ended at a level above the one before, find the app, template, carrier or source in which the outcome
was concentrated meanwhile, by its lift. Search the changes of the share among the calls of that segment alone, in wider
buckets. The change that began at the same time has the true end.

Worked example. 1 % of the calls fail, then 80 % of those with template 4, which are 10 % of all: 9 %. During a campaign
they are 3 % of all calls: 3.4 %, which is nearer to 1 % than to 9 %. Within template 4 the share stays at 80 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import narwhals as nw
import numpy as np
import pandas as pd

from toolkit.analysis.calls_table import LazyTable, collect
from toolkit.analysis.carriers import with_carrier
from toolkit.analysis.change_detection.lift import concentrated_values
from toolkit.analysis.change_detection.share_changes import ChangeRow, share_changes
from toolkit.analysis.change_detection.time_buckets import OUTCOME, TEXT, WIDTHS_NS
from toolkit.analysis.timestamps import bucket_start_ns

_MAX_BUCKETS = 400  # in which an end is looked for; more take longer
_SEGMENTS = ("carrier", "temp_id", "app_key", "source")
_SAME_TIME = 3  # buckets between the start of a rise in all calls and in its segment


def with_checked_ends(
    rows: Sequence[ChangeRow], table: LazyTable, endpoint: str, duration_ns: int, least_ratio: float
) -> Iterator[ChangeRow]:
    """Yield the changes of an endpoint's shares; rises whose end is doubtful get the end in their segment.

    Later rises of the same outcome are left out if the first one goes on meanwhile. A row with a new end has the fields
    ``dimension`` and ``value`` of its segment.
    """
    fitting = [width for width in WIDTHS_NS if width * _MAX_BUCKETS >= duration_ns]
    width = min(fitting, default=WIDTHS_NS[-1])
    lasting: list[ChangeRow] = []
    for row in rows:
        if any(_is_within(row, other) for other in lasting):
            continue
        if row["is_end_doubtful"]:
            found = _true_end(row, _count(table, endpoint, row, width), width, least_ratio)
            row = row | found
            lasting += [row] if found else []
        yield row


def _is_within(row: ChangeRow, other: ChangeRow) -> bool:
    same = all(row[name] is other[name] or row[name] == other[name] for name in OUTCOME)
    ends_later = other["until_ns"] is None or row["changed_ns"] < other["until_ns"]
    return bool(same and row["after"] > row["before"] and other["changed_ns"] < row["changed_ns"] and ends_later)


def _count(table: LazyTable, endpoint: str, row: ChangeRow, width: int) -> pd.DataFrame:
    """Count the calls of an endpoint, and those with the row's outcome, by bucket and segment."""
    name = "error" if row["return_code"] is None else "return_code"
    has_outcome = (nw.col(name) == row[name]).fill_null(False)
    marked = table.filter(nw.col("endpoint") == endpoint).with_columns(
        bucket_ns=bucket_start_ns(pd.Timedelta(width, unit="ns")),
        hit=nw.when(has_outcome).then(nw.lit(1)).otherwise(nw.lit(0)),
    )
    by = ["bucket_ns", "app_key", "temp_id", "source", "carrier"]
    return collect(with_carrier(marked).group_by(by).agg(calls=nw.len(), found=nw.col("hit").sum()))


def _true_end(row: ChangeRow, counts: pd.DataFrame, width: int, least_ratio: float) -> ChangeRow:
    """Return the end of a rise in its segment, if it is later, with the segment; else no fields."""
    starts = counts["bucket_ns"]
    is_before, is_during = starts < row["changed_ns"] - width, starts.between(row["changed_ns"], row["until_ns"] - 1)
    ranked = []
    for dimension in _SEGMENTS:
        values = counts[dimension].astype(TEXT).rename("value")
        sums = [counts.loc[part, ["calls", "found"]].groupby(values[part]).sum() for part in (is_during, is_before)]
        both = sums[0].join(sums[1].add_suffix("_before"), how="left").fillna(0).reset_index()
        if both["found"].sum():
            ranked += [(it["score"], dimension, it["value"]) for it in concentrated_values(both).to_dict("records")]
    for _, dimension, value in sorted(ranked, reverse=True)[:1]:
        of_segment = counts[counts[dimension].astype(TEXT) == value].groupby("bucket_ns")[["calls", "found"]].sum()
        calls, found = (of_segment[name].to_numpy(np.float64) for name in ("calls", "found"))
        at = of_segment.index.to_numpy(np.int64)
        for change in share_changes(found, calls, at, width, least_ratio):
            begins_together = abs(change["changed_ns"] - row["changed_ns"]) <= _SAME_TIME * width
            goes_on = change["until_ns"] is None or change["until_ns"] > row["until_ns"] + width
            if begins_together and goes_on and change["after"] > change["before"]:
                return {"until_ns": change["until_ns"], "dimension": dimension, "value": value}
    return {}
