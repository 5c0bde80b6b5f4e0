"""Check frames of calls from any dataframe engine, and convert them to the columns of CallRecord.

All functions of the analysis read their calls through ``check_frame``. pandas, polars and Arrow frames are loaded into
DuckDB, which answers in memory; DuckDB relations, Spark frames and Ibis tables stay where they are.

A value is converted if its meaning is certain: text that is a whole number, a whole float below 2**53, a time with a
zone, an endpoint in other letters. Anything else is an InputError that names the column and a cure. Without this check
a comparison with a value of another type is false for each row, and a function would return zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import narwhals as nw
import pandas as pd
import pyarrow as pa

from toolkit.analysis.duplicates import leave_out_copies
from toolkit.analysis.engines import LazyTable as LazyTable
from toolkit.analysis.engines import in_memory
from toolkit.api.errors import InputError
from toolkit.api.return_codes import LATER_CODES, SINGLE_CODES, Kind, ReturnCode, kind_of
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import MAX_DURATION_NS, MAX_STARTED_NS

# The columns of CallRecord, in its order.
COLUMNS: dict[str, Any] = {
    "started_ns": nw.Int64,
    "endpoint": nw.String,
    "latency_ns": nw.Int64,
    "run": nw.String,
    "source": nw.String,
    "http_status": nw.Int64,
    "return_code": nw.Int64,
    "kind": nw.String,
    "wait_ns": nw.Int64,
    "mobile_key": nw.Int64,
    "prefix": nw.String,
    "temp_id": nw.Int64,
    "msg_id": nw.String,
    "msg_key": nw.Int64,
    "app_key": nw.String,
    "segments": nw.Int64,
    "error": nw.String,
    "request_id": nw.String,
    "message": nw.String,
    "trace_id": nw.String,
}
NEVER_NULL = ("started_ns", "endpoint")
REQUIRED = (*NEVER_NULL, "latency_ns")  # the latency is null in calls of a log that doesn't hold it
_ARROW_TEXTS = (pa.string(), pa.large_string(), pa.string_view())
_KEYS = ("mobile_key", "msg_key")  # 64-bit digests, which a conversion to float changes
MAX_NS = {"started_ns": MAX_STARTED_NS, "latency_ns": MAX_DURATION_NS, "wait_ns": MAX_DURATION_NS}
_MAX_EXACT_FLOAT = 2**53
_WHOLE, _MAX_INT64 = r"^[+-]?\d{1,19}(\.0*)?$", str(2**63 - 1)
_STARTED = "started"  # the column of times that ``from_records`` adds
_UNITS = {10**9: "s", 10**12: "ms", 10**15: "µs"}  # 2001 to 2286 since 1970 in another unit than ns
_MISSING_CURES = {
    "msg_key": 'compute it: frame["msg_id"].map(toolkit.records.call_record.hash64)',
    "mobile_key": "pass the result of toolkit.analysis.read, which computes it, or of from_records",
    "return_code": f"add the API's return codes; {ReturnCode.SUCCESS:d} is a success; or http_status, to infer them",
}


@dataclass(frozen=True, slots=True)
class CheckedFrame:
    """A table with all columns of CallRecord, and the findings of the check.

    Attributes:
        table: The calls.
        absent: The columns that the frame lacked.
        copies: The number of calls that were recorded again, and left out.
        has_repeated_messages: Whether an accepted send is in several records, such as the client's and the service's.
        inferred: The number of calls whose return code is that of their HTTP status, see ``infer_codes``.
    """

    table: LazyTable
    absent: frozenset[str] = frozenset()
    inferred: int = 0
    copies: int = 0
    has_repeated_messages: bool = False


def complete(table: LazyTable) -> CheckedFrame:
    """Add the columns of CallRecord that a table lacks, without a check of the others."""
    absent = frozenset(COLUMNS) - set(table.collect_schema())
    if "return_code" in absent:
        table, absent = infer_codes(table), absent - ({"return_code"} if "http_status" not in absent else set())
    schema = dict(table.collect_schema())
    added = {name: _added(name, schema) for name in COLUMNS if name not in schema}
    return CheckedFrame(table.with_columns(**added) if added else table, absent)


def infer_codes(table: LazyTable) -> LazyTable:
    """Return calls with the return code of their HTTP status where it has only one and the calls hold none.

    A call that failed without a response keeps none. The log reader follows the same rule.
    """
    names = table.collect_schema().names()
    if "http_status" not in names:
        return table
    code: nw.Expr = nw.lit(None, nw.Int64)
    for status, row in SINGLE_CODES.items():
        code = nw.when(nw.col("http_status") == status).then(nw.lit(int(row), nw.Int64)).otherwise(code)
    if "error" in names:
        code = nw.when(nw.col("error").is_null()).then(code)
    return table.with_columns(return_code=nw.coalesce(nw.col("return_code"), code) if "return_code" in names else code)


def check_frame(frame: Any) -> CheckedFrame:
    """Check a frame of calls and convert it to the columns of CallRecord.

    Columns that the frame lacks are added: ``return_code`` by the HTTP status, see ``infer_codes``, ``wait_ns`` as 0,
    ``kind`` by the return code and the HTTP status, the rest as null. The check reads the frame once, or twice if it
    has HTTP statuses. Raise InputError for an object that isn't a frame, and for a column that is missing or that can't
    be converted.
    """
    native: Any = nw.to_native(frame, pass_through=True)
    try:
        table: LazyTable = nw.from_native(native).lazy()
    except TypeError:
        raise InputError(
            f"a {type(frame).__name__} is not a frame of calls: pass the result of toolkit.analysis.read, or a frame"
        ) from None
    names = [name for name in (*COLUMNS, _STARTED) if name in table.collect_schema().names()]
    absent = frozenset(COLUMNS) - set(names)
    if _STARTED in names and "started_ns" in absent:
        absent -= {"started_ns"}
    elif _STARTED in names:
        names.remove(_STARTED)
    if missing := [name for name in REQUIRED if name in absent]:
        raise InputError(describe_missing(missing))
    if table.implementation.is_pandas() or table.implementation.is_polars() or table.implementation.is_pyarrow():
        table = in_memory(_to_arrow(native, table, names))
    if "http_status" not in absent:
        absent -= {"return_code"}
    return without_copies(replace(_convert(table), absent=absent))


def without_copies(checked: CheckedFrame) -> CheckedFrame:
    """Return the calls without those that were recorded again."""
    found = leave_out_copies(checked.table)
    return replace(checked, table=found.table, copies=found.copies, has_repeated_messages=found.has_repeated_messages)


def describe_missing(names: list[str]) -> str:
    """Return the message for columns that a frame lacks, with the cure."""
    cure = "; ".join(_MISSING_CURES[name] for name in names if name in _MISSING_CURES)
    return f"the frame of calls lacks {', '.join(names)}: {cure or 'rename its columns to those of a CallRecord'}"


# In memory.


def _to_arrow(native: Any, table: LazyTable, names: list[str]) -> pa.Table:
    """Return some columns of a frame in memory as Arrow, times as ns since 1970."""
    if isinstance(native, pd.DataFrame):
        columns = {name: _pandas_column(native[name]) for name in names}
        columns = {
            name: it if isinstance(it, pa.ChunkedArray) else pa.chunked_array([it]) for name, it in columns.items()
        }
        found = pa.table(columns)
    else:
        found = table.select(names).collect("pyarrow").to_native()
    converted = {"started_ns" if name == _STARTED else name: _arrow_column(name, found[name]) for name in names}
    return pa.table(converted)


def _pandas_column(column: pd.Series) -> pa.Array | pa.ChunkedArray:
    try:
        return pa.Array.from_pandas(column)
    except (pa.ArrowException, TypeError, ValueError):
        example = next((it for it in column if not isinstance(it, str) and not pd.isna(it)), None)
        types = " and ".join(sorted({type(it).__name__ for it in column.dropna()}))
        raise InputError(
            f"invalid column {column.name} of the frame of calls: it mixes {types} (such as {example!r});"
            f' convert it, e.g. frame["{column.name}"].astype("{"string" if _is_text(str(column.name)) else "Int64"}")'
        ) from None


def _arrow_column(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column with times as ns since 1970, and without the types that DuckDB changes."""
    type_ = column.type
    if pa.types.is_dictionary(type_) and type_.value_type not in _ARROW_TEXTS:
        column, type_ = column.cast(type_.value_type), type_.value_type
    if pa.types.is_null(type_):
        return column.cast(pa.string() if _is_text(name) else pa.int64())
    if name in ("started_ns", _STARTED) and pa.types.is_timestamp(type_):
        if type_.tz is None:
            raise InputError(
                f"invalid column {name} of the frame of calls: its times have no time zone; say which one, e.g."
                f' frame["{name}"].dt.tz_localize("UTC") or .dt.tz_localize("Asia/Shanghai")'
            )
        return column.cast(pa.timestamp("ns", type_.tz)).cast(pa.int64())
    if name in ("latency_ns", "wait_ns") and pa.types.is_duration(type_):
        return column.cast(pa.duration("ns")).cast(pa.int64())
    if name == _STARTED:
        raise InputError(
            "the frame of calls lacks started_ns, and its column started has no times: convert it, e.g."
            ' frame["started"] = pd.to_datetime(frame["started"], utc=True)'
        )
    return column


