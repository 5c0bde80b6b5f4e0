"""Read text files with one call per line, and collect the lines that can't be read."""

from __future__ import annotations

import csv
import io
import lzma
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import pandas as pd
import pyarrow as pa

from toolkit.analysis.sources.log_formats import (
    COMBINED,
    CallParser,
    Fields,
    NotACallError,
    Values,
    parse_json,
    parse_log_format,
)
from toolkit.api.errors import InputError
from toolkit.masking import mask_text

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".br")
CSV, LOG = ".csv", ".log"
SUFFIXES = (".jsonl", ".ndjson", ".json", LOG, CSV)
_QUOTED_CHARS, _NUMBERED_LINES = 160, 5
_CODE = re.compile(r'(?i)(?<![a-z_])(code(?:\\x22|\\?")?\s*[:=]\s*(?:\\x22|\\?")?)\d+')


def plain_suffix(path: Path) -> str:
    """Return a file's suffix without the suffix of a compression.

    >>> plain_suffix(Path("calls.csv.gz"))
    '.csv'
    """
    name = path.name.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return Path(name).suffix


@dataclass
class _Reason:
    """The lines of a file that were refused for one reason: their number, the first line numbers, the first text."""

    rows: int = 0
    lines: list[int] = field(default_factory=list)
    text: str = ""


class UnreadLines:
    """Collects the lines that couldn't be read, by file and reason. Quoted text is masked and cut to 160 characters."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, str], _Reason] = {}

    def add(self, path: Path, line: int, reason: str, text: str) -> None:
        """Add a line."""
        found = self._reasons.setdefault((str(path), reason), _Reason())
        found.rows += 1
        if found.rows <= _NUMBERED_LINES:
            found.lines.append(line)
        if not found.text:
            text = _CODE.sub(r"\1***", mask_text(text.strip()))
            found.text = text if len(text) <= _QUOTED_CHARS else f"{text[:_QUOTED_CHARS]}…"

    def first_reason(self, path: Path) -> str:
        """Return the number of a file's first unread line with the reason."""
        reason, found = next((reason, it) for (file, reason), it in self._reasons.items() if file == str(path))
        return f"line {found.lines[0]}: {reason}"

    def frame(self) -> pd.DataFrame:
        """Return the frame that ``Calls.unread`` documents."""
        rows = [(*key, it.rows, ", ".join(map(str, it.lines)), it.text) for key, it in self._reasons.items()]
        frame = pd.DataFrame(rows, columns=["file", "reason", "rows", "lines", "text"])
        text = pd.StringDtype("pyarrow")
        return frame.astype({"file": "category", "reason": text, "rows": "int64", "lines": text, "text": text})


def read_text(path: Path, parser: CallParser, log_format: str | None, unread: UnreadLines) -> Iterator[Values]:
    """Yield the calls of a file, and add its other lines to ``unread``.

    ``log_format`` is nginx's, for an access log that isn't JSON; None means ``combined``. Raise InputError for a
    damaged file, and for a file without any call.
    """
    calls = rows = 0
    try:
        with _open(path) as file:
            for number, text, split in _lines(path, file, log_format):
                rows += 1
                try:
                    yield parser.parse(split(text), path)
                    calls += 1
                except NotACallError as reason:
                    unread.add(path, number, str(reason), text)
    except (OSError, EOFError, lzma.LZMAError) as problem:
        raise InputError(f"{path} can't be read, or is damaged: {problem}") from problem
    if rows and not calls:
        raise InputError(f"{path} holds no calls: {unread.first_reason(path)}; for a log, give columns or log_format")


def _open(path: Path) -> TextIO:
    """Open a file of text, and decompress it by its suffix."""
    if path.suffix == ".xz":  # Arrow doesn't know this compression
        return lzma.open(path, "rt", encoding="utf-8", errors="replace", newline="")
    raw = pa.input_stream(str(path), compression="detect")
    return io.TextIOWrapper(raw, encoding="utf-8", errors="replace", newline="")


def _lines(path: Path, file: TextIO, log_format: str | None) -> Iterator[tuple[int, str, Callable[[str], Fields]]]:
    """Yield each line that isn't blank: its number, its text, and the function that splits it into columns."""
    suffix = plain_suffix(path)
    split = parse_json if log_format is None else parse_log_format(log_format)
    split_other = parse_log_format(COMBINED) if suffix == LOG and log_format is None else split
    for number, text in enumerate(file, 1):
        if number == 1 and suffix == CSV:
            split = split_other = _csv_splitter(text)
        elif text.strip():  # a log of JSON may begin with lines of plain text
            yield number, text.rstrip("\r\n"), split if text.lstrip().startswith("{") else split_other


def _csv_splitter(header: str) -> Callable[[str], Fields]:
    """Return a function that splits a row of CSV with this header."""
    names = next(csv.reader([header]))

    def split(row: str) -> Fields:
        try:
            values = next(csv.reader([row]), [])
        except csv.Error as problem:
            raise NotACallError(f"not a row of CSV: {problem}") from None
        if len(values) != len(names):
            raise NotACallError(f"{len(values)} values, but {len(names)} columns in the header")
        return dict(zip(names, values, strict=True))

    return split
