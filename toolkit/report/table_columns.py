"""Columns: how a frame's values read in the rows of a report's table. Every text is masked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import pandas as pd

from toolkit import number_format
from toolkit.masking import mask_text
from toolkit.report.model import Cell, Head, Table

MOST_ROWS = 50
_LONGEST, _LONGEST_ERROR = 1_000, 80  # characters

Row: TypeAlias = Mapping[Any, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its head, and what it shows of a row; an optional one is left out where it shows nothing."""

    head: Head
    show: Callable[[Row], Cell]
    is_optional: bool = False


def text(name: str, title: str = "", is_number: bool = False, is_optional: bool = False) -> Column:
    """Show a text as it is."""
    head = Head(title or words(name), is_number)
    return Column(head, lambda row: number_format.MISSING if lacks(row, name) else str(row[name]), is_optional)


def count(name: str, title: str = "") -> Column:
    """Show a whole number."""
    return _number(name, title, lambda value: f"{int(value):,}")


def share(name: str, title: str = "") -> Column:
    """Show a share, 0..1, in percent."""
    return _number(name, title, lambda value: number_format.share(float(value)))


def milliseconds(name: str, title: str = "") -> Column:
    """Show a time in ms, as the head or the section says."""
    return _number(name, title, number_format.milliseconds)


def measured(name: str, title: str = "") -> Column:
    """Show a measured number in three digits."""
    return _number(name, title, number_format.short_number)


def duration(name: str, title: str = "", is_number: bool = True) -> Column:
    """Show a number of seconds as a duration."""
    return replace(_number(name, title, number_format.duration), head=Head(title or words(name), is_number))


def money(name: str, title: str = "") -> Column:
    """Show money, with the currency that its row tells."""
    return Column(Head(title or words(name), is_number=True), lambda row: sum_of(row, name))


def when(name: str, title: str = "") -> Column:
    """Show a time, in UTC, to the second."""
    return Column(
        Head(f"{title or words(name)} (UTC)"),
        lambda row: number_format.MISSING if lacks(row, name) else f"{row[name]:%Y-%m-%d %H:%M:%S}",
    )


def day(name: str, title: str = "") -> Column:
    """Show a UTC day."""
    return Column(Head(f"{title or words(name)} (UTC)"), lambda row: f"{row[name]:%Y-%m-%d}")


def made(title: str, show: Callable[[Row], Cell], is_number: bool = False) -> Column:
    """Show what a function makes of a row."""
    return Column(Head(title, is_number), show)


def table(
    name: str,
    frame: pd.DataFrame,
    columns: Sequence[Column],
    *,
    title: str = "",
    note: str = "",
    most: int = MOST_ROWS,
    is_grouped: bool = False,
) -> Table:
    """Make the table of a frame, of which the first ``most`` rows are shown."""
    frame = masked(frame)
    records = frame.head(most).to_dict("records")
    shown = {column: [column.show(row) for row in records] for column in columns}
    kept = {
        column: cells
        for column, cells in shown.items()
        if not column.is_optional or set(cells) - {number_format.MISSING}
    }
    heads = tuple(column.head for column in kept)
    rows = list(zip(*kept.values(), strict=True))
    return Table(name, heads, rows, frame, title, note, len(frame) - len(records), is_grouped)


def pairs(name: str, frame: pd.DataFrame, columns: Sequence[Column], *, title: str = "", note: str = "") -> Table:
    """Make the table of a frame of one row: a row of name and value for each column."""
    frame = masked(frame)
    row = next(iter(frame.to_dict("records")), {})
    rows = [(column.head.title, column.show(row)) for column in columns]
    return Table(name, (Head("figure"), Head("value", is_number=True)), rows, frame, title, note)


def masked(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with its texts as they may be shown."""
    return frame.assign(**{str(name): _mask(frame[name]) for name in frame.columns if _is_text(frame[name])})


def lacks(row: Row, name: str) -> bool:
    """Tell whether a row has nothing under a name."""
    return bool(pd.isna(row[name])) or row[name] == ""


def sum_of(row: Row, name: str) -> str:
    """Word a sum of money with its row's currency."""
    is_unknown = lacks(row, name) or lacks(row, "currency")
    return number_format.MISSING if is_unknown else number_format.money(row[name], row["currency"])


def words(name: str) -> str:
    """Return a column's name as words."""
    return name.replace("_", " ")


def _number(name: str, title: str, show: Callable[[Any], str]) -> Column:
    head = Head(title or words(name), is_number=True)
    return Column(head, lambda row: number_format.MISSING if lacks(row, name) else show(row[name]))


def _is_text(column: pd.Series) -> bool:
    kind: Any = column.cat.categories.dtype if isinstance(column.dtype, pd.CategoricalDtype) else column.dtype
    return pd.api.types.is_string_dtype(kind)


def _mask(column: pd.Series) -> pd.Series:
    longest = _LONGEST_ERROR if column.name == "error" else _LONGEST
    texts = column.astype("string")
    shown = texts.map(lambda value: _short(value, longest), na_action="ignore")
    return column if shown.equals(texts) else shown.astype("category")


def _short(value: str, longest: int) -> str:
    value = mask_text(value)
    return value if len(value) <= longest else value[: longest - 1] + "…"
