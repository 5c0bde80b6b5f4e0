"""Count the accepted messages and segments of each day, and price them at that day's or another day's prices."""

from __future__ import annotations

from dataclasses import dataclass

import narwhals as nw
import pandas as pd

from toolkit.analysis.billing.pricing import as_number, look_up_prices, needs_carrier, select_sends
from toolkit.analysis.billing.traffic_model import MAX_DAYS
from toolkit.analysis.calls_table import IS_SUCCESS, IntoCalls, LazyTable, collect, lazy_messages
from toolkit.analysis.carriers import locate
from toolkit.analysis.timestamps import NS_PER_DAY, NS_PER_HOUR
from toolkit.price_list import PriceList, Unit


@dataclass(frozen=True, slots=True)
class DailyVolumes:
    """The accepted messages of a log.

    Attributes:
        cells: One row per day, template, carrier (if prices depend on it) and part of the day. Columns: day_ns,
            temp_id, carrier, late (1 for times of day after that of the last send, else 0), messages, segments.
        first_ns: The time of the first send, accepted or not.
        last_ns: The time of the last send, accepted or not.
        prices: The price list.
        timezone: The name of the time zone.

    All times are on the wall clock of the time zone, in ns since 1970-01-01T00:00.
    """

    cells: pd.DataFrame
    first_ns: int
    last_ns: int
    prices: PriceList
    timezone: str

    @property
    def today_ns(self) -> int:
        """The start of the day of the last send."""
        return self.last_ns - self.last_ns % NS_PER_DAY

    @property
    def month_ns(self) -> tuple[int, int]:
        """The start and the end of the month of the last send."""
        month = pd.Timestamp(self.last_ns, unit="ns").normalize().replace(day=1)
        return month.as_unit("ns").value, (month + pd.DateOffset(months=1)).as_unit("ns").value

    def by_day(self) -> pd.DataFrame:
        """Return the sums of every day up to today, also of days without messages.

        Returns:
            A frame with index day_ns and int64 columns: messages, segments, unpriced (segments without a known price),
            money (the cost of the other segments, millionths).
        """
        money = self._money(self.cells)
        unpriced = self.cells["segments"].where(money.isna(), 0)
        return self._sums_by_day(self.cells.assign(money=money.fillna(0), unpriced=unpriced))

    def money_at_prices_of(self, day_ns: int) -> pd.Series:
        """Return the cost of every day at the prices of one day, in millionths."""
        money = self._money(self.cells.assign(day_ns=day_ns)).fillna(0)
        return self._sums_by_day(self.cells.assign(money=money, unpriced=0))["money"]

    def late_ratio(self) -> float:
        """Return the share of the messages of earlier days that came after the time of day of the last send."""
        messages = self.cells["messages"].where(self.cells["day_ns"] < self.today_ns, 0)
        return float((messages * self.cells["late"]).sum() / max(messages.sum(), 1))

    def whole_days(self) -> slice:
        """Return the latest days, at most 56, that the log covers from begin to end, as a slice of ``day_ns``.

        The first day is covered if a send was recorded in its first hour.
        """
        first_day_ns = self.first_ns - self.first_ns % NS_PER_DAY
        if self.first_ns - first_day_ns >= NS_PER_HOUR:
            first_day_ns += NS_PER_DAY
        return slice(max(first_day_ns, self.today_ns - MAX_DAYS * NS_PER_DAY), self.today_ns - 1)

    def _money(self, cells: pd.DataFrame) -> pd.Series:
        units = cells["messages"] if self.prices.unit is Unit.SEND else cells["segments"]
        return look_up_prices(cells, self.prices)["price_micros"] * units

    def _sums_by_day(self, cells: pd.DataFrame) -> pd.DataFrame:
        first_day_ns = self.first_ns - self.first_ns % NS_PER_DAY
        days = pd.RangeIndex(first_day_ns, self.today_ns + 1, NS_PER_DAY, name="day_ns")
        sums = cells.groupby("day_ns")[["messages", "segments", "unpriced", "money"]].sum()
        return sums.reindex(days, fill_value=0).astype("int64")


def count_by_day(calls: IntoCalls, prices: PriceList, timezone: str) -> DailyVolumes | None:
    """Count the accepted messages of calls; return None if there are no sends."""
    sends, wall_ns = select_sends(lazy_messages(calls, "return_code"), timezone), nw.col("wall_ns")
    times = collect(sends.select(first=wall_ns.min(), last=wall_ns.max())).iloc[0]
    if pd.isna(times["first"]):
        return None
    first_ns, last_ns = int(times["first"]), int(times["last"])
    cells = _count_cells(sends.filter(IS_SUCCESS), last_ns, prices)
    template_segments = look_up_prices(cells, prices)["template_segments"].fillna(1)
    segments = (cells["segments"] + cells["unknown"] * template_segments).astype("int64")
    return DailyVolumes(cells.assign(segments=segments), first_ns, last_ns, prices, timezone)


def _count_cells(sends: LazyTable, last_ns: int, prices: PriceList) -> pd.DataFrame:
    """Count messages and segments by day, template, carrier and part of the day.

    ``unknown`` are the messages without segments in their record.
    """
    sends = locate(sends, "carrier") if needs_carrier(prices) else sends.with_columns(carrier=nw.lit(None, nw.String))
    unknown, known = as_number(nw.col("segments").is_null()), nw.col("segments").cast(nw.Int64).fill_null(0)
    late = as_number(nw.col("wall_ns") % NS_PER_DAY > last_ns % NS_PER_DAY)
    counted = sends.with_columns(unknown=unknown, known=known, late=late)
    cells = counted.group_by("day_ns", "temp_id", "carrier", "late").agg(
        messages=nw.len(), segments=nw.col("known").sum(), unknown=nw.col("unknown").sum()
    )
    return collect(cells)
