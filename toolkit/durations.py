"""Durations as people write them: 10s, 2m, 1h."""

from __future__ import annotations

import re

from toolkit.api.errors import InputError

EXAMPLES = "such as 10s, 2m or 1h"
_DURATION = re.compile(r"([0-9]{1,6})([smh])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600}


def parse_duration(text: str) -> int:
    """Read ``10s``, ``2m`` or ``1h`` as seconds, of which locust knows only whole ones; raise InputError for others."""
    match = _DURATION.fullmatch(text.strip())
    seconds = int(match[1]) * _UNIT_S[match[2]] if match else 0
    if not seconds:
        raise InputError(f"duration {text!r}: write a whole number above 0 and a unit, {EXAMPLES}")
    return seconds
