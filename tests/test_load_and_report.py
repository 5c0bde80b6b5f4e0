"""A load test from what it is asked to do to what its folder keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.api.errors import NotConnectedError
from toolkit.load_and_report import Trial, play
from toolkit.load_test.launch.locust_process import Bounds, Plan, sandbox
from toolkit.runs.progress import Progress
from toolkit.settings import Target

KEPT, MISSED = "p99(send.caller_ms) < 5000", "rate(send) >= 100000/s"


def test_playing_a_trial_tells_how_far_it_is_and_returns_what_its_folder_keeps(tmp_path: Path) -> None:
    told: list[Progress] = []
    trial = Trial("soak", Plan(2, rate_per_s=20), Bounds((KEPT, MISSED)))
    with sandbox() as target:
        summary = play(trial, target, tmp_path / "run", on_progress=told.append)
    assert told[-1].calls == summary["calls"] > 0
    kept, missed = (verdict["status"] for verdict in summary["verdicts"])
    assert (kept in ("PASS", "NO_DATA"), missed) == (True, "FAIL")  # no data where this machine was too busy to tell
    assert summary == json.loads((tmp_path / "run" / "run.json").read_text())
    assert {"calls.parquet", "report.html"} <= {path.name for path in (tmp_path / "run").iterdir()}


def test_a_target_that_does_not_answer_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(NotConnectedError):
        play(Trial("soak", Plan(2, rate_per_s=20)), Target("http://127.0.0.1:1", "key", "secret"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
