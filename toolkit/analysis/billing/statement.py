"""Check every line of a provider's billing statement with DuckDB.

A statement may be larger than memory. A line that can't be read is an error that names the line, because a guess about
a bill is worse than no answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import narwhals as nw
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.analysis.billing.statement_file import HEADER, StatementFormat, read_rows
from toolkit.analysis.calls_table import LazyTable
from toolkit.analysis.engines import arrow_to_engine, query_same_connection
from toolkit.analysis.timestamps import NS_PER_S
from toolkit.api.errors import InputError
from toolkit.masking import mask_text
from toolkit.price_list import PLACES
from toolkit.time_zone import utc_offsets

_MAX_SHOWN_CHARS = 40

# The offset is read here: casts apply or drop it, depending on DuckDB's version.
_TIME = r"^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?) ?(Z|UTC|([+-])(\d\d):?(\d\d)?)?$"
_TIME_PARTS = f"*, regexp_extract(sent_at, '{_TIME}', ['day', 'time', 'zone', 'sign', 'hours', 'minutes']) AS parts"
_WALL_NS = "epoch_ns(try_cast(parts.day || ' ' || parts.time AS TIMESTAMP_NS)) AS wall_ns"
_SENT_NS = """CASE WHEN parts.zone = '' THEN wall_ns - local_offset_ns ELSE wall_ns
    - CASE parts.sign WHEN '+' THEN 60000000000 WHEN '-' THEN -60000000000 ELSE 0 END
    * (60 * coalesce(try_cast(parts.hours AS BIGINT), 0) + coalesce(try_cast(parts.minutes AS BIGINT), 0)) END"""


def _micros_sql(name: str, sign: str) -> str:
    """Return SQL that reads a decimal as millionths, null for other text."""
    number = rf"{sign}\d{{1,12}}(\.\d{{1,12}})?"
    millionths = f"round(try_cast({name} AS DECIMAL(30, 12)) * 1{'0' * PLACES})"
    return f"CASE WHEN regexp_full_match({name}, '{number}') THEN try_cast({millionths} AS BIGINT) END"


# For each column: SQL that reads it, null for a value that can't be read, and a description of valid values.
_COLUMNS = {
    "msg_id": ("nullif(trim(msg_id), '')", "a message id"),
    "sent_ns": (_SENT_NS, "a time, such as 2026-11-01T08:00:00Z"),
    "billed_segments": (
        r"CASE WHEN regexp_full_match(segments, '[1-9]\d?') THEN try_cast(segments AS BIGINT) END",
        "a whole number from 1 to 99",
    ),
    "billed_price": (_micros_sql("price", ""), "a decimal of at least 0, such as 0.045"),
    "billed_amount": (_micros_sql("amount", "-?"), "a decimal, such as 0.045"),
    "currency": (
        "CASE WHEN regexp_full_match(currency, '[A-Z]{3}') THEN currency END",
        "an ISO 4217 code, such as CNY",
    ),
}
_FIRST_NS, _LAST_NS = 946_684_800 * NS_PER_S, 4_102_444_800 * NS_PER_S  # 2000 and 2100
_IS_ROUNDED = r"coalesce(max(length(regexp_extract(amount, '\.(\d*?)0*$', 1))), 0) <= 2"
_ROWS_PER_BATCH = 100_000
_DECIMAL_CURE = "give the decimal sign: --statement-decimal , or --statement-decimal ."
_SUMS = """count(*) AS count, coalesce(sum(billed_amount), 0)::BIGINT AS amount, min(sent_ns) AS first_ns,
    max(sent_ns) AS last_ns,
    strftime(mode(date_trunc('month', make_timestamp((sent_ns + {offset_ns}) // 1000))), '%Y-%m') AS month,
    list_sort(list(DISTINCT currency)) AS currencies"""


@dataclass(frozen=True, slots=True)
class Statement:
    """A provider's statement.

    Attributes:
        lines: One row per line. Columns: msg_id, sent_ns, billed_segments, billed_price, billed_amount (millionths),
            currency.
        count: The number of lines.
        amount: The sum of the amounts, millionths.
        first_ns, last_ns: The first and the last time, None without lines.
        month: The month of most lines, such as 2026-11, None without lines.
        currency: The currency of all lines, None without lines.
        is_rounded: Whether no amount has more than two decimal places.
    """

    lines: LazyTable
    count: int
    amount: int
    first_ns: int | None
    last_ns: int | None
    month: str | None
    currency: str | None
    is_rounded: bool


@contextmanager
def open_statement(
    source: Any, columns: Mapping[str, str] | None, calls: LazyTable, timezone: str, given: StatementFormat
) -> Iterator[Statement]:
    """Read a statement into the engine of a table; its lines can be queried until the context ends.

    Args:
        source: The path of a CSV or XLSX file, or a frame.
        columns: Other names of the columns of HEADER.
        calls: The table with which the lines will be joined.
        timezone: The time zone of times without an offset, and of the month.
        given: The form of a file.

    Raises:
        InputError: The statement or one of its lines can't be read.
    """
    with TemporaryDirectory(prefix="smscode-") as folder:
        parquet = Path(folder) / "statement.parquet"
        if calls.implementation.is_duckdb():
            yield _read(source, columns or {}, calls.to_native(), parquet, timezone, given)
        else:
            with duckdb.connect() as connection:
                statement = _read(source, columns or {}, connection.sql("SELECT 1 AS one"), parquet, timezone, given)
            yield replace(statement, lines=arrow_to_engine(pq.read_table(parquet), calls))


def _read(
    source: Any, columns: Mapping[str, str], relation: Any, parquet: Path, timezone: str, given: StatementFormat
) -> Statement:
    """Write the lines to Parquet, which later queries read many times faster than text, and sum them up."""
    is_path = isinstance(source, str | Path)
    place = str(source) if is_path else f"the {type(source).__name__}"
    for name in columns:
        if name not in HEADER:
            raise InputError(f"unknown column {name!r} of a statement (choose from {', '.join(HEADER)})")
    raw = (
        _query_file(Path(source), columns, given, relation, parquet.with_suffix(".rows"))
        if is_path
        else _query_frame(source, columns, relation, place)
    )
    local_offset_ns = _offset_sql("wall_ns", timezone, is_wall_clock=True)
    parts = f"SELECT *, {_WALL_NS} FROM (SELECT {_TIME_PARTS} FROM this_relation)"
    fields = query_same_connection(raw, f"SELECT *, {local_offset_ns} AS local_offset_ns FROM ({parts})")
    values = ", ".join(f"{sql} AS {name}" for name, (sql, _) in _COLUMNS.items())
    query_same_connection(fields, f"SELECT {values} FROM this_relation").write_parquet(str(parquet))
    lines = query_same_connection(relation, f"SELECT * FROM read_parquet({_quote(str(parquet))})")
    unread = ", ".join(f"count(*) - count({name}) AS {name}" for name in _COLUMNS)
    sums_sql = _SUMS.format(offset_ns=_offset_sql("sent_ns", timezone, is_wall_clock=False))
    (is_rounded,) = query_same_connection(fields, f"SELECT {_IS_ROUNDED} FROM this_relation").fetchall()[0]
    names = [*_COLUMNS, "count", "amount", "first_ns", "last_ns", "month", "currencies"]
    row = query_same_connection(lines, f"SELECT {unread}, {sums_sql} FROM this_relation").fetchall()[0]
    sums = dict(zip(names, row, strict=True))
    if any(sums.pop(name) for name in _COLUMNS):
        raise InputError(_describe_bad_line(fields, place, is_path=is_path))
    currencies = sums.pop("currencies") or [None]
    if len(currencies) > 1:
        raise InputError(f"{place} is in {' and '.join(currencies)}, which can't be added up: split it by currency")
    return Statement(nw.from_native(lines).lazy(), currency=currencies[0], is_rounded=is_rounded, **sums)


def _offset_sql(column: str, timezone: str, *, is_wall_clock: bool) -> str:
    """Return SQL for the offset from UTC at a time in ns: on the wall clock of the time zone, or since 1970 in UTC."""
    (_, offset_ns), *changes = utc_offsets(timezone, _FIRST_NS, _LAST_NS)
    cases = ""
    for since_ns, changed_ns in changes:
        cases += f" WHEN {column} < {since_ns + offset_ns * is_wall_clock} THEN {offset_ns}"
        offset_ns = changed_ns
    return f"CASE{cases} ELSE {offset_ns} END" if cases else str(offset_ns)


# Sources of the fields.


def _query_file(path: Path, columns: Mapping[str, str], given: StatementFormat, relation: Any, parquet: Path) -> Any:
    """Write the rows of a file to Parquet, and return a relation with their fields as text."""
    rows = read_rows(path, columns, given)
    schema = pa.schema([("line", pa.int64()), *((name, pa.string()) for name in HEADER)])
    with pq.ParquetWriter(parquet, schema) as writer:
        while batch := list(islice(rows, _ROWS_PER_BATCH)):
            lines, cells = zip(*batch, strict=True)
            writer.write_table(pa.table([lines, *zip(*cells, strict=True)], schema))
    return query_same_connection(relation, f"SELECT * FROM read_parquet({_quote(str(parquet))})")


def _query_frame(frame: Any, columns: Mapping[str, str], relation: Any, place: str) -> Any:
    """Return a relation with the fields of a frame as text."""
    if isinstance(frame, pd.DataFrame):
        frame = frame.reset_index(drop=True)
    try:
        table: pa.Table = nw.from_native(frame).lazy().collect("pyarrow").to_native()
    except TypeError:
        raise InputError(f"a {type(frame).__name__} is not a statement: give a CSV file's path or a frame") from None
    table = table.replace_schema_metadata(None)
    query = f"SELECT row_number() OVER () AS line, {_field_list(table.column_names, columns, place)} FROM extra_table"
    return query_same_connection(relation, query, table)


def _quote(text: str, mark: str = "'") -> str:
    return f"{mark}{text.replace(mark, mark * 2)}{mark}"


def _field_list(names: list[str], columns: Mapping[str, str], place: str) -> str:
    """Return the SELECT list of the columns of HEADER as text."""
    wanted = {name: columns.get(name, name) for name in HEADER}
    for name, given in wanted.items():
        if given not in names:
            close = get_close_matches(given, names, n=1)
            example = f'{{"{name}": "{close[0] if close else "COLUMN"}"}}'
            raise InputError(f"{place} has no column {given}: name its {name} column with columns={example}")
    return ", ".join(f"CAST({_quote(given, chr(34))} AS VARCHAR) AS {name}" for name, given in wanted.items())


# Descriptions of errors.


def _describe_bad_line(fields: Any, place: str, *, is_path: bool) -> str:
    """Return the first line that can't be read, and the reason."""
    bad = " OR ".join(f"({sql}) IS NULL" for sql, _ in _COLUMNS.values())
    names = [f"CASE WHEN ({sql}) IS NULL THEN {name!r} END" for name, (sql, _) in _COLUMNS.items()]
    first = f"SELECT line, coalesce({', '.join(names)}), {', '.join(HEADER)} FROM this_relation WHERE {bad}"
    line, name, *values = query_same_connection(fields, f"{first} ORDER BY line LIMIT 1").fetchall()[0]
    field = dict(zip(_COLUMNS, HEADER, strict=True))[name]
    value = mask_text(dict(zip(HEADER, values, strict=True))[field] or "")[:_MAX_SHOWN_CHARS]
    where = f"{'line' if is_path else 'row'} {line}"
    cure = f" ({_DECIMAL_CURE})" if name in ("billed_price", "billed_amount") and "," in value else ""
    return f"{place} {where} can't be read: {field} is {value!r}, expected {_COLUMNS[name][1]}{cure}"
