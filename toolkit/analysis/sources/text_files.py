"""Texts: files of text, one call a line or a row, and what in them couldn't be read, counted and quoted."""

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
    Fields,
    LineReader,
    NoCallError,
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
    """Return a file's suffix without that of a compression."""
    name = path.name.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return Path(name).suffix


@dataclass
class _Reason:
    """Rows of a file that couldn't be read for one reason."""

    rows: int = 0
    lines: list[int] = field(default_factory=list)
    text: str = ""


class UnreadLines:
    """What couldn't be read of some files."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], _Reason] = {}

    def add(self, path: Path, line: int, reason: str, text: str) -> None:
        """Add a row that couldn't be read."""
        found = self._found.setdefault((str(path), reason), _Reason())
        found.rows += 1
        if found.rows <= _NUMBERED_LINES:
            found.lines.append(line)
        found.text = found.text or _quote(text)

    def tell(self, path: Path) -> str:
        """Say in a few words what of a file couldn't be read first."""
        (reason, found), *_ = ((reason, it) for (file, reason), it in self._found.items() if file == str(path))
        return f"line {found.lines[0]}: {reason}"

    def frame(self) -> pd.DataFrame:
        """Return it as ``Calls.unread``."""
        rows = [(*of, it.rows, ", ".join(map(str, it.lines)), it.text) for of, it in self._found.items()]
        frame = pd.DataFrame(rows, columns=["file", "reason", "rows", "lines", "text"])
        text = pd.StringDtype("pyarrow")
        return frame.astype({"file": "category", "reason": text, "rows": "int64", "lines": text, "text": text})


def _quote(text: str) -> str:
    text = _CODE.sub(r"\1***", mask_text(text.strip()))
    return text if len(text) <= _QUOTED_CHARS else f"{text[:_QUOTED_CHARS]}…"


def read_text(path: Path, reader: LineReader, log_format: str | None, unread: UnreadLines) -> Iterator[Values]:
    """Yield the calls of a file; raise InputError for one that is damaged, or of whose rows none is a call.

    ``log_format``: nginx's, of an access log that isn't JSON; None: ``combined``.
    """
    calls = rows = 0
    try:
        with _open(path) as file:
            for number, text, cut in _rows(path, file, log_format):
                rows += 1
                try:
                    yield reader.read(cut(text), path)
                    calls += 1
                except NoCallError as reason:
                    unread.add(path, number, str(reason), text)
    except (OSError, EOFError, lzma.LZMAError) as problem:
        raise InputError(f"{path} can't be read, or is damaged: {problem}") from problem
    if rows and not calls:
        raise InputError(f"{path} holds no calls: {unread.tell(path)}; give columns, or log_format, where it is a log")


def _open(path: Path) -> TextIO:
    """Open a file of text, through what compressed it."""
    if path.suffix == ".xz":  # the one that Arrow doesn't know
        return lzma.open(path, "rt", encoding="utf-8", errors="replace", newline="")
    raw = pa.input_stream(str(path), compression="detect")
    return io.TextIOWrapper(raw, encoding="utf-8", errors="replace", newline="")


def _rows(path: Path, file: TextIO, log_format: str | None) -> Iterator[tuple[int, str, Callable[[str], Fields]]]:
    """Yield the number and the text of each row that isn't blank, and what cuts it into fields."""
    suffix, cut = plain_suffix(path), parse_json if log_format is None else parse_log_format(log_format)
    otherwise = parse_log_format(COMBINED) if suffix == LOG and log_format is None else cut
    for number, text in enumerate(file, 1):
        if number == 1 and suffix == CSV:
            cut = otherwise = _cutter(text)
        elif text.strip():  # a log of JSON may begin with plain words
            yield number, text.rstrip("\r\n"), cut if text.lstrip().startswith("{") else otherwise


def _cutter(header: str) -> Callable[[str], Fields]:
    """Return what cuts a row of CSV below such a header."""
    names = next(csv.reader([header]))

    def cut(row: str) -> Fields:
        try:
            values = next(csv.reader([row]), [])
        except csv.Error as problem:
            raise NoCallError(f"not a row of CSV: {problem}") from None
        if len(values) != len(names):
            raise NoCallError(f"{len(values)} fields, and {len(names)} in the header")
        return dict(zip(names, values, strict=True))

    return cut
