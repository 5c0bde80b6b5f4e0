"""Find changes of the conversion: the share of accepted sends whose message is verified later.

Problem. A carrier that loses messages answers every send with success. Only the missing verifies show the loss, and
they show nothing about shares of return codes.

Method. Each send counts in the bucket in which it started; it converted if a verify with its msg_key succeeded at any
time. Of more than 50,000 sends, a sample by msg_key is counted. The last sends are left out, because people still
type: as long as the longest time between a send and its verify in the median bucket. The conversion of all sends, and
that of each app, template and carrier, is searched like the share of an outcome.

One loss changes many of these series. Of changes at the same time, only one is reported: that of the segment that
explains it, which means that the sends outside of it convert as before. If there is none, the change of all sends is
reported. If a single prefix explains it, the change is that of the prefix.

Worked example. A carrier with 30 % of the sends loses all messages for two days. The conversion falls from 85 % to 59 %
in all, to 0 % for the carrier, and to about 59 % for each app and template. Sends to other carriers stay at 85 %, so
the change is one of the carrier. If all carriers lose messages, no segment explains it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from toolkit.analysis.calls_table import IS_SUCCESS, IS_VERIFY, LazyTable, accepted_sends, collect
from toolkit.analysis.carriers import with_carrier
from toolkit.analysis.change_detection.lift import concentrated_values
from toolkit.analysis.change_detection.share_changes import ChangeRow, share_changes
from toolkit.analysis.change_detection.time_buckets import TEXT, WIDTHS_NS, Floats, Ints
from toolkit.analysis.timestamps import NS_PER_HOUR, bucket_start_ns

_MAX_BUCKETS = 400  # fewer are coarser in time; more take longer, and a conversion changes for hours
_SEGMENTS = ("carrier", "temp_id", "app_key")  # of segments with equal calls, the first one is named
_MIN_SENDS = 200  # of a segment: fewer can't have a reportable change of a conversion
_SAMPLED_SENDS, _MODULUS = 50_000, 1_000_003  # more find slighter changes and take longer
_NEVER_NS = 1 << 62
_SAME_TIME = 3  # buckets between the starts of two changes with one cause
_SAME_ODDS = 1.5  # of the sends outside a segment before and after a change, if the segment explains it


@dataclass(frozen=True, slots=True)
class _Series:
    """The sends and the converted ones of a segment in each bucket; dimension and value are None for all sends."""

    dimension: str | None
    value: str | None
    sends: Floats
    converted: Floats


def conversion_changes(
    table: LazyTable, sends: int, duration_ns: int, least_width: int, least_ratio: float
) -> Iterator[ChangeRow]:
    """Yield the changes of the conversion; none if the calls have no msg_key or no successful verify.

    ``sends``: number of accepted sends; ``duration_ns``: of the log; ``least_width``: of a bucket, ns. The fields of a
    row are those of ``changes``.
    """
    fitting = [width for width in WIDTHS_NS if width >= least_width and width * _MAX_BUCKETS >= duration_ns]
    width = min(fitting, default=WIDTHS_NS[-1])
    counts = _count(table, sends, width)
    if counts.empty or not counts["converted"].any():
        return
    counts = _without_unfinished(counts, width)
    starts, bucket = np.unique(counts["bucket_ns"].to_numpy(np.int64), return_inverse=True)
    whole, *segments = _series(counts, bucket, len(starts))
    found = []
    for one in (whole, *segments):
        used = one.sends > 0
        rows = share_changes(one.converted[used], one.sends[used], starts[used], width, least_ratio)
        found += [(row, one) for row in rows]
    for row in _one_per_cause(found, whole, starts, width):
        yield row | _prefix(table, row)


def _prefix(table: LazyTable, row: ChangeRow) -> ChangeRow:
    """Return the prefix that explains a falling conversion alone, as the fields dimension and value; else no fields."""
    if row["after"] > row["before"]:
        return {}
    started, until_ns = nw.col("started_ns"), row["until_ns"] or _NEVER_NS
    near = table.filter(started >= row["changed_ns"], started < until_ns + NS_PER_HOUR)  # with the verifies
    during = _with_conversion(near).filter(started < until_ns)
    sums = {"calls": nw.len(), "found": (1 - nw.col("hit")).sum()}
    counts = collect(during.group_by("prefix").agg(**sums)).rename(columns={"prefix": "value"})
    counts = counts.assign(calls_before=0, found_before=0).astype({"value": TEXT})
    if not counts["found"].sum():
        return {}
    ((value, calls, found),) = counts.nlargest(1, "found")[["value", "calls", "found"]].to_numpy(object)
    concentrated = concentrated_values(counts)
    rest, missing = counts["calls"].sum() - calls, counts["found"].sum() - found
    is_alone = missing <= rest * (1 - row["before"]) * _SAME_ODDS
    return {"dimension": "prefix", "value": value} if is_alone and value in concentrated["value"].tolist() else {}


def _count(table: LazyTable, sends: int, width: int) -> pd.DataFrame:
    """Count sends and converted ones by bucket and segment. Column delay_ns: the longest time to a verify."""
    # Twice modulo, because engines disagree on the remainder of a negative number.
    key = (nw.col("msg_key") % _MODULUS + _MODULUS) % _MODULUS
    sample = (
        table.filter(key < int(_MODULUS * min(1.0, _SAMPLED_SENDS / max(sends, 1))))
        if sends > _SAMPLED_SENDS
        else table
    )
    marked = _with_conversion(sample).with_columns(bucket_ns=bucket_start_ns(pd.Timedelta(width, unit="ns")))
    by = ["bucket_ns", "app_key", "temp_id", "carrier"]
    sums = {"sends": nw.len(), "converted": nw.col("hit").sum(), "delay_ns": nw.col("delay_ns").max()}
    return collect(with_carrier(marked).group_by(by).agg(**sums))


def _with_conversion(table: LazyTable) -> LazyTable:
    """Return the accepted sends with the columns hit (1 if verified, else 0) and delay_ns."""
    has_key = ~nw.col("msg_key").is_null()
    successes = table.filter(IS_VERIFY, IS_SUCCESS, has_key).select("msg_key", "started_ns")
    verified = successes.group_by("msg_key").agg(verified_ns=nw.col("started_ns").min())
    sends = accepted_sends(table).filter(has_key).select("started_ns", "msg_key", "app_key", "temp_id", "prefix")
    is_converted = nw.when(nw.col("verified_ns").is_null()).then(nw.lit(0)).otherwise(nw.lit(1))
    joined = sends.join(verified, "msg_key", "left")
    return joined.with_columns(hit=is_converted, delay_ns=nw.col("verified_ns") - nw.col("started_ns"))


def _without_unfinished(counts: pd.DataFrame, width: int) -> pd.DataFrame:
    """Leave out the last buckets, whose codes may still be typed."""
    delays = counts.groupby("bucket_ns")["delay_ns"].max().dropna()
    settled_ns = counts["bucket_ns"].max() + width - int(delays.median())
    settled: pd.DataFrame = counts.loc[counts["bucket_ns"] + width <= settled_ns]
    return settled


def _series(counts: pd.DataFrame, bucket: Ints, buckets: int) -> Iterator[_Series]:
    """Yield the series of all sends, then those of each segment with enough sends."""
    sends, converted = counts["sends"].to_numpy(np.float64), counts["converted"].to_numpy(np.float64)

    def sums(of: Floats, which: Any) -> Floats:
        return np.bincount(bucket[which], of[which], buckets).astype(np.float64)

    yield _Series(None, None, sums(sends, slice(None)), sums(converted, slice(None)))
    for dimension in _SEGMENTS:
        values = counts[dimension].astype(TEXT)
        for value, rows in pd.Series(np.arange(len(values))).groupby(values.to_numpy(object)):
            which = rows.to_numpy()
            if _MIN_SENDS <= sends[which].sum() < sends.sum():
                yield _Series(dimension, str(value), sums(sends, which), sums(converted, which))


def _one_per_cause(
    found: list[tuple[ChangeRow, _Series]], whole: _Series, starts: Ints, width: int
) -> Iterator[ChangeRow]:
    """Yield one row for the changes that begin at about the same time: that of the segment that explains them."""
    left = sorted(found, key=lambda it: -it[0]["score"])
    while left:
        start = left[0][0]["changed_ns"]
        together = [it for it in left if abs(it[0]["changed_ns"] - start) <= _SAME_TIME * width]
        left = [it for it in left if it not in together]
        narrow = [it for it in together if it[1].dimension and _explains(it[0], it[1], whole, starts)]
        row, series = max(narrow or together, key=lambda it: (not narrow and it[1].dimension is None, it[0]["score"]))
        yield row | {"dimension": series.dimension, "value": series.value}


def _explains(row: ChangeRow, one: _Series, whole: _Series, starts: Ints) -> bool:
    """Return whether the sends outside a segment convert during its change as often as before."""
    until = starts[-1] + 1 if row["until_ns"] is None else row["until_ns"]
    is_during = (starts >= row["changed_ns"]) & (starts < until)
    sends, converted = whole.sends - one.sends, whole.converted - one.converted
    odds = [
        (converted[part].sum() + 0.5) / (sends[part].sum() - converted[part].sum() + 0.5)
        for part in (is_during, starts < row["changed_ns"])
    ]
    return bool(max(odds) < _SAME_ODDS * min(odds))
