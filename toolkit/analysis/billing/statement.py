"""Statements: what a provider bills, a line for a message, read by DuckDB however long they are; no line is left out.

A line that can't be read is an error that names it: of a bill nothing may be guessed.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

import duckdb
import narwhals as nw
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.analysis.calls_table import LazyTable
from toolkit.analysis.native_ops import arrow_to_engine, query_same_connection
from toolkit.api.errors import InputError
from toolkit.masking import mask_text
from toolkit.price_list import PLACES

HEADER = ("msg_id", "sent_at", "segments", "price", "amount", "currency")
_SHOWN_CHARS = 40

# In UTC where a time doesn't say. Its offset is read here: casts of DuckDB apply it, or drop it, by their version.
_TIME = r"^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?) ?(?:Z|UTC|([+-])(\d\d):?(\d\d)?)?$"
_CUT = f"*, regexp_extract(sent_at, '{_TIME}', ['day', 'time', 'sign', 'hours', 'minutes']) AS cut"
_SENT_NS = """epoch_ns(try_cast(cut.day || ' ' || cut.time AS TIMESTAMP_NS))
    - CASE cut.sign WHEN '+' THEN 60000000000 WHEN '-' THEN -60000000000 ELSE 0 END
    * (60 * coalesce(try_cast(cut.hours AS BIGINT), 0) + coalesce(try_cast(cut.minutes AS BIGINT), 0))"""


def _micros(name: str, sign: str) -> str:
    number = rf"{sign}\d{{1,12}}(\.\d{{1,12}})?"
    millionths = f"round(try_cast({name} AS DECIMAL(30, 12)) * 1{'0' * PLACES})"
    return f"CASE WHEN regexp_full_match({name}, '{number}') THEN try_cast({millionths} AS BIGINT) END"


# What is made of the fields, null where one can't be read, and what one has to be.
_COLUMNS = {
    "msg_id": ("nullif(trim(msg_id), '')", "a message's id"),
    "sent_ns": (_SENT_NS, "a time, such as 2026-11-01T08:00:00Z"),
    "billed_segments": (
        r"CASE WHEN regexp_full_match(segments, '[1-9]\d?') THEN try_cast(segments AS BIGINT) END",
        "a whole number from 1 to 99",
    ),
    "billed_price": (_micros("price", ""), "a decimal from 0 on, such as 0.045"),
    "billed_amount": (_micros("amount", "-?"), "a decimal, such as 0.045"),
    "currency": (
        "CASE WHEN regexp_full_match(currency, '[A-Z]{3}') THEN currency END",
        "an ISO 4217 code, such as CNY",
    ),
}
_SUMS = """count(*) AS count, coalesce(sum(billed_amount), 0)::BIGINT AS amount, min(sent_ns) AS first_ns,
    max(sent_ns) AS last_ns, strftime(mode(date_trunc('month', make_timestamp(sent_ns // 1000))), '%Y-%m') AS month,
    list_sort(list(DISTINCT currency)) AS currencies"""


@dataclass(frozen=True, slots=True)
class Statement:
    """A provider's statement.

    lines: one row per line; columns: msg_id, sent_ns, billed_segments, billed_price, billed_amount (millionths),
    currency. count, amount (millionths), first_ns, last_ns: of all of them; month: the one that most of them are of,
    as 2026-11; currency: of all of them. Where there are no lines these are None, and the amount is 0.
    """

    lines: LazyTable
    count: int
    amount: int
    first_ns: int | None
    last_ns: int | None
    month: str | None
    currency: str | None


@contextmanager
def open_statement(source: Any, columns: Mapping[str, str] | None, beside: LazyTable) -> Iterator[Statement]:
    """Read a statement, a path to CSV or a frame, into the engine of a table; raise InputError for what can't be read.

    ``columns``: what the statement calls a column of HEADER, where it isn't that.
    """
    with TemporaryDirectory(prefix="smscode-") as folder:
        parquet = Path(folder) / "statement.parquet"
        if beside.implementation.is_duckdb():
            yield _read(source, columns or {}, beside.to_native(), parquet)
        else:
            with duckdb.connect() as connection:
                statement = _read(source, columns or {}, connection.sql("SELECT 1 AS one"), parquet)
            yield replace(statement, lines=arrow_to_engine(pq.read_table(parquet), beside))


def _read(source: Any, columns: Mapping[str, str], relation: Any, parquet: Path) -> Statement:
    """Make Parquet of the lines, as reading text takes many times as long, and add up what they say."""
    is_path = isinstance(source, str | Path)
    place = str(source) if is_path else f"the {type(source).__name__}"
    raw = _open_csv(Path(source), columns, relation) if is_path else _open_frame(source, columns, relation, place)
    cut = query_same_connection(raw, f"SELECT {_CUT} FROM this_relation")
    made = ", ".join(f"{sql} AS {name}" for name, (sql, _) in _COLUMNS.items())
    try:
        query_same_connection(cut, f"SELECT {made} FROM this_relation").write_parquet(str(parquet))
    except duckdb.Error as problem:
        raise InputError(f"{place} can't be read: {_say(str(problem))}") from None
    lines = query_same_connection(relation, f"SELECT * FROM read_parquet({_quote(str(parquet))})")
    found = _sum_up(lines)
    if any(found.pop(name) for name in _COLUMNS):
        raise InputError(_find_bad(cut, source, place))
    return Statement(nw.from_native(lines).lazy(), currency=_only(found.pop("currencies"), place), **found)


def _open_csv(path: Path, columns: Mapping[str, str], relation: Any) -> Any:
    names = _read_header(path)
    return query_same_connection(relation, f"SELECT {_pick(names, columns, str(path))} FROM {_scan(path, names)}")


def _open_frame(frame: Any, columns: Mapping[str, str], relation: Any, place: str) -> Any:
    table = _to_arrow(frame)
    return query_same_connection(
        relation, f"SELECT {_pick(table.column_names, columns, place)} FROM extra_table", table
    )


def _sum_up(lines: Any) -> dict[str, Any]:
    bad = ", ".join(f"count(*) - count({name}) AS {name}" for name in _COLUMNS)
    names = [*_COLUMNS, "count", "amount", "first_ns", "last_ns", "month", "currencies"]
    row = query_same_connection(lines, f"SELECT {bad}, {_SUMS} FROM this_relation").fetchall()[0]
    return dict(zip(names, row, strict=True))


def _only(currencies: list[str] | None, place: str) -> str | None:
    if currencies and len(currencies) > 1:
        raise InputError(f"{place} is in {' and '.join(currencies)}, which can't be added up: split it by currency")
    return currencies[0] if currencies else None


# Where the fields come from.


def _read_header(path: Path) -> list[str]:
    with _open(path) as file:
        names = next(csv.reader(file), [])
    if len(set(names)) < len(names) or not names:
        raise InputError(f"{path} has no header: its first line names its columns, each once")
    return names


@contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    """Open a file of text, through what compressed it."""
    try:
        with io.TextIOWrapper(pa.input_stream(str(path), compression="detect"), encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError:
        raise InputError(f"{path} can't be read: it is not CSV in UTF-8") from None
    except (OSError, csv.Error) as problem:
        raise InputError(f"{path} can't be read: {problem}") from None


def _scan(path: Path, names: list[str]) -> str:
    types = ", ".join(f"{_quote(name)}: 'VARCHAR'" for name in names)
    options = "auto_detect=false, header=true, delim=',', quote='\"', escape='\"', comment='', null_padding=true"
    return f"read_csv({_quote(str(path))}, columns={{{types}}}, {options})"


def _quote(text: str, mark: str = "'") -> str:
    return f"{mark}{text.replace(mark, mark * 2)}{mark}"


def _pick(names: list[str], columns: Mapping[str, str], place: str) -> str:
    """Return SQL that picks the fields of the header as text."""
    for name in columns:
        if name not in HEADER:
            raise InputError(f"a statement has no {name}: columns are of {', '.join(HEADER)}")
    wanted = {name: columns.get(name, name) for name in HEADER}
    for name, given in wanted.items():
        if given not in names:
            close = get_close_matches(given, names, n=1)
            hint = f", perhaps {close[0]}" if close else ""
            raise InputError(f"{place} has no column {given}: say with columns what it calls the {name}{hint}")
    return ", ".join(f"CAST({_quote(given, chr(34))} AS VARCHAR) AS {name}" for name, given in wanted.items())


def _to_arrow(frame: Any) -> pa.Table:
    if isinstance(frame, pd.DataFrame):
        frame = frame.reset_index(drop=True)
    try:
        table: pa.Table = nw.from_native(frame).lazy().collect("pyarrow").to_native()
    except TypeError:
        raise InputError(f"a {type(frame).__name__} is no statement: give a path to CSV, or a frame") from None
    return table.replace_schema_metadata(None)


# What is wrong with them.


def _find_bad(cut: Any, source: Any, place: str) -> str:
    """Say which line can't be read, and why."""
    bad = " OR ".join(f"({sql}) IS NULL" for sql, _ in _COLUMNS.values())
    fields = [f"CASE WHEN ({sql}) IS NULL THEN {name!r} END" for name, (sql, _) in _COLUMNS.items()]
    numbered = query_same_connection(cut, "SELECT *, row_number() OVER () AS place FROM this_relation")
    first = f"SELECT place, coalesce({', '.join(fields)}), {', '.join(HEADER)} FROM this_relation WHERE {bad}"
    number, name, *values = query_same_connection(numbered, f"{first} ORDER BY place LIMIT 1").fetchall()[0]
    field = dict(zip(_COLUMNS, HEADER, strict=True))[name]
    value = mask_text(dict(zip(HEADER, values, strict=True))[field] or "")[:_SHOWN_CHARS]
    where = f"line {_line_of(Path(source), number)}" if isinstance(source, str | Path) else f"row {number}"
    return f"{place} {where} can't be read: {field} is {value!r}, and not {_COLUMNS[name][1]}"


def _line_of(path: Path, row: int) -> int:
    with _open(path) as file:
        filled = (number for number, text in enumerate(file, 1) if text.strip())
        return next(number for place, number in enumerate(filled) if place == row)


def _say(problem: str) -> str:
    """Say what DuckDB found in a line, without the line."""
    line = re.search(r"Line: (\d+)", problem)
    if not line:
        return problem.splitlines()[0]
    fields = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", problem)
    reason = f"more than {fields[1]} fields" if fields else "not CSV in UTF-8, or a field with a line break"
    return f"line {line[1]} has {reason}" if fields else f"line {line[1]} is {reason}"
