"""Outcomes: how many calls ended with which return code, or with which error, in all and over time."""

from __future__ import annotations

import narwhals as nw
import pandas as pd

from toolkit.analysis.calls_table import IntoCalls, LazyTable, collect, lazy
from toolkit.analysis.intervals import wilson
from toolkit.analysis.tidy_frames import describe_codes
from toolkit.analysis.timestamps import NS_PER_S, bucket_start_ns, parse_width_ns, to_utc

_OUTCOME = ["endpoint", "http_status", "return_code", "error"]
_READING_ORDER = ["endpoint", "return_code", "error", "http_status"]


def return_codes(calls: IntoCalls) -> pd.DataFrame:
    """Count the outcomes of each endpoint.

    One row per endpoint and outcome, in the API's order, calls without a return code last; columns: endpoint
    (category), http_status (Int16, null where nothing was answered), return_code (category of whole numbers, null
    without an answer of the API), message, meaning (the table's wording, string, "" where it has none), kind (category,
    null likewise), error (category, null where the API answered), calls (int64), share (of the endpoint's calls, 0..1,
    float64), share_low, share_high (the ends of its 95 % interval, Wilson's).
    """
    counts = describe_codes(_count(lazy(calls), _OUTCOME).sort_values(_READING_ORDER, ignore_index=True))
    whole = counts.groupby("endpoint", observed=True)["calls"].transform("sum")
    low, high = wilson(counts["calls"], whole)
    counts = counts.assign(share=counts["calls"] / whole, share_low=low, share_high=high)
    words = ["message", "meaning", "kind", "error"]
    return counts[[*_OUTCOME[:3], *words, "calls", "share", "share_low", "share_high"]]


def over_time(calls: IntoCalls, every: str | pd.Timedelta = "1s") -> pd.DataFrame:
    """Count the outcomes of each endpoint in buckets of time.

    ``every`` is the width of a bucket, such as "500ms", "1s" or "5min"; buckets are aligned to 1970, a call is in the
    one it started in. One row per bucket, endpoint and outcome that had calls, in that order; columns: started, ended
    (of the bucket, UTC, datetime64[ns, UTC]), endpoint, return_code, message, kind, error (as in ``return_codes``),
    calls (int64), calls_per_s (mean over the bucket, float64). Raise InputError for a width that isn't one.
    """
    by, width = ["bucket_ns", "endpoint", "return_code", "error"], parse_width_ns(every)
    counts = describe_codes(
        _count(lazy(calls).with_columns(bucket_ns=bucket_start_ns(every)), by).sort_values(by, ignore_index=True)
    )
    started = to_utc(counts["bucket_ns"])
    counts = counts.assign(
        started=started, ended=started + pd.Timedelta(width), calls_per_s=counts["calls"] / (width / NS_PER_S)
    )
    return counts[["started", "ended", "endpoint", "return_code", "message", "kind", "error", "calls", "calls_per_s"]]


def _count(table: LazyTable, by: list[str]) -> pd.DataFrame:
    return collect(table.group_by(by).agg(calls=nw.len()))
