"""Failures: what failed, since when, whom it touched, and whose budget pays for it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import narwhals as nw
import pandas as pd

from toolkit.analysis.calls_table import IS_SUCCESS, IntoCalls, LazyTable, accepted_sends, collect, distinct_rows, lazy
from toolkit.analysis.tidy_frames import describe_codes
from toolkit.analysis.timestamps import bucket_start_ns, to_utc
from toolkit.api.return_codes import Kind
from toolkit.records.call_record import Failure


class Payer(StrEnum):
    """Whose budget a failure spends."""

    PROVIDER = "provider"
    POLICY = "policy"
    ACCOUNT_OWNER = "account owner"
    PROGRAMMER = "programmer"
    NOBODY = "nobody"


_PAYERS = {
    Kind.SERVER: Payer.PROVIDER,
    Kind.RATE: Payer.POLICY,
    Kind.ACCOUNT: Payer.ACCOUNT_OWNER,
    Kind.REQUEST: Payer.PROGRAMMER,
    Kind.VERDICT: Payer.NOBODY,
}
_PAYER_DTYPE = pd.CategoricalDtype([row.value for row in Payer], ordered=True)
_OUTCOME = ["endpoint", "http_status", "return_code", "error"]
_READING_ORDER = ["endpoint", "return_code", "error", "http_status"]
_TIMES = ["first_seen", "last_seen", "busiest"]
_IS_OK = IS_SUCCESS.fill_null(False)
_TEXT = pd.StringDtype("pyarrow")
_HAS_ID = ~nw.col("request_id").is_null()
_NEVER, _ALWAYS = nw.lit(2**63 - 1, nw.Int64), nw.lit(-1, nw.Int64)
_NAMED = {  # when calls started, and how long they took, that have a request id to show
    "first_ns": nw.when(_HAS_ID).then(nw.col("started_ns")).otherwise(_NEVER),
    "last_ns": nw.when(_HAS_ID).then(nw.col("started_ns")).otherwise(_ALWAYS),
    "took_ns": nw.when(_HAS_ID).then(nw.col("latency_ns")).otherwise(_ALWAYS),
}


def errors(calls: IntoCalls, every: str | pd.Timedelta = "1h") -> pd.DataFrame:
    """List what failed: the outcomes of each endpoint that are no OK, also those that nobody's budget pays for.

    ``every``: the width of the buckets, aligned to 1970, of which the busiest is told.

    One row per endpoint and outcome, in the API's order, calls without a return code last; columns: endpoint,
    http_status, return_code, message, meaning, kind, error (as in ``return_codes``), payer (whose budget it spends:
    provider, policy, account owner, programmer or nobody, category, null for a code that the table doesn't know), calls
    (int64), share (of the endpoint's calls, 0..1, float64), first_seen, last_seen (when the first and the last one
    started, UTC, datetime64[ns, UTC]), busiest (start of the bucket with most of them, the first such one, UTC),
    busiest_calls (calls in it, int64), mobiles (different ones that met it, a verify's being that of its send; only
    those that a record tells, int64), example_request_ids (of the first, the last and the slowest one that has any,
    each once, with blanks between, string, null where none has). Raise InputError for a width that isn't one.
    """
    table = lazy(calls)
    failed = table.filter(~_IS_OK)
    found = describe_codes(_count(failed.with_columns(bucket_ns=bucket_start_ns(every), **_NAMED)))
    of_all = collect(table.group_by("endpoint").agg(calls=nw.len())).set_index("endpoint")["calls"]
    found["share"] = found["calls"] / found["endpoint"].map(of_all).astype("int64")
    found = found.assign(**{name: to_utc(found[name]) for name in _TIMES}, payer=_payers(found))
    mobiles, examples = _mobiles(table), _examples(table, found)
    found["mobiles"] = pd.Series([mobiles.get(key, 0) for key in _keys(found)], found.index, "int64")
    found["example_request_ids"] = pd.Series([examples.get(key) for key in _keys(found)], found.index, _TEXT)
    words = ["message", "meaning", "kind", "error", "payer"]
    return found[[*_OUTCOME[:3], *words, "calls", "share", *_TIMES, "busiest_calls", "mobiles", "example_request_ids"]]


def _count(table: LazyTable) -> pd.DataFrame:
    """Count each outcome in all, with when it was seen: rows in the API's order."""
    started = nw.col("started_ns")
    first, last, took = nw.col("first_ns"), nw.col("last_ns"), nw.col("took_ns")
    sums = {"calls": nw.len(), "first_seen": started.min(), "last_seen": started.max()}
    sums |= {"first_named": first.min(), "last_named": last.max(), "slowest_named": took.max()}
    parts = collect(table.group_by([*_OUTCOME, "bucket_ns"]).agg(**sums))
    parts = parts.sort_values(["calls", "bucket_ns"], ascending=[False, True], ignore_index=True)
    found = parts.groupby(_OUTCOME, observed=True, dropna=False, sort=False).agg(
        calls=("calls", "sum"),
        busiest_calls=("calls", "first"),
        busiest=("bucket_ns", "first"),
        first_seen=("first_seen", "min"),
        last_seen=("last_seen", "max"),
        first_named=("first_named", "min"),
        last_named=("last_named", "max"),
        slowest_named=("slowest_named", "max"),
    )
    return found.reset_index().sort_values(_READING_ORDER, ignore_index=True)


def _payers(found: pd.DataFrame) -> pd.Series:
    payers = [_payer(kind, error) for kind, error in zip(found["kind"], found["error"], strict=True)]
    return pd.Series(payers, found.index, _PAYER_DTYPE)


def _payer(kind: Any, error: Any) -> Payer | None:
    """Tell who pays: the provider for what kept an answer from being read, but not where the caller ended the call."""
    if not pd.isna(kind):
        return _PAYERS[Kind(kind)]
    if pd.isna(error):
        return None
    return Payer.NOBODY if error == Failure.CANCELLED else Payer.PROVIDER


def _mobiles(table: LazyTable) -> dict[tuple[Any, ...], int]:
    """Count the mobiles of each outcome that is no success."""
    failed = table.filter(~_IS_OK)
    known = ~nw.col("mobile_key").is_null()
    sent = accepted_sends(table).filter(known, ~nw.col("msg_key").is_null()).select("msg_key", "mobile_key")
    # No left join: pandas makes floats of whole numbers there, and other keys of keys.
    own, named = [*_OUTCOME, "mobile_key"], [*_OUTCOME, "msg_key"]
    verifies = failed.filter(~known, ~nw.col("msg_key").is_null()).select(named)
    touched = nw.concat([failed.filter(known).select(own), verifies.join(sent, "msg_key").select(own)])
    counts = collect(distinct_rows(touched, *own).group_by(_OUTCOME).agg(mobiles=nw.len()))
    return dict(zip(_keys(counts), counts["mobiles"].tolist(), strict=True))


def _examples(table: LazyTable, found: pd.DataFrame) -> dict[tuple[Any, ...], str]:
    """Return the example request ids of each outcome that has any."""
    times = found[found["last_named"] >= 0]
    if times.empty:
        return {}
    started, latency = nw.col("started_ns"), nw.col("latency_ns")
    is_end = started.is_in([*times["first_named"], *times["last_named"]])
    is_one = is_end | latency.is_in(times["slowest_named"].tolist())
    known = table.filter(~nw.col("request_id").is_null(), ~_IS_OK, is_one)
    rows = collect(known.group_by([*_OUTCOME, "started_ns", "latency_ns"]).agg(request_id=nw.col("request_id").min()))
    ids: dict[tuple[Any, ...], str] = {}
    rows = rows.sort_values("request_id")
    for place in ("started_ns", "latency_ns"):
        for key, ns, it in zip(_keys(rows), rows[place], rows["request_id"], strict=True):
            ids.setdefault((key, place, ns), it)
    named: dict[tuple[Any, ...], str] = {}
    for key, *ns in zip(_keys(times), times["first_named"], times["last_named"], times["slowest_named"], strict=True):
        places = zip(("started_ns", "started_ns", "latency_ns"), ns, strict=True)
        named[key] = " ".join(dict.fromkeys(ids[key, *it] for it in places))
    return named


def _keys(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Return the outcome of each row as plain values, None for null."""
    columns = ([None if pd.isna(it) else it for it in frame[name]] for name in _OUTCOME)
    return list(zip(*columns, strict=True))
