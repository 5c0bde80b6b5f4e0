"""Data: a report's frames as JSON and as CSV, for programs."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pandas as pd

from toolkit.masking import Json
from toolkit.report.model import Report, Table
from toolkit.report.verdicts import as_json

SCHEMA = 1


def to_json(report: Report) -> str:
    """Return a report as JSON: its headline, what was judged, and each table's whole frame, by the tables' names.

    Times are ISO 8601 in UTC, money decimals as text, nothing is NaN.
    """
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "name": report.name,
        "target": report.target,
        "duration_s": report.duration_s,
        "remarks": list(report.remarks),
        "findings": {section.name: section.finding for section in report.findings()},
        "verdicts": [{"run": it.run, **as_json(it.verdict)} for it in report.judged],
        "claims": [dict(claim) for claim in report.claims],
        "tables": {table.name: _rows(table.frame) for table in report.tables()},
    }
    return json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(table: Table) -> str:
    """Return a table's whole frame as CSV."""
    text: str = table.frame.to_csv(index=False)
    return text


def _rows(frame: pd.DataFrame) -> list[dict[str, Json]]:
    return [{str(name): _plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Json:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.item() if hasattr(value, "item") else value  # type: ignore[no-any-return]
