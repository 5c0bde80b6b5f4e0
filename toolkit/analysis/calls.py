"""Hold recorded calls as one lazy table, one row per call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Self

import narwhals as nw
import pandas as pd

from toolkit.analysis.call_frames import LazyTable, check_frame
from toolkit.analysis.calls_table import IntoCalls, collect, lazy
from toolkit.analysis.source_record import SourceRecord, unread_frame
from toolkit.analysis.tidy_frames import returns_result, tidy
from toolkit.analysis.timestamps import NS_PER_S, parse_time_ns, to_utc
from toolkit.records.call_record import CallRecord
from toolkit.records.parquet import to_table
from toolkit.time_zone import UTC

_NAMES = [column.name for column in fields(CallRecord)]
_INTEGERS = {"return_code": "Int64", "temp_id": "Int64", "mobile_key": "Int64", "msg_key": "Int64", "segments": "Int16"}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Calls:
    """A lazy table of calls, with a record of each text file that they were read from. ``read`` creates it.

    ``table``: narwhals LazyFrame with the columns of CallRecord.

    ``sources``: how each text file was read. Parquet files and packed files have no record.

    ``absent``: the columns of CallRecord that the source lacks; a function that needs such a column raises InputError.

    ``inferred``: the calls of a frame whose return code is that of their HTTP status, where it has only one. Each of
    the ``sources`` counts those of its log.

    ``copies``: the calls that were recorded again, and are left out; ``duplicates`` describes how they are found.
    ``has_repeated_messages``: an accepted send is in several records; it is billed once. ``same_files``: the files that
    are left out because another one has the same content.

    Example: ``len(calls)``, ``calls.head()``, ``calls.where(endpoint="send")``.
    """

    table: LazyTable
    sources: tuple[SourceRecord, ...] = ()
    absent: frozenset[str] = frozenset()
    inferred: int = 0
    copies: int = 0
    has_repeated_messages: bool = False
    same_files: tuple[str, ...] = ()

    @property
    def unread(self) -> pd.DataFrame:
        """The lines that could not be read: a pandas frame with one row per file and reason.

        Columns: file (category), reason (string), rows (int64), lines (string, the first line numbers), text (string,
        the first line's text, masked).
        """
        return unread_frame(self.sources)

    def between(
        self, since: str | pd.Timestamp | None = None, until: str | pd.Timestamp | None = None, timezone: str = UTC
    ) -> Self:
        """Return the calls that started at ``since`` or later and before ``until``.

        A time without an offset is in ``timezone``. Raise InputError if one can't be parsed.

        Example: ``calls.between("2026-11-05", "2026-11-06T14:05")``.
        """
        started = nw.col("started_ns")
        bounds = [] if since is None else [started >= parse_time_ns(since, timezone)]
        bounds += [] if until is None else [started < parse_time_ns(until, timezone)]
        return self.where(*bounds)

    def where(self, *conditions: nw.Expr, **equal: object) -> Self:
        """Return the calls that meet all conditions.

        Example: ``calls.where(nw.col("latency_ns") > 10**9, endpoint="send", return_code=50009)``.
        """
        wanted = [*conditions, *(nw.col(name) == value for name, value in equal.items())]
        return replace(self, table=self.table.filter(*wanted)) if wanted else self

    def __len__(self) -> int:
        return int(collect(self.table.select(calls=nw.len()))["calls"].iloc[0])

    def __repr__(self) -> str:
        count, period = len(self), span(self)
        when = f" from {period[0]:%Y-%m-%d %H:%M:%S} to {period[1]:%Y-%m-%d %H:%M:%S} UTC" if period else ""
        unread = sum(source.unread_rows for source in self.sources)
        copies = f", {self.copies:,} recorded again and left out" if self.copies else ""
        inferred = self.inferred + sum(sum(source.inferred.values()) for source in self.sources)
        codes = f", {inferred:,} return codes inferred from the HTTP status" if inferred else ""
        return f"<{count:,} calls{when}, {unread:,} lines unread{codes}{copies}>"

    def to_pandas(self) -> pd.DataFrame:
        """Load all calls into a frame like that of ``from_records``, with rows in any order."""
        return _with_started(collect(self.table.select(_NAMES)))

    def head(self, rows: int = 5) -> pd.DataFrame:
        """Load the first calls, by their start, into a frame like that of ``from_records``."""
        first = collect(self.table.select(_NAMES).sort("started_ns").head(rows))
        return _with_started(first.sort_values("started_ns", ignore_index=True))


def from_frame(frame: Any) -> Calls:
    """Check a frame of calls once, so that functions that take the result don't check it again.

    Args:
        frame: a frame of any engine with the columns of CallRecord: pandas, polars, Arrow, DuckDB, Spark or Ibis.
            started_ns, endpoint and latency_ns are required; a column ``started`` of times with a zone replaces
            started_ns. Text that is a whole number, whole floats and endpoints in other letters are converted.

    Raises InputError, which names the column and the cure, for any other value.

    Example: ``calls = from_frame(spark.read.parquet("s3a://logs/calls"))``.
    """
    checked = check_frame(frame)
    return Calls(
        checked.table,
        absent=checked.absent,
        inferred=checked.inferred,
        copies=checked.copies,
        has_repeated_messages=checked.has_repeated_messages,
    )


@returns_result
def from_records(records: Iterable[CallRecord]) -> pd.DataFrame:
    """Convert call records to a pandas frame, which every function of this package accepts.

    Returns one row per call. Columns:
        started_ns, latency_ns, wait_ns (int64, ns): start since 1970, duration, and delay before the start.
        started (datetime64[ns, UTC]): start.
        run, source, endpoint, kind, prefix, app_key, error (category).
        http_status, segments (Int16), return_code, temp_id, mobile_key, msg_key (Int64).
        msg_id, request_id, message, trace_id (string).

    Example: ``return_codes(from_records(client_log))`` for a list of CallRecord.
    """
    return _with_started(tidy(to_table(map(attrgetter(*_NAMES), records))))


@returns_result
def _with_started(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype(_INTEGERS).assign(started=to_utc(frame["started_ns"]))


def span(calls: IntoCalls) -> tuple[pd.Timestamp, pd.Timestamp] | None:
    """Return the start of the first call and the end of the last one, in UTC; None if there are not calls.

    Example: ``first, last = span(read("runs/1"))``. Raises InputError if ``calls`` isn't a frame of calls.
    """
    ended = nw.col("started_ns") + nw.col("latency_ns").fill_null(0)
    found = collect(lazy(calls).select(first=nw.col("started_ns").min(), last=ended.max())).iloc[0]
    if pd.isna(found["first"]):
        return None
    return pd.Timestamp(found["first"], unit="ns", tz="UTC"), pd.Timestamp(found["last"], unit="ns", tz="UTC")


def duration_s(calls: IntoCalls) -> float:
    """Return the time from the start of the first call to the end of the last one, in seconds; 0 without calls.

    Example: ``duration_s(read("runs/1"))`` gives 60.4 for a run of a minute. Raises InputError if ``calls`` isn't a
    frame of calls.
    """
    period = span(calls)
    return (period[1] - period[0]).value / NS_PER_S if period else 0.0
