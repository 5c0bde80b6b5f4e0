"""Where the calls are from: what could not be read of them, and the settings that they were made with."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from toolkit.masking import mask
from toolkit.report import columns, tables
from toolkit.report.subject import Subject, settings_by_name
from toolkit.report.values import Section

_UNREAD = (
    columns.text("file"),
    columns.text("reason"),
    columns.count("rows"),
    columns.text("lines", "first lines"),
    columns.text("text", "the first one"),
)
_SETTINGS = (columns.text("setting", "name"), columns.text("value"))


def tell(subject: Subject) -> Iterator[Section]:
    """Tell which rows could not be read, and the settings, masked."""
    unread = subject.calls.unread
    if len(unread):
        note = f"{unread['rows'].sum():,} rows are in no figure here."
        yield Section("unread", "Rows that could not be read", note, [columns.table("unread", unread, _UNREAD)])
    named = settings_by_name(subject.runs)
    rows = [row for name, settings in named for row in tables.setting_rows(mask(settings), name)]
    if rows:
        frame = pd.DataFrame(rows, columns=["setting", "value"])
        yield Section("settings", "Settings", parts=[columns.table("settings", frame, _SETTINGS, most=len(frame))])
