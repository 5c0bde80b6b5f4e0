"""`smscode trend`: what it prints and writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.runs import write_run, write_runs
from support.service import smscode


def test_each_run_is_a_row_and_a_change_names_its_run_and_label(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs")
    write_run(tmp_path / "runs", 30, 90, bottleneck="late")
    done = smscode("trend", "runs", "--metric", "p99(send.caller_ms)", "--format", "md", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[1] == "run label started (UTC) calls p99(send.caller_ms) no data point"
    assert lines[2].startswith("run00 v0 2026-10-01 08:00:00 500 ")
    assert lines[32] == "run30 v30 2026-10-31 08:00:00 500 450 ms the load generator was the bottleneck"
    assert "1 level changed. The latest: p99(send.caller_ms) went from" in done.stdout
    assert " since run20 (v20), which is worse." in done.stdout
    assert (tmp_path / "trend.md").read_text().startswith("# Trend of runs\n")


def test_json_has_the_runs_and_the_changes(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs")
    done = smscode("trend", "runs", "--json", "--format", "md", "--out", "out", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert len(found["runs"]) == 30
    assert (
        found["runs"][0] | {"run": "run00", "label": "v0", "calls": 500, "lack": "", "failed": 0.0} == found["runs"][0]
    )
    assert {it["run"] for it in found["changes"]} == {"run20"}
    assert (tmp_path / "out" / "trend.md").exists()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["runs", "--metric", "p99"],
            "invalid --metric 'p99', at its end: expected brackets, e.g. p99(send.caller_ms)",
        ),
        (["runs", "--metric", "p99(send.caller_ms, 5m)"], "at ', 5m)': expected )"),
        (["runs", "--format", "github"], "unknown --format 'github' (choose from html, md, json, csv, xlsx)"),
        (["runs", "--format", "junit"], "unknown --format 'junit' (choose from html, md, json, csv, xlsx)"),
        (["nowhere"], "nowhere contains no runs: expected a folder of runs, e.g. runs"),
    ],
)
def test_a_wrong_use_is_refused(tmp_path: Path, words: list[str], problem: str) -> None:
    write_run(tmp_path / "runs", 0, 20)
    done = smscode("trend", *words, cwd=tmp_path)
    assert (done.returncode, problem in done.stderr) == (2, True), done.stderr
