"""Calls: one row per call, whatever they were recorded in, as what every function of this package takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Self

import narwhals as nw
import pandas as pd

from toolkit.analysis.calls_table import IntoCalls, LazyTable, collect, lazy
from toolkit.analysis.tidy_frames import tidy
from toolkit.analysis.timestamps import NS_PER_S, parse_time_ns, to_utc
from toolkit.records.call_record import CallRecord
from toolkit.records.parquet import to_table

_NAMES = [column.name for column in fields(CallRecord)]
_INTEGERS = {"return_code": "Int64", "temp_id": "Int64", "mobile_key": "Int64", "msg_key": "Int64", "segments": "Int16"}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Calls:
    """Calls of any number, as one lazy table.

    ``table``: narwhals' LazyFrame with the columns of CallRecord. ``unread``: what couldn't be read; one row per file
    and reason; columns: file (category), reason (string), rows (int64), lines (numbers of the first ones, string), text
    (the first one's, masked, string).
    """

    table: LazyTable
    unread: pd.DataFrame

    def between(self, since: str | pd.Timestamp | None = None, until: str | pd.Timestamp | None = None) -> Self:
        """Return the calls that started at ``since`` or later and before ``until``; in UTC where a time doesn't say."""
        started = nw.col("started_ns")
        bounds = [] if since is None else [started >= parse_time_ns(since)]
        bounds += [] if until is None else [started < parse_time_ns(until)]
        return self.where(*bounds)

    def where(self, *conditions: nw.Expr, **equal: object) -> Self:
        """Return the calls of which all this holds, as ``where(endpoint="send", return_code=50009)``."""
        wanted = [*conditions, *(nw.col(name) == value for name, value in equal.items())]
        return type(self)(self.table.filter(*wanted) if wanted else self.table, self.unread)

    def __repr__(self) -> str:
        many, within = int(collect(self.table.select(calls=nw.len()))["calls"].iloc[0]), span(self)
        when = f" from {within[0]:%Y-%m-%d %H:%M:%S} to {within[1]:%Y-%m-%d %H:%M:%S} UTC" if within else ""
        unread = int(self.unread["rows"].sum()) if len(self.unread) else 0
        return f"<{many:,} calls{when}, {unread:,} rows unread>"

    def to_pandas(self) -> pd.DataFrame:
        """Return all of them as a frame like that of ``from_records``, in no promised order; it takes memory."""
        return _as_calls(collect(self.table.select(_NAMES)))


def from_records(records: Iterable[CallRecord]) -> pd.DataFrame:
    """Return records as a pandas frame, which every function of this package takes too.

    One row per call; columns: those of CallRecord, and ``started`` (UTC, datetime64[ns, UTC]); started_ns, latency_ns,
    wait_ns (ns, int64); http_status, segments (Int16); return_code, temp_id, mobile_key, msg_key (Int64); msg_id
    (string); run, source, endpoint, kind, prefix, app_key, error (category).
    """
    return _as_calls(tidy(to_table(map(attrgetter(*_NAMES), records))))


def _as_calls(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype(_INTEGERS).assign(started=to_utc(frame["started_ns"]))


def span(calls: IntoCalls) -> tuple[pd.Timestamp, pd.Timestamp] | None:
    """Return when the first call started and when the last one ended, UTC; None where there are no calls."""
    ended = nw.col("started_ns") + nw.col("latency_ns")
    found = collect(lazy(calls).select(first=nw.col("started_ns").min(), last=ended.max())).iloc[0]
    if pd.isna(found["first"]):
        return None
    return pd.Timestamp(found["first"], unit="ns", tz="UTC"), pd.Timestamp(found["last"], unit="ns", tz="UTC")


def duration_s(calls: IntoCalls) -> float:
    """Return how long it took from the first start to the last end, in seconds; 0 where there are no calls."""
    found = span(calls)
    return (found[1] - found[0]).value / NS_PER_S if found else 0.0
