"""Find calls that were recorded more than once, and leave the copies out.

Log shippers deliver at least once, so a record may come twice. A copy has the same source, start, latency, endpoint,
msg_id, request_id, mobile, app and outcome. That identifies a call if it has a request_id, or is the send of a msg_id,
or if its start is finer than a millisecond. In a log of whole seconds two verifies of one message may look the same, so
they are kept.

Method: calls whose start is that of another call are counted first, from one column of integers; nothing is sorted.
Only if there are any, their other columns are compared. Large tables are read in parts of about 20 million calls by
their start, so that the memory does not grow: about 0.7 GB, and 0.2 s for each million calls on one core.

The result without copies is the calls whose start is unique, and one call of each group of copies.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import narwhals as nw
import pyarrow as pa

from toolkit.analysis.engines import LazyTable, arrow_to_engine
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint

_KEY = [
    *("source", "started_ns", "latency_ns", "endpoint", "msg_id", "request_id"),
    *("http_status", "return_code", "error", "mobile_key", "app_key"),
]
PART_CALLS = 20_000_000  # more take more memory, fewer read the columns of starts more often
_FINE_NS = 1_000_000
_IS_SEND = nw.col("endpoint") == Endpoint.SEND.value
_IS_IDENTIFIED = (
    ~nw.col("request_id").is_null() | (_IS_SEND & ~nw.col("msg_id").is_null()) | (nw.col("started_ns") % _FINE_NS != 0)
)
_IS_MESSAGE = _IS_SEND & (nw.col("return_code") == int(ReturnCode.SUCCESS)) & ~nw.col("msg_key").is_null()


@dataclass(frozen=True, slots=True)
class Distinct:
    """A table without copies, the number of copies left out, and whether a message is in several records.

    Such records are of one send, but not copies: the client's and the service's.
    """

    table: LazyTable
    copies: int
    has_repeated_messages: bool


def leave_out_copies(table: LazyTable, part_calls: int = PART_CALLS) -> Distinct:
    """Remove the copies of calls; ``table`` has all columns of CallRecord, ``part_calls`` are compared at a time."""
    starts: list[int] = []
    copies = 0
    for part in _parts(table, part_calls):
        same_start = part.group_by("started_ns").agg(calls=nw.len()).filter(nw.col("calls") > 1)
        if not _count(same_start):
            continue
        suspects = part.filter(_IS_IDENTIFIED).join(same_start.select("started_ns"), on="started_ns", how="semi")
        groups = suspects.group_by(_KEY).agg(calls=nw.len()).filter(nw.col("calls") > 1)
        found = groups.select("started_ns", "calls").collect("pyarrow").to_native().to_pydict()
        copies += sum(found["calls"]) - len(found["calls"])
        starts += found["started_ns"]
    if starts:
        marks = pa.table({"started_ns": pa.array(sorted(set(starts)), pa.int64())}).append_column(
            "is_suspect", [pa.array([1] * len(set(starts)), pa.int64())]
        )
        marked = table.join(arrow_to_engine(marks, table), on="started_ns", how="left")
        is_suspect = ~nw.col("is_suspect").is_null() & _IS_IDENTIFIED
        table = _once(marked, is_suspect, _KEY, table.collect_schema().names())
    messages = table.filter(_IS_MESSAGE).group_by("msg_key").agg(calls=nw.len())
    return Distinct(table, copies, bool(_count(messages.filter(nw.col("calls") > 1))))


def once_per_message(table: LazyTable) -> LazyTable:
    """Return a table with one row for each accepted send; unknown values of one record are taken from another."""
    return _once(table, _IS_MESSAGE.fill_null(False), ["msg_key"], table.collect_schema().names())


def _once(table: LazyTable, is_suspect: nw.Expr, key: list[str], names: Collection[str]) -> LazyTable:
    """Merge the suspected rows of each key into one: the earliest start, and the known values."""
    others = {name: nw.col(name).max() for name in names if name not in (*key, "started_ns")}
    if "started_ns" not in key:
        others["started_ns"] = nw.col("started_ns").min()
    merged = table.filter(is_suspect).group_by(key).agg(**others)
    return nw.concat([table.filter(~is_suspect).select(names), merged.select(names)])


def _parts(table: LazyTable, part_calls: int) -> Iterator[LazyTable]:
    """Yield the calls of a table in parts, each of a period."""
    started = nw.col("started_ns")
    row = table.select(calls=nw.len(), first=started.min(), last=started.max()).collect("pyarrow").to_native()
    calls, first, last = (row[name][0].as_py() for name in ("calls", "first", "last"))
    parts = -(-calls // part_calls)
    for number in range(parts) if parts > 1 else ():
        begin, end = (first + (last + 1 - first) * it // parts for it in (number, number + 1))
        yield table.filter(started >= begin, started < end)
    if parts == 1:
        yield table


def _count(table: LazyTable) -> int:
    return int(table.select(calls=nw.len()).collect("pyarrow").to_native()["calls"][0].as_py())
