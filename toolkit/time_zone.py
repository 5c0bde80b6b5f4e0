"""Parse the name of a time zone, and list its offsets from UTC in a period."""

from __future__ import annotations

from datetime import datetime
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

from toolkit.api.errors import InputError

UTC = "UTC"
_NS_PER_S, _S_PER_DAY = 10**9, 86_400


def parse_timezone(name: str) -> str:
    """Return the name of a time zone of the IANA list, such as ``Asia/Shanghai``.

    Raise InputError for another text. An offset such as +08:00 is refused, because it has no daylight saving time.

    >>> parse_timezone("Asia/Shanghai")
    'Asia/Shanghai'
    """
    try:
        return ZoneInfo(name).key
    except (OSError, ValueError, KeyError):  # a folder of the list, a path, an unknown name
        close = get_close_matches(name, available_timezones(), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise InputError(f"invalid timezone {name!r}: expected an IANA name, e.g. Asia/Shanghai or UTC{hint}") from None


@cache
def utc_offsets(timezone: str, first_ns: int, last_ns: int) -> tuple[tuple[int, int], ...]:
    """Return the offsets of a time zone's local time from UTC in a period.

    Args:
        timezone: The name of the time zone.
        first_ns, last_ns: The first and the last time, ns since 1970.

    Returns:
        Pairs in the order of time: the time from which an offset applies, and the offset, both in ns. The first pair
        starts at ``first_ns`` or up to a second earlier.

    >>> utc_offsets("Asia/Shanghai", 0, 0)
    ((0, 28800000000000),)
    """
    zone = ZoneInfo(timezone)

    def offset_s(time_s: int) -> int:
        offset = datetime.fromtimestamp(time_s, zone).utcoffset()
        assert offset is not None  # a ZoneInfo always has one
        return round(offset.total_seconds())

    first_s, last_s = first_ns // _NS_PER_S, last_ns // _NS_PER_S
    found = [(first_s, offset_s(first_s))]
    for start_s, end_s in pairwise([*range(first_s, last_s, _S_PER_DAY), last_s]):
        if offset_s(start_s) != (after_s := offset_s(end_s)):
            minutes = range(start_s - start_s % 60, end_s + 1, 60)  # clocks are changed at whole minutes
            found.append((next(it for it in minutes if offset_s(it) == after_s), after_s))
    return tuple((since_s * _NS_PER_S, it_s * _NS_PER_S) for since_s, it_s in found)
