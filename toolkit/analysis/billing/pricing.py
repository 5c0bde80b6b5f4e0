"""Tariffs: what sends cost, looked up in a price list once for each day, template and carrier.

Money is counted in millionths, whole numbers that every engine adds up exactly, and shown as decimals.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from typing import Any

import narwhals as nw
import pandas as pd
import pyarrow as pa

from toolkit.analysis.calls_table import LazyTable, collect
from toolkit.analysis.carriers import carrier_names
from toolkit.analysis.native_ops import to_engine
from toolkit.analysis.timestamps import NS_PER_S
from toolkit.api.errors import InputError
from toolkit.price_list import PLACES, Prices, Unit

MONEY: Any = pd.ArrowDtype(pa.decimal128(38, PLACES))
DAY_NS = 86_400 * NS_PER_S
TEXT = pd.StringDtype("pyarrow")
_NO_TEMPLATE = -1  # in joins, where a null is equal to nothing; "" is no carrier


def needs_carrier(prices: Prices) -> bool:
    """Tell whether a carrier makes a difference to a price; raise InputError for a carrier that there isn't."""
    named = {row.carrier for row in prices.rows if row.carrier is not None}
    for name in sorted(named - set(carrier_names()) if named else ()):
        close = get_close_matches(name, carrier_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(carrier_names())}"
        raise InputError(f"a price is for the carrier {name!r}, which there isn't: {hint}")
    return bool(named)


def price(sends: LazyTable, prices: Prices) -> LazyTable:
    """Add to sends, which have a day_ns, and a carrier where prices need one, what they cost.

    Columns: segments (of the record; else the template's; else null), units (what is multiplied by the price),
    price_micros and amount_micros (null where no price is known).
    """
    has_carrier = needs_carrier(prices)
    seen = collect(sends.group_by("day_ns", "temp_id").agg(sends=nw.len()))[["day_ns", "temp_id"]]
    names = pd.DataFrame({"carrier": [None, *(carrier_names() if has_carrier else ())]}, dtype=TEXT)
    rates = rate(seen.merge(names, how="cross"), prices)
    keys = {
        "temp_key": rates["temp_id"].fillna(_NO_TEMPLATE).astype("int64"),
        "carrier_key": rates["carrier"].fillna(""),
    }
    rates = rates.assign(**keys).drop(columns=["temp_id", "carrier"])
    carrier = nw.col("carrier").fill_null("") if has_carrier else nw.lit("")
    keyed = sends.with_columns(temp_key=nw.col("temp_id").fill_null(_NO_TEMPLATE), carrier_key=carrier)
    joined = keyed.join(to_engine(rates, sends), on=["day_ns", "temp_key", "carrier_key"], how="left")
    segments = nw.coalesce(nw.col("segments").cast(nw.Int64), nw.col("template_segments"))
    units = nw.lit(1, nw.Int64) if prices.unit is Unit.SEND else nw.coalesce(segments, nw.lit(1, nw.Int64))
    return joined.with_columns(segments=segments, units=units, amount_micros=nw.col("price_micros") * units)


def rate(cells: pd.DataFrame, prices: Prices) -> pd.DataFrame:
    """Add template_segments and price_micros (null where unknown, Int64) to rows of day_ns, temp_id and carrier."""
    templates, find = {it.temp_id: it for it in prices.templates}, cache(prices.find)
    rows = []
    for day_ns, temp_id, carrier in zip(cells["day_ns"], cells["temp_id"], cells["carrier"], strict=True):
        template = None if pd.isna(temp_id) else templates.get(int(temp_id))
        found = find(day_of(day_ns), template.type if template else None, None if pd.isna(carrier) else carrier)
        rows.append((template.segments if template else None, None if found is None else to_micros(found)))
    columns = ["template_segments", "price_micros"]
    return pd.concat([cells, pd.DataFrame(rows, cells.index, columns, dtype="Int64")], axis=1)


def day_of(ns: int) -> date:
    """Return the UTC day of ns since 1970."""
    return date(1970, 1, 1) + timedelta(days=int(ns) // DAY_NS)


def to_micros(money: Decimal) -> int:
    """Return money in millionths; what is smaller is rounded."""
    return int(money.scaleb(PLACES).to_integral_value())


def to_money(micros: pd.Series) -> pd.Series:
    """Return millionths, null where there are none, as decimals."""
    return decimals((None if pd.isna(it) else Decimal(int(it)).scaleb(-PLACES) for it in micros), micros.index)


def decimals(values: Iterable[Decimal | None], index: pd.Index) -> pd.Series:
    """Return money as a column of decimals; what is smaller than a millionth is rounded."""
    unit = Decimal(1).scaleb(-PLACES)
    return pd.Series([None if it is None else it.quantize(unit) for it in values], index, MONEY)
