"""Where the calls are from: what could not be read of them, and the settings that they were made with."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from toolkit.masking import mask
from toolkit.report import result_tables, table_columns
from toolkit.report.inputs import Subject, settings_by_name
from toolkit.report.model import Section

_UNREAD = (
    table_columns.text("file"),
    table_columns.text("reason"),
    table_columns.count("rows"),
    table_columns.text("lines", "first lines"),
    table_columns.text("text", "the first one"),
)
_SETTINGS = (table_columns.text("setting", "name"), table_columns.text("value"))


def tell(subject: Subject) -> Iterator[Section]:
    """Tell which rows could not be read, and the settings, masked."""
    unread = subject.calls.unread
    if len(unread):
        note = f"{unread['rows'].sum():,} rows are in no figure here."
        yield Section("unread", "Rows that could not be read", note, [table_columns.table("unread", unread, _UNREAD)])
    named = settings_by_name(subject.runs)
    rows = [row for name, settings in named for row in result_tables.setting_rows(mask(settings), name)]
    if rows:
        frame = pd.DataFrame(rows, columns=["setting", "value"])
        yield Section(
            "settings", "Settings", parts=[table_columns.table("settings", frame, _SETTINGS, most=len(frame))]
        )