def _is_text(name: str) -> bool:
    return COLUMNS.get(name) is nw.String


# In every engine.


def _convert(table: LazyTable) -> CheckedFrame:
    """Check the values of a table, and return it with the columns and types of CallRecord, and the inferred codes."""
    schema: Mapping[str, Any] = dict(table.collect_schema())
    checks = [it for name in COLUMNS if name in schema for it in _checks(name, schema[name])]
    selected = table.select(*(it.expression.alias(str(number)) for number, it in enumerate(checks)))
    found = selected.collect("pyarrow").to_native()
    for number, check in enumerate(checks):
        value = found[str(number)][0].as_py()
        if problem := check.problem(value):
            raise InputError(f"invalid column {check.name} of the frame of calls: {problem}")
    converted = table.select(_converted(name, schema[name]).alias(name) for name in COLUMNS if name in schema)
    completed = infer_codes(converted)
    found = complete(completed).table.select(*COLUMNS)
    return CheckedFrame(found, inferred=_count_codes(completed) - _count_codes(converted))


def _count_codes(table: LazyTable) -> int:
    """Count the calls with a return code, if the calls hold HTTP statuses, from which others are inferred."""
    if not {"http_status", "return_code"} <= set(table.collect_schema()):
        return 0
    codes = nw.when(~nw.col("return_code").is_null()).then(nw.lit(1)).otherwise(nw.lit(0))
    return int(table.select(codes=codes.sum()).collect("pyarrow").to_native()["codes"][0].as_py() or 0)


