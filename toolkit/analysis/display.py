"""Convert a result of the analysis to a table of formatted text."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pandas as pd

from toolkit import number_format

_IDENTIFIERS = frozenset({"return_code", "http_status", "temp_id", "mobile_key", "msg_key"})  # without separators
_VALUES = frozenset({"a", "b", "before", "after"})  # shares or ms, depending on the column "measure"
_DIFFERENCES = frozenset({"difference", "difference_low", "difference_high"})  # likewise
_MIN_PLACES, _MAX_PLACES = 2, 6  # of money
_LARGE_AMOUNT = 100


def readable(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Format a frame as text.

    Shares are in percent and their differences in percentage points (pp). Other numbers have three significant digits,
    or all digits of a whole number. Latencies in a column that also contains shares get the unit ms. Money has the
    decimal places that the column needs, at least two. Times are UTC, to the second, minute or day.

    Args:
        frame: A result of the analysis.
        columns: The columns to return. Default: all.

    Returns:
        A frame of strings without an index. A missing value is "–", or "" in a column of text.

    >>> frame = pd.DataFrame({"calls": [12_000], "share": [0.25], "busiest_calls": [3]})
    >>> readable(frame, "calls", "share").iloc[0].tolist()
    ['12,000', '25.00 %']
    """
    names = list(columns or frame.columns)
    texts = {name: _format_column(frame, name) for name in names}
    return pd.DataFrame(texts, columns=names, index=[""] * len(frame), dtype=pd.StringDtype("pyarrow"))


def _format_column(frame: pd.DataFrame, name: str) -> list[str]:
    column = frame[name]
    if name in _VALUES | _DIFFERENCES and "measure" in frame:
        is_difference = name in _DIFFERENCES
        return [_format_measured(it, of, is_difference) for it, of in zip(column, frame["measure"], strict=True)]
    format_value = _formatter(column, name)
    missing = "" if _is_text(column) else number_format.MISSING
    return [missing if pd.isna(value) else format_value(value) for value in column]


def _formatter(column: pd.Series, name: str) -> Callable[[Any], str]:
    """Return the function that formats the values of a column."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        time_format = _time_format(column)
        return lambda value: format(value, time_format)
    if _is_text(column) or name in _IDENTIFIERS:
        return str
    if pd.api.types.is_bool_dtype(column.dtype):
        return lambda value: "yes" if value else "no"
    if pd.api.types.is_integer_dtype(column.dtype):
        return lambda value: format(value, ",")
    if pd.api.types.is_float_dtype(column.dtype):
        is_share = name.startswith(("share", "conversion")) and not name.endswith("_score")
        is_share = is_share or name.endswith("_ratio") or name == "coverage"
        return number_format.share if is_share else number_format.short_number
    places = _money_places(column)
    return lambda value: format(value, f",.{places}f")


def _is_text(column: pd.Series) -> bool:
    return isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(column.dtype)


def _format_measured(value: Any, measure: str, is_difference: bool) -> str:
    """Format a share, a latency, or a difference of shares or latencies."""
    if pd.isna(value):
        return number_format.MISSING
    if measure != "share":
        return f"{'+' if is_difference and value > 0 else ''}{number_format.short_number(value)} ms"
    return f"{100 * value:+.2f} pp" if is_difference else number_format.share(value)


def _time_format(column: pd.Series) -> str:
    """Return the shortest format that shows the times of a column, to the second at most."""
    times = column.dropna()
    if (times == times.dt.floor("D")).all():
        return "%Y-%m-%d"
    return "%Y-%m-%d %H:%M" if (times == times.dt.floor("min")).all() else "%Y-%m-%d %H:%M:%S"


def _money_places(column: pd.Series) -> int:
    """Return the decimal places for a column of money: two if it has large amounts, else as many as it needs."""
    values = [value for value in column if isinstance(value, Decimal)]
    if any(abs(value) >= _LARGE_AMOUNT for value in values):
        return _MIN_PLACES
    needed = [-int(value.normalize().as_tuple().exponent) for value in values]
    return min(_MAX_PLACES, max([_MIN_PLACES, *needed]))
