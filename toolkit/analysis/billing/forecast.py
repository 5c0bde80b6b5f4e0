"""Forecasts: what a month will have cost at its end, and how long a balance lasts, by the weekdays of past days."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from toolkit.analysis.billing.pricing import DAY_NS, TEXT, day_of, to_micros, to_money
from toolkit.analysis.billing.volumes import Volumes, read_volumes
from toolkit.analysis.billing.weekday_forecast import LEAST_DAYS, Floats, Path, days_until, look_ahead
from toolkit.analysis.calls_table import IntoCalls
from toolkit.analysis.timestamps import parse_time_ns, to_utc
from toolkit.api.errors import InputError
from toolkit.price_list import Prices

HORIZON_DAYS = 366  # beyond, a balance is said to last for ever

Until: TypeAlias = str | pd.Timestamp | None

_UTC, _MONEY = "utc", "money"
_WHOLE: Any = "Int64"
_COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("as_of", "since", "until"), _UTC),
    "whole_days": "int64",
    "messages": "int64",
    "messages_forecast": _WHOLE,
    "messages_low": _WHOLE,
    "messages_high": _WHOLE,
    "segments": "int64",
    "segments_forecast": _WHOLE,
    "segments_low": _WHOLE,
    "segments_high": _WHOLE,
    "unpriced": "int64",
    **dict.fromkeys(("money", "money_forecast", "money_low", "money_high"), _MONEY),
    "currency": "category",
    **dict.fromkeys(("days_left", "days_left_low", "days_left_high"), "float64"),
    "reason": TEXT,
}
_DAY_COLUMNS: dict[str, Any] = {
    "day": _UTC,
    "ahead": "bool",
    "messages": "int64",
    **dict.fromkeys(("messages_to_date", "messages_to_date_low", "messages_to_date_high"), _WHOLE),
    **dict.fromkeys(("money", "money_to_date", "money_to_date_low", "money_to_date_high"), _MONEY),
    "currency": "category",
}
_ENDS = ("", "_low", "_high")


def forecast(
    calls: IntoCalls, prices: Prices, balance: int | Decimal | None = None, until: Until = None
) -> pd.DataFrame:
    """Tell what was spent since the month began, and forecast what will have been by its end, or up to ``until``.

    It stands on the last 14 to 56 whole UTC days: each weekday comes as it came on average, without a trend, at the
    prices that then hold, for the same mix of templates and carriers (``weekdays`` says how). Now is when the last send
    started; the rest of that day is worth the part of a usual day that comes behind this hour. The first day is whole
    where a send was recorded in its first hour; a day without sends counts as one without messages.
    ``balance``: what is left now, a whole number in messages as the API counts them, that is in segments; a Decimal in
    money. ``until``: a UTC day, which is left out.

    One row, none where there are no sends; columns: as_of (now), since (of the month, or the first send if that is
    later), until (UTC, datetime64[ns, UTC]); whole_days (that the forecast stands on, int64); messages (accepted since,
    int64), messages_forecast (in all, with these), messages_low, messages_high (the ends of its 95 % interval, Int64);
    segments, segments_forecast, segments_low, segments_high likewise; unpriced (segments since then without a price, of
    which the money knows nothing, int64); money, money_forecast, money_low, money_high (decimal); currency (category);
    days_left, days_left_low, days_left_high (until the balance is gone, days, float64, infinite beyond 366); reason
    (why there is no forecast, and nulls, string, else "").
    """
    volumes = read_volumes(calls, prices)
    rows = [] if volumes is None else [_sum_up(_look(volumes, until, HORIZON_DAYS), balance)]
    return _shape(pd.DataFrame(rows, columns=list(_COLUMNS)), _COLUMNS, prices)


def forecast_by_day(calls: IntoCalls, prices: Prices, until: Until = None) -> pd.DataFrame:
    """Tell the same day by day, from the month's first to its last: what a picture of the forecast draws.

    One row per UTC day; columns: day (datetime64[ns, UTC]); ahead (whether some of it still is, bool); messages
    (accepted on it, int64); messages_to_date (from the first day to its end, with what is forecast, Int64),
    messages_to_date_low, messages_to_date_high (the ends of the 95 % interval, which are the same where nothing is
    ahead, Int64); money, money_to_date, money_to_date_low, money_to_date_high likewise (decimal); currency (category).
    """
    volumes = read_volumes(calls, prices)
    if volumes is None:
        return _shape(pd.DataFrame(columns=list(_DAY_COLUMNS)), _DAY_COLUMNS, prices)
    outlook = _look(volumes, until)
    shown = {"day": outlook.days.index, "ahead": outlook.is_ahead(), "currency": prices.currency}
    for name in ("messages", "money"):
        shown |= {name: outlook.days[name]}
        shown |= {f"{name}_to_date{end}": it for end, it in zip(_ENDS, outlook.to_date(name), strict=True)}
    return _shape(pd.DataFrame(shown).reset_index(drop=True), _DAY_COLUMNS, prices)


@dataclass(frozen=True, slots=True)
class _Outlook:
    """What the days of a month had and will have.

    days: as of Volumes.by_day, from the month's first one, or the first send's, to its last one; those ahead are empty.
    paths: what is added from today on, by the name of a column; none without a forecast.
    """

    volumes: Volumes
    days: pd.DataFrame
    whole_days: int
    paths: Mapping[str, Path]

    def is_ahead(self) -> npt.NDArray[np.bool_]:
        """Tell of each day whether some of it is to come."""
        return self.days.index.to_numpy() >= self.volumes.today_ns

    def recorded(self, name: str) -> pd.Series:
        """Return what was accepted up to each day; no money where none of it has a price."""
        sums = self.days.cumsum().astype(_WHOLE)
        is_unknown = (name == "money") & (sums["segments"] > 0) & (sums["segments"] == sums["unpriced"])
        return sums[name].mask(is_unknown)

    def to_date(self, name: str) -> tuple[pd.Series, pd.Series, pd.Series]:
        """Return what each day ends with, expected, low and high; null for days ahead that nobody can tell of."""
        recorded, ahead = self.recorded(name), int(self.is_ahead().sum())
        if name not in self.paths:
            unknown = recorded.mask(self.is_ahead())
            return unknown, unknown, unknown
        path = self.paths[name]
        added = (np.rint(it[:ahead]).astype("int64") for it in (path.expected, *path.ends()))
        expected, low, high = (recorded + np.append(np.zeros(len(recorded) - ahead, "int64"), it) for it in added)
        return expected, low, high


def _look(volumes: Volumes, until: Until, least_days: int = 0) -> _Outlook:
    start_ns, end_ns = volumes.month_ns
    if until is not None and ((end_ns := parse_time_ns(until)) % DAY_NS or end_ns <= volumes.last_ns):
        raise InputError(f"a forecast until {until!r} is none: give a UTC day behind the last send, such as 2026-12-01")
    by_day = volumes.by_day()
    ahead = max((end_ns - volumes.today_ns) // DAY_NS, least_days)
    whole = by_day.loc[volumes.whole_days()]
    days = pd.RangeIndex(max(start_ns, int(by_day.index[0])), end_ns, DAY_NS, name="day_ns")
    paths = _paths(volumes, whole, ahead) if len(whole) >= LEAST_DAYS else {}
    return _Outlook(volumes, by_day.reindex(days, fill_value=0), len(whole), paths)


def _paths(volumes: Volumes, whole: pd.DataFrame, ahead: int) -> dict[str, Path]:
    weights, weekday = np.ones(ahead), day_of(whole.index[0]).weekday()
    weights[0] = volumes.late_share()
    counts = {name: whole[name].to_numpy(np.float64) for name in ("messages", "segments")}
    paths = {name: look_ahead(it, weekday, weights) for name, it in counts.items()}
    money, parts = _at_prices_ahead(volumes, whole, ahead)
    is_unknown = counts["segments"].any() and not money.any()
    return paths if is_unknown else paths | {"money": look_ahead(money, weekday, weights * parts)}


def _at_prices_ahead(volumes: Volumes, whole: pd.DataFrame, ahead: int) -> tuple[Floats, Floats]:
    """Return what whole days cost at the dearest prices ahead, and to which part of that each day ahead comes."""
    days_ns = range(volumes.today_ns, volumes.today_ns + ahead * DAY_NS, DAY_NS)
    changes = sorted({row.since for row in volumes.prices.rows})
    lists = [bisect_right(changes, day_of(day_ns)) for day_ns in days_ns]
    at = {it: volumes.at_prices_of(days_ns[lists.index(it)]).loc[whole.index] for it in set(lists)}
    sums = {it: float(money.sum()) for it, money in at.items()}
    dearest = max(sums, key=sums.__getitem__)
    return at[dearest].to_numpy(np.float64), np.array([sums[it] / (sums[dearest] or 1) for it in lists])


def _sum_up(outlook: _Outlook, balance: int | Decimal | None) -> dict[str, object]:
    volumes, days = outlook.volumes, outlook.days
    missing = f"a forecast needs {LEAST_DAYS} whole days of calls, and there are {outlook.whole_days}"
    row: dict[str, object] = {
        "as_of": volumes.last_ns,
        "since": max(volumes.first_ns, int(days.index[0])),
        "until": int(days.index[-1]) + DAY_NS,
        "whole_days": outlook.whole_days,
        "unpriced": days["unpriced"].sum(),
        "reason": "" if outlook.paths else missing,
    }
    for name in ("messages", "segments", "money"):
        expected, low, high = (it.iloc[-1] for it in outlook.to_date(name))
        row |= {name: outlook.recorded(name).iloc[-1], f"{name}_forecast": expected}
        row |= {f"{name}_low": low, f"{name}_high": high}
    return row | _last(outlook, balance)


def _last(outlook: _Outlook, balance: int | Decimal | None) -> dict[str, float]:
    if not isinstance(balance, int | Decimal | None) or isinstance(balance, bool):
        raise InputError(f"a balance of {balance!r} is none: give messages as an int, or money as a Decimal")
    in_money = isinstance(balance, Decimal)
    path = outlook.paths.get("money" if in_money else "segments")
    if balance is None or path is None:
        return {}
    left = to_micros(Decimal(balance)) if in_money else int(balance)
    low, high = path.ends()
    ends = np.arange(1.0, len(low) + 1) - outlook.volumes.last_ns % DAY_NS / DAY_NS
    curves = {"": path.expected, "_low": high, "_high": low}
    return {f"days_left{end}": days_until(left, curve, ends) for end, curve in curves.items()}


def _shape(frame: pd.DataFrame, columns: Mapping[str, Any], prices: Prices) -> pd.DataFrame:
    """Return the frame with its columns in order, each of its type."""
    frame = frame.assign(currency=pd.Categorical([prices.currency] * len(frame)))
    return pd.DataFrame({name: _column(frame[name], type_) for name, type_ in columns.items()})


def _column(values: pd.Series, type_: Any) -> pd.Series:
    if type_ == _UTC:
        return to_utc(values.astype("int64"))
    return to_money(values.astype("Int64")) if type_ == _MONEY else values.astype(type_)
