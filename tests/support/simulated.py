"""A simulation, read: its calls and its labels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from toolkit import analysis
from toolkit.simulation import SimulationPlan
from toolkit.simulation.incidents import DURATION_MINUTES


@dataclass(frozen=True)
class Simulated:
    """A simulation's folder, its calls in the order of time, and its labels."""

    plan: SimulationPlan
    folder: Path
    calls: pd.DataFrame
    labels: list[dict[str, Any]]

    def label(self, kind: str) -> dict[str, Any]:
        """Return the one label of a kind."""
        (label,) = [label for label in self.labels if label["kind"] == kind]
        return label

    def during(self, kind: str) -> pd.Series:
        """Tell which calls were started while the incident of a kind went on."""
        label, started = self.label(kind), self.calls["started"]
        return (started >= pd.Timestamp(label["started"])) & (started < pd.Timestamp(label["ended"]))

    def quietly(self) -> pd.Series:
        """Tell which calls were started on days on which nothing was labelled that records show."""
        days = self.calls["started"].dt.date
        busy = {pd.Timestamp(label["started"]).date() for label in self.labels if label["kind"] in DURATION_MINUTES}
        return ~days.isin(busy) & (self.calls["started"] < pd.Timestamp(self.label("limit_lowered")["started"]))


def read(folder: Path, plan: SimulationPlan) -> Simulated:
    """Read what a plan has left in a folder."""
    labels = json.loads((folder / "incidents.json").read_text())["incidents"]
    calls = analysis.read(folder).to_pandas().sort_values("started_ns", kind="stable", ignore_index=True)
    return Simulated(plan, folder, calls, labels)
