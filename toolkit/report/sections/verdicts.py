"""Build the sections of thresholds and of the scenario's checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from toolkit import number_format
from toolkit.masking import mask_text
from toolkit.report import result_tables, table_columns
from toolkit.report.inputs import ReportInputs
from toolkit.report.model import RunVerdict, Section
from toolkit.report.verdicts import as_json
from toolkit.runs.check_results import figure_rows
from toolkit.runs.thresholds import Status

_STATUS = table_columns.computed("verdict", lambda row: result_tables.status_badge(Status(row["status"])))


def build_verdicts(inputs: ReportInputs, verdicts: Sequence[RunVerdict]) -> Iterator[Section]:
    """Yield one section with all thresholds, and one for each check."""
    if verdicts:
        frame = pd.DataFrame({"run": it.run, **as_json(it.verdict), "measured": it.verdict.measured} for it in verdicts)
        columns = [
            _STATUS,
            *([table_columns.text("run")] if len(inputs.runs) > 1 else []),
            table_columns.text("threshold"),
            table_columns.text("measured", is_number=True),
        ]
        table = table_columns.table("verdicts", frame, columns, max_rows=len(frame))
        note = "" if len(inputs.runs) == 1 else "Each run is judged by its own thresholds."
        passed = sum(it.verdict.status is Status.PASS for it in verdicts)
        finding = f"{passed} of {number_format.plural(len(verdicts), 'threshold')} passed."
        yield Section("verdicts", "Thresholds", note, [table], finding=finding)
    for place, check in enumerate((check for run in inputs.runs for check in run.checks), 1):
        name = f"check-{place}"
        frame = pd.DataFrame(figure_rows(check.figures), columns=["figure", "value"])
        columns = [table_columns.text("figure"), table_columns.text("value", is_number=True)]
        tables = [table_columns.table(name, frame, columns)]
        if check.parts:
            parts = pd.DataFrame([dict(part) for part in check.parts])
            columns = [_STATUS, table_columns.text("name"), table_columns.text("reason")]
            tables.insert(0, table_columns.table(f"{name}-parts", parts, columns, max_rows=len(parts)))
        badge = result_tables.status_badge(check.status)
        title, finding = f"Check: {mask_text(check.description)}", f"{badge}: {mask_text(check.finding)}."
        yield Section(name, title, parts=tables, badge=badge, finding=finding)
