"""Parse durations as people write them: ``500ms``, ``10s``, ``2m``, ``1h``, ``1h30m``.

    duration = part { part }            the largest unit first, each unit at most once
    part     = number ( "h" | "m" | "s" | "ms" )
    number   = digits [ "." digits ]

This is the only grammar of durations. Command line, settings, stages, rate rules, thresholds and the sandbox's latency
all use it.
"""

from __future__ import annotations

import re
from decimal import Decimal

from toolkit.api.errors import InputError

EXAMPLES = "e.g. 500ms, 10s, 2m or 1h30m"

_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
PATTERN = rf"(?:{_NUMBER}(?:ms|[hms])(?![a-z]))+"
"""A regular expression, without groups, for a duration inside of a longer text."""

_PART = re.compile(rf"({_NUMBER})(ms|[hms])")
_UNIT_S = {"h": Decimal(3600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("0.001")}
_UNITS = list(_UNIT_S)


def parse_duration(text: str, *, allow_zero: bool = False) -> float:
    """Return a duration in seconds; raise InputError if the text isn't a duration, or is 0 and ``allow_zero`` is False.

    >>> parse_duration("1h30m"), parse_duration("1.5s"), parse_duration("250ms")
    (5400.0, 1.5, 0.25)
    """
    text = text.strip()
    parts = _PART.findall(text) if re.fullmatch(PATTERN, text) else []
    places = [_UNITS.index(unit) for _, unit in parts]
    if not parts or places != sorted(set(places)):
        raise InputError(f"invalid duration {text[:40]!r}: expected numbers with units, {EXAMPLES}")
    seconds = float(sum(Decimal(number) * _UNIT_S[unit] for number, unit in parts))
    if not seconds and not allow_zero:
        raise InputError(f"invalid duration {text!r}: expected more than 0, {EXAMPLES}")
    return seconds
