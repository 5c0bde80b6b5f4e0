"""Convert calls of any dataframe engine to one lazy table, and collect query results as tidy pandas frames.

The functions of this package are written once, with narwhals. The engine behind a table is DuckDB, over Parquet files
or over a pandas, polars or Arrow frame in memory; or the caller's: a PySpark DataFrame or an Ibis table.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import narwhals as nw
import pandas as pd

from toolkit.analysis.call_frames import COLUMNS as COLUMNS
from toolkit.analysis.call_frames import LazyTable as LazyTable
from toolkit.analysis.call_frames import check_frame, describe_missing
from toolkit.analysis.duplicates import once_per_message
from toolkit.analysis.tidy_frames import tidy
from toolkit.analysis.timestamps import NS_PER_HOUR, bucket_start_ns, parse_width_ns
from toolkit.api.errors import InputError
from toolkit.api.return_codes import FREE_REFUSALS, LATER_CODES, Kind, ReturnCode, kind_of
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import Failure
from toolkit.time_zone import UTC, parse_timezone, utc_offsets

IS_SEND = nw.col("endpoint") == Endpoint.SEND.value
IS_VERIFY = nw.col("endpoint") == Endpoint.VERIFY.value
IS_SUCCESS = nw.col("return_code") == int(ReturnCode.SUCCESS)

_HAS_5XX = ((nw.col("http_status") >= 500) & (nw.col("http_status") < 600)).fill_null(False)
RESPONSE_KIND = (
    nw.when(_HAS_5XX & (~nw.col("return_code").is_null() | nw.col("error").is_null()))
    .then(nw.lit(Kind.SERVER.value))
    .otherwise(
        nw.when((nw.col("kind").cast(nw.String) == Kind.VERDICT.value).fill_null(False)).then(
            nw.lit(Kind.VERDICT.value)
        )
    )
)
"""The kind that a response has whatever its return code, as ``return_codes.kind_of`` decides it; else null.

