"""Compute how much of an SLO's error budget is spent, and how fast it burns.

Terms: an SLO of 99.9 % over 30 days allows 0.1 % of the calls to be bad: this is the error budget. The burn rate is the
ratio of bad calls relative to the allowed ratio; at a burn rate of 1 the budget lasts exactly one period.

Alerts: a single window either reacts late (long window) or to every blip (short window). A rule therefore fires while
the burn rates of a long and of a short window both exceed a threshold. With the rules for 30 days:

    long   short   threshold   action   budget spent when it fires
    1 h    5 min   14.4        page     2 %
    6 h    30 min  6           page     5 %
    3 d    6 h     1           ticket   10 %

Example: 1 % of the calls are bad from 12:00 on, which is a burn rate of 10. The 6 h window exceeds 6 after 3.6 hours.
Therefore the second rule pages at 15:36. The first one never fires.

Method: time is cut into 43,200 steps a period (minutes for 30 days). The cumulative counts of calls and of bad calls
give the burn rate of every window with one subtraction. Memory is proportional to the number of steps between the first
and the last call.

With little traffic a single bad call exceeds a threshold: one of 50 calls is a burn rate of 20 for an SLO of 99.9 %.
Such an alert has a note. The workbook's remedies: longer windows, a lower SLO, or artificial traffic.

Source of the windows and thresholds: Google, The Site Reliability Workbook (2018), chapter 5, "Alerting on SLOs", 6:
multiwindow, multi-burn-rate alerts, and "Low-Traffic Services and Error Budget Alerting".
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from toolkit.analysis.calls_table import IS_UNKNOWN, IntoCalls, LazyTable, collect, lazy
from toolkit.analysis.tidy_frames import returns_result
from toolkit.analysis.timestamps import NS_PER_MS, NS_PER_S, bucket_start_ns, parse_width_ns, to_utc
from toolkit.api.errors import InputError
from toolkit.api.return_codes import Kind
from toolkit.records.call_record import Failure

PERIOD = "30D"
_STEPS_PER_PERIOD = 43_200  # minutes of 30 days


@dataclass(frozen=True, slots=True)
class _AlertRule:
    """Fires while the burn rates of two windows exceed a threshold. Windows are in steps."""

    long: int
    short: int
    threshold: float
    action: str


_RULES = (
    _AlertRule(60, 5, 14.4, "page"),
    _AlertRule(360, 30, 6.0, "page"),
    _AlertRule(4320, 360, 1.0, "ticket"),
)
_TEXT = pd.StringDtype("pyarrow")
_ACTIONS = pd.CategoricalDtype(["page", "ticket"], ordered=True)


@returns_result
def error_budget(
    calls: IntoCalls, slo: str | float = "99.9%", period: str | pd.Timedelta = PERIOD, within_ms: float | None = None
) -> pd.DataFrame:
    """Compare the bad calls of the last period with the number that an SLO allows.

    A call is bad if its return code is of kind SERVER, if its HTTP status is 500 to 599, or if no response was read.
    Calls that the caller cancelled are not bad.

    Args:
        calls: Calls.
        slo: The ratio of calls that must be good, such as "99.9%" or 0.999.
        period: The period of the SLO. Its last one ends with the last minute that has calls; a log that is shorter is
            used as a whole.
        within_ms: The highest latency of a good call, ms; no limit if it is omitted.

    Returns:
        One row, or none if there are not calls, with these columns:

        - since, until (UTC, datetime64[ns, UTC])
        - calls, bad (int64)
        - server, transport, slow (int64): the bad calls by cause; slow ones are those that did not fail
        - unknown (int64): calls that are neither good nor bad, because the kind of their return code is unknown
        - allowed (float64): the number of bad calls that the SLO allows
        - spent_ratio (float64): bad / allowed; at 1 the budget is spent
        - left (float64): allowed less bad
        - spent_ratio_high (float64): (bad + unknown) / allowed

    Raises:
        InputError: ``slo`` or ``period`` is invalid.

    >>> error_budget(calls, slo="99.95%", within_ms=500)  # doctest: +SKIP
    """
    allowed_ratio, period_ns = _allowed_ratio(slo), parse_width_ns(period)
    step_ns = max(1, period_ns // _STEPS_PER_PERIOD)
    steps = _count_steps(lazy(calls, "return_code"), step_ns, within_ms)
    if len(steps):
        end_ns = int(steps["step_ns"].max()) + step_ns
        steps = steps[steps["step_ns"] >= end_ns - period_ns]
    times = {"since": steps["step_ns"].min(), "until": steps["step_ns"].max() + step_ns}
    sums = steps[["calls", "bad", "server", "transport", "slow", "unknown"]].sum()
    row = pd.DataFrame([times | sums.to_dict()]).astype("Int64").dropna().astype("int64")
    row = row.reset_index(drop=True).assign(since=to_utc(row["since"]), until=to_utc(row["until"]))
    row = row.assign(allowed=row["calls"] * allowed_ratio)
    spent_high = (row["bad"] + row["unknown"]) / row["allowed"]
    left = row["allowed"] - row["bad"]
    return row.assign(spent_ratio=row["bad"] / row["allowed"], left=left, spent_ratio_high=spent_high)


@returns_result
def burn_rates(
    calls: IntoCalls, slo: str | float = "99.9%", period: str | pd.Timedelta = PERIOD, within_ms: float | None = None
) -> pd.DataFrame:
    """Compute the burn rates of an error budget, and when its alert rules fired.

    The windows scale with the period. They end with each step of time, a minute for 30 days. The first step is the one
    at which the log is as long as the short window, or the last step of a shorter log.

    Args:
        calls: Calls.
        slo: As for ``error_budget``.
        period: As for ``error_budget``.
        within_ms: As for ``error_budget``.

    Returns:
        One row per alert rule, with these columns:

        - action (category): "page" or "ticket"
        - long_s, short_s (s, float64): the lengths of the windows
        - threshold (float64): the burn rate that both windows must exceed
        - burn_long, burn_short (float64): the burn rates at the end of the log
        - firing (bool): whether the rule fires at the end of the log
        - worst_burn (float64): the highest burn rate of a long window
        - worst_at (UTC, datetime64[ns, UTC]): the end of the first such window, null without calls
        - first_fired (UTC): the end of the first windows at which the rule fired, null if it never did
        - firing_s (s, float64): how long it fired in all
        - note (string): a caveat if a single bad call is enough for the threshold in the short window of the first
          alert, or in its worst window if it never fired; else ""

    Raises:
        InputError: ``slo`` or ``period`` is invalid.
    """
    allowed_ratio, step_ns = _allowed_ratio(slo), max(1, parse_width_ns(period) // _STEPS_PER_PERIOD)
    first_end_ns, sums = _cumulative_counts(_count_steps(lazy(calls, "return_code"), step_ns, within_ms), step_ns)
    rows = [_evaluate(rule, first_end_ns, step_ns, sums, allowed_ratio) for rule in _RULES]
    found = pd.DataFrame(rows).astype({"action": _ACTIONS, "worst_at": "Int64", "first_fired": "Int64", "note": _TEXT})
    return found.assign(worst_at=to_utc(found["worst_at"]), first_fired=to_utc(found["first_fired"]))


def _allowed_ratio(slo: str | float) -> float:
    """Parse an SLO and return the ratio of calls that may be bad, the closest float to its decimal value."""
    text = str(slo).strip()
    try:
        good_ratio = Decimal(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except InvalidOperation:
        good_ratio = Decimal(-1)
    if good_ratio.is_nan() or not 0 < good_ratio < 1:
        raise InputError(f"invalid slo {slo!r}: expected a ratio of good calls between 0 and 1, e.g. 99.9% or 0.999")
    return float(1 - good_ratio)


def _count_steps(table: LazyTable, step_ns: int, within_ms: float | None) -> pd.DataFrame:
    """Count the calls and the bad calls of each step that has calls."""
    error = nw.col("error")
    is_answered, has_5xx = error.is_null(), nw.col("http_status").is_between(500, 599).fill_null(False)
    server = (nw.col("kind") == Kind.SERVER.value).fill_null(False) | (is_answered & has_5xx)
    transport = ~server & (~error.is_null() & (error != Failure.CANCELLED.value)).fill_null(False)
    slow = nw.lit(False) if within_ms is None else nw.col("latency_ns") > int(within_ms * NS_PER_MS)
    causes = {"server": server, "transport": transport, "slow": slow & ~server & ~transport}
    has_no_code = nw.col("return_code").is_null() & is_answered
    causes["unknown"] = (IS_UNKNOWN | has_no_code) & ~server & ~causes["slow"]
    numbers = {name: nw.when(cause).then(1).otherwise(0) for name, cause in causes.items()}
    marked = table.select(bucket_start_ns(f"{step_ns}ns").alias("step_ns"), **numbers)
    counts = marked.group_by("step_ns").agg(nw.len().alias("calls"), *(nw.col(name).sum() for name in causes))
    found = collect(counts).sort_values("step_ns", ignore_index=True)
    return found.assign(bad=found["server"] + found["transport"] + found["slow"])


def _cumulative_counts(steps: pd.DataFrame, step_ns: int) -> tuple[int, NDArray[np.int64]]:
    """Return the end of the first step, and the cumulative counts of calls and of bad calls.

    Column 0 of the counts is the start of the first step, column k the end of step k.
    """
    if steps.empty:
        return 0, np.zeros((2, 1), np.int64)
    first_ns = int(steps["step_ns"].iloc[0])
    indexes = (steps["step_ns"].to_numpy(np.int64) - first_ns) // step_ns
    counts = np.zeros((2, int(indexes[-1]) + 2), np.int64)
    counts[:, indexes + 1] = steps[["calls", "bad"]].to_numpy(np.int64).T
    return first_ns + step_ns, counts.cumsum(axis=1)


def _evaluate(
    rule: _AlertRule, first_end_ns: int, step_ns: int, sums: NDArray[np.int64], allowed_ratio: float
) -> dict[str, object]:
    """Return the row of a rule in the result of ``burn_rates``."""
    skipped = max(0, min(rule.short, sums.shape[1] - 1) - 1)  # windows with only a few calls at the log's start
    long, short = (_window_rates(sums, steps, allowed_ratio)[skipped:] for steps in (rule.long, rule.short))
    firing = (long > rule.threshold) & (short > rule.threshold)
    first_end_ns += skipped * step_ns
    ends_ns = range(first_end_ns, first_end_ns + len(long) * step_ns, step_ns)
    at = int(firing.argmax()) if firing.any() else int(long.argmax()) if len(long) else 0
    end = at + skipped + 1  # a column of the sums
    few = int(np.diff(sums[0, [max(0, end - rule.short), min(end, sums.shape[1] - 1)]])[0])
    is_single_enough = 0 < few * rule.threshold * allowed_ratio < 1
    return {
        "action": rule.action,
        "long_s": rule.long * step_ns / NS_PER_S,
        "short_s": rule.short * step_ns / NS_PER_S,
        "threshold": rule.threshold,
        "burn_long": float(long[-1]) if len(long) else 0.0,
        "burn_short": float(short[-1]) if len(long) else 0.0,
        "firing": bool(firing[-1]) if len(long) else False,
        "worst_burn": float(long.max(initial=0)),
        "worst_at": ends_ns[int(long.argmax())] if len(long) else None,
        "first_fired": ends_ns[int(firing.argmax())] if firing.any() else None,
        "firing_s": int(firing.sum()) * step_ns / NS_PER_S,
        "note": f"low traffic: 1 bad call of {few:,} in the short window exceeds the threshold" * is_single_enough,
    }


def _window_rates(sums: NDArray[np.int64], steps: int, allowed_ratio: float) -> NDArray[np.float64]:
    """Return the burn rate of the window that ends with each step."""
    ends = np.arange(1, sums.shape[1])
    calls, bad = sums[:, ends] - sums[:, np.maximum(ends - steps, 0)]
    rates: NDArray[np.float64] = bad / np.maximum(calls, 1) / allowed_ratio
    return rates
