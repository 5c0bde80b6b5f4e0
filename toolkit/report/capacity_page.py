"""Build the page of a search for the capacity: the answer, the chart of its trials and why the answer is believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from toolkit import number_format
from toolkit.analysis.capacity import capacity, scalability
from toolkit.api.return_codes import Kind
from toolkit.atomic_write import write_atomically
from toolkit.masking import mask_text
from toolkit.outcome_colours import KIND_COLOURS, UNKNOWN
from toolkit.report import html, table_columns
from toolkit.report.model import Badge, Fact, Figure, Header, Part, Report, Section, Table
from toolkit.report.write_files import STEM

_COLOURS = {"held": KIND_COLOURS[Kind.OK.value], "missed": KIND_COLOURS[Kind.SERVER.value]}
_TRIALS = (
    table_columns.text("name", "trial"),
    table_columns.computed("load", lambda row: f"{row['load']:,g}", is_number=True),
    table_columns.computed("result", lambda row: _badge(str(row["result"]))),
    table_columns.duration("duration_s", "length"),
    table_columns.count("messages"),
    table_columns.number("achieved_per_s", "successful sends/s"),
    table_columns.number("p50_ms", "p50, ms"),
    table_columns.number("p99_ms", "p99, ms"),
    table_columns.share("failed_ratio", "failed calls"),
    table_columns.text("why", "why inconclusive", is_optional=True),
)


def write_capacity_page(content: Mapping[str, Any], folder: Path) -> Path:
    """Write the page of a search to its folder and return its path.

    Args:
        content: The content of capacity.json.
        folder: The folder of the search.
    """
    report = build_capacity_report(content, folder.resolve().name)
    return write_atomically(folder / f"{STEM}.html", html.render(report))


def build_capacity_report(content: Mapping[str, Any], name: str) -> Report:
    """Return the report of a search with a name."""
    settings = content["settings"]
    return Report(
        name=mask_text(name),
        when=str(content["started"])[:19].replace("T", " ") + " UTC",
        target=mask_text(str(settings["target"])),
        duration_s=content["duration_s"],
        facts=list(_facts(content)),
        remarks=[mask_text(it) for it in (content["unsettled"],) if it],
        sections=list(_sections(content)),
    )


def _badge(result: str) -> Badge:
    return Badge(result, _COLOURS.get(result, KIND_COLOURS[UNKNOWN]))


def _facts(content: Mapping[str, Any]) -> Iterator[Fact]:
    found, unit = content["capacity"], content["unit"]
    if found:
        yield Fact(f"held, {unit}", f"{found['held']:,g}")
        yield Fact(f"missed, {unit}", f"{found['missed']:,g}")
    yield Fact("trials", f"{len(content['trials']):,}")
    yield Fact("messages", f"{content['messages']:,}")
    yield Fact("duration", number_format.duration(content["duration_s"]))


def _sections(content: Mapping[str, Any]) -> Iterator[Section]:
    frame, found = capacity(content), content["capacity"]
    badge = Badge("settled", _COLOURS["held"]) if content["is_settled"] else Badge("not settled", _COLOURS["missed"])
    parts: list[Part] = []
    if found:
        reasons = pd.DataFrame({"reason": pd.array(found["reasons"], "string")})
        parts.append(table_columns.table("reasons", reasons, (table_columns.text("reason", "why it is believed"),)))
    parts.append(_limits_table(content))
    note = "The band is the interval. Trials are points; short ones lead the search, long ones decide."
    parts.append(Figure("capacity", frame, "Trials", note))
    finding = f"The target {content['answer']}." if found else "The search gives no figure."
    if found:
        finding += f" The limit that binds is {found['binding_limit']}."
    yield Section("capacity", "Capacity", finding, parts, badge, finding)
    model = scalability(frame)
    if len(model):
        first = model.iloc[0]
        peak = "Throughput only grows with the calls in flight."
        if pd.notna(first["peak_in_flight"]):
            peak = f"Its highest throughput is at {first['peak_in_flight']:,.0f} calls in flight."
        error = number_format.share(first["worst_error_ratio"])
        text = f"The Universal Scalability Law predicts each load from the others to {error}. {peak}"
        yield Section(
            "scalability", "Scalability", text, [Figure("scalability", model, "Throughput by calls in flight")]
        )
    table = table_columns.table("trials", frame, _TRIALS, max_rows=len(frame))
    seconds = content["settings"]["warm_up_s"]
    text = f"The first {seconds:g} s of each trial are left out of all figures except messages and dropped arrivals."
    yield Section("trials", "Trials", text, [table])


def _limits_table(content: Mapping[str, Any]) -> Table:
    headers = (Header("limit"), Header("highest load that met it", True), Header("lowest load that missed it", True))
    limits = content["limits"]
    rows = [
        (it["limit"], *(number_format.MISSING if it[k] is None else f"{it[k]:,g}" for k in ("held", "missed")))
        for it in limits
    ]
    return Table("limits", headers, rows, pd.DataFrame(limits))
