"""Convert times and bucket widths between text, nanoseconds since 1970 and pandas' timestamps."""

from __future__ import annotations

import narwhals as nw
import numpy as np
import pandas as pd

from toolkit.api.errors import InputError
from toolkit.time_zone import UTC, parse_timezone

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
NS_PER_HOUR = 3_600 * NS_PER_S
NS_PER_DAY = 24 * NS_PER_HOUR

_ROUND_WIDTHS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 21_600)


def to_utc(ns: pd.Series) -> pd.Series:
    """Convert nanoseconds since 1970 to UTC timestamps."""
    return pd.to_datetime(ns, unit="ns", utc=True)


def from_wall_clock(wall_ns: pd.Series, timezone: str) -> pd.Series:
    """Convert wall-clock times of a time zone, in nanoseconds since its 1970-01-01T00:00, to its timestamps.

    The first of two equal times is meant when clocks are set back; a time that is skipped is moved to the next one.
    """
    wall = pd.to_datetime(wall_ns, unit="ns")
    return wall.dt.tz_localize(timezone, ambiguous=np.ones(len(wall), bool), nonexistent="shift_forward")


def to_zone(frame: pd.DataFrame, timezone: str) -> pd.DataFrame:
    """Convert all times of a frame to a time zone."""
    times = [name for name in frame.columns if isinstance(frame[name].dtype, pd.DatetimeTZDtype)]
    return frame.assign(**{name: frame[name].dt.tz_convert(timezone) for name in times})


def zone_name(frame: pd.DataFrame) -> str:
    """Return the name of the time zone of a frame's times, UTC if it has none.

    >>> zone_name(pd.DataFrame({"day": pd.to_datetime(["2026-11-01"]).tz_localize("Asia/Shanghai")}))
    'Asia/Shanghai'
    """
    return next((str(it.tz) for it in frame.dtypes if isinstance(it, pd.DatetimeTZDtype)), UTC)


def parse_time_ns(when: str | pd.Timestamp, timezone: str = UTC) -> int:
    """Parse a time and return it in nanoseconds since 1970.

    A time without an offset is in ``timezone``. Raise InputError if it can't be parsed.

    >>> parse_time_ns("1970-01-01T08:00:01+08:00"), parse_time_ns("1970-01-01T08:00:01", "Asia/Shanghai")
    (1000000000, 1000000000)
    """
    stamp = pd.to_datetime(when, errors="coerce")
    if pd.isna(stamp):
        raise InputError(f"invalid time {when!r}: expected a time as in 2026-11-01T14:05 or 2026-11-01")
    if stamp.tzinfo is None:
        stamp = stamp.tz_localize(parse_timezone(timezone), ambiguous=True, nonexistent="shift_forward")
    try:
        return int(stamp.as_unit("ns").value)
    except pd.errors.OutOfBoundsDatetime:
        raise InputError(f"invalid time {when!r}: expected a time of the years 1678 to 2261") from None


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


def bucket_times(bucket_ns: pd.Series, every: str | pd.Timedelta, timezone: str = UTC) -> tuple[pd.Series, pd.Series]:
    """Return the start and the end of buckets of ``calls_table.with_buckets``, in their time zone."""
    width_ns = parse_width_ns(every)
    if timezone != UTC and width_ns > NS_PER_HOUR:
        return from_wall_clock(bucket_ns, timezone), from_wall_clock(bucket_ns + width_ns, timezone)
    started = to_utc(bucket_ns).dt.tz_convert(timezone)
    return started, started + pd.Timedelta(width_ns, unit="ns")


def bucket_start_ns(every: str | pd.Timedelta) -> nw.Expr:
    """Return an expression for the start of the bucket in which a call started, in nanoseconds since 1970.

    Buckets are aligned to 1970-01-01T00:00Z.
    """
    # Integers only: a division may convert to floats, which can't represent nanoseconds since 1970 exactly.
    return nw.col("started_ns") - nw.col("started_ns") % parse_width_ns(every)
