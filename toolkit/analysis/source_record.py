"""Describe how each text file was read: lines of calls, other lines, unread lines, and inferred return codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd


@dataclass(frozen=True, slots=True)
class UnreadLines:
    """The lines of a file that could not be read for one reason.

    ``rows``: their number. ``lines``: the numbers of the first ones. ``text``: the first one, masked and cut.
    """

    reason: str
    rows: int
    lines: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """How one file was read. Blank lines and the header of a CSV file are not counted.

    Attributes:
        file: path of the file; "-" is standard input.
        lines: number of lines.
        calls: lines that are a call.
        others: lines that were read and are not a call of this API, by description, e.g. "another request".
        unread: lines that could not be read, by reason.
        fields: the fields of a call that the file has a column for, see ``sources.log_formats.FIELDS``.
        inferred: calls whose return code was inferred from their HTTP status, by return code.
        without_zone: calls whose time names no time zone; they were read in ``timezone``.
        early: calls that started before the year 2000, as if the unit of their time were another one.
        undecoded: lines with bytes that are not in the file's encoding.
        unused: given columns and a given log format that no line has, in words.
        skipped: reason why the file was left out; "" if it was read.

    """

    file: str
    lines: int = 0
    calls: int = 0
    others: Mapping[str, int] = field(default_factory=dict)
    unread: Sequence[UnreadLines] = ()
    fields: frozenset[str] = frozenset()
    inferred: Mapping[int, int] = field(default_factory=dict)
    without_zone: int = 0
    timezone: str = "UTC"
    early: int = 0
    undecoded: int = 0
    unused: Sequence[str] = ()
    skipped: str = ""

    @property
    def unread_rows(self) -> int:
        """The number of unread lines."""
        return sum(it.rows for it in self.unread)

    @property
    def holds_codes(self) -> bool:
        """Whether the file has return codes of its own, in a column or in logged responses."""
        return not self.fields.isdisjoint({"return_code", "answer"})

    @property
    def holds_latency(self) -> bool:
        """Whether the file has durations of calls."""
        return any(it.startswith("latency_") for it in self.fields)

    @property
    def holds_failures(self) -> bool:
        """Whether the file has the reason why a call got no response."""
        return "error" in self.fields


def unread_frame(sources: Iterable[SourceRecord]) -> pd.DataFrame:
    """Return the frame that ``Calls.unread`` documents."""
    rows = [
        (source.file, it.reason, it.rows, ", ".join(map(str, it.lines)), it.text)
        for source in sources
        for it in source.unread
    ]
    frame = pd.DataFrame(rows, columns=["file", "reason", "rows", "lines", "text"])
    text = pd.StringDtype("pyarrow")
    return frame.astype({"file": "category", "reason": text, "rows": "int64", "lines": text, "text": text})


def source_frame(sources: Iterable[SourceRecord]) -> pd.DataFrame:
    """Return one row per text file, in the order of reading.

    Columns: file (string); lines, calls, others, unread, inferred (int64): numbers of lines, calls, lines that are no
    call, unread lines, and calls whose return code was inferred; note (string): the kinds of the other lines, or why
    the file was left out.
    """
    rows = [
        (
            *(it.file, it.lines, it.calls, sum(it.others.values()), it.unread_rows, sum(it.inferred.values())),
            it.skipped or "; ".join(f"{rows:,} × {what}" for what, rows in it.others.items()),
        )
        for it in sources
    ]
    frame = pd.DataFrame(rows, columns=["file", "lines", "calls", "others", "unread", "inferred", "note"])
    text = pd.StringDtype("pyarrow")
    return frame.astype({"file": text, "note": text, **dict.fromkeys(frame.columns[1:-1], "int64")})


def unread_ratio(sources: Iterable[SourceRecord]) -> float:
    """Return the share of unread lines (0..1) in the files that hold calls; 0 without lines."""
    read = [source for source in sources if source.calls]
    lines = sum(source.lines for source in read)
    return sum(source.unread_rows for source in read) / lines if lines else 0.0
