"""Build the sections of the logs that were read and of the runs' settings."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from toolkit.analysis.source_record import source_frame
from toolkit.masking import mask
from toolkit.report import result_tables, table_columns
from toolkit.report.inputs import ReportInputs, settings_by_name
from toolkit.report.model import Section

_SOURCES = (
    table_columns.text("file"),
    table_columns.count("lines"),
    table_columns.count("calls"),
    table_columns.count("others", "other lines"),
    table_columns.count("unread"),
    table_columns.count("inferred", "codes inferred"),
    table_columns.text("note", is_optional=True),
)
_UNREAD = (
    table_columns.text("file"),
    table_columns.text("reason"),
    table_columns.count("rows", "lines"),
    table_columns.text("lines", "first lines"),
    table_columns.text("text", "text of the first line"),
)
_SETTINGS = (table_columns.text("setting", "name"), table_columns.text("value"))


def build_settings(inputs: ReportInputs) -> Iterator[Section]:
    """Yield how each log was read, its lines that could not be read, and the settings, masked."""
    if sources := inputs.total.sources:
        parts = [table_columns.table("sources", source_frame(sources), _SOURCES)]
        if len(unread := inputs.calls.unread):
            parts.append(table_columns.table("unread", unread, _UNREAD, title="Lines that could not be read"))
        note = "Only lines of calls are in the figures of this report. Blank lines are not counted."
        yield Section("sources", "Logs", note, parts)
    named = settings_by_name(inputs.runs)
    rows = [row for name, settings in named for row in result_tables.setting_rows(mask(settings), name)]
    if rows:
        frame = pd.DataFrame(rows, columns=["setting", "value"])
        table = table_columns.table("settings", frame, _SETTINGS, max_rows=len(frame))
        yield Section("settings", "Settings", parts=[table])
