"""Add prices to sends, from a price list that is looked up once for each day, template and carrier.

Amounts are whole numbers of millionths of the currency, because every engine adds those up exactly. Frames for users
have the closest float64, with which pandas calculates.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from difflib import get_close_matches
from functools import cache

import narwhals as nw
import pandas as pd

from toolkit.analysis.calls_table import IS_SEND, LazyTable, collect, with_wall_clock
from toolkit.analysis.carriers import carrier_names
from toolkit.analysis.native_ops import to_engine
from toolkit.analysis.timestamps import NS_PER_DAY
from toolkit.api.errors import InputError
from toolkit.price_list import PLACES, PriceList, Unit
from toolkit.time_zone import UTC

TEXT = pd.StringDtype("pyarrow")
_NO_TEMPLATE = -1  # replaces null in joins, where null is equal to nothing; "" replaces a null carrier


def select_sends(table: LazyTable, timezone: str = UTC) -> LazyTable:
    """Return the sends among calls, with their wall-clock time in ``wall_ns`` and the start of its day in ``day_ns``.

    Both are in ns since 1970-01-01T00:00 of the time zone, so that a day always has 24 hours.
    """
    sends = with_wall_clock(table.filter(IS_SEND), timezone)
    return sends.with_columns(day_ns=nw.col("wall_ns") - nw.col("wall_ns") % NS_PER_DAY)


def as_number(condition: nw.Expr) -> nw.Expr:
    """Return 1 for rows in which a condition holds, and 0 for the others."""
    return nw.when(condition).then(nw.lit(1, nw.Int64)).otherwise(nw.lit(0, nw.Int64))


def needs_carrier(prices: PriceList) -> bool:
    """Return whether a price depends on the carrier; raise InputError for an unknown carrier."""
    named = {row.carrier for row in prices.rows if row.carrier is not None}
    for name in sorted(named - set(carrier_names()) if named else ()):
        close = get_close_matches(name, carrier_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(carrier_names())}"
        raise InputError(f"unknown carrier {name!r} in the price list: {hint}")
    return bool(named)


def add_prices(sends: LazyTable, prices: PriceList) -> LazyTable:
    """Add prices to sends.

    Args:
        sends: Sends with ``day_ns``, and with ``carrier`` if ``needs_carrier(prices)``.
        prices: The price list.

    Returns:
        The sends with these columns: segments (of the record, else of the template, else null), units (the factor of
        the price), price_micros and amount_micros (null without a known price).
    """
    has_carrier = needs_carrier(prices)
    seen = collect(sends.group_by("day_ns", "temp_id").agg(sends=nw.len()))[["day_ns", "temp_id"]]
    names = pd.DataFrame({"carrier": [None, *(carrier_names() if has_carrier else ())]}, dtype=TEXT)
    found = look_up_prices(seen.merge(names, how="cross"), prices)
    keys = {
        "temp_key": found["temp_id"].fillna(_NO_TEMPLATE).astype("int64"),
        "carrier_key": found["carrier"].fillna(""),
    }
    found = found.assign(**keys).drop(columns=["temp_id", "carrier"])
    carrier = nw.col("carrier").fill_null("") if has_carrier else nw.lit("")
    keyed = sends.with_columns(temp_key=nw.col("temp_id").fill_null(_NO_TEMPLATE), carrier_key=carrier)
    joined = keyed.join(to_engine(found, sends), on=["day_ns", "temp_key", "carrier_key"], how="left")
    segments = nw.coalesce(nw.col("segments").cast(nw.Int64), nw.col("template_segments"))
    units = nw.lit(1, nw.Int64) if prices.unit is Unit.SEND else nw.coalesce(segments, nw.lit(1, nw.Int64))
    return joined.with_columns(segments=segments, units=units, amount_micros=nw.col("price_micros") * units)


def look_up_prices(cells: pd.DataFrame, prices: PriceList) -> pd.DataFrame:
    """Add template_segments and price_micros (Int64, null if unknown) to rows of day_ns, temp_id and carrier."""
    templates, find = {it.temp_id: it for it in prices.templates}, cache(prices.find)
    rows = []
    for day_ns, temp_id, carrier in zip(cells["day_ns"], cells["temp_id"], cells["carrier"], strict=True):
        template = None if pd.isna(temp_id) else templates.get(int(temp_id))
        price = find(date_of(day_ns), template.type if template else None, None if pd.isna(carrier) else carrier)
        rows.append((template.segments if template else None, None if price is None else to_micros(price)))
    columns = ["template_segments", "price_micros"]
    return pd.concat([cells, pd.DataFrame(rows, cells.index, columns, dtype="Int64")], axis=1)


def date_of(day_ns: int) -> date:
    """Return the date of a wall-clock time in ns since 1970."""
    return date(1970, 1, 1) + timedelta(days=int(day_ns) // NS_PER_DAY)


def to_micros(amount: Decimal) -> int:
    """Return an amount in millionths, rounded."""
    return int(amount.scaleb(PLACES).to_integral_value())


def to_money(micros: pd.Series) -> pd.Series:
    """Return exact amounts in millionths as the closest float64 amounts of the currency; null becomes NaN.

    A float64 has 15 to 17 significant digits, so an amount up to 9 billion is right to the millionth.
    """
    amounts: pd.Series = micros.astype("Float64").astype("float64") / 10**PLACES
    return amounts
