"""Write the frames of a report as JSON and CSV, for programs."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from toolkit.json_numbers import exact
from toolkit.masking import Json
from toolkit.report.model import Report, Table
from toolkit.report.table_columns import without_formulas
from toolkit.report.verdicts import as_json
from toolkit.runs.exit_codes import worst

SCHEMA = 2


def to_json(report: Report) -> str:
    """Return the header, findings, verdicts, check results and complete tables of a report as JSON.

    Times are ISO 8601 with their offset, NaN is null, money is right to the millionth. docs/guides/reports.md
    lists the fields.
    """
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "remarks": list(report.remarks),
        "name": report.name,
        "target": report.target,
        "duration_s": report.duration_s,
        "findings": {section.name: section.finding for section in report.findings()},
        "exit_code": worst(reason.code for end in report.ends for reason in end.reasons).value,
        "verdicts": [{"run": it.run, **as_json(it.verdict)} for it in report.verdicts],
        "checks": [check.model_dump(mode="json") for check in report.checks],
        "tables": {table.name: to_records(table.frame) for table in report.tables()},
    }
    return json.dumps(exact(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_records(frame: pd.DataFrame) -> list[dict[str, Json]]:
    """Return the rows of a frame as JSON values: times are ISO 8601, NaN is null."""
    return [{str(name): _plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def to_csv(table: Table) -> str:
    """Return the complete frame of a table as CSV, in which no text is a formula for a spreadsheet."""
    text: str = without_formulas(table.frame).to_csv(index=False)
    return text


def _plain(value: Any) -> Json:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else value  # type: ignore[no-any-return]
