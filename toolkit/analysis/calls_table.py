"""Table: the calls as one lazy table, whatever engine holds them, and what comes out of it as a tidy pandas frame.

Every function of this package is written once, in narwhals; behind the table is DuckDB over Parquet, the user's own
pandas or polars frame, a PySpark DataFrame, or whatever Ibis reaches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import narwhals as nw
import pandas as pd
import pyarrow as pa

from toolkit.api.errors import InputError
from toolkit.api.return_codes import Kind, ReturnCode, find
from toolkit.api.wire import Endpoint

NS_PER_MS, NS_PER_S = 1e6, 1_000_000_000

Lazy: TypeAlias = nw.LazyFrame[Any]

# What a call has, in the order of CallRecord. The first three it has to have.
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
}
REQUIRED = tuple(COLUMNS)[:3]
_KEYS = ("mobile_key", "msg_key")  # 64 bits: one that passes through a float comes out as another key


class HasTable(Protocol):
    """What holds a lazy table of calls, as ``calls.Calls`` does."""

    @property
    def table(self) -> Lazy:
        """The table."""


IntoCalls: TypeAlias = HasTable | Any
"""Calls: what ``read`` returns, or a frame of any engine with the columns of CallRecord, as ``from_records`` makes."""


def lazy(calls: IntoCalls, *needed: str) -> Lazy:
    """Return calls as a lazy table that has all the columns of CallRecord; raise InputError for what holds no calls.

    Columns that a frame lacks are null in it, and ``wait_ns`` 0; but it has to have started_ns, endpoint, latency_ns,
    and those that are ``needed``.
    """
    given: Any = nw.to_native(getattr(calls, "table", calls), pass_through=True)
    if isinstance(given, pd.DataFrame):
        given = _without_floats(given, needed)
    try:
        table: Lazy = nw.from_native(given).lazy()
    except TypeError:
        raise InputError(f"a {type(calls).__name__} holds no calls: give what read returns, or a frame") from None
    names = table.collect_schema().names()
    if missing := [name for name in (*REQUIRED, *needed) if name not in names]:
        raise InputError(f"the frame doesn't hold the calls that this needs: it lacks {', '.join(missing)}")
    absent = [name for name in COLUMNS if name not in names]
    if isinstance(given, pd.DataFrame):  # for which narwhals has no null of a type
        return nw.from_native(given.assign(**{name: _nulls(given, name) for name in absent})).lazy()
    return table.with_columns(nw.lit(_default(name), dtype=COLUMNS[name]).alias(name) for name in absent)


def _default(name: str) -> int | None:
    return 0 if name == "wait_ns" else None


def _nulls(frame: pd.DataFrame, name: str) -> pd.Series:
    dtype: Any = "Int64" if COLUMNS[name] is nw.Int64 else pd.StringDtype("pyarrow")
    return pd.Series(_default(name), frame.index, dtype)


def _without_floats(frame: pd.DataFrame, needed: Sequence[str]) -> pd.DataFrame:
    """Make nullable integers of what pandas makes floats where a value is missing; leave out keys, which it changed."""
    floats = [name for name, dtype in COLUMNS.items() if dtype is nw.Int64 and _is_float(frame, name)]
    lost = [name for name in floats if name in _KEYS]
    if wanted := [name for name in lost if name in needed]:
        raise InputError(
            f"{' and '.join(wanted)} went through floats, which changes keys: give what toolkit.analysis.read returns,"
            " or read Parquet with dtype_backend='numpy_nullable'"
        )
    whole = dict.fromkeys((name for name in floats if name not in lost), "Int64")
    return frame.drop(columns=lost).astype(whole) if floats else frame


def _is_float(frame: pd.DataFrame, name: str) -> bool:
    return name in frame and pd.api.types.is_float_dtype(frame[name].dtype)


def collect(table: Lazy) -> pd.DataFrame:
    """Run a query and return what comes of it, tidy, in no promised order; raise KeyboardInterrupt at Ctrl-C."""
    try:
        return tidy(table.collect("pyarrow").to_native())
    except RuntimeError as problem:
        if "Query interrupted" in str(problem):  # how DuckDB says it
            raise KeyboardInterrupt from None
        raise


def different(table: Lazy, *names: str) -> Lazy:
    """Return the different rows of some columns. Asked for unique ones, engines would number them all."""
    return table.group_by(names).agg(rows=nw.len()).select(names)


# What a column of a frame is, by its name; others are as Arrow has them.
_CATEGORIES: dict[str, list[str]] = {
    "endpoint": [row.value for row in Endpoint],
    "kind": [row.value for row in Kind],
}
_NAMES = ("run", "source", "prefix", "app_key", "error", "carrier", "province")


def tidy(table: pa.Table) -> pd.DataFrame:
    """Return an Arrow table as a pandas frame without object columns.

    Names are categories, those of endpoint, kind and return_code complete and in the API's order; other text is
    ``string``; whole numbers are Int64 where some are null.
    """
    frame: pd.DataFrame = _narrow(table).to_pandas(types_mapper=arrow_dtype)
    for name in frame.columns:
        frame[name] = _tidy_column(frame[name])
    return frame


def _narrow(table: pa.Table) -> pa.Table:
    """Make 64-bit integers of the wider ones that DuckDB sums up to."""
    wide = [column.name for column in table.schema if pa.types.is_decimal(column.type) and column.type.scale == 0]
    for name in wide:
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(pa.int64()))
    return table.replace_schema_metadata(None)  # what pandas once was told, and would make Float64 of floats


def arrow_dtype(type_: pa.DataType) -> Any:
    """Return what a column of Arrow is in pandas; None for what pandas takes it for by itself."""
    if pa.types.is_integer(type_):
        return pd.Int64Dtype()
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return pd.StringDtype("pyarrow")
    return pd.ArrowDtype(type_) if pa.types.is_decimal(type_) else None


def _tidy_column(column: pd.Series) -> pd.Series:
    if column.name in _CATEGORIES:
        return _in_order(column, _CATEGORIES[str(column.name)])
    if column.name == "return_code":
        return column.astype(code_dtype(column))
    if column.name == "http_status":
        return column.astype("Int16")
    if column.name in _NAMES:
        # Not by a dtype: one of the same categories in another order counts as the same.
        return column.astype("category").cat.set_categories(sorted(column.dropna().unique()))
    if column.dtype == "Int64" and not column.hasnans:
        return column.astype("int64")
    return column


def _in_order(column: pd.Series, values: list[str]) -> pd.Series:
    strange = sorted(set(column.dropna().unique()) - set(values))
    if strange:
        raise InputError(f"the calls have {column.name} {strange[0]!r}: it is one of {', '.join(values)}")
    return column.astype(pd.CategoricalDtype(values, ordered=True))


def code_dtype(found: pd.Series) -> pd.CategoricalDtype:
    """Return the categories of return codes: those of the table, and the others that were found, ascending."""
    codes = {int(row) for row in ReturnCode} | {int(code) for code in found.dropna().unique()}
    return pd.CategoricalDtype(pd.Index(sorted(codes), dtype="int64"), ordered=True)


def describe_codes(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with what the table says of its return codes: message, meaning and kind; nothing where unknown."""
    codes = frame["return_code"].astype(code_dtype(frame["return_code"])).cat
    rows = [*(find(int(code)) for code in codes.categories), None]  # the last is that of -1, no return code
    kind = pd.CategoricalDtype(_CATEGORIES["kind"], ordered=True)
    return frame.assign(
        message=_say(codes.codes, [row.message if row else "" for row in rows], pd.StringDtype("pyarrow")),
        meaning=_say(codes.codes, [row.meaning if row else "" for row in rows], pd.StringDtype("pyarrow")),
        kind=_say(codes.codes, [row.kind.value if row else None for row in rows], kind),
    )


