"""Carriers: which carrier a mobile's first 7 digits were given to, and in which province, as phonenumbers knows."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

_COUNTRY, _MOBILE_DIGITS, _PREFIX_DIGITS = 86, 11, 7


def carriers(prefixes: Iterable[str | None]) -> pd.DataFrame:
    """Look up prefixes, 7 digits each.

    One row per prefix, ascending; columns: prefix (string), carrier, province (English names, string, null where
    unknown).
    """
    known = sorted({it for it in prefixes if isinstance(it, str)})
    frame = pd.DataFrame([(it, *_find(it)) for it in known], columns=["prefix", "carrier", "province"])
    return frame.astype(pd.StringDtype("pyarrow"))


def _find(prefix: str) -> tuple[str | None, str | None]:
    from phonenumbers import PhoneNumber, carrier, geocoder

    if len(prefix) != _PREFIX_DIGITS or not (prefix.isascii() and prefix.isdigit()):
        return None, None
    number = PhoneNumber(_COUNTRY, int(prefix.ljust(_MOBILE_DIGITS, "0")))
    return carrier.name_for_number(number, "en") or None, _province(geocoder.description_for_number(number, "en"))


def _province(place_name: str) -> str | None:
    province = place_name.rpartition(", ")[2]
    return None if province in ("", "China") else province
