"""Convert times and bucket widths between text, nanoseconds since 1970 and pandas' UTC timestamps."""

from __future__ import annotations

import narwhals as nw
import pandas as pd

from toolkit.api.errors import InputError

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
NS_PER_HOUR = 3_600 * NS_PER_S
NS_PER_DAY = 24 * NS_PER_HOUR

_ROUND_WIDTHS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 21_600)


def to_utc(ns: pd.Series) -> pd.Series:
    """Convert nanoseconds since 1970 to UTC timestamps."""
    return pd.to_datetime(ns, unit="ns", utc=True)


def parse_time_ns(when: str | pd.Timestamp) -> int:
    """Parse a time and return it in nanoseconds since 1970.

    A time without an offset is UTC. Raise InputError if it can't be parsed.

    >>> parse_time_ns("1970-01-01T08:00:01+08:00")
    1000000000
    """
    stamp = pd.to_datetime(when, errors="coerce")
    if pd.isna(stamp):
        raise InputError(f"invalid time {when!r}: write it as 2026-11-01T14:05 or 2026-11-01")
    return int((stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp).as_unit("ns").value)


def parse_width_ns(every: str | pd.Timedelta) -> int:
    """Parse the width of a time bucket and return it in nanoseconds; raise InputError if it isn't a positive duration.

    >>> parse_width_ns("500ms")
    500000000
    """
    try:
        width = pd.Timedelta(every).as_unit("ns").value
    except ValueError:
        width = 0
    if width <= 0:
        raise InputError(f"invalid bucket width {every!r}: give a number and a unit, such as 1s, 500ms or 5min")
    return int(width)


def round_width_s(duration_s: float, most: int = 150) -> float:
    """Return the smallest round bucket width, in seconds, that divides a duration into at most ``most`` buckets.

    The largest width is a day, even if that gives more buckets.

    >>> round_width_s(3_600)
    30
    """
    return next((width_s for width_s in _ROUND_WIDTHS_S if duration_s <= width_s * most), 86_400)


def bucket_start_ns(every: str | pd.Timedelta) -> nw.Expr:
    """Return an expression for the start of the bucket in which a call started, in nanoseconds since 1970.

    Buckets are aligned to 1970-01-01T00:00Z.
    """
    # Integers only: a division may convert to floats, which can't represent nanoseconds since 1970 exactly.
    return nw.col("started_ns") - nw.col("started_ns") % parse_width_ns(every)
