"""Convert a result of the analysis to a table of formatted text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pandas as pd

from toolkit import number_format

_IDENTIFIERS = frozenset({"return_code", "http_status", "temp_id", "mobile_key", "msg_key"})  # without separators
_VALUES = frozenset({"a", "b", "before", "after"})  # shares or ms, depending on the column "measure"
_DIFFERENCES = frozenset({"difference", "difference_low", "difference_high"})  # likewise
_MONEY = re.compile("(.*_)?money(_.*)?")
_UNIT_PRICE = re.compile(
    "money_per_.*|(billed_)?(price|amount)|in_dispute"
)  # of a message or a user: needs more places


class ReadableFrame(pd.DataFrame):
    """A frame of text whose display holds every text in full: pandas cuts texts at 50 characters.

    Notebooks break a long text into lines.
    """

    @property
    def _constructor(self) -> type[ReadableFrame]:
        return ReadableFrame

    def __repr__(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return super().__repr__()

    def _repr_html_(self) -> str | None:
        with pd.option_context("display.max_colwidth", None):
            html: str | None = super()._repr_html_()  # type: ignore[misc] # pandas' stubs lack it
        return html


def readable(frame: pd.DataFrame, *columns: str) -> ReadableFrame:
    """Format a frame as text.

    Shares are in percent and their differences in percentage points (pp). Other numbers have three significant digits,
    or all digits of a whole number. Latencies in a column that also contains shares get the unit ms. Money has the
    decimal places of the frame's currency, and the price of a message as many as it needs. Times are UTC, to the
    second, minute or day.

    Args:
        frame: A result of the analysis.
        columns: The columns to return. Default: all.

    Returns:
        A frame of strings without an index, whose texts are displayed in full. A missing value is "–", or "" in a
        column of text.

    >>> frame = pd.DataFrame({"calls": [12_000], "calls_ratio": [0.25], "busiest_calls": [3]})
    >>> readable(frame, "calls", "calls_ratio").iloc[0].tolist()
    ['12,000', '25.00 %']
    """
    names = list(columns or frame.columns)
    texts = {name: _format_column(frame, name) for name in names}
    return ReadableFrame(texts, columns=names, index=[""] * len(frame), dtype=pd.StringDtype("pyarrow"))


def _format_column(frame: pd.DataFrame, name: str) -> list[str]:
    column = frame[name]
    if name in _VALUES | _DIFFERENCES and "measure" in frame:
        is_difference = name in _DIFFERENCES
        return [_format_measured(it, of, is_difference) for it, of in zip(column, frame["measure"], strict=True)]
    if (is_price := bool(_UNIT_PRICE.fullmatch(name))) or _MONEY.fullmatch(name):
        currencies = frame["currency"].astype("string").fillna("") if "currency" in frame else [""] * len(frame)
        return [
            number_format.MISSING if pd.isna(amount) else number_format.amount_text(amount, of, is_price=is_price)
            for amount, of in zip(column, currencies, strict=True)
        ]
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
        return number_format.share if "_ratio" in name else number_format.short_number
    return str


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
