"""Tariffs: what sends cost, looked up in a price list once for each day, template and carrier.

Money is counted in millionths, whole numbers that every engine adds up exactly, and shown as decimals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from difflib import get_close_matches
from itertools import product
from typing import Any

import narwhals as nw
import pandas as pd
import pyarrow as pa

from toolkit.analysis.carriers import carrier_names
from toolkit.analysis.engines import place
from toolkit.analysis.table import NS_PER_S, Lazy, collect
from toolkit.errors import InputError
from toolkit.prices import PLACES, Prices, Unit

MONEY: Any = pd.ArrowDtype(pa.decimal128(38, PLACES))
DAY_NS = 86_400 * NS_PER_S
_NO_TEMPLATE, _NO_CARRIER = -1, ""  # in joins, where a null is equal to nothing


def needs_carrier(prices: Prices) -> bool:
    """Tell whether a carrier makes a difference to a price; raise InputError for a carrier that there isn't."""
    named = {row.carrier for row in prices.rows if row.carrier is not None}
    for name in sorted(named - set(carrier_names()) if named else ()):
        close = get_close_matches(name, carrier_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(carrier_names())}"
        raise InputError(f"a price is for the carrier {name!r}, which there isn't: {hint}")
    return bool(named)


def price(sends: Lazy, prices: Prices) -> Lazy:
    """Add to sends, which have a day_ns, and a carrier where prices need one, what they cost.

    Columns: segments (of the record; else the template's; else null), units (what is multiplied by the price),
    price_micros and amount_micros (null where no price is known).
    """
    has_carrier = needs_carrier(prices)
    seen = collect(sends.group_by("day_ns", "temp_id").agg(sends=nw.len()))
    cells = tariff(seen, [None, *(carrier_names() if has_carrier else ())], prices)
    carrier = nw.col("carrier").fill_null(_NO_CARRIER) if has_carrier else nw.lit(_NO_CARRIER)
    keyed = sends.with_columns(temp_key=nw.col("temp_id").fill_null(_NO_TEMPLATE), carrier_key=carrier)
    joined = keyed.join(place(cells, sends), on=["day_ns", "temp_key", "carrier_key"], how="left")
    segments = nw.coalesce(nw.col("segments").cast(nw.Int64), nw.col("template_segments"))
    units = nw.lit(1, nw.Int64) if prices.unit is Unit.SEND else nw.coalesce(segments, nw.lit(1, nw.Int64))
    return joined.with_columns(segments=segments, units=units, amount_micros=nw.col("price_micros") * units)


def tariff(seen: pd.DataFrame, carriers: Sequence[str | None], prices: Prices) -> pd.DataFrame:
    """Look up the price of each day and template that was seen, with each carrier.

    One row for each of them; columns: day_ns (int64), temp_key (-1 without a template, int64), carrier_key ("" without
    a carrier, string), template_segments, price_micros (null where unknown, Int64).
    """
    templates = {it.temp_id: it for it in prices.templates}
    rows = []
    for (day_ns, temp_id), carrier in product(zip(seen["day_ns"], seen["temp_id"], strict=True), carriers):
        template = None if pd.isna(temp_id) else templates.get(int(temp_id))
        found = prices.find(day_of(day_ns), template.type if template else None, carrier)
        key = (day_ns, _NO_TEMPLATE if pd.isna(temp_id) else temp_id, carrier or _NO_CARRIER)
        rows.append((*key, template and template.segments, None if found is None else to_micros(found)))
    names = ["day_ns", "temp_key", "carrier_key", "template_segments", "price_micros"]
    dtypes: list[Any] = ["int64", "int64", pd.StringDtype("pyarrow"), "Int64", "Int64"]
    return pd.DataFrame(rows, columns=names).astype(dict(zip(names, dtypes, strict=True)))


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
