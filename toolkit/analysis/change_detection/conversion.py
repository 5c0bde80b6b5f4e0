"""Find changes of the conversion: the share of accepted sends whose message is verified later.

Problem. A carrier that loses messages answers every send with success. Only the missing verifies show the loss, and
they show nothing about shares of return codes.

Method. Each send counts in the bucket in which it started; it converted if a verify with its msg_key succeeded at any
time. Of more than 50,000 sends, a sample by msg_key is counted. The last sends are left out, because people still
type: as long as the longest time between a send and its verify in the median bucket. The conversion of all sends, and
that of each app, template and carrier, is searched like the share of an outcome.

One loss changes many of these series. ``segments`` chooses the one that explains it, or that of all sends if none does,
and leaves out changes of the mix: an app doesn't convert better because a notice, which nobody verifies, can't be sent.
If a single prefix explains a loss, the change is that of the prefix.

Worked example. A carrier with 30 % of the sends loses all messages for two days. The conversion falls from 85 % to 59 %
in all, to 0 % for the carrier, and to about 59 % for each app and template. Sends to other carriers stay at 85 %, so
the change is one of the carrier. If all carriers lose messages, no segment explains it.
"""

from __future__ import annotations

from collections.abc import Iterator

import narwhals as nw
import pandas as pd

from toolkit.analysis.calls_table import IS_SUCCESS, IS_VERIFY, LazyTable, accepted_sends, collect
from toolkit.analysis.carriers import with_carrier
from toolkit.analysis.change_detection.lift import concentrated_values
from toolkit.analysis.change_detection.segments import (
    ALL_CALLS,
    SEGMENTS,
    SegmentCounts,
    changes_of_segments,
    one_per_cause,
)
from toolkit.analysis.change_detection.share_changes import ChangeRow
from toolkit.analysis.change_detection.time_buckets import TEXT
from toolkit.analysis.timestamps import NS_PER_HOUR, bucket_start_ns

_DIMENSIONS = [name for name in SEGMENTS if name != "source"]  # the host of a send has no effect on its delivery
_SAMPLED_SENDS, _MODULUS = 50_000, 1_000_003  # more find slighter changes and take longer
_NEVER_NS = 1 << 62
_SAME_ODDS = 1.5  # of the sends to other prefixes before and after a change, if a prefix explains it


def conversion_changes(table: LazyTable, sends: int, width: int, least_ratio: float) -> Iterator[ChangeRow]:
    """Yield the changes of the conversion; none if the calls have no msg_key or no successful verify.

    ``sends``: number of accepted sends; ``width``: of a bucket, ns. The fields of a row are those of ``changes``.
    """
    counts = _count(table, sends, width)
    if counts.empty or not counts["found"].any():
        return
    by_segment = SegmentCounts.of(_without_unfinished(counts, width), _DIMENSIONS, width)
    segments = [ALL_CALLS, *by_segment.segments()]
    found = changes_of_segments(by_segment, segments, least_ratio, len(segments))
    for row in one_per_cause(found, by_segment):
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
    """Count sends (calls) and converted ones (found) by bucket and segment. delay_ns: the longest time to a verify."""
    # Twice modulo, because engines disagree on the remainder of a negative number.
    key = (nw.col("msg_key") % _MODULUS + _MODULUS) % _MODULUS
    sample = (
        table.filter(key < int(_MODULUS * min(1.0, _SAMPLED_SENDS / max(sends, 1))))
        if sends > _SAMPLED_SENDS
        else table
    )
    marked = _with_conversion(sample).with_columns(bucket_ns=bucket_start_ns(pd.Timedelta(width, unit="ns")))
    sums = {"calls": nw.len(), "found": nw.col("hit").sum(), "delay_ns": nw.col("delay_ns").max()}
    return collect(with_carrier(marked).group_by("bucket_ns", *_DIMENSIONS).agg(**sums))


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
