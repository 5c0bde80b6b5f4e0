"""Count the outcomes of calls, in total and over time. An outcome is a return code, or an error without a response."""

from __future__ import annotations

import narwhals as nw
import pandas as pd

from toolkit.analysis.calls_table import (
    RESPONSE_KIND,
    IntoCalls,
    LazyTable,
    collect,
    covered_ratio,
    lazy,
    with_buckets,
)
from toolkit.analysis.intervals import wilson
from toolkit.analysis.tidy_frames import describe_codes, returns_result
from toolkit.analysis.timestamps import bucket_times
from toolkit.api.return_codes import find_published
from toolkit.time_zone import UTC

_OUTCOME = ["endpoint", "http_status", "return_code", "error", "response_kind"]
_SORT_ORDER = ["endpoint", "return_code", "error", "http_status", "response_kind"]


@returns_result
def return_codes(calls: IntoCalls) -> pd.DataFrame:
    """Count the outcomes of each endpoint, with their shares.

    Returns one row per endpoint and outcome, in the API's order, calls without a return code last. Columns:
        endpoint (category).
        http_status (Int16): null without a response.
        return_code (Int64): null without a response of the API.
        message, meaning (string): description of the code; of an unknown code the API's message, and "". The message is
            "code unknown" if only the HTTP status of a response is known.
        kind (category): as ``return_codes.kind_of`` decides it, null for an unknown code.
        error (category): null if the API responded.
        calls (int64).
        calls_ratio, calls_ratio_low, calls_ratio_high (float64, 0..1): share of the endpoint's calls, and Wilson's
            95 % interval.

    Raises InputError if ``calls`` isn't a frame of calls.

    Example: ``return_codes(read("runs/*").where(endpoint="send"))``.
    """
    counts = describe_codes(_count(lazy(calls, "return_code"), _OUTCOME).sort_values(_SORT_ORDER, ignore_index=True))
    whole = counts.groupby("endpoint", observed=True)["calls"].transform("sum")
    low, high = wilson(counts["calls"], whole)
    counts = counts.assign(calls_ratio=counts["calls"] / whole, calls_ratio_low=low, calls_ratio_high=high)
    described = ["message", "meaning", "kind", "error"]
    return counts[[*_OUTCOME[:3], *described, "calls", "calls_ratio", "calls_ratio_low", "calls_ratio_high"]]


@returns_result
def over_time(calls: IntoCalls, every: str | pd.Timedelta = "1s", timezone: str = UTC) -> pd.DataFrame:
    """Count the outcomes of each endpoint in buckets of time.

    Args:
        calls: the result of ``read``, or a frame.
        every: width of a bucket, such as "500ms", "1s" or "5min". Buckets are aligned to midnight; a call is in the
            bucket in which it started.
        timezone: the time zone of the buckets. A day in which clocks are changed has 23 or 25 hours.

    Returns one row per bucket, endpoint and outcome that has calls, in that order. Columns:
        started, ended (datetime64[ns, timezone]): of the bucket.
        endpoint, return_code, message, kind, error: as in ``return_codes``.
        calls (int64).
        calls_per_s (float64): mean over the bucket.
        covered_ratio (float64, 0..1): share of the bucket between the starts of the first and of the last call; below 1
            only in the first and the last bucket, whose rates are therefore too low.

    Raises InputError for an invalid width.

    Example: ``over_time(read("runs/*"), every="1min")``.
    """
    by = ["bucket_ns", "endpoint", "return_code", "error", "response_kind"]
    table = lazy(calls, "return_code")
    buckets = with_buckets(table, every, timezone)
    counts = describe_codes(_count(buckets, by).sort_values(by, ignore_index=True))
    started, ended = bucket_times(counts["bucket_ns"], every, timezone)
    width_s = (ended - started).dt.total_seconds()
    covered = covered_ratio(table, started, ended)
    counts = counts.assign(started=started, ended=ended, calls_per_s=counts["calls"] / width_s, covered_ratio=covered)
    described = ["endpoint", "return_code", "message", "kind", "error"]
    return counts[["started", "ended", *described, "calls", "calls_per_s", "covered_ratio"]]


def _count(table: LazyTable, by: list[str]) -> pd.DataFrame:
    """Count calls by outcome, with the column ``recorded_message`` of ``add_recorded_message``.

    Calls are grouped by plain columns first: an expression for each call costs more than the count itself.
    """
    plain = list(dict.fromkeys([*(name for name in by if name != "response_kind"), "http_status", "kind"]))
    counts = table.group_by(plain).agg(calls=nw.len())
    groups = counts.with_columns(response_kind=RESPONSE_KIND).group_by(by)
    return add_recorded_message(collect(groups.agg(nw.col("calls").sum())), table)


def add_recorded_message(counts: pd.DataFrame, calls: LazyTable) -> pd.DataFrame:
    """Add ``recorded_message``: for return codes that are in no table, a message of the calls."""
    codes = [int(code) for code in counts["return_code"].dropna().unique()]
    unknown = [code for code in codes if not ((row := find_published(code)) and row.message)]
    if not unknown:
        return counts
    of_unknown = calls.filter(nw.col("return_code").is_in(unknown)).group_by("return_code")
    return counts.merge(collect(of_unknown.agg(recorded_message=nw.col("message").min())), "left", on="return_code")
