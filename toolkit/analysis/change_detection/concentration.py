"""Find the templates, apps, prefixes and other properties of calls in which an outcome concentrates.

This module counts the calls of each value of each dimension; ``lift`` decides which values stand out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import narwhals as nw
import pandas as pd

from toolkit.analysis.calls_table import COLUMNS, IS_SEND, IntoCalls, LazyTable, checked, collect, lazy
from toolkit.analysis.carriers import carriers
from toolkit.analysis.change_detection.lift import COUNTS, concentrated_values
from toolkit.analysis.change_detection.time_buckets import TEXT
from toolkit.analysis.tidy_frames import returns_result
from toolkit.analysis.timestamps import NS_PER_DAY, NS_PER_HOUR, parse_time_ns
from toolkit.api.errors import InputError
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import Failure

DIMENSIONS = ["endpoint", "app_key", "temp_id", "prefix", "carrier", "province", "source", "hour"]
_OWN = ("endpoint", "app_key", "source", "hour")  # in the record of each call; the others are those of a verify's send
_OF_SEND = ["temp_id", "prefix"]
_OF_PREFIX = ["carrier", "province"]
_SUMS = {name: nw.col(name).sum() for name in COUNTS}
_DTYPES: dict[str, Any] = {
    "dimension": pd.CategoricalDtype(DIMENSIONS, ordered=True),
    "value": TEXT,
    **dict.fromkeys(("calls", "found"), "int64"),
    **dict.fromkeys(
        ("found_ratio", "found_ratio_elsewhere", "found_ratio_before", "lift", "lift_low", "lift_high"), "float64"
    ),
    **dict.fromkeys(("coverage_ratio", "excess", "score", "strength"), "float64"),
}


@returns_result
def explain(
    calls: IntoCalls,
    outcome: ReturnCode | Kind | int | str,
    since: str | pd.Timestamp | None = None,
    until: str | pd.Timestamp | None = None,
    against: IntoCalls | None = None,
    top: int = 5,
) -> pd.DataFrame:
    """Find the templates, apps, prefixes, carriers, provinces, sources, endpoints or hours in which an outcome gathers.

    Each value of a dimension is compared with all other calls of the same period and of the endpoints that had the
    outcome. A verify has the template and the prefix of the send with the same msg_key.

    Arguments:
        calls: the result of ``read``, or a frame.
        outcome: a return code, a Kind, or the name of an error, such as "timeout".
        since: start of the period. Earlier calls show how far a value already was above the others; only a further
            increase counts.
        until: end of the period.
        against: other calls to use in place of the earlier ones.
        top: maximum number of rows of a dimension.

    Returns one row per dimension and value that stands out, the highest score first. Columns:
        dimension (category), value (string): value is null for calls without one.
        calls, found (int64): all calls of the value, and those with the outcome.
        found_ratio, found_ratio_elsewhere, found_ratio_before (float64, 0..1): share with the outcome for this value,
            for all others, and for this value before; null if there were no such calls.
        lift, lift_low, lift_high (float64): found / expected calls, and its 95 % interval. The expected number follows
            from the share elsewhere and from the value's lift before.
        coverage_ratio (float64, 0..1): share of all calls with the outcome.
        excess (float64): calls found minus the expected number.
        score (float64, bits): coverage * (log2 lift - (1 - 1 / lift) / ln 2): the mean information that the
            value gives about a call with the outcome; at least 0.01.
        strength (float64, 0..1): association of the whole dimension with the outcome, bias-corrected Cramér's V.

    Raises InputError if no call has the outcome and it isn't a return code, kind or error, and for an invalid time.

    Example: ``explain(read("runs/*"), 50009, since="2026-11-05T14:05")``. The method is described in ``lift``.
    """
    in_period = [] if until is None else [nw.col("started_ns") < parse_time_ns(until)]
    has_begun = [] if since is None else [nw.col("started_ns") >= parse_time_ns(since)]
    calls = checked(calls)
    if against is None:
        sources = [_Source(calls, in_period, has_begun[0] if has_begun else nw.lit(True))]
    else:
        sources = [_Source(calls, in_period + has_begun, nw.lit(True)), _Source(checked(against), [], nw.lit(False))]
    if isinstance(outcome, int):
        has_outcome = nw.col("return_code") == int(outcome)
    else:
        has_outcome = nw.col("kind" if outcome in set(Kind) else "error") == str(outcome)
    own = pd.concat([_count_own(source.flagged(has_outcome)) for source in sources], ignore_index=True)
    endpoints = sorted(own.loc[own["found"] > 0, "endpoint"].unique())
    if not endpoints:
        if outcome not in {*map(int, ReturnCode), *Kind, *Failure}:
            raise InputError(
                f"no call ended with {outcome!r}: give a return code as a number, a kind, or an error's name"
            )
        return _finish([])
    tables = [source.with_sends(source.flagged(has_outcome), endpoints) for source in sources]
    counts = [collect(table.group_by(_OF_SEND).agg(**_SUMS)) for table in tables]
    located = [it.merge(carriers(it["prefix"].unique()), on="prefix", how="left") for it in counts]
    of_send = pd.concat(located, ignore_index=True)
    of_endpoints = own[own["endpoint"].isin(endpoints)]
    return _finish([_find_values(name, of_endpoints, of_send, top) for name in DIMENSIONS])


@dataclass(frozen=True, slots=True)
class _Source:
    """A table of calls: those in ``conditions`` are counted, as calls of the period if ``is_now``, else as before."""

    calls: IntoCalls
    conditions: list[nw.Expr]
    is_now: nw.Expr

    def flagged(self, has_outcome: nw.Expr) -> LazyTable:
        """Return the calls with the columns COUNTS, each 0 or 1."""
        table = lazy(self.calls, "return_code")
        table = table.filter(*self.conditions) if self.conditions else table
        now, hit = (nw.when(it).then(nw.lit(1)).otherwise(nw.lit(0)) for it in (self.is_now, has_outcome))
        table = table.with_columns(now=now, hit=hit)
        now, hit = nw.col("now"), nw.col("hit")
        return table.with_columns(calls=now, found=now * hit, calls_before=1 - now, found_before=(1 - now) * hit)

    def with_sends(self, table: LazyTable, endpoints: list[str]) -> LazyTable:
        """Return the calls of some endpoints, verifies with the template and the prefix of their send."""
        table = table.filter(nw.col("endpoint").is_in(endpoints))
        if Endpoint.VERIFY not in endpoints:
            return table
        sends = lazy(self.calls, "msg_key").filter(IS_SEND, ~nw.col("msg_key").is_null())
        sent = {f"sent_{name}": nw.col(name).cast(COLUMNS[name]) for name in _OF_SEND}
        # One row per msg_key: a send may be in two records, the client's and the service's.
        named = sends.select("msg_key", **sent).group_by("msg_key").agg(nw.col(*sent).max())
        joined = table.join(named, on="msg_key", how="left")
        own = {name: nw.col(name).cast(COLUMNS[name]) for name in _OF_SEND}  # polars' categories are no text
        return joined.with_columns(**{name: nw.coalesce(own[name], f"sent_{name}") for name in _OF_SEND})


def _count_own(table: LazyTable) -> pd.DataFrame:
    """Count by the dimensions in each call's record, in one query: one row per dimension, endpoint and value."""
    time = nw.col("started_ns")
    table = table.with_columns(hour=time % NS_PER_DAY - time % NS_PER_HOUR)
    keys = ["dimension", "endpoint", "value"]
    queries = [
        table.with_columns(value=nw.col(name).cast(nw.String), dimension=nw.lit(name)).group_by(keys).agg(**_SUMS)
        for name in _OWN
    ]
    return collect(nw.concat([query.select(*keys, *COUNTS) for query in queries]))


def _find_values(name: str, own: pd.DataFrame, of_send: pd.DataFrame, top: int) -> pd.DataFrame:
    """Return the rows of a dimension."""
    counts = own[own["dimension"] == name] if name in _OWN else of_send
    value = counts["value"] if name in _OWN else counts[name]
    if name == "hour":
        value = value.astype("Int64") // NS_PER_HOUR
    values = counts[COUNTS].groupby(value.astype(TEXT).rename("value"), dropna=False).sum().reset_index()
    found = concentrated_values(values).sort_values(["score", "value"], ascending=[False, True])
    return found.head(top).assign(dimension=name)


def _finish(tables: list[pd.DataFrame]) -> pd.DataFrame:
    names = list(_DTYPES)
    rows = pd.concat([it.reindex(columns=names).astype(_DTYPES) for it in (pd.DataFrame(), *tables)], ignore_index=True)
    return rows.sort_values(["score", "dimension", "value"], ascending=[False, True, True], ignore_index=True)
