"""Read the rows of a statement as vendors send it: CSV in any encoding, or XLSX, with titles, totals and refunds.

Each cell becomes text in one form: decimals such as 1234.5, times such as 2026-11-06 08:00:00. A cell that may mean two
things is left as it is or refused, because a guess about a bill is worse than no answer.
"""

from __future__ import annotations

import csv
import io
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from toolkit.api.errors import InputError

HEADER = ("msg_id", "sent_at", "segments", "price", "amount", "currency")
Row = tuple[int, list[str | None]]
"""The number of a line, and its cells in the order of HEADER."""

_DELIMITERS = (",", ";", "\t", "|")
_TITLE_ROWS = 20  # lines in which the header is searched
_XLSX = ".xlsx"
_MAX_EXACT_DIGITS = 15  # of a number in XLSX, which is a binary fraction
# Names in use, without blanks, underscores, capitals and units in brackets.
_NAMES = {
    "msg_id": ("msgid", "messageid", "smsid", "消息id", "短信id", "消息编号", "流水号", "msg_id"),
    "sent_at": (
        "sentat",
        "sendtime",
        "senttime",
        "time",
        "发送时间",
        "提交时间",
        "计费时间",
        "日期",
        "发送日期",
        "date",
    ),
    "segments": ("segments", "segmentcount", "parts", "计费条数", "短信条数", "条数", "拆分条数"),
    "price": ("price", "unitprice", "单价"),
    "amount": ("amount", "cost", "charge", "fee", "金额", "费用", "计费金额", "扣费金额"),
    "currency": ("currency", "币种", "货币"),
}
_TOTALS = re.compile(r"合计|总计|小计|汇总|\btotal\b|\bsubtotal\b|\bsum\b", re.IGNORECASE)
_SIGNS = {"¥": ("CNY", "JPY"), "￥": ("CNY", "JPY"), "元": ("CNY",), "RMB": ("CNY",), "€": ("EUR",), "£": ("GBP",)}
_SIGN = re.compile(r"[¥￥元€£$]|RMB|\b[A-Z]{3}\b")
_DAY = re.compile(r"^(\d{4})(?:[-/.](\d{1,2})[-/.](\d{1,2})|年(\d{1,2})月(\d{1,2})日|(\d\d)(\d\d))[ T]*(.*)$")
_CLOCK = re.compile(r"^(\d{1,2}):(\d\d)(.*)$")


@dataclass(frozen=True, slots=True)
class StatementFormat:
    """The form of a statement's file; None is found from the file, if it is certain.

    Attributes:
        delimiter: Separates the fields of CSV. Default: the one that the header uses.
        encoding: A Python codec, such as gb18030. Default: by the byte order mark, else UTF-8.
        decimal: The decimal sign, "." or ","; the other one separates thousands. Without it, thousands are refused.
        currency: ISO 4217 code, for a statement without a column for it.
    """

    delimiter: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    currency: str | None = None

    def __post_init__(self) -> None:
        try:
            "".encode(self.encoding or "utf-8")
        except LookupError:
            raise InputError(f"unknown statement_encoding {self.encoding!r}: expected e.g. gb18030") from None
        if self.decimal not in (None, ".", ","):
            raise InputError(f"invalid statement_decimal {self.decimal!r}: expected . or ,")
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise InputError(f"invalid statement_delimiter {self.delimiter!r}: expected one character, e.g. ;")
        if self.currency is not None and not re.fullmatch("[A-Z]{3}", self.currency):
            raise InputError(f"invalid statement_currency {self.currency!r}: expected an ISO 4217 code, e.g. CNY")


def read_rows(path: Path, columns: Mapping[str, str], given: StatementFormat) -> Iterator[Row]:
    """Yield the lines of a statement's file, without titles, empty lines and totals.

    Args:
        path: CSV, also compressed, or XLSX.
        columns: The names of columns by those of HEADER.
        given: The form of the file.

    Raises:
        InputError: The file can't be read, lacks a column, or a total differs from the sum of its lines.
    """
    rows = _xlsx_rows(path) if path.suffix.lower() == _XLSX else _csv_rows(path, columns, given)
    head = list(islice(rows, _TITLE_ROWS))
    places, start = next(
        ((found, at + 1) for at, (_, cells) in enumerate(head) if (found := _find_columns(cells, columns, given))),
        (None, 0),
    )
    if places is None:
        raise InputError(_describe_missing(path, head, columns, given))
    header = head[start - 1][1]
    unit_currency = "CNY" if any("元" in str(header[at]) for at in places[3:5] if at is not None) else None
    form = _Form(given.decimal, given.currency or unit_currency)
    total = group = Decimal(0)
    for line, cells in chain(head[start:], rows):
        if len([cell for cell in cells if cell]) == 0:
            continue
        if len(cells) > len(header) and any(cells[len(header) :]):
            raise InputError(f"{path} can't be read: line {line} has more than {len(header)} fields")
        _check_cells(path, line, cells, given)
        row = form.normalize([cells[at] if at is not None and at < len(cells) else None for at in places])
        amount = _decimal(row[4])
        if not row[1] and _TOTALS.search(" ".join(cell or "" for cell in cells)):
            if amount is not None and amount not in (total, group):
                raise InputError(
                    f"{path} line {line}: the total is {amount}, but the lines before it add up to {total}: lines are"
                    " missing, or a line was read wrongly"
                )
            group = Decimal(0)
            continue
        total, group = total + (amount or 0), group + (amount or 0)
        yield line, row


