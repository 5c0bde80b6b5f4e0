"""Forecast the messages and the cost of a month, and the days that a balance lasts, from past days."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from toolkit.analysis.billing.daily_volumes import DailyVolumes, count_by_day
from toolkit.analysis.billing.pricing import TEXT, date_of, to_micros, to_money
from toolkit.analysis.billing.traffic_model import MIN_DAYS, CumulativeForecast, Floats, days_until, forecast_sums
from toolkit.analysis.calls_table import IntoCalls
from toolkit.analysis.tidy_frames import returns_result
from toolkit.analysis.timestamps import NS_PER_DAY, NS_PER_HOUR, from_wall_clock, parse_time_ns
from toolkit.api.errors import InputError
from toolkit.price_list import PriceList
from toolkit.time_zone import UTC

HORIZON_DAYS = 366  # the longest time that a balance is forecast to last

Until: TypeAlias = str | pd.Timestamp | None

_TIME, _MONEY = "time", "money"
_NULLABLE_INT: Any = "Int64"
_COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("as_of", "since", "until"), _TIME),
    "whole_days": "int64",
    "messages": "int64",
    **dict.fromkeys(("messages_forecast", "messages_low", "messages_high"), _NULLABLE_INT),
    "segments": "int64",
    **dict.fromkeys(("segments_forecast", "segments_low", "segments_high"), _NULLABLE_INT),
    "unpriced": "int64",
    **dict.fromkeys(("money", "money_forecast", "money_low", "money_high"), _MONEY),
    "currency": "category",
    **dict.fromkeys(("days_left", "days_left_low", "days_left_high"), "float64"),
    "reason": TEXT,
}
_DAY_COLUMNS: dict[str, Any] = {
    "day": _TIME,
    "ahead": "bool",
    "messages": "int64",
    **dict.fromkeys(("messages_to_date", "messages_to_date_low", "messages_to_date_high"), _NULLABLE_INT),
    **dict.fromkeys(("money", "money_to_date", "money_to_date_low", "money_to_date_high"), _MONEY),
    "currency": "category",
}
_SUFFIXES = ("", "_low", "_high")


@returns_result
def forecast(
    calls: IntoCalls,
    prices: PriceList,
    balance: int | Decimal | None = None,
    until: Until = None,
    timezone: str = UTC,
) -> pd.DataFrame:
    """Sum up the spending of the current month and forecast its total.

    The present is the start of the last send. The forecast uses the last 14 to 56 whole days. It
    continues their weekly pattern, level and growth (``traffic_model`` describes the method), with the mix of templates
    and carriers of these days and the prices of the days ahead. Public holidays of China ahead widen the interval. The
    first day is whole if a send was recorded in its first hour. A day without sends counts as a day without messages.
    A month whose last hour has a send is over, and is not forecast.

    Args:
        calls: Calls.
        prices: The price list.
        balance: The balance left: an int in segments, as the API counts messages, or a Decimal in money.
        until: The end of the forecast, a day, which is not included. Default: the end of the month.
        timezone: The time zone of days, months and the prices' first days, e.g. Asia/Shanghai.

    Returns:
        One row, or none if there are no sends, with these columns:

        - as_of (datetime64[ns, timezone]): the present
        - since (datetime64[ns, timezone]): the start of the month, or the first send if it is later
        - until (datetime64[ns, timezone]): the end of the forecast
        - whole_days (int64): the number of days that the forecast uses
        - messages (int64): accepted since ``since``
        - messages_forecast, messages_low, messages_high (Int64): the forecast total and its 95 % interval
        - segments, segments_forecast, segments_low, segments_high: the same for segments
        - unpriced (int64): segments since ``since`` without a known price, which are in no amount
        - money, money_forecast, money_low, money_high (float64), currency (category): the same for the cost
        - days_left, days_left_low, days_left_high (days, float64): how long the balance lasts; 366 means 366 or more
        - reason (string): why there is no forecast, else ""

    Raises:
        InputError: ``until`` is not a day after the last send, or ``balance`` has another type.

    >>> forecast(calls, prices, balance=Decimal("1200.00"))  # doctest: +SKIP
    """
    if not isinstance(balance, int | Decimal | None) or isinstance(balance, bool):
        raise InputError(f"invalid balance {balance!r}: give messages as an int, or money as a Decimal")
    volumes = count_by_day(calls, prices, timezone)
    lasting = None if balance is None else "money" if isinstance(balance, Decimal) else "segments"
    rows = [] if volumes is None else [_month_row(_month_forecast(volumes, until, lasting), balance)]
    return _convert(pd.DataFrame(rows, columns=list(_COLUMNS)), _COLUMNS, prices, timezone)


@returns_result
def forecast_by_day(calls: IntoCalls, prices: PriceList, until: Until = None, timezone: str = UTC) -> pd.DataFrame:
    """Return the forecast of ``forecast`` day by day, from the first day of the month to the last one.

    Args:
        calls: Calls.
        prices: The price list.
        until: The end of the forecast, a day, which is not included. Default: the end of the month.
        timezone: The time zone of days, months and the prices' first days.

    Returns:
        One row per day, with these columns:

        - day (datetime64[ns, timezone])
        - ahead (bool): whether the day is not over
        - messages (int64): accepted on the day
        - messages_to_date (Int64): from the first day to the end of this day, with the forecast
        - messages_to_date_low, messages_to_date_high (Int64): its 95 % interval, of width 0 for days that are over
        - money, money_to_date, money_to_date_low, money_to_date_high (float64): the same for the cost
        - currency (category)

    Raises:
        InputError: ``until`` is not a day after the last send.
    """
    volumes = count_by_day(calls, prices, timezone)
    if volumes is None:
        return _convert(pd.DataFrame(columns=list(_DAY_COLUMNS)), _DAY_COLUMNS, prices, timezone)
    month = _month_forecast(volumes, until)
    columns = {"day": month.days.index, "ahead": month.is_ahead(), "currency": prices.currency}
    for name in ("messages", "money"):
        columns |= {name: month.days[name]}
        columns |= {f"{name}_to_date{end}": it for end, it in zip(_SUFFIXES, month.to_date(name), strict=True)}
    return _convert(pd.DataFrame(columns).reset_index(drop=True), _DAY_COLUMNS, prices, timezone)


@dataclass(frozen=True, slots=True)
class _MonthForecast:
    """The recorded and the forecast days of a month.

    Attributes:
        volumes: The volumes of the log.
        days: The columns of DailyVolumes.by_day from the first day to the last one; 0 on days ahead.
        whole_days: The number of days that the forecast uses.
        is_over: Whether the last hour has a send, so that nothing is ahead.
        forecasts: The forecast sums from today on, for "messages", "segments" and "money". Empty without a forecast.
    """

    volumes: DailyVolumes
    days: pd.DataFrame
    whole_days: int
    is_over: bool
    forecasts: Mapping[str, CumulativeForecast]

    def is_ahead(self) -> npt.NDArray[np.bool_]:
        """Return for each day whether it is not over."""
        return (self.days.index.to_numpy() >= self.volumes.today_ns) & (not self.is_over)

    def recorded_to_date(self, name: str) -> pd.Series:
        """Return the recorded sums up to each day; money is null if no segment has a known price."""
        sums = self.days.cumsum().astype(_NULLABLE_INT)
        is_unknown = (name == "money") & (sums["segments"] > 0) & (sums["segments"] == sums["unpriced"])
        return sums[name].mask(is_unknown)

    def to_date(self, name: str) -> tuple[pd.Series, pd.Series, pd.Series]:
        """Return the sums up to each day with the forecast: expected, low and high; null on days without a forecast."""
        recorded, ahead = self.recorded_to_date(name), int(self.is_ahead().sum())
        if name not in self.forecasts:
            unknown = recorded.mask(self.is_ahead())
            return unknown, unknown, unknown
        found = self.forecasts[name]
        added = (np.rint(it[:ahead]).astype("int64") for it in (found.expected, found.low, found.high))
        expected, low, high = (recorded + np.append(np.zeros(len(recorded) - ahead, "int64"), it) for it in added)
        return expected, low, high


def _month_forecast(volumes: DailyVolumes, until: Until, lasting: str | None = None) -> _MonthForecast:
    """Forecast the month; "segments" or "money", whichever a balance is in, for HORIZON_DAYS at least."""
    start_ns, end_ns = volumes.month_ns
    if until is not None:
        end = pd.Timestamp(parse_time_ns(until, volumes.timezone), unit="ns", tz=volumes.timezone)
        end_ns = end.tz_localize(None).as_unit("ns").value
    if end_ns % NS_PER_DAY or end_ns <= volumes.last_ns:
        raise InputError(f"invalid until {until!r}: give a day after the last send, such as 2026-12-01")
    by_day = volumes.by_day()
    days_ahead = (end_ns - volumes.today_ns) // NS_PER_DAY
    days_of = dict.fromkeys(("messages", "segments", "money"), days_ahead)
    days_of |= {lasting: max(days_ahead, HORIZON_DAYS)} if lasting else {}
    whole = by_day.loc[volumes.whole_days()]
    days = pd.RangeIndex(max(start_ns, int(by_day.index[0])), end_ns, NS_PER_DAY, name="day_ns")
    is_over = end_ns - volumes.last_ns <= NS_PER_HOUR
    forecasts = _forecasts(volumes, whole, days_of) if len(whole) >= MIN_DAYS and not is_over else {}
    return _MonthForecast(volumes, by_day.reindex(days, fill_value=0), len(whole), is_over, forecasts)


def _forecasts(volumes: DailyVolumes, whole: pd.DataFrame, days_of: Mapping[str, int]) -> dict[str, CumulativeForecast]:
    """Forecast messages, segments and, if a price is known, money, each for a number of days."""
    import holidays  # a table of many countries

    first, chinese = date_of(whole.index[0]), holidays.country_holidays("CN")  # the mobiles are in China
    days = range(len(whole) + max(days_of.values()))
    is_holiday = np.array([first + timedelta(day) in chinese for day in days], np.bool_)
    money, price_ratios = _at_prices_ahead(volumes, whole, days_of["money"])
    past = {"messages": whole["messages"].to_numpy(np.float64), "segments": whole["segments"].to_numpy(np.float64)}
    if money.any() or not past["segments"].any():  # else no price is known
        past["money"] = money
    forecasts = {}
    for name, values in past.items():
        weights = price_ratios.copy() if name == "money" else np.ones(days_of[name])
        weights[0] *= volumes.late_ratio()
        flags = is_holiday[: len(whole) + days_of[name]]
        forecasts[name] = forecast_sums(values, first.weekday(), weights, flags)
    return forecasts


def _at_prices_ahead(volumes: DailyVolumes, whole: pd.DataFrame, days_ahead: int) -> tuple[Floats, Floats]:
    """Return the cost of past days at the highest prices ahead, and the ratio of each day's prices ahead to these."""
    days_ns = range(volumes.today_ns, volumes.today_ns + days_ahead * NS_PER_DAY, NS_PER_DAY)
    changes = sorted({row.since for row in volumes.prices.rows})
    periods = [bisect_right(changes, date_of(day_ns)) for day_ns in days_ns]
    money = {it: volumes.money_at_prices_of(days_ns[periods.index(it)]).loc[whole.index] for it in set(periods)}
    sums = {period: float(it.sum()) for period, it in money.items()}
    highest = max(sums, key=sums.__getitem__)
    return money[highest].to_numpy(np.float64), np.array([sums[it] / (sums[highest] or 1) for it in periods])