@dataclass(frozen=True, slots=True)
class _Check:
    """An aggregate of a column, and the function that returns its error, or "" if the value is valid."""

    name: str
    expression: nw.Expr
    describe: Any

    def problem(self, value: Any) -> str:
        return str(self.describe(value)) if value is not None else ""


def _checks(name: str, dtype: Any) -> Iterator[_Check]:
    """Yield the checks of a column; raise InputError for a type that no value of the column can have."""
    column, text = nw.col(name), _is_text(name)
    is_whole, is_float = dtype.is_integer(), dtype.is_float()
    if not (dtype == nw.Unknown or _is_string(dtype) or is_whole or (dtype.is_numeric() and not text)):
        wanted = "text" if text else "whole numbers"
        cure = "times: epoch_ns() in DuckDB, 1000 * unix_micros() in Spark" if dtype.is_temporal() else "convert it"
        raise InputError(f"invalid column {name} of the frame of calls: it is {dtype}, expected {wanted}; {cure}")
    if name in NEVER_NULL:
        nulls = nw.when(column.is_null()).then(nw.lit(1)).otherwise(nw.lit(0)).sum()
        without = f'frame.dropna(subset=["{name}"])'
        yield _Check(name, nulls, lambda rows: f"{rows:,} calls have none; leave these out: {without}" if rows else "")
    if name in _ENUMS:
        bad = nw.when(~_normal(name).is_in(_ENUMS[name])).then(column.cast(nw.String)).max()
        expected = ", ".join(_ENUMS[name])
        yield _Check(name, bad, lambda it: f"unknown {name} {it!r}, expected {expected}; replace it with .replace()")
    elif not text and _is_string(dtype):
        value = column.cast(nw.String).str.strip_chars()
        digits = value.str.replace_all(r"^[+-]|\.0*$", "")
        is_large = (digits.str.len_chars() == len(_MAX_INT64)) & (digits > _MAX_INT64)
        bad = nw.when((~value.str.contains(_WHOLE) | is_large) & (value != "")).then(value).max()
        yield _Check(name, bad, lambda it: f"{it!r} is not a whole number; correct it, or make it null")
    elif is_float:
        limit = 2**63 if name in MAX_NS else _MAX_EXACT_FLOAT
        size = nw.when(~column.is_nan()).then(column.abs()).max()
        exact = "read it as integers, e.g. pd.read_parquet(path, dtype_backend='numpy_nullable'), or leave"
        exact += f' it out: frame.drop(columns=["{name}"])'
        lost = f"{name} went through floats, which changes keys: {exact}"
        yield _Check(name, size, lambda it: lost if it >= limit else "")
        part = nw.when(~column.is_nan() & (column != column.floor())).then(column).max()
        yield _Check(name, part, lambda it: f"{it!r} is not a whole number; round it, and convert it to Int64")
    if name in MAX_NS and not _is_string(dtype):
        yield _Check(name, column.max(), partial(_time_problem, name))
        if name != "wait_ns":
            yield _Check(
                name, column.min(), lambda it: f"{it} is negative; correct it, or make it null" if it < 0 else ""
            )


