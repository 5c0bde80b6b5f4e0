"""Read the calls and the labels of a simulation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from toolkit import analysis
from toolkit.simulation import SimulationPlan
from toolkit.simulation.incidents import CALENDAR_KINDS, DURATION_MINUTES


@dataclass(frozen=True)
class Simulated:
    """The folder of a simulation, its calls in the order of time, and its labels."""

    plan: SimulationPlan
    folder: Path
    calls: pd.DataFrame
    labels: list[dict[str, Any]]

    def label(self, kind: str) -> dict[str, Any]:
        """Return the one label of a kind."""
        (label,) = [label for label in self.labels if label["kind"] == kind]
        return label

    def during(self, kind: str) -> pd.Series:
        """Return for each call whether it started during an incident."""
        label, started = self.label(kind), self.calls["started"]
        return (started >= pd.Timestamp(label["started"])) & (started < pd.Timestamp(label["ended"]))

    def quietly(self) -> pd.Series:
        """Return for each call whether it started on a day without an incident."""
        days = self.calls["started"].dt.date
        kinds = {*DURATION_MINUTES, *CALENDAR_KINDS}
        ends = [label[end] for label in self.labels if label["kind"] in kinds for end in ("started", "ended")]
        busy = {pd.Timestamp(end).date() for end in ends}
        return ~days.isin(busy) & (self.calls["started"] < pd.Timestamp(self.label("limit_lowered")["started"]))


def read(folder: Path, plan: SimulationPlan) -> Simulated:
    """Read the folder of a simulation."""
    labels = json.loads((folder / "incidents.json").read_text())["incidents"]
    calls = analysis.read(folder).to_pandas().sort_values("started_ns", kind="stable", ignore_index=True)
    return Simulated(plan, folder, calls, labels)
