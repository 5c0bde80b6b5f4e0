"""Budgets: how many failures of the provider a promise allows, and how fast they are being spent.

Source of the windows and thresholds: Google, The Site Reliability Workbook (2018), chapter 5, "Alerting on SLOs", 6:
multiwindow, multi-burn-rate alerts.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from toolkit.analysis.calls_table import IntoCalls, LazyTable, collect, lazy
from toolkit.analysis.timestamps import NS_PER_MS, bucket_start_ns, parse_width_ns, to_utc
from toolkit.api.errors import InputError
from toolkit.api.return_codes import Kind
from toolkit.records.call_record import Failure

PERIOD = "30D"
_STEPS_A_PERIOD = 43_200  # minutes of 30 days: how fine time is cut


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two windows, in steps (of 30 days, minutes), and what is done while both burn faster than the threshold."""

    long: int
    short: int
    threshold: float
    action: str


_PAIRS = (_Pair(60, 5, 14.4, "page"), _Pair(360, 30, 6.0, "page"), _Pair(4320, 360, 1.0, "ticket"))
_ACTIONS = pd.CategoricalDtype(["page", "ticket"], ordered=True)


def error_budget(
    calls: IntoCalls, slo: str | float = "99.9%", period: str | pd.Timedelta = PERIOD, within_ms: float | None = None
) -> pd.DataFrame:
    """Set the provider's failures against what a promise allows in its last period.

    ``slo``: the promise, that at least so many calls ("99.9%" or 0.999) fail neither with SERVER nor in transport; a
    call that its caller ended doesn't fail. ``within_ms``: where it also promises that; then a slower call is bad too.
    ``period``: what the promise is about; its last one ends with the last minute that has calls, and of a shorter log
    it holds all.

    One row, none where there are no calls; columns: since, until (UTC, datetime64[ns, UTC]), calls, bad, of which
    server, transport, slow (those that did not fail, int64), allowed (bad calls, float64), spent_ratio (bad to allowed,
    1 is all, float64), left (allowed less bad, float64). Raise InputError for what is no promise or period.
    """
    allowed_ratio, width = _allowed_ratio(slo), parse_width_ns(period)
    buckets = _count(lazy(calls), _step_ns(width), within_ms)
    if len(buckets):
        end = int(buckets["bucket_ns"].max()) + _step_ns(width)
        buckets = buckets[buckets["bucket_ns"] >= end - width]
    times = {"since": buckets["bucket_ns"].min(), "until": buckets["bucket_ns"].max() + _step_ns(width)}
    sums = buckets[["calls", "bad", "server", "transport", "slow"]].sum()
    row = pd.DataFrame([times | sums.to_dict()]).astype("Int64").dropna().astype("int64")
    row = row.reset_index(drop=True).assign(since=to_utc(row["since"]), until=to_utc(row["until"]))
    row = row.assign(allowed=row["calls"] * allowed_ratio)
    return row.assign(spent_ratio=row["bad"] / row["allowed"], left=row["allowed"] - row["bad"])


def burn_rates(
    calls: IntoCalls, slo: str | float = "99.9%", period: str | pd.Timedelta = PERIOD, within_ms: float | None = None
) -> pd.DataFrame:
    """Tell how fast the budget of ``error_budget`` burns, and when that would have called somebody.

    A burn rate is the share of bad calls to the share that is allowed: at 1 a budget lasts its period. Somebody is
    called while a long and a short window both burn faster than a threshold. The windows are the workbook's for 30
    days, and for another period as many times as long. They end with each step of time, a minute for 30 days, from when
    the log is as long as the short one, or ends; a long one then holds what there is of calls.

    One row per pair of windows; columns: action ("page" or "ticket", category), long_s, short_s (s, float64),
    threshold, burn_long, burn_short (at the end, float64), firing (at the end, bool), worst_burn (the highest of a long
    window, float64), worst_at (when that window first ended, UTC, datetime64[ns, UTC], null without calls), first_fired
    (end of the first windows that called, UTC, null where none did), firing_s (how long in all, s, float64). It takes
    memory for each step between the first and the last call.
    """
    allowed_ratio, step = _allowed_ratio(slo), _step_ns(parse_width_ns(period))
    buckets = _count(lazy(calls), step, within_ms)
    first, sums = _cumulate(buckets, step)
    rows = [_burn(pair, first, step, sums, allowed_ratio) for pair in _PAIRS]
    found = pd.DataFrame(rows).astype({"action": _ACTIONS, "worst_at": "Int64", "first_fired": "Int64"})
    return found.assign(worst_at=to_utc(found["worst_at"]), first_fired=to_utc(found["first_fired"]))


