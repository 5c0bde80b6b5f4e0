"""Carriers: which carrier a mobile's first 7 digits were given to, and in which province, as phonenumbers knows.

A number that its owner took along to another carrier keeps its digits: it counts as the first one's.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache

import narwhals as nw
import pandas as pd

from toolkit.analysis.engines import place
from toolkit.analysis.table import Lazy, collect

_COUNTRY, _MOBILE_DIGITS, _PREFIX_DIGITS = 86, 11, 7


def carriers(prefixes: Iterable[str | None]) -> pd.DataFrame:
    """Look up prefixes, 7 digits each.

    One row per prefix, ascending; columns: prefix (string), carrier, province (English names as phonenumbers gives
    them, string, null where unknown).
    """
    known = sorted({it for it in prefixes if isinstance(it, str)})
    frame = pd.DataFrame([(it, *_find(it)) for it in known], columns=["prefix", "carrier", "province"])
    return frame.astype(pd.StringDtype("pyarrow"))


def locate(table: Lazy, *names: str) -> Lazy:
    """Add the columns carrier, province, or those that are named, of each call's prefix; null where unknown."""
    table = table.with_columns(nw.col("prefix").cast(nw.String))  # polars joins no category to text
    prefixes = collect(table.group_by("prefix").agg(calls=nw.len()))["prefix"]
    wanted = carriers(prefixes)[["prefix", *(names or ("carrier", "province"))]]
    return table.join(place(wanted, table), on="prefix", how="left")


@cache
def carrier_names() -> tuple[str, ...]:
    """Return the names that a carrier can have."""
    from phonenumbers.carrierdata import CARRIER_DATA

    return tuple(sorted({row["en"] for digits, row in CARRIER_DATA.items() if digits.startswith(f"{_COUNTRY}1")}))


@lru_cache(1 << 17)
def _find(prefix: str) -> tuple[str | None, str | None]:
    from phonenumbers import PhoneNumber, carrier, geocoder

    if len(prefix) != _PREFIX_DIGITS or not (prefix.isascii() and prefix.isdigit()):
        return None, None
    number = PhoneNumber(_COUNTRY, int(prefix.ljust(_MOBILE_DIGITS, "0")))
    return carrier.name_for_number(number, "en") or None, _province(geocoder.description_for_number(number, "en"))


def _province(place_name: str) -> str | None:
    """Return the province of a place that is named with its city, as "Suzhou, Jiangsu", or of none."""
    province = place_name.rpartition(", ")[2]
    return None if province in ("", "China") else province
