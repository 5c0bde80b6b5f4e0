"""List the outcomes that are errors: since when, how many mobiles were affected, and whose budget pays for them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import narwhals as nw
import pandas as pd

from toolkit.analysis.calls_table import (
    IS_SUCCESS,
    RESPONSE_KIND,
    IntoCalls,
    LazyTable,
    accepted_sends,
    collect,
    distinct_rows,
    lazy,
    with_buckets,
)
from toolkit.analysis.native_ops import held
from toolkit.analysis.outcomes import add_recorded_message
from toolkit.analysis.tidy_frames import describe_codes, returns_result
from toolkit.analysis.timestamps import bucket_times, to_utc
from toolkit.api.return_codes import Kind
from toolkit.records.call_record import Failure
from toolkit.time_zone import UTC


class Payer(StrEnum):
    """The party whose budget an error spends."""

    PROVIDER = "provider"
    POLICY = "policy"
    ACCOUNT_OWNER = "account owner"
    PROGRAMMER = "programmer"
    NOBODY = "nobody"
    UNKNOWN = "unknown"


_PAYERS = {
    Kind.SERVER: Payer.PROVIDER,
    Kind.RATE: Payer.POLICY,
    Kind.ACCOUNT: Payer.ACCOUNT_OWNER,
    Kind.REQUEST: Payer.PROGRAMMER,
    Kind.VERDICT: Payer.NOBODY,
}
_PAYER_DTYPE = pd.CategoricalDtype([payer.value for payer in Payer], ordered=True)
_OUTCOME = ["endpoint", "http_status", "return_code", "error", "response_kind"]
_SORT_ORDER = ["endpoint", "return_code", "error", "http_status", "response_kind"]
_INPUTS = ["started_ns", "latency_ns", "mobile_key", "msg_key", "request_id"]
_TIMES = ["first_seen", "last_seen"]
_COLUMNS = [
    *("endpoint", "http_status", "return_code", "message", "meaning", "kind", "error", "payer", "calls", "calls_ratio"),
    *("first_seen", "last_seen", "busiest", "busiest_calls", "mobiles", "example_request_ids"),
]
_IS_ERROR = ~IS_SUCCESS.fill_null(False)
_TEXT = pd.StringDtype("pyarrow")
_HAS_ID = ~nw.col("request_id").is_null()
_MAX, _NONE = nw.lit(2**63 - 1, nw.Int64), nw.lit(-1, nw.Int64)
_WITH_ID = {  # the start and the latency of calls that have a request id
    "id_first_ns": nw.when(_HAS_ID).then(nw.col("started_ns")).otherwise(_MAX),
    "id_last_ns": nw.when(_HAS_ID).then(nw.col("started_ns")).otherwise(_NONE),
    "id_latency_ns": nw.when(_HAS_ID).then(nw.col("latency_ns")).otherwise(_NONE),
}


@returns_result
def errors(calls: IntoCalls, every: str | pd.Timedelta = "1h", timezone: str = UTC) -> pd.DataFrame:
    """List all outcomes of each endpoint except OK, also those that spend nobody's budget.

    Args:
        calls: Calls.
        every: The width of the time buckets among which the busiest one is found.
        timezone: The time zone to whose midnight buckets are aligned.

    Returns:
        One row per endpoint and outcome in the API's order, calls without a return code last, with these columns:

        - endpoint, http_status, return_code, message, meaning, kind, error: as in ``return_codes``
        - payer (category): provider, policy, account owner, programmer or nobody; unknown if the kind of the
          return code is
        - calls (int64)
        - calls_ratio (0..1, float64): of the endpoint's calls
        - first_seen, last_seen (UTC, datetime64[ns, UTC]): the start of the first and of the last call
        - busiest (UTC): the start of the first bucket with the most calls
        - busiest_calls (int64): the calls in this bucket
        - mobiles (Int64): distinct mobiles; for verifies, those of their sends; null if no call has a known mobile
        - example_request_ids (string): of the first, the last and the slowest call with a request id, separated by
          blanks; null if no call has one

    Raises:
        InputError: ``every`` is not a positive duration.
    """
    table = lazy(calls, "return_code").with_columns(nw.col("latency_ns").fill_null(0))  # some logs hold no latency
    failed = table.filter(_IS_ERROR).with_columns(response_kind=RESPONSE_KIND)
    with held(failed.select(*_OUTCOME, *_INPUTS)) as failed:
        found = _count_outcomes(with_buckets(failed, every, timezone).with_columns(**_WITH_ID))
        mobiles, examples = _count_mobiles(table, failed), _example_ids(failed, found)
    found = describe_codes(add_recorded_message(found, table))
    of_endpoint = collect(table.group_by("endpoint").agg(calls=nw.len())).set_index("endpoint")["calls"]
    found["calls_ratio"] = found["calls"] / found["endpoint"].map(of_endpoint).astype("int64")
    payers = [_payer(kind, error) for kind, error in zip(found["kind"], found["error"], strict=True)]
    found = found.assign(**{name: to_utc(found[name]) for name in _TIMES})
    found["busiest"] = bucket_times(found["busiest"], every, timezone)[0].dt.tz_convert(UTC)
    found["payer"] = pd.Series(payers, found.index, _PAYER_DTYPE)
    found["mobiles"] = pd.Series([mobiles.get(key) for key in _keys(found)], found.index, "Int64")
    found["example_request_ids"] = pd.Series([examples.get(key) for key in _keys(found)], found.index, _TEXT)
    return found[_COLUMNS]


def _count_outcomes(failed: LazyTable) -> pd.DataFrame:
    """Count each outcome, with its first, last and busiest time."""
    started = nw.col("started_ns")
    sums = {"calls": nw.len(), "first_seen": started.min(), "last_seen": started.max()}
    sums |= {"id_first_ns": nw.col("id_first_ns").min(), "id_last_ns": nw.col("id_last_ns").max()}
    sums |= {"id_slowest_ns": nw.col("id_latency_ns").max()}
    buckets = collect(failed.group_by([*_OUTCOME, "bucket_ns"]).agg(**sums))
    buckets = buckets.sort_values(["calls", "bucket_ns"], ascending=[False, True], ignore_index=True)
    found = buckets.groupby(_OUTCOME, observed=True, dropna=False, sort=False).agg(
        calls=("calls", "sum"),
        busiest_calls=("calls", "first"),
        busiest=("bucket_ns", "first"),
        first_seen=("first_seen", "min"),
        last_seen=("last_seen", "max"),
        id_first_ns=("id_first_ns", "min"),
        id_last_ns=("id_last_ns", "max"),
        id_slowest_ns=("id_slowest_ns", "max"),
    )
    return found.reset_index().sort_values(_SORT_ORDER, ignore_index=True)


def _payer(kind: Any, error: Any) -> Payer:
    """Return the payer of an outcome.

    The provider pays for calls without a response, except for those that the caller cancelled.
    """
    if not pd.isna(kind):
        return _PAYERS[Kind(kind)]
    if pd.isna(error):
        return Payer.UNKNOWN
    return Payer.NOBODY if error == Failure.CANCELLED else Payer.PROVIDER


def _count_mobiles(table: LazyTable, failed: LazyTable) -> dict[tuple[Any, ...], int]:
    """Count the distinct mobiles of each outcome."""
    has_mobile, has_msg = ~nw.col("mobile_key").is_null(), ~nw.col("msg_key").is_null()
    sent = accepted_sends(table).filter(has_mobile, has_msg).select("msg_key", "mobile_key")
    # Two inner joins: in a left join pandas would convert keys with nulls to float, which changes them.
    columns, verify_columns = [*_OUTCOME, "mobile_key"], [*_OUTCOME, "msg_key"]
    verifies = failed.filter(~has_mobile, has_msg).select(verify_columns)
    affected = nw.concat([failed.filter(has_mobile).select(columns), verifies.join(sent, "msg_key").select(columns)])
    counts = collect(distinct_rows(affected, *columns).group_by(_OUTCOME).agg(mobiles=nw.len()))
    return dict(zip(_keys(counts), counts["mobiles"].tolist(), strict=True))


def _example_ids(failed: LazyTable, found: pd.DataFrame) -> dict[tuple[Any, ...], str]:
    """Return the example request ids of each outcome that has any."""
    found = found[found["id_last_ns"] >= 0]
    if found.empty:
        return {}
    started, latency = nw.col("started_ns"), nw.col("latency_ns")
    is_first_or_last = started.is_in([*found["id_first_ns"], *found["id_last_ns"]])
    is_example = is_first_or_last | latency.is_in(found["id_slowest_ns"].tolist())
    groups = failed.filter(_HAS_ID, is_example).group_by([*_OUTCOME, "started_ns", "latency_ns"])
    rows = collect(groups.agg(request_id=nw.col("request_id").min())).sort_values("request_id")
    ids: dict[tuple[Any, ...], str] = {}  # by outcome, column and its value; the first one in the order of ids
    for column in ("started_ns", "latency_ns"):
        for key, ns, request_id in zip(_keys(rows), rows[column], rows["request_id"], strict=True):
            ids.setdefault((key, column, ns), request_id)
    examples: dict[tuple[Any, ...], str] = {}
    times = (found["id_first_ns"], found["id_last_ns"], found["id_slowest_ns"])
    for key, *values in zip(_keys(found), *times, strict=True):
        places = zip(("started_ns", "started_ns", "latency_ns"), values, strict=True)
        examples[key] = " ".join(dict.fromkeys(ids[key, *place] for place in places))
    return examples


def _keys(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Return the outcome of each row as a tuple of plain values, with None for null."""
    columns = ([None if pd.isna(it) else it for it in frame[name]] for name in _OUTCOME)
    return list(zip(*columns, strict=True))