def _allowed_ratio(slo: str | float) -> float:
    """Read a promise as the share of calls that may be bad, as near to it as a float can be."""
    text = str(slo).strip()
    try:
        kept = Decimal(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except InvalidOperation:
        kept = Decimal(-1)
    if kept.is_nan() or not 0 < kept < 1:
        raise InputError(f"{slo!r} is no share of good calls: give one above 0 and below 1, such as 99.9% or 0.999")
    return float(1 - kept)


def _step_ns(period_ns: int) -> int:
    return max(1, period_ns // _STEPS_A_PERIOD)


def _count(table: LazyTable, step_ns: int, within_ms: float | None) -> pd.DataFrame:
    """Count calls and the bad ones in each step that has calls."""
    error = nw.col("error")
    server = (nw.col("kind") == Kind.SERVER.value).fill_null(False)
    transport = ~server & (~error.is_null() & (error != Failure.CANCELLED.value)).fill_null(False)
    slow = nw.lit(False) if within_ms is None else nw.col("latency_ns") > int(within_ms * NS_PER_MS)
    marks = {"server": server, "transport": transport, "slow": slow & ~server & ~transport}
    marked = table.select(bucket_start_ns(f"{step_ns}ns").alias("bucket_ns"), **_whole(marks))
    found = collect(marked.group_by("bucket_ns").agg(nw.len().alias("calls"), *(nw.col(it).sum() for it in marks)))
    found = found.sort_values("bucket_ns", ignore_index=True)
    return found.assign(bad=found["server"] + found["transport"] + found["slow"])


def _whole(marks: dict[str, nw.Expr]) -> dict[str, nw.Expr]:
    return {name: nw.when(it).then(1).otherwise(0) for name, it in marks.items()}


def _cumulate(buckets: pd.DataFrame, step_ns: int) -> tuple[int, NDArray[np.int64]]:
    """Return the end of the first step, and how many calls and bad ones there were up to its begin and each end."""
    if buckets.empty:
        return 0, np.zeros((2, 1), np.int64)
    first = int(buckets["bucket_ns"].iloc[0])
    places = (buckets["bucket_ns"].to_numpy(np.int64) - first) // step_ns
    counts = np.zeros((2, int(places[-1]) + 2), np.int64)
    counts[:, places + 1] = buckets[["calls", "bad"]].to_numpy(np.int64).T
    return first + step_ns, counts.cumsum(axis=1)


def _burn(pair: _Pair, first_ns: int, step_ns: int, sums: NDArray[np.int64], allowed_ratio: float) -> dict[str, object]:
    early = max(0, min(pair.short, sums.shape[1] - 1) - 1)  # a few calls after its begin, a log shows nothing yet
    long, short = (_rates(sums, steps, allowed_ratio)[early:] for steps in (pair.long, pair.short))
    firing = (long > pair.threshold) & (short > pair.threshold)
    first_ns += early * step_ns
    ends = range(first_ns, first_ns + len(long) * step_ns, step_ns)
    return {
        "action": pair.action,
        "long_s": pair.long * step_ns / 1e9,
        "short_s": pair.short * step_ns / 1e9,
        "threshold": pair.threshold,
        "burn_long": float(long[-1]) if len(long) else 0.0,
        "burn_short": float(short[-1]) if len(long) else 0.0,
        "firing": bool(firing[-1]) if len(long) else False,
        "worst_burn": float(long.max(initial=0)),
        "worst_at": ends[int(long.argmax())] if len(long) else None,
        "first_fired": ends[int(firing.argmax())] if firing.any() else None,
        "firing_s": int(firing.sum()) * step_ns / 1e9,
    }


def _rates(sums: NDArray[np.int64], steps: int, allowed_ratio: float) -> NDArray[np.float64]:
    """Return the burn rate of the window of so many steps that ends with each."""
    ends = np.arange(1, sums.shape[1])
    calls, bad = sums[:, ends] - sums[:, np.maximum(ends - steps, 0)]
    rates: NDArray[np.float64] = bad / np.maximum(calls, 1) / allowed_ratio
    return rates
