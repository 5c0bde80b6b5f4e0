"""Find the carrier and the province of a mobile's prefix, its first 7 digits, in the phonenumbers library.

A number that was ported to another carrier keeps its digits, so it counts for the carrier that issued it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

import narwhals as nw
import pandas as pd

from toolkit.analysis.calls_table import LazyTable, collect
from toolkit.analysis.native_ops import to_engine

_COUNTRY, _MOBILE_DIGITS, _PREFIX_DIGITS = 86, 11, 7
_CACHE_SIZE = 1 << 17  # more than the number of prefixes in use


def carriers(prefixes: Iterable[str | None], names: Sequence[str] = ("carrier", "province")) -> pd.DataFrame:
    """Return the carrier and the province of each prefix of 7 digits; null is left out.

    One row per distinct prefix, ascending. Columns: prefix (string), and those of ``names``, carrier and province
    (string, the English names of phonenumbers, null if unknown).
    """
    known = sorted({prefix for prefix in prefixes if isinstance(prefix, str)})
    found = {name: [_LOOKUPS[name](prefix) for prefix in known] for name in names}
    return pd.DataFrame({"prefix": known} | found).astype(pd.StringDtype("pyarrow"))


def locate(table: LazyTable, *names: str) -> LazyTable:
    """Add the columns carrier and province, or those of ``names``, of each call's prefix; null if unknown."""
    table = table.with_columns(nw.col("prefix").cast(nw.String))  # polars joins no category to text
    prefixes = collect(table.group_by("prefix").agg(calls=nw.len()))["prefix"]
    found = carriers(prefixes, names or tuple(_LOOKUPS))
    return table.join(to_engine(found, table), on="prefix", how="left")


def with_carrier(table: LazyTable) -> LazyTable:
    """Add the column carrier by the first digits of each call's prefix, without a query; null if unknown."""
    first = [str(digits) for digits in range(1_300, 2_000)]  # carriers have groups of at most 4 digits
    names = carriers((digits.ljust(_PREFIX_DIGITS, "0") for digits in first), ["carrier"])["carrier"]
    found = pd.DataFrame({"first_digits": first, "carrier": names}).astype(pd.StringDtype("pyarrow"))
    digits = nw.col("prefix").cast(nw.String).str.slice(0, 4)
    return table.with_columns(first_digits=digits).join(to_engine(found, table), on="first_digits", how="left")


@cache
def carrier_names() -> tuple[str, ...]:
    """Return the names of all carriers, sorted."""
    return tuple(sorted(set(_carriers_by_digits().values())))


def _carrier(prefix: str) -> str | None:
    # phonenumbers' own name_for_number takes 30 times as long, and a log has thousands of prefixes.
    if not (_is_prefix(prefix) and _mobile_numbers().fullmatch(prefix.ljust(_MOBILE_DIGITS, "0"))):
        return None
    names = _carriers_by_digits()
    return next((names[prefix[:digits]] for digits in range(_PREFIX_DIGITS, 0, -1) if prefix[:digits] in names), None)


@cache
def _carriers_by_digits() -> dict[str, str]:
    """Return the carrier of each known group of first digits; the longest group decides."""
    from phonenumbers.carrierdata import CARRIER_DATA

    country = str(_COUNTRY)
    return {it.removeprefix(country): row["en"] for it, row in CARRIER_DATA.items() if it.startswith(f"{country}1")}


@cache
def _mobile_numbers() -> re.Pattern[str]:
    """Return the pattern of the numbers that are mobiles."""
    from phonenumbers.data.region_CN import PHONE_METADATA_CN

    mobile: Any = PHONE_METADATA_CN.mobile
    return re.compile(mobile.national_number_pattern)


@lru_cache(_CACHE_SIZE)
def _province(prefix: str) -> str | None:
    from phonenumbers import PhoneNumber, geocoder

    if not _is_prefix(prefix):
        return None
    number = PhoneNumber(_COUNTRY, int(prefix.ljust(_MOBILE_DIGITS, "0")))
    province = geocoder.description_for_number(number, "en").rpartition(", ")[2]  # of "Suzhou, Jiangsu"
    return None if province in ("", "China") else province


_LOOKUPS: dict[str, Callable[[str], str | None]] = {"carrier": _carrier, "province": _province}


def _is_prefix(prefix: str) -> bool:
    return len(prefix) == _PREFIX_DIGITS and prefix.isascii() and prefix.isdigit()