It is SERVER for an HTTP status of 5xx, and VERDICT for a body with ``"is_valid": false``.
"""
_KNOWN_CODES = [code for code in (*map(int, ReturnCode), *LATER_CODES) if kind_of(code)]
IS_UNKNOWN = (~nw.col("return_code").is_null() & ~nw.col("return_code").is_in(_KNOWN_CODES)).fill_null(
    False
) & RESPONSE_KIND.is_null()
"""Whether a response has a return code whose kind is unknown, so that it is unknown who failed."""
_FREE_CODES = [code for code in (*map(int, ReturnCode), *LATER_CODES) if kind_of(code) in FREE_REFUSALS]
IS_FREE = (nw.col("return_code").fill_null(0).is_in(_FREE_CODES) & RESPONSE_KIND.is_null()) | (
    nw.col("error").cast(nw.String).fill_null("") == Failure.CONNECT.value
)
"""Whether a send that was not accepted was certainly free, as ``call_record.may_cost`` decides it."""


class HasTable(Protocol):
    """An object with a lazy table of calls, such as ``calls.Calls``."""

    @property
    def table(self) -> LazyTable:
        """The table, with all columns of CallRecord."""

    @property
    def absent(self) -> frozenset[str]:
        """The columns that the source of the calls lacks."""

    @property
    def has_repeated_messages(self) -> bool:
        """Whether an accepted send is in several records, such as the client's and the service's."""


IntoCalls: TypeAlias = HasTable | Any
"""The result of ``read``, or a frame of any engine with the columns of CallRecord, such as ``from_records`` returns."""


def lazy(calls: IntoCalls, *needed: str) -> LazyTable:
    """Return calls as a lazy table with all columns of CallRecord.

    A frame is checked by ``call_frames.check_frame``. Raise InputError if it isn't one, if a column can't be converted,
    or if a ``needed`` one is missing.
    """
    found = checked(calls)
    if missing := [name for name in needed if name in found.absent]:
        raise InputError(describe_missing(missing))
    return found.table


def lazy_messages(calls: IntoCalls, *needed: str) -> LazyTable:
    """Return calls as ``lazy`` does, but with one row for each accepted send: a message is billed once."""
    found = checked(calls)
    table = lazy(found, *needed)
    return once_per_message(table) if found.has_repeated_messages else table


def checked(calls: IntoCalls) -> HasTable:
    """Return calls as an object with a table; a frame is checked first."""
    is_checked = hasattr(type(calls), "table") and hasattr(type(calls), "absent")
    found: HasTable = calls if is_checked else check_frame(calls)
    return found


def collect(table: LazyTable) -> pd.DataFrame:
    """Run a query and return its result as a tidy frame, with rows in any order.

    Raise KeyboardInterrupt if Ctrl-C interrupts the engine.
    """
    native: Any = table.to_native() if table.implementation.is_duckdb() else None
    try:  # narwhals would import its Arrow backend for a result of DuckDB, which takes longer than small queries
        return tidy(native.to_arrow_table() if native is not None else table.collect("pyarrow").to_native())
    except RuntimeError as problem:
        if "Query interrupted" in str(problem):  # DuckDB's message
            raise KeyboardInterrupt from None
        raise


def distinct_rows(table: LazyTable, *names: str) -> LazyTable:
    """Return the distinct rows of some columns."""
    # Engines implement narwhals' unique() with row numbers, which costs more than a group by.
    return table.group_by(names).agg(rows=nw.len()).select(names)


def with_wall_clock(table: LazyTable, timezone: str) -> LazyTable:
    """Add the start of each call on the wall clock of a time zone, as ``wall_ns``: ns since 1970-01-01T00:00 there."""
    wall = nw.col("started_ns")
    if parse_timezone(timezone) != UTC:
        times = collect(table.select(first=wall.min(), last=wall.max())).fillna(0).iloc[0]
        (_, offset_ns), *changes = utc_offsets(timezone, int(times["first"]), int(times["last"]))
        wall = wall + offset_ns
        for since_ns, changed_ns in changes:
            moved = nw.when(nw.col("started_ns") >= since_ns).then(nw.lit(changed_ns - offset_ns, nw.Int64))
            wall, offset_ns = wall + moved.otherwise(nw.lit(0, nw.Int64)), changed_ns
    return table.with_columns(wall_ns=wall)


def with_buckets(table: LazyTable, every: str | pd.Timedelta, timezone: str = UTC) -> LazyTable:
    """Add the bucket of time in which each call started, as ``bucket_ns``; ``timestamps.bucket_times`` reads it.

    Buckets are aligned to midnight in a time zone. Those of up to an hour are distinguished by their start since 1970,
    because an hour occurs twice when clocks are set back. Longer ones are as long as by the wall clock, so that a day
    may have 23 or 25 hours.
    """
    width_ns = parse_width_ns(every)
    if timezone == UTC:
        return table.with_columns(bucket_ns=bucket_start_ns(every))
    table = with_wall_clock(table, timezone)
    start = nw.col("started_ns") if width_ns <= NS_PER_HOUR else nw.col("wall_ns")
    return table.with_columns(bucket_ns=start - nw.col("wall_ns") % width_ns)


def on_even_wall_clock(table: LazyTable, timezone: str) -> tuple[LazyTable, int]:
    """Move the starts of calls to a time zone's wall clock, by its offset at the first call.

    Buckets of equal width then begin at midnight there, until clocks are changed.

    Returns:
        The calls, with ``started_ns`` moved, and the offset in ns, to be subtracted from results.
    """
    if parse_timezone(timezone) == UTC:
        return table, 0
    first = collect(table.select(first=nw.col("started_ns").min()))["first"].fillna(0).iloc[0]
    ((_, offset_ns),) = utc_offsets(timezone, int(first), int(first))
    return table.with_columns(started_ns=nw.col("started_ns") + offset_ns), offset_ns


def covered_ratio(table: LazyTable, started: pd.Series, ended: pd.Series) -> pd.Series:
    """Return the share of each bucket, 0..1, that lies between the starts of the first and of the last call.

    It is below 1 only for the first and the last bucket: their calls are those of a part of the bucket.
    """
    found = collect(table.select(first=nw.col("started_ns").min(), last=nw.col("started_ns").max())).iloc[0]
    if pd.isna(found["first"]):
        return pd.Series(1.0, index=started.index)
    first, last = (pd.Timestamp(int(found[name]), unit="ns", tz="UTC") for name in ("first", "last"))
    width_s, before_s, after_s = (it.dt.total_seconds() for it in (ended - started, first - started, ended - last))
    return pd.Series(1 - (before_s.clip(lower=0) + after_s.clip(lower=0)) / width_s)


def accepted_sends(table: LazyTable) -> LazyTable:
    """Return the sends that succeeded."""
    return table.filter(IS_SEND, IS_SUCCESS)


def verified_messages(table: LazyTable) -> LazyTable:
    """Return the ``msg_key`` of each message that has a successful verify, one row per message."""
    return distinct_rows(table.filter(IS_VERIFY, IS_SUCCESS, ~nw.col("msg_key").is_null()), "msg_key")