def _time_problem(name: str, value: Any) -> str:
    if value > MAX_NS[name]:
        return f"{int(value)} is too large, expected at most {MAX_NS[name]} ns; correct it, or leave the call out"
    unit = next((unit for size, unit in _UNITS.items() if size <= value < 10 * size), None)
    if name != "started_ns" or unit is None:
        return ""
    factor = {"s": "10**9", "ms": "10**6", "µs": "1000"}
    return f"{int(value)} seems to be in {unit}, expected ns since 1970; multiply it by {factor[unit]}"


_ENUMS = {"endpoint": [it.value for it in Endpoint], "kind": [it.value for it in Kind]}


def _normal(name: str) -> nw.Expr:
    """Return the value of a column that has few values, in the letters of the API."""
    value = nw.col(name).cast(nw.String).str.strip_chars()
    normal: nw.Expr = value.str.to_uppercase() if name == "kind" else value.str.to_lowercase()
    return normal


def _is_string(dtype: Any) -> bool:
    return dtype in (nw.String, nw.Categorical, nw.Enum)


def _converted(name: str, dtype: Any) -> nw.Expr:
    """Return a column of a frame with the type of CallRecord's."""
    column = nw.col(name)
    if name in _ENUMS:
        return _normal(name)
    if not _is_text(name) and _is_string(dtype):
        digits = column.cast(nw.String).str.strip_chars().str.replace_all(r"\.0*$", "")
        return nw.when(digits != "").then(digits).cast(nw.Int64)
    if dtype.is_float():
        return nw.when(~column.is_nan()).then(column).cast(nw.Int64)
    return column if dtype == COLUMNS[name] else column.cast(COLUMNS[name])


def _added(name: str, schema: Mapping[str, Any]) -> nw.Expr:
    """Return the values of a column that a frame lacks."""
    if name == "wait_ns":
        return nw.lit(0, nw.Int64)
    if name != "kind" or "return_code" not in schema:
        return nw.lit(None, COLUMNS[name])
    kind: nw.Expr = nw.lit(None, nw.String)
    for value in Kind:
        codes = [code for code in (*map(int, ReturnCode), *LATER_CODES) if kind_of(code) is value]
        kind = nw.when(nw.col("return_code").is_in(codes)).then(nw.lit(value.value)).otherwise(kind)
    if "http_status" not in schema:
        return kind
    is_server = nw.col("http_status").is_between(500, 599) & ~nw.col("return_code").is_null()
    return nw.when(is_server).then(nw.lit(Kind.SERVER.value)).otherwise(kind)
