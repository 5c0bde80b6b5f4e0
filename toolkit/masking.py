"""Mask secrets, codes and whole mobiles in a run's settings before they are shown."""

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
# Not allowed in XML, obeyed by terminals, or changing the direction of the text around it.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]"
)
_BASIC = re.compile(r"(?i)\b(basic|bearer)\s+[\w+/=.~-]{6,}")


def mask(value: object, name: str = "") -> Json:
    """Return a setting as a JSON value, masked by its name and by its content.

    ``name`` is the setting's name. Values that JSON can't represent become text; NaN and infinity become None.

    >>> mask({"master_secret": "hunter2", "note": "sent to 13800138000", "users": 20})
    {'master_secret': '***', 'note': 'sent to 1380013****', 'users': 20}
    """
    if value is None or isinstance(value, bool):
        return value
    key = name.lower().replace("-", "_")
    if key not in _OPEN_NAMES and _SECRET_NAME.search(key):
        return MASK
    if isinstance(value, Mapping):
        return {mask_text(str(key)): mask(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask(inner, name) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int | float) and not _MOBILE.search(str(value)):
        return value
    return mask_text(str(value))


def mask_text(text: str) -> str:
    """Return text in which mobiles, the user part of URLs, and Basic and Bearer credentials are masked.

    Control and bidirectional characters are shown as escapes, see ``escape_control``.

    >>> mask_text("http://app:pw@host/ 13800138000")
    'http://***@host/ 1380013****'
    """
    text = _USERINFO.sub(f"{MASK}@", text)
    text = _BASIC.sub(rf"\1 {MASK}", text)
    return escape_control(_MOBILE.sub(r"\1****", text))


def escape_control(text: str) -> str:
    r"""Return text in which control and bidirectional characters are shown as escapes; tabs and newlines are kept.

    >>> escape_control("a\x1b[2Jb\u202e")
    'a\\x1b[2Jb\\u202e'
    """
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
