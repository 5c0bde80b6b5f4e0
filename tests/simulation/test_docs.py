"""docs/reference/simulation.md tells of everything that is written."""

from __future__ import annotations

import re
from pathlib import Path

from support.simulated import Simulated

DOCS = (Path(__file__).parent.parent.parent / "docs/reference/simulation.md").read_text(encoding="utf-8")


def test_every_kind_and_every_number_of_a_label_is_documented(simulated: Simulated) -> None:
    told = set(re.findall(r"`([a-z_]+)`", DOCS))
    for label in simulated.labels:
        assert {label["kind"], *label["changed"]} <= told


def test_every_file_is_documented(simulated: Simulated) -> None:
    names = {re.sub(r"\d{4}-\d{2}-\d{2}", "YYYY-MM-DD", path.name) for path in simulated.folder.iterdir()}
    names = {re.sub(r"\d{4}-\d{2}", "YYYY-MM", name) for name in names}
    assert [name for name in names if f"| `{name}` |" not in DOCS] == []
