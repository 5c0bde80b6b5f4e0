"""Tables: the columns in which sends and calls are kept while a day is made, one row each."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[Any]
"""Rows of one of the tables below."""

SEND = np.dtype(
    [
        ("session", "i8"),  # one person's attempt to get a code; NO_SESSION for an attacker's send
        ("ends_ns", "i8"),  # when the session's last send is made
        ("started_ns", "i8"),
        ("latency_ns", "i8"),
        ("number", "i8"),  # the whole mobile: never leaves this table
        ("prefix", "i2"),  # its place among the prefixes
        ("template", "i1"),  # its place among the templates
        ("app", "i1"),
        ("guessed", "?"),  # an attacker will guess its code
        ("outcome", "u1"),
        ("msg_high", "u8"),  # the two halves of the msg_id of an accepted send
        ("msg_low", "u8"),
        ("msg_key", "i8"),
    ]
)
CALL = np.dtype(
    [
        ("started_ns", "i8"),
        ("latency_ns", "i8"),
        ("verifies", "?"),  # else it is a send
        ("outcome", "u1"),
        ("app", "i1"),
        ("host", "i1"),
        ("mobile_key", "i8"),
        ("prefix", "i2"),  # NO_PREFIX for what is no mobile
        ("temp_id", "i2"),
        ("segments", "i2"),
        ("msg_high", "u8"),
        ("msg_low", "u8"),
        ("msg_key", "i8"),
    ]
)
NO_SESSION = -1
NO_PREFIX = -1


def empty(dtype: np.dtype[Any], count: int = 0) -> Rows:
    """Return rows of zeros."""
    return np.zeros(count, dtype)
