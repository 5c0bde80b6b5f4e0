"""Convert calls of any dataframe engine to one lazy table, and collect query results as tidy pandas frames.

The functions of this package are written once, with narwhals. The engine behind a table is DuckDB over Parquet files,
or whatever the caller has: a pandas or polars frame, a PySpark DataFrame, or an Ibis table.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import narwhals as nw
import pandas as pd

from toolkit.analysis.tidy_frames import tidy
from toolkit.api.errors import InputError
from toolkit.api.return_codes import FREE_REFUSALS, LATER_CODES, Kind, ReturnCode, kind_of
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import Failure

LazyTable: TypeAlias = nw.LazyFrame[Any]

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
}
REQUIRED = ("started_ns", "endpoint", "latency_ns")
_KEYS = ("mobile_key", "msg_key")  # 64-bit digests, which a conversion to float changes

IS_SEND = nw.col("endpoint") == Endpoint.SEND.value
IS_VERIFY = nw.col("endpoint") == Endpoint.VERIFY.value
IS_SUCCESS = nw.col("return_code") == int(ReturnCode.SUCCESS)

_HAS_5XX = ((nw.col("http_status") >= 500) & (nw.col("http_status") < 600)).fill_null(False)
RESPONSE_KIND = (
    nw.when(_HAS_5XX & ~nw.col("return_code").is_null())
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
_FREE_CODES = [code for code in (*map(int, ReturnCode), *LATER_CODES) if kind_of(code) in FREE_REFUSALS]
IS_FREE = (nw.col("return_code").fill_null(0).is_in(_FREE_CODES) & RESPONSE_KIND.is_null()) | (
    nw.col("error").cast(nw.String).fill_null("") == Failure.CONNECT.value
)
"""Whether a send that was not accepted was certainly free, as ``call_record.may_cost`` decides it."""


class HasTable(Protocol):
    """An object with a lazy table of calls, such as ``calls.Calls``."""

    @property
    def table(self) -> LazyTable:
        """The table."""


IntoCalls: TypeAlias = HasTable | Any
"""The result of ``read``, or a frame of any engine with the columns of CallRecord, such as ``from_records`` returns."""


def lazy(calls: IntoCalls, *needed: str) -> LazyTable:
    """Return calls as a lazy table with all columns of CallRecord.

    The frame must have started_ns, endpoint, latency_ns and the ``needed`` columns. Other columns that it lacks are
    added: ``wait_ns`` as 0, the rest as null. Raise InputError for an object that isn't a frame, for a missing column,
    and for a needed key column that pandas converted to float.
    """
    given: Any = nw.to_native(getattr(calls, "table", calls), pass_through=True)
    if isinstance(given, pd.DataFrame):
        given = _restore_integers(given, needed)
    try:
        table: LazyTable = nw.from_native(given).lazy()
    except TypeError:
        raise InputError(
            f"a {type(calls).__name__} is not a frame of calls: pass the result of toolkit.analysis.read, or a frame"
        ) from None
    names = table.collect_schema().names()
    if missing := [name for name in (*REQUIRED, *needed) if name not in names]:
        raise InputError(f"the frame of calls lacks {', '.join(missing)}")
    absent = {name: 0 if name == "wait_ns" else None for name in COLUMNS if name not in names}
    if isinstance(given, pd.DataFrame):  # narwhals' nulls have no dtype in pandas
        dtypes: dict[str, Any] = {
            name: "Int64" if COLUMNS[name] is nw.Int64 else pd.StringDtype("pyarrow") for name in absent
        }
        added = {name: pd.Series(value, given.index, dtypes[name]) for name, value in absent.items()}
        return nw.from_native(given.assign(**added)).lazy()
    return table.with_columns(nw.lit(value, dtype=COLUMNS[name]).alias(name) for name, value in absent.items())


def _restore_integers(frame: pd.DataFrame, needed: tuple[str, ...]) -> pd.DataFrame:
    """Convert float columns back to nullable integers.

    pandas reads an integer column with nulls as float. That changes 64-bit keys, so key columns are dropped.
    """
    floats = [
        name
        for name, dtype in COLUMNS.items()
        if dtype is nw.Int64 and name in frame and pd.api.types.is_float_dtype(frame[name].dtype)
    ]
    changed = [name for name in floats if name in _KEYS]
    if wanted := [name for name in changed if name in needed]:
        raise InputError(
            f"{' and '.join(wanted)} went through floats, which changes keys: pass the result of toolkit.analysis.read,"
            " or read Parquet with dtype_backend='numpy_nullable'"
        )
    integers = dict.fromkeys((name for name in floats if name not in changed), "Int64")
    return frame.drop(columns=changed).astype(integers) if floats else frame


def collect(table: LazyTable) -> pd.DataFrame:
    """Run a query and return its result as a tidy frame, with rows in any order.

    Raise KeyboardInterrupt if Ctrl-C interrupts the engine.
    """
    try:
        return tidy(table.collect("pyarrow").to_native())
    except RuntimeError as problem:
        if "Query interrupted" in str(problem):  # DuckDB's message
            raise KeyboardInterrupt from None
        raise


def distinct_rows(table: LazyTable, *names: str) -> LazyTable:
    """Return the distinct rows of some columns."""
    # Engines implement narwhals' unique() with row numbers, which costs more than a group by.
    return table.group_by(names).agg(rows=nw.len()).select(names)


def accepted_sends(table: LazyTable) -> LazyTable:
    """Return the sends that succeeded."""
    return table.filter(IS_SEND, IS_SUCCESS)


def verified_messages(table: LazyTable) -> LazyTable:
    """Return the ``msg_key`` of each message that has a successful verify, one row per message."""
    return distinct_rows(table.filter(IS_VERIFY, IS_SUCCESS, ~nw.col("msg_key").is_null()), "msg_key")
