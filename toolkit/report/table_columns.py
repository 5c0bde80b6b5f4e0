"""Format the columns of a frame for a report's tables. All text is masked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import pandas as pd

from toolkit import number_format
from toolkit.analysis.timestamps import zone_name
from toolkit.masking import mask_text
from toolkit.report.model import Cell, Header, Table

ZONE = "{time zone}"
"""The place for the time zone in a header: that of the frame's times."""

_MAX_ROWS = 50
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_MAX_LENGTH, _MAX_ERROR_LENGTH = 1_000, 80  # characters

Row: TypeAlias = Mapping[Any, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its header, and the function that returns its cell of a row. An optional column is hidden if empty."""

    header: Header
    show: Callable[[Row], Cell]
    is_optional: bool = False


def text(name: str, title: str = "", is_number: bool = False, is_optional: bool = False) -> Column:
    """Show text unchanged."""
    header = Header(title or _words(name), is_number)
    return Column(header, lambda row: number_format.MISSING if lacks(row, name) else str(row[name]), is_optional)


def count(name: str, title: str = "") -> Column:
    """Show a whole number."""
    return _number(name, title, lambda value: f"{int(value):,}")


def share(name: str, title: str = "") -> Column:
    """Show a share, 0..1, in percent."""
    return _number(name, title, lambda value: number_format.share(float(value)))


def number(name: str, title: str = "") -> Column:
    """Show a number in three significant digits."""
    return _number(name, title, number_format.short_number)


def duration(name: str, title: str = "", is_number: bool = True) -> Column:
    """Show a number of seconds as a duration."""
    return replace(_number(name, title, number_format.duration), header=Header(title or _words(name), is_number))


def milliseconds(name: str, title: str = "") -> Column:
    """Show a time in ms without the unit, as the tables of latencies do."""
    return _number(name, title, number_format.milliseconds)


def money(name: str, title: str = "") -> Column:
    """Show an amount of money with the row's currency."""
    return Column(Header(title or _words(name), is_number=True), lambda row: money_of(row, name))


def unit_price(name: str, title: str = "") -> Column:
    """Show the price of one message or user with the row's currency."""
    show = number_format.unit_price
    return Column(Header(title or _words(name), is_number=True), lambda row: money_of(row, name, show))


def time(name: str, title: str = "") -> Column:
    """Show a time to the second."""
    return Column(
        Header(f"{title or _words(name)} {ZONE}"),
        lambda row: number_format.MISSING if lacks(row, name) else f"{row[name]:%Y-%m-%d %H:%M:%S}",
    )


def day(name: str, title: str = "") -> Column:
    """Show a day."""
    return Column(Header(f"{title or _words(name)} {ZONE}"), lambda row: f"{row[name]:%Y-%m-%d}")


def computed(title: str, show: Callable[[Row], Cell], is_number: bool = False) -> Column:
    """Show the result of a function of the row."""
    return Column(Header(title, is_number), show)


def table(
    name: str,
    frame: pd.DataFrame,
    columns: Sequence[Column],
    *,
    title: str = "",
    note: str = "",
    max_rows: int = _MAX_ROWS,
    is_grouped: bool = False,
) -> Table:
    """Return a table that displays the first ``max_rows`` rows of a frame."""
    frame = masked(frame)
    records = frame.head(max_rows).to_dict("records")
    cells = {column: [column.show(row) for row in records] for column in columns}
    shown = {
        column: texts
        for column, texts in cells.items()
        if not column.is_optional or set(texts) - {number_format.MISSING}
    }
    rows = list(zip(*shown.values(), strict=True))
    headers = tuple(replace(column.header, title=_titled(column, frame)) for column in shown)
    return Table(name, headers, rows, frame, title, note, len(frame) - len(records), is_grouped)


def pairs(name: str, frame: pd.DataFrame, columns: Sequence[Column], *, title: str = "", note: str = "") -> Table:
    """Return a table of names and values: one row for each column of a frame of one row."""
    frame = masked(frame)
    row = next(iter(frame.to_dict("records")), {})
    rows = [(_titled(column, frame), column.show(row)) for column in columns]
    return Table(name, (Header("figure"), Header("value", is_number=True)), rows, frame, title, note)


def _titled(column: Column, frame: pd.DataFrame) -> str:
    return column.header.title.replace(ZONE, f"({zone_name(frame)})")


def masked(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with its text columns masked and shortened, so that they may be shown."""
    shown = {}
    for name in frame.columns:
        column = frame[name]
        kind: Any = column.cat.categories.dtype if isinstance(column.dtype, pd.CategoricalDtype) else column.dtype
        if pd.api.types.is_string_dtype(kind):
            shown[str(name)] = _mask(column)
    return frame.assign(**shown)


def without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame in which text that a spreadsheet would run as a formula begins with an apostrophe.

    Callers choose parts of records, such as the X-Request-Id. Source: OWASP, "CSV Injection".
    """
    changed = {}
    for name in frame.columns:
        kind: Any = (
            frame[name].cat.categories.dtype
            if isinstance(frame[name].dtype, pd.CategoricalDtype)
            else frame[name].dtype
        )
        if pd.api.types.is_string_dtype(kind) or pd.api.types.is_object_dtype(kind):
            changed[str(name)] = frame[name].astype(object).map(_without_formula)
    return frame.assign(**changed)


def _without_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA_STARTS) else value


def lacks(row: Row, name: str) -> bool:
    """Return whether a row has no value in a column."""
    return bool(pd.isna(row[name])) or row[name] == ""


def money_of(row: Row, name: str, show: Callable[[Any, str], str] = number_format.money) -> str:
    """Format an amount of money with the row's currency."""
    is_unknown = lacks(row, name) or lacks(row, "currency")
    return number_format.MISSING if is_unknown else show(row[name], row["currency"])


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(name: str, title: str, show: Callable[[Any], str]) -> Column:
    header = Header(title or _words(name), is_number=True)
    return Column(header, lambda row: number_format.MISSING if lacks(row, name) else show(row[name]))


def _mask(column: pd.Series) -> pd.Series:
    length = _MAX_ERROR_LENGTH if column.name == "error" else _MAX_LENGTH
    texts = column.astype("string")
    # Each different text once: a column of names repeats a few of them.
    shown = {text: mask_text(text) for text in texts.dropna().unique()}
    shown = {text: it if len(it) <= length else f"{it[: length - 1]}…" for text, it in shown.items()}
    if all(text == it for text, it in shown.items()):
        return column
    return texts.map(shown).astype("category")
