"""Declare the structured numpy arrays of the sends and the calls of a day, one row for each."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[Any]
"""An array of dtype SEND or CALL."""

SEND = np.dtype(
    [
        ("session", "i8"),  # one person's attempt to get a code; NO_SESSION for a send of an attacker
        ("session_ends_ns", "i8"),  # the time of the session's last send
        ("started_ns", "i8"),
        ("latency_ns", "i8"),
        ("number", "i8"),  # the whole mobile: it is not copied to CALL rows
        ("prefix", "i2"),  # an index of Prefixes.numbers
        ("template", "i1"),  # an index of apps.TEMPLATES
        ("app", "i1"),  # an index of apps.APPS
        ("carrier_code", "u1"),  # an index of deliveries.CODES
        ("delay_ns", "i8"),  # from the response until the message arrives; deliveries.NEVER_NS if it never does
        ("guessed", "?"),  # an attacker will guess its code
        ("outcome", "u1"),  # an index of call_outcomes.TABLE
        ("msg_high", "u8"),  # the two halves of the msg_id of an accepted send
        ("msg_low", "u8"),
        ("msg_key", "i8"),
    ]
)
CALL = np.dtype(
    [
        ("started_ns", "i8"),
        ("latency_ns", "i8"),
        ("is_verify", "?"),
        ("outcome", "u1"),
        ("app", "i1"),
        ("host", "i1"),  # an index of apps.HOSTS
        ("mobile_key", "i8"),
        ("prefix", "i2"),  # NO_PREFIX for a verify, and for a mobile that is missing or invalid
        ("temp_id", "i2"),
        ("segments", "i2"),
        ("msg_high", "u8"),
        ("msg_low", "u8"),
        ("msg_key", "i8"),
    ]
)
NO_SESSION = -1
NO_PREFIX = -1
