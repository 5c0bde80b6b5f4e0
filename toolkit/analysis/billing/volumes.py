"""Volumes: how many messages and segments were accepted on each UTC day, and their price on that day or another."""

from __future__ import annotations

from dataclasses import dataclass

import narwhals as nw
import pandas as pd

from toolkit.analysis.billing.cost import as_number, sends_of
from toolkit.analysis.billing.pricing import DAY_NS, needs_carrier, rate
from toolkit.analysis.billing.weekday_forecast import MOST_DAYS
from toolkit.analysis.calls_table import IS_SUCCESS, IntoCalls, LazyTable, collect, lazy
from toolkit.analysis.carriers import locate
from toolkit.analysis.timestamps import NS_PER_S
from toolkit.price_list import Prices, Unit

_HOUR_NS = 3600 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Volumes:
    """What was accepted from the first send to the last one, whatever they were answered.

    cells: one row per UTC day, template, carrier where prices need one, and part of the day; columns: day_ns, temp_id,
    carrier, late (1 behind the hour of the last send, else 0), messages, segments.
    """

    cells: pd.DataFrame
    first_ns: int
    last_ns: int
    prices: Prices

    @property
    def today_ns(self) -> int:
        """The day of the last send."""
        return self.last_ns - self.last_ns % DAY_NS

    @property
    def month_ns(self) -> tuple[int, int]:
        """When the month of the last send begins, and when the next one does."""
        month = pd.Timestamp(self.last_ns, unit="ns", tz="UTC").normalize().replace(day=1)
        return month.as_unit("ns").value, (month + pd.DateOffset(months=1)).as_unit("ns").value

    def by_day(self) -> pd.DataFrame:
        """Add up each day, also one without messages, up to today.

        Index: day_ns; columns: messages, segments, unpriced (segments), money (of those priced, in millionths), int64.
        """
        money = self._price(self.cells)
        unpriced = self.cells["segments"].where(money.isna(), 0)
        return self._add_up(self.cells.assign(money=money.fillna(0), unpriced=unpriced))

    def at_prices_of(self, day_ns: int) -> pd.Series:
        """Return what each day would have cost at the prices of another one, in millionths, likewise."""
        money = self._price(self.cells.assign(day_ns=day_ns)).fillna(0)
        return self._add_up(self.cells.assign(money=money, unpriced=0))["money"]

    def late_share(self) -> float:
        """Return which share of a day's messages came behind the hour of the last send."""
        messages = self.cells["messages"].where(self.cells["day_ns"] < self.today_ns, 0)
        return float((messages * self.cells["late"]).sum() / max(messages.sum(), 1))

    def whole_days(self) -> slice:
        """Return which days are whole, the latest ones, as a slice of day_ns."""
        first_ns = self.first_ns - self.first_ns % DAY_NS
        if self.first_ns - first_ns >= _HOUR_NS:
            first_ns += DAY_NS
        return slice(max(first_ns, self.today_ns - MOST_DAYS * DAY_NS), self.today_ns - 1)

    def _price(self, cells: pd.DataFrame) -> pd.Series:
        units = cells["messages"] if self.prices.unit is Unit.SEND else cells["segments"]
        return rate(cells, self.prices)["price_micros"] * units

    def _add_up(self, cells: pd.DataFrame) -> pd.DataFrame:
        days = pd.RangeIndex(self.first_ns - self.first_ns % DAY_NS, self.today_ns + 1, DAY_NS, name="day_ns")
        sums = cells.groupby("day_ns")[["messages", "segments", "unpriced", "money"]].sum()
        return sums.reindex(days, fill_value=0).astype("int64")


def read_volumes(calls: IntoCalls, prices: Prices) -> Volumes | None:
    """Count what was accepted; None where there are no sends."""
    sends, started_ns = sends_of(lazy(calls)), nw.col("started_ns")
    ends = collect(sends.select(first=started_ns.min(), last=started_ns.max())).iloc[0]
    if pd.isna(ends["first"]):
        return None
    first_ns, last_ns = int(ends["first"]), int(ends["last"])
    cells = _count(sends.filter(IS_SUCCESS), last_ns, prices)
    template_segments = rate(cells, prices)["template_segments"].fillna(1)
    segments = (cells["segments"] + cells["unknown"] * template_segments).astype("int64")
    return Volumes(cells.assign(segments=segments), first_ns, last_ns, prices)


def _count(sends: LazyTable, last_ns: int, prices: Prices) -> pd.DataFrame:
    sends = locate(sends, "carrier") if needs_carrier(prices) else sends.with_columns(carrier=nw.lit(None, nw.String))
    unknown, segments = as_number(nw.col("segments").is_null()), nw.col("segments").cast(nw.Int64).fill_null(0)
    late = as_number(nw.col("started_ns") % DAY_NS > last_ns % DAY_NS)
    counted = sends.with_columns(unknown=unknown, known=segments, late=late)
    cells = counted.group_by("day_ns", "temp_id", "carrier", "late").agg(
        messages=nw.len(), segments=nw.col("known").sum(), unknown=nw.col("unknown").sum()
    )
    return collect(cells)
