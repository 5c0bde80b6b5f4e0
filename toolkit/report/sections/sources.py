"""Build the sections of unread rows and of the runs' settings."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from toolkit.masking import mask
from toolkit.report import result_tables, table_columns
from toolkit.report.inputs import ReportInputs, settings_by_name
from toolkit.report.model import Section

_UNREAD = (
    table_columns.text("file"),
    table_columns.text("reason"),
    table_columns.count("rows"),
    table_columns.text("lines", "first lines"),
    table_columns.text("text", "text of the first line"),
)
_SETTINGS = (table_columns.text("setting", "name"), table_columns.text("value"))


def build_settings(inputs: ReportInputs) -> Iterator[Section]:
    """Yield the rows that could not be read, and the settings, masked."""
    unread = inputs.calls.unread
    if len(unread):
        note = f"{unread['rows'].sum():,} rows are not included in any figure of this report."
        yield Section("unread", "Rows that could not be read", note, [table_columns.table("unread", unread, _UNREAD)])
    named = settings_by_name(inputs.runs)
    rows = [row for name, settings in named for row in result_tables.setting_rows(mask(settings), name)]
    if rows:
        frame = pd.DataFrame(rows, columns=["setting", "value"])
        table = table_columns.table("settings", frame, _SETTINGS, max_rows=len(frame))
        yield Section("settings", "Settings", parts=[table])