@dataclass(frozen=True, slots=True)
class _Form:
    decimal: str | None
    currency: str | None

    def normalize(self, cells: list[str | None]) -> list[str | None]:
        """Return the cells of a line in one form; those that can't be read are unchanged."""
        msg_id, sent_at, segments, price, amount, currency = cells
        currency = _currency(currency) or self.currency or currency
        price, amount = (_number(it, self.decimal, currency) for it in (price, amount))
        segments = _number(segments, self.decimal, None)
        if (amount or "").startswith("-"):  # a refund may have any of the three negative
            segments, price = (it.removeprefix("-") if it else it for it in (segments, price))
        return [msg_id, sent_at and _time(sent_at), segments, price, amount, currency]


# Cells.


def _currency(text: str | None) -> str | None:
    code = (text or "").strip()
    code = code.upper() if re.fullmatch("[A-Za-z]{3}", code) else code
    return {"人民币": "CNY", "RMB": "CNY", "元": "CNY"}.get(code, code) or None


@lru_cache(maxsize=100_000)
def _number(text: str | None, decimal: str | None, currency: str | None) -> str | None:
    """Return a number with a decimal point and without signs of currencies, or the text unchanged."""
    if text is None:
        return None
    sign = _SIGN.search(text)
    if sign and sign[0] != "$" and currency not in _SIGNS.get(sign[0], (sign[0],)):
        return text  # another currency
    plain = _SIGN.sub("", text, count=1).replace("\u00a0", "").replace(" ", "").replace("−", "-")
    if plain.startswith("(") and plain.endswith(")"):  # as accountants write a negative amount
        plain = f"-{plain[1:-1]}"
    if decimal is None:
        return plain if re.fullmatch(r"-?\d+(\.\d+)?", plain) else text
    other = "." if decimal == "," else ","
    if not re.fullmatch(rf"-?(\d+|\d{{1,3}}(\{other}\d{{3}})+)(\{decimal}\d+)?", plain):
        return text
    return plain.replace(other, "").replace(decimal, ".")


def _decimal(text: str | None) -> Decimal | None:
    try:
        return Decimal(text) if text else None
    except InvalidOperation:
        return None


@lru_cache(maxsize=10_000)
def _time(text: str) -> str:
    """Return a time or a day as YYYY-MM-DD HH:MM..., or the text unchanged."""
    day = _DAY.match(text.strip())
    if not day:
        return text
    year, *pairs, rest = day.groups()
    month, number = (it for it in pairs if it is not None)
    if not rest:
        return f"{year}-{month:0>2}-{number:0>2} 00:00"
    clock = _CLOCK.match(rest)
    return f"{year}-{month:0>2}-{number:0>2} {clock[1]:0>2}:{clock[2]}{clock[3]}" if clock else text


def _check_cells(path: Path, line: int, cells: list[str | None], given: StatementFormat) -> None:
    text = "".join(cell or "" for cell in cells)
    if "\n" in text or "\r" in text:
        raise InputError(f"{path} can't be read: line {line} has a field with a line break, or an open quote")
    if any("\udc80" <= letter <= "\udcff" for letter in text) or "\x00" in text:
        raise InputError(_describe_encoding(path, line, given))


def _describe_encoding(path: Path, line: int, given: StatementFormat) -> str:
    return (
        f"{path} can't be read: line {line} is not {given.encoding or 'UTF-8'}: give the encoding, e.g. gb18030"
        " (--statement-encoding)"
    )


# Files.


def _csv_rows(path: Path, columns: Mapping[str, str], given: StatementFormat) -> Iterator[Row]:
    delimiter = given.delimiter or _find_delimiter(path, columns, given)
    with _open_text(path, given) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        line = 1
        try:
            for cells in reader:
                yield line, list(cells)
                line = reader.line_num + 1
        except csv.Error as problem:
            raise InputError(f"{path} can't be read: line {line} is not CSV: {problem}") from None


