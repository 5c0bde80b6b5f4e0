"""Find the templates, apps, prefixes, mobiles and other properties of calls in which an outcome concentrates.

Problem. A cause shows in many dimensions: if a template is broken, the apps and hours that use it more than others have
a higher share of the outcome, too. They are not causes.

Method. Count the calls of each value of each dimension; ``lift`` decides which values stand out. The dimension with the
highest score is the first cause. Then all calls are divided by its values that stand out, and the other dimensions are
tested within these strata; the best of them is the second cause, and so on.

Worked example. With template 1, 1 % of the calls fail, with template 2, 30 %. App B is better within each template, but
makes 80 % of its calls with template 2, others 10 %: 20 % of its calls fail, 4 % of the others'. Template 2 is named,
and within each template app B has a lift below 1. If it made the calls of template 2 worse, it would be named next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import narwhals as nw
import pandas as pd

from toolkit.analysis.calls import span
from toolkit.analysis.calls_table import (
    COLUMNS,
    IS_SEND,
    IntoCalls,
    LazyTable,
    accepted_sends,
    checked,
    collect,
    lazy,
    lazy_messages,
    verified_messages,
    with_wall_clock,
)
from toolkit.analysis.carriers import carriers, locate
from toolkit.analysis.change_detection.lift import COUNTS, concentrated_values
from toolkit.analysis.change_detection.time_buckets import TEXT
from toolkit.analysis.tidy_frames import returns_result
from toolkit.analysis.timestamps import NS_PER_DAY, NS_PER_HOUR, NS_PER_S, parse_time_ns
from toolkit.api.defaults import TTL_S
from toolkit.api.errors import InputError
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import Failure
from toolkit.time_zone import UTC

UNVERIFIED = "unverified"  # the outcome of sends that were accepted and never verified
DIMENSIONS = ["endpoint", "app_key", "temp_id", "prefix", "carrier", "province", "source", "hour", "mobile_key"]
_OWN = ("endpoint", "app_key", "source", "hour")  # in the record of each call; the others are those of a verify's send
_OF_SEND = ["temp_id", "prefix"]
_OF_PREFIX = ["carrier", "province"]
_MOBILE = "mobile_key"
_MIN_MOBILE_FOUND, _MAX_MOBILES = 5, 1000  # fewer calls of a mobile explain nothing, more mobiles take longer
_MAX_CAUSES = 3  # dimensions; more take longer, and divide the calls into smaller strata
_MAX_STRATA = 20  # values of a dimension that are distinguished from the others
_STRATUM = "stratum_of_{}"
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
    timezone: str = UTC,
) -> pd.DataFrame:
    """Find the templates, apps, prefixes, carriers, mobiles and other properties of calls in which an outcome gathers.

    Each value of a dimension is compared with all other calls of the same period and of the endpoints that had the
    outcome. After the first dimension is found, the others are compared among calls that are alike in it, so that an
    app isn't named because it uses a broken template. A verify has the template, the prefix and the mobile of the send
    with the same msg_key. A mobile is named by its ``mobile_key``, if it has at least 5 calls with the outcome.

    Args:
        calls: the result of ``read``, or a frame.
        outcome: a return code, a Kind, the name of an error, such as "timeout", or "unverified": accepted sends whose
            code was never verified. Sends of the log's last 5 minutes are left out, because people may still type.
        since: start of the period. Earlier calls show how far a value already was above the others; only a further
            increase counts.
        until: end of the period.
        against: other calls to use in place of the earlier ones.
        top: maximum number of rows of a dimension.
        timezone: time zone of the dimension hour, and of ``since`` and ``until`` without an offset.

    Returns one row per value that stands out: those of the dimension with the highest score, then those of up to two
    more. Columns:
        dimension (category), value (string): value is null for calls without one.
        calls, found (int64): all calls of the value, and those with the outcome.
        found_ratio, found_ratio_elsewhere, found_ratio_before (float64, 0..1): share with the outcome for this value,
            for all others, and for this value before; null if there were no such calls.
        lift, lift_low, lift_high (float64): found / expected calls, and its 95 % interval. The expected number follows
            from the share elsewhere and from the value's lift before, within the values of the dimensions above.
        coverage_ratio (float64, 0..1): share of all calls with the outcome.
        excess (float64): calls found minus the expected number.
        score (float64, bits): coverage * (log2 lift - (1 - 1 / lift) / ln 2): the mean information that the
            value gives about a call with the outcome; at least 0.01.
        strength (float64, 0..1): association of the whole dimension with the outcome, bias-corrected Cramér's V.

    Raises InputError if no call has the outcome and it isn't a return code, kind or error, and for an invalid time.

    Example: ``explain(read("runs/*"), 50009, since="2026-11-05T14:05")``. The method is described in ``lift``.
    """
    in_period = [] if until is None else [nw.col("started_ns") < parse_time_ns(until, timezone)]
    has_begun = [] if since is None else [nw.col("started_ns") >= parse_time_ns(since, timezone)]
    calls = checked(calls)
    if against is None:
        sources = [_Source(calls, in_period, has_begun[0] if has_begun else nw.lit(True), timezone)]
    else:
        now = _Source(calls, in_period + has_begun, nw.lit(True), timezone)
        sources = [now, _Source(checked(against), [], nw.lit(False), timezone)]
    flagged = [source.flagged(outcome) for source in sources]
    by_endpoint = collect(flagged[0].group_by("endpoint").agg(found=nw.col("found").sum()))
    endpoints = sorted(by_endpoint.loc[by_endpoint["found"] > 0, "endpoint"])
    if not endpoints:
        if outcome not in {*map(int, ReturnCode), *Kind, *Failure, UNVERIFIED}:
            raise InputError(
                f"no call ended with {outcome!r}: give a return code as a number, a kind, an error's name,"
                " or 'unverified'"
            )
        return _finish([])
    own = [table.filter(nw.col("endpoint").is_in(endpoints)) for table in flagged]
    tables = [(one, source.with_sends(one, endpoints)) for one, source in zip(own, sources, strict=True)]
    return _finish(list(_find_causes(tables, top)))


@dataclass(frozen=True, slots=True)
class _Source:
    """A table of calls: those in ``conditions`` are counted, as calls of the period if ``is_now``, else as before.

    ``timezone``: of the hours.
    """

    calls: IntoCalls
    conditions: list[nw.Expr]
    is_now: nw.Expr
    timezone: str

    def flagged(self, outcome: ReturnCode | Kind | int | str) -> LazyTable:
        """Return the calls with the columns COUNTS, each 0 or 1, and hour, in ns."""
        table = self._settled_sends() if outcome == UNVERIFIED else lazy(self.calls, "return_code")
        table = table.filter(*self.conditions) if self.conditions else table
        if outcome == UNVERIFIED:
            has_outcome = nw.col("verified").is_null()
        elif isinstance(outcome, int):
            has_outcome = nw.col("return_code") == int(outcome)
        else:
            has_outcome = nw.col("kind" if outcome in set(Kind) else "error") == str(outcome)
        now, hit = (nw.when(it).then(nw.lit(1)).otherwise(nw.lit(0)) for it in (self.is_now, has_outcome))
        table, time = with_wall_clock(table, self.timezone), nw.col("wall_ns")
        table = table.with_columns(now=now, hit=hit, hour=time % NS_PER_DAY - time % NS_PER_HOUR)
        now, hit = nw.col("now"), nw.col("hit")
        return table.with_columns(calls=now, found=now * hit, calls_before=1 - now, found_before=(1 - now) * hit)

    def _settled_sends(self) -> LazyTable:
        """Return the accepted sends whose code can't be verified any more, with the column verified: 1 or null."""
        table = lazy_messages(self.calls, "return_code", "msg_key").filter(~nw.col("msg_key").is_null())
        period = span(self.calls)
        settled_ns = period[1].value - TTL_S * NS_PER_S if period else 0
        verified = verified_messages(table).with_columns(verified=nw.lit(1))
        return accepted_sends(table).filter(nw.col("started_ns") < settled_ns).join(verified, "msg_key", "left")

    def with_sends(self, table: LazyTable, endpoints: list[str]) -> LazyTable:
        """Return the calls, verifies with the template, the prefix and the mobile of their send."""
        if Endpoint.VERIFY not in endpoints:
            return table
        sends = lazy(self.calls, "msg_key").filter(IS_SEND, ~nw.col("msg_key").is_null())
        names = [*_OF_SEND, _MOBILE]
        sent = {f"sent_{name}": nw.col(name).cast(COLUMNS[name]) for name in names}
        # One row per msg_key: a send may be in two records, the client's and the service's.
        named = sends.select("msg_key", **sent).group_by("msg_key").agg(nw.col(*sent).max())
        joined = table.join(named, on="msg_key", how="left")
        own = {name: nw.col(name).cast(COLUMNS[name]) for name in names}  # polars' categories are no text
        return joined.with_columns(**{name: nw.coalesce(own[name], f"sent_{name}") for name in names})


