"""Masking: what of a run's settings may be shown.

Secrets, codes and whole mobiles reach no report, wherever in the settings they stand.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MASK = "***"
_SECRET_NAME = re.compile(r"secret|passw|token|authorization|credential|cookie|key$|^(sms_)?code$")
_OPEN_NAMES = frozenset({"app_key", "appkey"})
_MOBILE = re.compile(r"(?<!\d)((?:\+|00)?(?:86)?1[3-9]\d{5})\d{4}(?!\d)")
_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")
_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]"
)  # no text of XML, or of a terminal
_BASIC = re.compile(r"(?i)\b(basic|bearer)\s+[\w+/=.~-]{6,}")


def mask(value: object, name: str = "") -> Json:
    """Return a setting as JSON, masked by its name and by what it looks like.

    What JSON has no form for becomes text, a number that is none (NaN, infinity) None.
    """
    if value is None or isinstance(value, bool):
        return value
    if _is_secret(name):
        return MASK
    if isinstance(value, Mapping):
        return {mask_text(str(key)): mask(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask(inner, name) for inner in value]
    return _mask_number(value) if isinstance(value, int | float) else mask_text(str(value))


def mask_text(text: str) -> str:
    """Return text with the last digits of mobiles, the user part of URLs and Basic credentials masked.

    What is no text, such as a terminal's control characters, is replaced too.
    """
    text = _USERINFO.sub(f"{MASK}@", text)
    text = _BASIC.sub(rf"\1 {MASK}", text)
    return _CONTROL.sub("\ufffd", _MOBILE.sub(r"\1****", text))


def _is_secret(name: str) -> bool:
    name = name.lower().replace("-", "_")
    return name not in _OPEN_NAMES and _SECRET_NAME.search(name) is not None


def _mask_number(value: float) -> Json:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return mask_text(str(value)) if _MOBILE.search(str(value)) else value
