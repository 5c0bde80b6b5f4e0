"""Write large integers as text in JSON: other programs read those above 2**53 as floats, and lose their last digits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_EXACT = 2**53  # a double holds every integer up to this one (RFC 8259, section 6)


def exact(value: Any) -> Any:
    """Return a JSON value with text in place of integers above 2**53, at any depth.

    >>> exact({"mobile_key": 9007199254740993, "calls": 3, "ids": [-9007199254740993]})
    {'mobile_key': '9007199254740993', 'calls': 3, 'ids': ['-9007199254740993']}
    """
    if isinstance(value, Mapping):
        return {name: exact(it) for name, it in value.items()}
    if isinstance(value, list | tuple):
        return [exact(it) for it in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_EXACT:
        return str(value)
    return value
