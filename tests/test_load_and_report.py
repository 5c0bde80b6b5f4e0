"""A load test from its options to the files in its folder."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from support.service import smscode

from toolkit.api.errors import NotConnectedError, RunError
from toolkit.load_and_report import LoadTest, find_commit, play
from toolkit.load_test.launch.sandbox_process import sandbox
from toolkit.load_test.plan.options import LoadOptions
from toolkit.runs.progress import Progress
from toolkit.settings import Target

KEPT, MISSED = "p99(send.caller_ms) < 5000", "rate(send) >= 100000/s"


def test_a_load_test_reports_its_progress_and_returns_the_content_of_run_json(tmp_path: Path) -> None:
    progress: list[Progress] = []
    load_test = LoadTest("soak", LoadOptions(duration_s=2, rate_per_s=20, thresholds=(KEPT, MISSED)))
    with sandbox() as target:
        summary = play(load_test, target, tmp_path / "run", on_progress=progress.append)
    assert progress[-1].calls == summary["calls"] > 0
    kept, missed, failed, dropped = (verdict["status"] for verdict in summary["verdicts"])
    is_busy = bool(summary["settings"]["bottleneck"])  # then this machine was too busy to tell
    expected = ("NO_DATA",) * 4 if is_busy else ("PASS", "FAIL", "PASS", "PASS")
    assert (kept, missed, failed, dropped) == expected
    assert summary == json.loads((tmp_path / "run" / "run.json").read_text())
    assert {"calls.parquet", "report.html"} <= {path.name for path in (tmp_path / "run").iterdir()}


def test_a_report_that_cannot_be_written_loses_no_call(tmp_path: Path) -> None:
    run = tmp_path / "run"
    load_test = LoadTest("soak", LoadOptions(duration_s=2, rate_per_s=20))

    def stand_in_the_way(progress: Progress) -> None:
        (run / "report.html").mkdir(exist_ok=True)

    with sandbox() as target, pytest.raises(RunError, match=r"Is a directory.*smscode report"):
        play(load_test, target, run, on_progress=stand_in_the_way)
    (run / "report.html").rmdir()
    smscode("report", str(run))
    assert "<html" in (run / "report.html").read_text()


def test_a_target_that_does_not_answer_is_not_loaded(tmp_path: Path) -> None:
    load_test = LoadTest("soak", LoadOptions(duration_s=2, rate_per_s=20))
    with pytest.raises(NotConnectedError):
        play(load_test, Target("http://127.0.0.1:1", "key", "secret"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_is_labelled_with_the_commit_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_commit() is None
    (tmp_path / "service.py").write_text("limit = 1\n")
    author = ["-c", "user.name=someone", "-c", "user.email=someone@example.com", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "first"], ["tag", "v1"]):
        subprocess.run(["git", *words], check=True, timeout=240)
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    options = LoadOptions(duration_s=2, rate_per_s=20)
    test = LoadTest("soak", options)
    (tmp_path / "service.py").write_text("limit = 2\n")
    target = Target("http://127.0.0.1:1", "key", "secret")
    assert test.settings(target)["label"] == head[:12]
    assert LoadTest("soak", options).settings(target)["label"] == f"{head[:12]}-dirty"
    assert LoadTest("soak", LoadOptions(users=1, label=" v2 ")).settings(target)["label"] == "v2"