_Tables: TypeAlias = list[tuple[LazyTable, LazyTable]]  # of each source: the calls, and the same with their sends


def _find_causes(tables: _Tables, top: int) -> Iterator[pd.DataFrame]:
    """Yield the rows of each dimension that explains the outcome, given those before."""
    strata: dict[str, list[str]] = {}
    while len(strata) < _MAX_CAUSES:
        counts = _count(tables, strata)
        ranked = [(name, _find_values(counts[name], name)) for name in DIMENSIONS if name not in strata]
        name, best = max(ranked, key=lambda it: it[1]["score"].max() if len(it[1]) else 0.0)
        if best.empty:
            return
        strata[name] = best["value"].fillna("").head(_MAX_STRATA).tolist()
        value = best["value"]
        if name == "hour":
            value = (value.astype("Int64") // NS_PER_HOUR).astype(TEXT)
        yield best.assign(dimension=name, value=value).head(top)


def _count(tables: _Tables, strata: dict[str, list[str]]) -> dict[str, pd.DataFrame]:
    """Count by each dimension: one row per value and stratum."""
    by = [_STRATUM.format(name) for name in strata]
    if by:
        tables = [(own if set(strata) <= set(_OWN) else sent, sent) for own, sent in tables]
        tables = [(_with_strata(own, strata), _with_strata(sent, strata)) for own, sent in tables]
    own = pd.concat([_count_own(table, by) for table, _ in tables], ignore_index=True)
    of_send = [collect(table.group_by(*_OF_SEND, *by).agg(**_SUMS)) for _, table in tables]
    located = pd.concat([it.merge(carriers(it["prefix"].unique()), on="prefix", how="left") for it in of_send])
    counts = {name: own[own["dimension"] == name] for name in _OWN}
    counts |= {name: located.assign(value=located[name].astype(TEXT)) for name in _OF_SEND + _OF_PREFIX}
    counts[_MOBILE] = _count_mobiles([table for _, table in tables], by)
    return {name: _sum(it, by) for name, it in counts.items()}


def _sum(counts: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Add up the rows of a value and stratum. Columns: value, stratum (a number), and COUNTS."""
    stratum = counts.groupby(by).ngroup() if by else 0
    keyed = counts.assign(stratum=stratum, value=counts["value"].astype(TEXT))
    return keyed.groupby(["value", "stratum"], dropna=False)[COUNTS].sum().reset_index()


def _with_strata(table: LazyTable, strata: dict[str, list[str]]) -> LazyTable:
    """Add a column for each dimension: the value, or "others" if it doesn't stand out."""
    if set(strata) & set(_OF_PREFIX):
        table = locate(table)
    texts = {name: nw.col(name).cast(nw.String).fill_null("") for name in strata}
    chosen = {name: nw.when(texts[name].is_in(it)).then(texts[name]) for name, it in strata.items()}
    return table.with_columns(**{_STRATUM.format(name): it.otherwise(nw.lit("others")) for name, it in chosen.items()})


def _count_own(table: LazyTable, by: list[str]) -> pd.DataFrame:
    """Count by the dimensions in each call's record, in one query: one row per dimension, value and stratum."""
    keys = ["dimension", "value", *by]
    queries = [
        table.with_columns(value=nw.col(name).cast(nw.String), dimension=nw.lit(name)).group_by(keys).agg(**_SUMS)
        for name in _OWN
    ]
    return collect(nw.concat([query.select(*keys, *COUNTS) for query in queries]))


def _count_mobiles(tables: list[LazyTable], by: list[str]) -> pd.DataFrame:
    """Count by mobile those with some calls with the outcome; the value of all others together is null."""
    mobile = nw.col(_MOBILE)
    with_outcome = tables[0].filter(nw.col("found") == 1, ~mobile.is_null()).group_by(_MOBILE).agg(found=nw.len())
    often = collect(with_outcome.filter(nw.col("found") >= _MIN_MOBILE_FOUND))
    keys = often.sort_values(["found", _MOBILE], ascending=[False, True])[_MOBILE].head(_MAX_MOBILES).tolist()
    value = nw.when(mobile.is_in(keys)).then(mobile.cast(nw.String)) if keys else nw.lit(None, nw.String)
    return pd.concat([collect(it.with_columns(value=value).group_by("value", *by).agg(**_SUMS)) for it in tables])


def _find_values(counts: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the rows of a dimension, the highest score first."""
    tests = int(counts["calls"].sum()) // _MIN_MOBILE_FOUND if name == _MOBILE else 0  # as many mobiles may have enough
    found = concentrated_values(counts, tests)
    found = found[found["value"].notna()] if name == _MOBILE else found
    return found.sort_values(["score", "value"], ascending=[False, True])


def _finish(tables: list[pd.DataFrame]) -> pd.DataFrame:
    names = list(_DTYPES)
    return pd.concat([it.reindex(columns=names).astype(_DTYPES) for it in (pd.DataFrame(), *tables)], ignore_index=True)
