"""Convert Arrow tables to tidy pandas frames: categories, nullable integers, UTC times and no object columns."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import pandas as pd
import pyarrow as pa

from toolkit.api.errors import InputError
from toolkit.api.return_codes import Kind, find_published
from toolkit.api.wire import Endpoint
from toolkit.outcome_colours import CODE_UNKNOWN

_P = ParamSpec("_P")
_TEXT = pd.StringDtype("pyarrow")
# The dtype of a column follows from its name. Columns of other names keep the type that Arrow gave them.
_ORDERED_CATEGORIES: dict[str, list[str]] = {
    "endpoint": [row.value for row in Endpoint],
    "kind": [row.value for row in Kind],
    "response_kind": [row.value for row in Kind],
}
_CATEGORIES = ("run", "source", "prefix", "app_key", "error", "carrier", "province")


class ResultFrame(pd.DataFrame):
    """A pandas frame of results; ``to_excel`` writes UTC times without their zone, which Excel doesn't support.

    Text that Excel would run as a formula gets an apostrophe in front.
    """

    @property
    def _constructor(self) -> type[ResultFrame]:
        return ResultFrame

    def to_excel(self, *args: Any, **options: Any) -> None:  # type: ignore[misc]  # final in pandas' stubs only
        """Write the frame as ``pandas.DataFrame.to_excel`` does."""
        plain = pd.DataFrame({name: _excel_column(self[name]) for name in self.columns}, index=self.index)
        plain.to_excel(*args, **options)


def _excel_column(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_localize(None)
    elif isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(column.dtype):
        texts = column.astype("string")
        column = texts.mask(texts.str.match(r"[=+\-@\t\r]"), "'" + texts)
    return column


def returns_result(function: Callable[_P, pd.DataFrame]) -> Callable[_P, pd.DataFrame]:
    """Return a function whose frame is a ``ResultFrame``."""

    @wraps(function)
    def wrapped(*args: _P.args, **options: _P.kwargs) -> pd.DataFrame:
        return ResultFrame(function(*args, **options))

    return wrapped


def tidy(table: pa.Table) -> pd.DataFrame:
    """Convert an Arrow table to a pandas frame without object columns.

    ``endpoint`` and ``kind`` become ordered categories that hold all values of the API, in its order.
    ``run``, ``source``, ``prefix``, ``app_key``, ``error``, ``carrier`` and ``province`` become categories; other text
    is ``string``. Integers are ``int64``, or ``Int64`` if some are null; ``return_code`` is always ``Int64``, so that
    frames can be merged by it. Raise InputError for an unknown endpoint or
    kind.
    """
    for number, column in enumerate(table.schema):
        if (arrow := _tidy_arrow(column.name, table[number])) is not None:
            table = table.set_column(number, column.name, arrow)
    # Metadata that pandas stored in a Parquet file would make it convert float64 to Float64.
    frame: pd.DataFrame = table.replace_schema_metadata(None).to_pandas(types_mapper=arrow_dtype)
    for name in frame.columns:
        frame[name] = _tidy_column(frame[name])
    return frame


def _tidy_arrow(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return a column that Arrow converts better than pandas; None for another column."""
    if name in _ORDERED_CATEGORIES or name in _CATEGORIES:
        return column.cast(pa.string()).dictionary_encode()
    # DuckDB's sums of 64-bit integers are decimals.
    return column.cast(pa.int64()) if pa.types.is_decimal(column.type) and column.type.scale == 0 else None


def arrow_dtype(type_: pa.DataType) -> Any:
    """Return the pandas dtype for an Arrow type; None for a type that pandas converts well by itself."""
    if pa.types.is_integer(type_):
        return pd.Int64Dtype()
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return _TEXT
    return pd.ArrowDtype(type_) if pa.types.is_decimal(type_) else None


def _tidy_column(column: pd.Series) -> pd.Series:
    if column.name in _ORDERED_CATEGORIES:
        values = _ORDERED_CATEGORIES[str(column.name)]
        if unknown := sorted(set(column.cat.categories) - set(values)):
            raise InputError(f"unknown {column.name} {unknown[0]!r} in the calls (expected {', '.join(values)})")
        return column.cat.set_categories(values, ordered=True)
    if column.name == "return_code":
        return column.astype("Int64")
    if column.name == "http_status":
        return column.astype("Int16")
    if column.name in _CATEGORIES:
        # Not by a CategoricalDtype: pandas takes one with the same categories in another order for equal.
        return column.cat.set_categories(sorted(column.cat.categories))
    if column.dtype == "Int64" and not column.hasnans:
        return column.astype("int64")
    return column


def describe_codes(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the API's description of ``return_code`` to a frame.

    New columns: message, meaning (string, "" for an unknown code), kind (category, null for an unknown code). The
    message of a response without a code is "code unknown". Two columns of the frame are used if it has them:
    ``response_kind`` (``calls_table.RESPONSE_KIND``) wins over the code's kind, and ``recorded_message``, a message of
    the calls, describes a code that is in no table.
    """
    numbers, codes = pd.factorize(frame["return_code"].astype("Int64"))
    rows = [*(find_published(int(code)) for code in codes), None, None]  # the last two: no code, code unknown
    numbers[numbers < 0] = len(codes)
    if "error" in frame:  # an access log may hold the status alone
        numbers[(frame["return_code"].isna() & frame["error"].isna()).to_numpy()] = len(codes) + 1
    kind = pd.CategoricalDtype(_ORDERED_CATEGORIES["kind"], ordered=True)
    messages = [row.message if row else "" for row in rows[:-1]]
    columns: dict[str, pd.Series] = {
        "message": pd.Series([*messages, CODE_UNKNOWN], dtype=_TEXT),
        "meaning": pd.Series([row.meaning if row else "" for row in rows], dtype=_TEXT),
        "kind": pd.Series([row.kind if row else None for row in rows], dtype=kind),
    }
    described = frame.assign(**{it: values.take(numbers).set_axis(frame.index) for it, values in columns.items()})
    if "response_kind" in frame:
        described["kind"] = frame["response_kind"].astype(kind).fillna(described["kind"])
    if "recorded_message" in frame:
        recorded = frame["recorded_message"].fillna("")
        described["message"] = described["message"].where(described["message"] != "", recorded)
    return described