def _say(places: pd.Series, words: list[Any], dtype: Any) -> pd.Series:
    said: pd.Series = pd.Series(words, dtype=dtype).take(places.where(places >= 0, len(words) - 1))
    return said.set_axis(places.index)


# Time.


def width_ns(every: str | pd.Timedelta) -> int:
    """Read the width of a bucket of time, such as "1s", "500ms" or "5min"; raise InputError for what is none."""
    try:
        width = pd.Timedelta(every).as_unit("ns").value
    except ValueError:
        width = 0
    if width <= 0:
        raise InputError(f"{every!r} is no width of a bucket: give a number and a unit, such as 1s, 500ms or 5min")
    return int(width)


_WIDTHS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 21_600)


def bucket_s(duration_s: float, most: int = 150) -> float:
    """Return the least round width, in s, by which a time has at most so many buckets; beyond six hours it is a day."""
    return next((width_s for width_s in _WIDTHS_S if duration_s <= width_s * most), 86_400)


def bucket_ns(every: str | pd.Timedelta) -> nw.Expr:
    """Return the start of the bucket that a call started in, in ns since 1970, to which buckets are aligned."""
    # Integers all the way: a division may pass through floats, which are too coarse for ns since 1970.
    return nw.col("started_ns") - nw.col("started_ns") % width_ns(every)


def to_utc(ns: pd.Series) -> pd.Series:
    """Return ns since 1970 as UTC timestamps."""
    return pd.to_datetime(ns, unit="ns", utc=True)


def to_ns(when: str | pd.Timestamp) -> int:
    """Read a time, in UTC where it doesn't say, as ns since 1970; raise InputError for what is none."""
    stamp = pd.to_datetime(when, errors="coerce")
    if pd.isna(stamp):
        raise InputError(f"{when!r} is no time: write it as 2026-11-01T14:05 or 2026-11-01")
    return int((stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp).as_unit("ns").value)
