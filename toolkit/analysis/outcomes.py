"""Outcomes: how many calls ended with which return code, or with which error, in all and over time."""

from __future__ import annotations

import pandas as pd

from toolkit.codes import Kind, find
from toolkit.errors import InputError

_OUTCOME = ["endpoint", "http_status", "return_code", "error"]
_READING_ORDER = ["endpoint", "return_code", "error", "http_status"]


def return_codes(calls: pd.DataFrame) -> pd.DataFrame:
    """Count the outcomes of each endpoint.

    One row per endpoint and outcome, in the API's order, calls without a return code last; columns: endpoint
    (category), http_status (Int16, null where nothing was answered), return_code (Int64, null without an answer of the
    API), message, meaning (the table's wording, string, "" where it has none), kind (category, null likewise), error
    (category, null where the API answered), calls (int64), share (of the endpoint's calls, 0..1, float64).
    """
    counts = _explain(_count(calls, _OUTCOME, order=_READING_ORDER))
    counts["share"] = counts["calls"] / counts.groupby("endpoint", observed=True)["calls"].transform("sum")
    return counts[[*_OUTCOME[:3], "message", "meaning", "kind", "error", "calls", "share"]]


def over_time(calls: pd.DataFrame, every: str = "1s") -> pd.DataFrame:
    """Count the outcomes of each endpoint in buckets of time.

    ``every`` is the width of a bucket, such as "500ms", "1s" or "5min"; buckets are aligned to 1970, a call is in the
    one it started in. One row per bucket, endpoint and outcome that had calls, in that order; columns: started, ended
    (of the bucket, UTC, datetime64[ns, UTC]), endpoint, return_code, message, kind, error (as in ``return_codes``),
    calls (int64), calls_per_s (mean over the bucket, float64). Raise InputError for a width that isn't one.
    """
    width_ns = _width_ns(every)
    # ts - ts % width stays in integers; a division may pass through floats, which are too coarse for ns since 1970.
    buckets = calls.assign(bucket_ns=calls["started_ns"] - calls["started_ns"] % width_ns)
    by = ["bucket_ns", "endpoint", "return_code", "error"]
    counts = _explain(_count(buckets, by, order=by))
    counts["started"] = pd.to_datetime(counts["bucket_ns"], unit="ns", utc=True)
    counts["ended"] = pd.to_datetime(counts["bucket_ns"] + width_ns, unit="ns", utc=True)
    counts["calls_per_s"] = counts["calls"] / (width_ns / 1e9)
    return counts[["started", "ended", "endpoint", "return_code", "message", "kind", "error", "calls", "calls_per_s"]]


def _width_ns(every: str) -> int:
    try:
        width_ns = pd.Timedelta(every).as_unit("ns").value
    except ValueError:
        width_ns = 0
    if width_ns <= 0:
        raise InputError(f"{every!r} is no width of a bucket: give a number and a unit, such as 1s, 500ms or 5min")
    return int(width_ns)


def _count(calls: pd.DataFrame, by: list[str], order: list[str]) -> pd.DataFrame:
    counts = calls.groupby(by, observed=True, dropna=False).size().rename("calls").reset_index()
    return counts.sort_values(order, key=_sort_key, ignore_index=True)


def _sort_key(column: pd.Series) -> pd.Series:
    """Sort errors by name: their categories are in the order in which they happened."""
    return column.astype(pd.StringDtype("pyarrow")) if column.name == "error" else column


def _explain(counts: pd.DataFrame) -> pd.DataFrame:
    """Add what the table says about each return code; nothing where it doesn't know it."""
    rows = [None if code is pd.NA else find(int(code)) for code in counts["return_code"]]
    return counts.assign(
        message=_texts([row.message if row else "" for row in rows]),
        meaning=_texts([row.meaning if row else "" for row in rows]),
        kind=pd.Categorical([row.kind.value if row else None for row in rows], [kind.value for kind in Kind]),
    )


def _texts(values: list[str]) -> pd.Series:
    return pd.Series(values, dtype=pd.StringDtype("pyarrow"))
