"""Plain text: a frame of this package as a table that reads well, for whoever looks and doesn't calculate."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias

import pandas as pd

from toolkit import number_format

_NAMES = frozenset({"return_code", "http_status", "temp_id", "mobile_key", "msg_key"})  # whole numbers that are names
_OF_MEASURE = frozenset({"a", "b", "before", "after"})  # shares or ms, as the row's measure says
_DIFFERENCES = frozenset({"difference", "difference_low", "difference_high"})
_CENTS, _PLACES = 2, 6

Word: TypeAlias = Callable[[Any], str]


def readable(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return some columns of a frame, or all, as text: a table for people.

    Shares are in percent, their differences in percentage points (pp), other numbers in three digits or whole, what the
    ``measure`` of a row says to be times in ms, money to the cent or as exact as all of a column needs, times in UTC as
    exact as the column, to the second at most. What is missing is "–", in text "". One row per row, without an index.
    """
    names = list(columns or frame.columns)
    words = {name: _words(frame, name) for name in names}
    return pd.DataFrame(words, columns=names, index=[""] * len(frame), dtype=pd.StringDtype("pyarrow"))


def _words(frame: pd.DataFrame, name: str) -> list[str]:
    if name in _OF_MEASURE | _DIFFERENCES and "measure" in frame:
        return [_measured(*it, name in _DIFFERENCES) for it in zip(frame[name], frame["measure"], strict=True)]
    column, word = frame[name], _word(frame[name], name)
    missing = "" if _is_text(column) else number_format.MISSING
    return [missing if pd.isna(value) else word(value) for value in column]


def _word(column: pd.Series, name: str) -> Word:
    """Return how values of a column are worded."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        form = _clock(column)
        return lambda value: format(value, form)
    if _is_text(column) or name in _NAMES:
        return str
    if pd.api.types.is_bool_dtype(column.dtype):
        return lambda value: "yes" if value else "no"
    if pd.api.types.is_integer_dtype(column.dtype):
        return lambda value: format(value, ",")
    if pd.api.types.is_float_dtype(column.dtype):
        return number_format.share if _is_share(name) else number_format.short_number
    places = _places(column)
    return lambda value: format(value, f",.{places}f")


def _is_text(column: pd.Series) -> bool:
    return isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(column.dtype)


def _is_share(name: str) -> bool:
    begins = name.startswith(("share", "conversion")) and not name.endswith("_score")
    return begins or name.endswith("_ratio") or name == "coverage"


def _measured(value: Any, measure: str, is_difference: bool) -> str:
    if pd.isna(value):
        return number_format.MISSING
    if measure != "share":
        return f"{'+' if is_difference and value > 0 else ''}{number_format.short_number(value)} ms"
    return f"{100 * value:+.2f} pp" if is_difference else number_format.share(value)


def _clock(column: pd.Series) -> str:
    times = column.dropna()
    if (times == times.dt.floor("D")).all():
        return "%Y-%m-%d"
    return "%Y-%m-%d %H:%M" if (times == times.dt.floor("min")).all() else "%Y-%m-%d %H:%M:%S"


def _places(column: pd.Series) -> int:
    """Return how many decimal places a column of money needs, cents at least, and cents where it is of hundreds."""
    values = [value for value in column if isinstance(value, Decimal)]
    if any(abs(value) >= 100 for value in values):
        return _CENTS
    needed = [-int(value.normalize().as_tuple().exponent) for value in values]
    return min(_PLACES, max([_CENTS, *needed]))
