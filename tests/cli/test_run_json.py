"""docs/reference/run-json.md and what a run writes are held together, field by field."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from support.service import smscode

PAGE = (Path(__file__).parents[2] / "docs/reference/run-json.md").read_text(encoding="utf-8")
OPEN = {
    "endpoints": "<endpoint>",
    "return_codes": "<code>",
    "errors": "<error>",
    "versions": "<package>",
    "figures": "<figure>",
    "own_options": "<option>",
    "unrecorded": "<endpoint>",
}


def fields(value: object, path: str = "") -> Iterator[str]:
    """Yield the paths of a document's values; what is named by data, and not by us, in angle brackets."""
    name = path.rpartition(".")[2]
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from fields(inner, f"{path}.{OPEN.get(name, key)}".lstrip("."))
    elif isinstance(value, list):
        for inner in value or [None]:
            yield from fields(inner, f"{path}[]")
    else:
        yield path


def documented() -> set[str]:
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_field_of_a_run_is_told_of_and_no_other(tmp_path: Path) -> None:
    options = ["--stages", "1s=20,2s=40", "--threshold", "ok_ratio(send) >= 0%", "--max-messages", "100000"]
    options += ["--limit", "ok_ratio(send) >= 0%"]  # so that the scenario claims something
    done = smscode("load", *options, "--json", env={"PATH": os.environ["PATH"]}, cwd=tmp_path)
    run = json.loads(done.stdout)
    run["endpoints"]["send"]["errors"] = {"timeout": 1}
    run["settings"]["own_options"] = {"shop": "berlin"}
    assert run["settings"]["unrecorded"] == {}
    run["settings"]["unrecorded"] = {"send": 1}
    run["checks"][0]["parts"] = [{"name": "1/60s", "status": "PASS", "reason": "as in the scenario frequency_limits"}]
    assert set(fields(run)) == documented()