def _find_delimiter(path: Path, columns: Mapping[str, str], given: StatementFormat) -> str:
    """Return the delimiter with which a line of the file names all columns; a comma if no line does."""
    with _open_text(path, given) as file:
        head = list(islice(file, _TITLE_ROWS))
    for delimiter in _DELIMITERS:
        if any(_find_columns(list(cells), columns, given) for cells in csv.reader(head, delimiter=delimiter)):
            return delimiter
    return ","


@contextmanager
def _open_text(path: Path, given: StatementFormat) -> Iterator[io.TextIOWrapper]:
    """Open a text file, and decompress it if needed. Bytes that can't be decoded become lone surrogates."""
    try:
        with cast(BinaryIO, pa.input_stream(str(path), compression="detect")) as stream:
            start = stream.read(2)
        encoding = given.encoding or ("utf-16" if start in (BOM_UTF16_BE, BOM_UTF16_LE) else "utf-8-sig")
        encoding = "utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding
        stream = cast(BinaryIO, pa.input_stream(str(path), compression="detect"))
        with io.TextIOWrapper(stream, encoding, errors="surrogateescape", newline="") as file:
            yield file
    except UnicodeError:
        raise InputError(_describe_encoding(path, 1, given)) from None
    except FileNotFoundError:
        raise InputError(f"{path} doesn't exist") from None
    except OSError as problem:
        raise InputError(f"{path} can't be read: {problem}") from None


def _xlsx_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of the first sheet."""
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise InputError(f"{path} needs openpyxl: pip install 'sms-code-toolkit[analysis]'") from None
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except Exception as problem:  # openpyxl raises many kinds for a damaged file
        raise InputError(f"{path} can't be read: it is not XLSX ({type(problem).__name__})") from None
    for line, cells in enumerate(book.worksheets[0].iter_rows(values_only=True), 1):
        yield line, [_cell_text(path, line, cell) for cell in cells]
    book.close()


def _cell_text(path: Path, line: int, cell: Any) -> str | None:
    if cell is None:
        return None
    if isinstance(cell, datetime):
        return cell.isoformat(" ")
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        text = f"{cell:.{_MAX_EXACT_DIGITS}g}" if isinstance(cell, float) else str(cell)
        if abs(cell) >= 10**_MAX_EXACT_DIGITS:
            raise InputError(
                f"{path} line {line}: the number {cell} has more than {_MAX_EXACT_DIGITS} digits, of which XLSX"
                " loses the last ones: store message ids as text, or export CSV"
            )
        return text
    return str(cell)


# The header.


def _plain_name(name: str | None) -> str:
    return re.sub(r"[\s_]|[(（\[][^()（）\[\]]*[)）\]]", "", name or "").lower()


def _find_columns(
    cells: list[str | None], columns: Mapping[str, str], given: StatementFormat
) -> list[int | None] | None:
    """Return the places of the columns of HEADER in a line, or None if it isn't the header."""
    places: list[int | None] = []
    names, plain = [(cell or "").strip() for cell in cells], [_plain_name(cell) for cell in cells]
    for name in HEADER:
        wanted = [columns[name]] if name in columns else []
        found = [at for at, it in enumerate(names) if it in (wanted or [name])]
        found = found or [at for at, it in enumerate(plain) if not wanted and it in _NAMES[name]]
        if len(found) > 1:
            return None
        is_optional = name == "currency" and name not in columns
        if not found and not (is_optional and (given.currency or any("元" in it for it in names))):
            return None
        places.append(found[0] if found else None)
    return places


def _describe_missing(path: Path, head: list[Row], columns: Mapping[str, str], given: StatementFormat) -> str:
    """Return the first column that the best candidate for a header lacks."""
    if not head:
        return f"{path} has no header: its first line must name its columns, each once"
    line, cells = max(head, key=lambda row: sum(_plain_name(it) in sum(_NAMES.values(), ()) for it in row[1]))
    _check_cells(path, line, cells, given)
    names = [cell for cell in cells if cell]
    for name in HEADER:
        own = {name: columns[name]} if name in columns else {}
        wanted = columns.get(name, name)
        matching = [it for it in names if it.strip() == wanted or (not own and _plain_name(it) in _NAMES[name])]
        if len(matching) > 1:
            return f"{path} has no header: its first line must name its columns, each once, not {matching[0]} twice"
        if not matching:
            if name == "currency" and name not in columns:
                return f"{path} has no column currency: give it with --statement-currency, e.g. CNY, or name its column"
            close = get_close_matches(wanted, names, n=1)
            example = f'{{"{name}": "{close[0] if close else "COLUMN"}"}}'
            return f"{path} has no column {wanted}: name its {name} column with columns={example}"
    return f"{path} has no header: its first line must name its columns, each once"
