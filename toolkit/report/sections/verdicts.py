"""What was judged: thresholds, and the claims of scenarios."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from toolkit import number_format
from toolkit.masking import mask_text
from toolkit.report import result_tables, table_columns
from toolkit.report.inputs import Subject
from toolkit.report.model import Judged, Section, Table
from toolkit.report.table_columns import Row, lacks
from toolkit.report.verdicts import as_json
from toolkit.runs.check_results import Claim, figure_rows
from toolkit.runs.thresholds import Status


def tell(subject: Subject, judged: Sequence[Judged]) -> Iterator[Section]:
    """Tell which thresholds were kept and which claims stand."""
    if judged:
        note = "" if len(subject.runs) == 1 else "Each run is judged by its own thresholds."
        kept = sum(it.verdict.status is Status.PASS for it in judged)
        finding = f"{kept} of {number_format.plural(len(judged), 'threshold')} kept."
        yield Section("verdicts", "Thresholds", note, [_verdicts(judged, len(subject.runs) > 1)], finding=finding)
    for place, claim in enumerate((claim for run in subject.runs for claim in run.claims), 1):
        yield _claim(f"claim-{place}", claim)


def _verdicts(judged: Sequence[Judged], is_many: bool) -> Table:
    frame = pd.DataFrame({"run": it.run, **as_json(it.verdict)} for it in judged)
    shown = [
        table_columns.made("verdict", lambda row: result_tables.badge_of(Status(row["status"]))),
        *([table_columns.text("run")] if is_many else []),
        table_columns.text("threshold"),
        table_columns.made("measured", _measured, is_number=True),
    ]
    return table_columns.table("verdicts", frame, shown, most=len(frame))


def _measured(row: Row) -> str:
    return (
        number_format.MISSING if lacks(row, "value") else f"{number_format.precise_number(row['value'])} {row['unit']}"
    )


def _claim(name: str, claim: Claim) -> Section:
    frame = pd.DataFrame(figure_rows(claim["figures"]), columns=["figure", "value"])
    shown = [table_columns.text("figure"), table_columns.text("value", is_number=True)]
    badge = result_tables.badge_of(Status(claim["status"]))
    says = mask_text(claim["says"])
    finding = f"{badge}: {says}."
    return Section(
        name, f"Claim: {says}", parts=[table_columns.table(name, frame, shown)], badge=badge, finding=finding
    )
