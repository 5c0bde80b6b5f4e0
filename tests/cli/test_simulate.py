"""`smscode simulate`: what it says, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.service import smscode
from support.waiting import wait_until

from toolkit.records.parquet import PARQUET_PARTS

SMALL = ["--days", "3", "--calls", "9k"]


def test_a_report_can_be_made_of_the_folder(tmp_path: Path) -> None:
    done = smscode("simulate", *SMALL, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    parts = sorted((tmp_path / "simulated").glob(PARQUET_PARTS))
    assert said["days"] == len(parts) == 3
    assert said["calls"] == sum(pq.read_metadata(path).num_rows for path in parts)
    assert said["incidents"] == json.loads((tmp_path / "simulated" / "incidents.json").read_text())["incidents"]
    report = smscode("report", "simulated", "--json", cwd=tmp_path)
    assert json.loads(report.stdout)["calls"] == said["calls"]
    assert json.loads(report.stdout)["settings"]["scenario"] == "simulate"


def test_incidents_are_a_table_and_progress_is_on_stderr(tmp_path: Path) -> None:
    done = smscode("simulate", *SMALL, "--incidents", "pumping", "--rule", "1/30s", "--out", "x", cwd=tmp_path)
    assert (done.returncode, [path.name for path in tmp_path.iterdir()]) == (0, ["x"])
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["Incidents", "kind", "pumping"]
    assert "calls: x" in done.stderr
    assert json.loads((tmp_path / "x" / "incidents.json").read_text())["plan"]["rules"] == ["1/30s"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--calls", "many"], "calls 'many'"),
        (["--calls", "0"], "at least 1,000 a day"),
        (["--calls", "-5"], "calls '-5'"),
        (["--days", "0"], "days 0"),
        (["--seed", "-1"], "seed -1"),
        (["--start", "soon"], "start 'soon'"),
        (["--rule", "often"], "rule 'often'"),
        (["--incidents", "fire"], "unknown --incidents 'fire'"),
        (["--growth-per-day", "2"], "invalid --growth-per-day 2.0"),
    ],
)
def test_invalid_options_are_exit_2_and_one_line(tmp_path: Path, options: list[str], reason: str) -> None:
    done = smscode("simulate", *SMALL, *options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert reason in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    done = smscode("simulate", *SMALL, "--out", place, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"smscode: {place}: the folder can't be written: ")


def test_a_folder_with_other_records_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "calls.parquet").touch()
    done = smscode("simulate", *SMALL, "--out", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert "contains calls.parquet, but no simulation" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["calls.parquet"]


def test_ctrl_c_leaves_complete_days_and_a_message(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "toolkit", "simulate", "--calls", "3M", "--out", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: len(list(tmp_path.glob(PARQUET_PARTS))) >= 2)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=240)
    assert process.returncode == 130
    assert stderr.splitlines()[-2].startswith("Interrupted: ")
    done = json.loads((tmp_path / "incidents.json").read_text())
    parts = list(tmp_path.glob(PARQUET_PARTS))
    assert done["days_done"] == len(parts) >= 1  # the second may have been taken back
    assert done["calls"] == sum(pq.read_metadata(path).num_rows for path in parts)
    assert not list(tmp_path.glob("*.part"))
