"""Write the tables of a report as one workbook for spreadsheets."""

from __future__ import annotations

from io import BytesIO

import pandas as pd

from toolkit.analysis.tidy_frames import ResultFrame
from toolkit.report.model import Report

_MAX_NAME_LENGTH = 31  # of a sheet, in Excel


def to_xlsx(report: Report) -> bytes:
    """Return a workbook: a sheet with the head and the findings, then one for each complete table.

    Times are UTC. Money and shares are numbers.
    """
    head = [(fact.label, fact.value) for fact in report.facts]
    head += [("remark", remark) for remark in report.remarks]
    head += [(section.name, section.finding) for section in report.findings()]
    frames = {"report": pd.DataFrame([("period", report.when), *head], columns=["name", "value"])}
    frames |= {table.name: table.frame for table in report.tables()}
    content = BytesIO()
    with pd.ExcelWriter(content, engine="openpyxl") as writer:
        for name, frame in frames.items():
            ResultFrame(frame).to_excel(writer, sheet_name=name[:_MAX_NAME_LENGTH], index=False)
    return content.getvalue()
