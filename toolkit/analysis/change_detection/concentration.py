"""Concentration: in which of their properties the calls with an outcome gather."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import pandas as pd

from toolkit.analysis.calls_table import COLUMNS, IntoCalls, LazyTable, collect, lazy
from toolkit.analysis.carriers import carriers
from toolkit.analysis.change_detection.lift import COUNTS, judge
from toolkit.analysis.change_detection.time_buckets import TEXT
from toolkit.analysis.timestamps import parse_time_ns
from toolkit.api.errors import InputError
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import Failure

DIMENSIONS = ["endpoint", "app_key", "temp_id", "prefix", "carrier", "province", "source", "hour"]
_OWN = ("endpoint", "app_key", "source", "hour")  # which every call tells itself; the others its send tells
_OF_SEND = ["temp_id", "prefix"]
_OF_PREFIX = ["carrier", "province"]
_HOUR_NS, _DAY_NS = 3_600_000_000_000, 86_400_000_000_000
_DTYPES: dict[str, Any] = {
    "dimension": pd.CategoricalDtype(DIMENSIONS, ordered=True),
    "value": TEXT,
    **dict.fromkeys(("calls", "found"), "int64"),
    **dict.fromkeys(("share", "share_elsewhere", "share_before", "lift", "lift_low", "lift_high"), "float64"),
    **dict.fromkeys(("coverage", "excess", "score", "strength"), "float64"),
}


def explain(
    calls: IntoCalls,
    outcome: ReturnCode | Kind | int | str,
    since: str | pd.Timestamp | None = None,
    until: str | pd.Timestamp | None = None,
    against: IntoCalls | None = None,
    top: int = 5,
) -> pd.DataFrame:
    """Find in which templates, apps, prefixes, carriers, provinces, sources, endpoints or hours an outcome gathers.

    ``outcome``: a return code, a Kind, or the name of an error. The calls of each value of such a dimension are held
    against all others at the same time, of the endpoints that had the outcome. With ``since``, the calls before it tell
    how far a value was ahead of the others anyway, and only what it is ahead beyond that counts: what is asked is what
    is new. ``against``: other calls to tell that. ``until`` ends the calls; ``top`` is how many rows a dimension has at
    most. A verify's template and prefix are those of the send with the same msg_key.

    A value stands out that has more calls with the outcome than chance would give to any of so many values (at 5 %);
    where a dimension has 20 values, chance is as large as most of them differ. ``score`` says by how many bits the
    value makes a call with the outcome less of a surprise, on average over all of these: coverage times (log2 of the
    lift - (1 - 1 / lift) / ln 2); it is 0.01 or more. So 3 calls of 3 from a rare prefix don't come first, nor does the
    largest app that is a little ahead.

    One row per dimension and value that stands out, by score; columns: dimension (category), value (string, null where
    calls have none), calls, found (with the outcome, int64), share (found / calls), share_elsewhere, share_before (null
    where there were no calls before), lift (found as a multiple of what the share elsewhere, and what was before, would
    give), lift_low, lift_high (the ends of its 95 % interval), coverage (of all calls with the outcome), excess (calls
    found beyond what those would give), score (bits), strength (of the whole dimension, 0..1: Cramér's V, corrected for
    bias; all float64). Raise InputError for an outcome that no call had, and that is none.
    """
    parts, hit = _parts(calls, since, until, against), _is_found(outcome)
    own = _sum(_count_own(part.flagged(hit)) for part in parts)
    endpoints = sorted(own.loc[own["found"] > 0, "endpoint"].unique())
    if not endpoints:
        _check_known(outcome)
        return _finish([])
    sent = _sum(_count_sent(part.with_sends(part.flagged(hit), endpoints)) for part in parts)
    counts = {name: own[(own["dimension"] == name) & own["endpoint"].isin(endpoints)] for name in _OWN}
    counts |= dict.fromkeys((*_OF_SEND, *_OF_PREFIX), sent)
    return _finish([_judge(counts[name], name, top) for name in DIMENSIONS])


@dataclass(frozen=True, slots=True)
class _Part:
    """Calls that are asked about or came before: those of a table that are ``wanted``; ``is_now``, which are which."""

    calls: IntoCalls
    wanted: list[nw.Expr]
    is_now: nw.Expr

    def flagged(self, hit: nw.Expr) -> LazyTable:
        """Return the calls, with 0 or 1 for each of what is counted."""
        table = lazy(self.calls).filter(*self.wanted) if self.wanted else lazy(self.calls)
        now, found = (nw.when(it).then(nw.lit(1)).otherwise(nw.lit(0)) for it in (self.is_now, hit))
        table = table.with_columns(now=now, hit=found)
        now, found = nw.col("now"), nw.col("hit")
        return table.with_columns(calls=now, found=now * found, calls_before=1 - now, found_before=(1 - now) * found)

    def with_sends(self, table: LazyTable, endpoints: list[str]) -> LazyTable:
        """Return the calls of some endpoints, verifies with the template and the prefix of their send."""
        table = table.filter(nw.col("endpoint").is_in(endpoints))
        if Endpoint.VERIFY not in endpoints:
            return table
        is_sent = nw.col("endpoint") == Endpoint.SEND.value
        sends = lazy(self.calls, "msg_key").filter(is_sent, ~nw.col("msg_key").is_null())
        sent = {f"sent_{name}": nw.col(name).cast(COLUMNS[name]) for name in _OF_SEND}
        # One row of each: a send may be in two records, the client's and the service's.
        named = sends.select("msg_key", **sent).group_by("msg_key").agg(nw.col(*sent).max())
        joined = table.join(named, on="msg_key", how="left")
        own = {name: nw.col(name).cast(COLUMNS[name]) for name in _OF_SEND}  # polars' categories are no text
        return joined.with_columns(**{name: nw.coalesce(own[name], f"sent_{name}") for name in _OF_SEND})


def _parts(
    calls: IntoCalls, since: str | pd.Timestamp | None, until: str | pd.Timestamp | None, against: IntoCalls | None
) -> list[_Part]:
    wanted = [] if until is None else [nw.col("started_ns") < parse_time_ns(until)]
    begun = [] if since is None else [nw.col("started_ns") >= parse_time_ns(since)]
    if against is None:
        return [_Part(calls, wanted, begun[0] if begun else nw.lit(True))]
    return [_Part(calls, wanted + begun, nw.lit(True)), _Part(against, [], nw.lit(False))]


def _is_found(outcome: ReturnCode | Kind | int | str) -> nw.Expr:
    if isinstance(outcome, int):
        return nw.col("return_code") == int(outcome)
    return nw.col("kind" if outcome in set(Kind) else "error") == str(outcome)


def _check_known(outcome: ReturnCode | Kind | int | str) -> None:
    """Raise InputError for an outcome that no call had, and that is none."""
    if outcome not in {*map(int, ReturnCode), *Kind, *Failure}:
        raise InputError(f"no call ended with {outcome!r}: give a return code as a number, a kind, or an error's name")


_SUMS = {name: nw.col(name).sum() for name in COUNTS}


def _count_own(table: LazyTable) -> pd.DataFrame:
    """Count by what calls tell themselves: one row per dimension, endpoint and value, in one query."""
    time = nw.col("started_ns")
    table = table.with_columns(hour=time % _DAY_NS - time % _HOUR_NS)
    keys = ["dimension", "endpoint", "value"]
    queries = [
        table.with_columns(value=nw.col(name).cast(nw.String), dimension=nw.lit(name)).group_by(keys).agg(**_SUMS)
        for name in _OWN
    ]
    return collect(nw.concat([query.select(*keys, *COUNTS) for query in queries]))


def _count_sent(table: LazyTable) -> pd.DataFrame:
    """Count by what was sent: one row per temp_id and prefix."""
    counts = collect(table.group_by(_OF_SEND).agg(**_SUMS))
    return counts.merge(carriers(counts["prefix"].unique()), on="prefix", how="left")


def _sum(counts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(counts, ignore_index=True)


def _judge(counts: pd.DataFrame, name: str, top: int) -> pd.DataFrame:
    """Return the rows of a dimension."""
    value = counts["value"] if name in _OWN else counts[name]
    if name == "hour":
        value = value.astype("Int64") // _HOUR_NS
    values = counts[COUNTS].groupby(value.astype(TEXT).rename("value"), dropna=False).sum().reset_index()
    found = judge(values).sort_values(["score", "value"], ascending=[False, True])
    return found.head(top).assign(dimension=name)


def _finish(tables: list[pd.DataFrame]) -> pd.DataFrame:
    names = list(_DTYPES)
    rows = pd.concat([it.reindex(columns=names).astype(_DTYPES) for it in (pd.DataFrame(), *tables)], ignore_index=True)
    return rows.sort_values(["score", "dimension", "value"], ascending=[False, True, True], ignore_index=True)
