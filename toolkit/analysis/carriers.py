"""Carriers: which carrier a mobile's first 7 digits were given to, and in which province, as phonenumbers knows.

A number that its owner took along to another carrier keeps its digits: it counts as the first one's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import narwhals as nw
import pandas as pd

from toolkit.analysis.calls_table import LazyTable, collect
from toolkit.analysis.native_ops import to_engine

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

_COUNTRY, _MOBILE_DIGITS, _PREFIX_DIGITS = 86, 11, 7


def carriers(prefixes: Iterable[str | None], names: Sequence[str] = ("carrier", "province")) -> pd.DataFrame:
    """Look up prefixes, 7 digits each.

    One row per prefix, ascending; columns: prefix (string), and of carrier, province those that are named (English
    names as phonenumbers gives them, string, null where unknown).
    """
    known = sorted({it for it in prefixes if isinstance(it, str)})
    found = {name: [_FINDERS[name](it) for it in known] for name in names}
    return pd.DataFrame({"prefix": known} | found).astype(pd.StringDtype("pyarrow"))


def locate(table: LazyTable, *names: str) -> LazyTable:
    """Add the columns carrier, province, or those that are named, of each call's prefix; null where unknown."""
    table = table.with_columns(nw.col("prefix").cast(nw.String))  # polars joins no category to text
    prefixes = collect(table.group_by("prefix").agg(calls=nw.len()))["prefix"]
    wanted = carriers(prefixes, names or tuple(_FINDERS))
    return table.join(to_engine(wanted, table), on="prefix", how="left")


@cache
def carrier_names() -> tuple[str, ...]:
    """Return the names that a carrier can have."""
    from phonenumbers.carrierdata import CARRIER_DATA

    return tuple(sorted({row["en"] for digits, row in CARRIER_DATA.items() if digits.startswith(f"{_COUNTRY}1")}))


@lru_cache(1 << 17)
def _carrier(prefix: str) -> str | None:
    from phonenumbers import carrier

    number = _number(prefix)
    return (carrier.name_for_number(number, "en") or None) if number else None


@lru_cache(1 << 17)
def _home(prefix: str) -> str | None:
    from phonenumbers import geocoder

    number = _number(prefix)
    return _province(geocoder.description_for_number(number, "en")) if number else None


_FINDERS = {"carrier": _carrier, "province": _home}


def _number(prefix: str) -> PhoneNumber | None:
    from phonenumbers import PhoneNumber

    if len(prefix) != _PREFIX_DIGITS or not (prefix.isascii() and prefix.isdigit()):
        return None
    return PhoneNumber(_COUNTRY, int(prefix.ljust(_MOBILE_DIGITS, "0")))


def _province(place_name: str) -> str | None:
    """Return the province of a place that is named with its city, as "Suzhou, Jiangsu", or of none."""
    province = place_name.rpartition(", ")[2]
    return None if province in ("", "China") else province