def _month_row(month: _MonthForecast, balance: int | Decimal | None) -> dict[str, object]:
    volumes, days = month.volumes, month.days
    missing = f"a forecast needs {MIN_DAYS} whole days of calls, but there are {month.whole_days}"
    missing = f"{date_of(volumes.last_ns):%Y-%m} is over" if month.is_over else missing
    row: dict[str, object] = {
        "as_of": volumes.last_ns,
        "since": max(volumes.first_ns, int(days.index[0])),
        "until": int(days.index[-1]) + NS_PER_DAY,
        "whole_days": month.whole_days,
        "unpriced": days["unpriced"].sum(),
        "reason": "" if month.forecasts else missing,
    }
    for name in ("messages", "segments", "money"):
        expected, low, high = (it.iloc[-1] for it in month.to_date(name))
        row |= {name: month.recorded_to_date(name).iloc[-1], f"{name}_forecast": expected}
        row |= {f"{name}_low": low, f"{name}_high": high}
    return row | _days_left(month, balance)


def _days_left(month: _MonthForecast, balance: int | Decimal | None) -> dict[str, float]:
    in_money = isinstance(balance, Decimal)
    found = month.forecasts.get("money" if in_money else "segments")
    if balance is None or found is None:
        return {}
    amount = to_micros(Decimal(balance)) if in_money else int(balance)
    day_ends = np.arange(1.0, len(found.expected) + 1) - month.volumes.last_ns % NS_PER_DAY / NS_PER_DAY
    curves = {"": found.expected, "_low": found.high, "_high": found.low}
    return {
        f"days_left{suffix}": min(days_until(amount, curve, day_ends), HORIZON_DAYS) for suffix, curve in curves.items()
    }


def _convert(frame: pd.DataFrame, columns: Mapping[str, Any], prices: PriceList, timezone: str) -> pd.DataFrame:
    """Return a frame with some columns, each converted to its type."""
    frame = frame.assign(currency=pd.Categorical([prices.currency] * len(frame)))
    converted = {}
    for name, type_ in columns.items():
        if type_ == _TIME:
            converted[name] = from_wall_clock(frame[name].astype("int64"), timezone)
        elif type_ == _MONEY:
            converted[name] = to_money(frame[name].astype("Int64"))
        else:
            converted[name] = frame[name].astype(type_)
    return pd.DataFrame(converted)
