"""Runs in a process of their own: what ends them, and what their folder says then."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.processes import of_run, wait_gone
from support.service import Running
from support.waiting import wait_until

from toolkit.api.errors import RunError
from toolkit.detached_run import DetachedRun, RunRequest, Work, away_text, start
from toolkit.find_capacity import CapacitySearch
from toolkit.load_and_report import LoadTest
from toolkit.load_test.plan.options import LoadOptions
from toolkit.probe.probe_run import Probe
from toolkit.runs.exit_codes import ExitCode
from toolkit.runs.live_run import LIVE_NAME, RunKind, read_live, read_progress, request_stop, show_connected
from toolkit.settings import Target

LONG = LoadTest("throughput", LoadOptions(rate_per_s=20, duration_s=600))  # users would keep two processes busy
LONG_SEARCH = CapacitySearch(
    "throughput", LoadOptions(find_capacity=True, limits=("p99(send.caller_ms) < 9000",), users=1, duration_s=600)
)
LONG_PROBE = Probe(600, max_messages=50)


@contextmanager
def running(folder: Path, max_away_s: float | None = None, work: Work = LONG) -> Iterator[DetachedRun]:
    """Start a run that makes calls; at the end kill its process."""
    folder.mkdir()
    run = start(RunRequest(work, max_away_s=max_away_s), folder)

    def has_begun() -> bool:
        progress = read_progress(folder)
        has_sent = progress is not None and re.search(r": [1-9]\d* message", progress.text)
        return has_sent or any(folder.rglob("calls*"))

    try:
        wait_until(lambda: has_begun() or not run.is_alive)  # a slow machine makes no call in 1 s
        yield run
    finally:
        if live := read_live(folder):
            os.kill(live.pid, signal.SIGKILL)


def settings(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())["settings"]  # type: ignore[no-any-return]


def test_two_stops_at_once_end_it_with_its_report(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with running(folder) as run:
        live = read_live(folder)
        assert live
        request_stop(folder)
        request_stop(folder)
        os.kill(live.pid, signal.SIGTERM)
        os.kill(live.pid, signal.SIGTERM)
        run.wait()
    assert settings(folder)["ended"] == "interrupted"
    assert (folder / "report.html").exists()
    assert not (folder / LIVE_NAME).exists()
    assert not of_run(tmp_path)


def test_it_is_stopped_when_nobody_was_connected(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with running(folder, max_away_s=1) as run:
        run.wait()
    assert settings(folder)["ended_because"] == away_text(1)
    assert "no page and no notebook was connected for 1 s" in (folder / "report.html").read_text()


def test_what_it_started_ends_with_it_and_the_folder_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with running(folder) as run:
        live = read_live(folder)
        assert live
        started = psutil.Process(live.pid).children(recursive=True)
        assert len(started) >= 2  # locust and a sandbox
        os.kill(live.pid, signal.SIGKILL)
        with pytest.raises(RunError, match="killed by SIGKILL: the run is incomplete"):
            run.wait()
        wait_gone(started)
    assert settings(folder)["ended"] == "incomplete"
    assert list(folder.glob("calls*"))
    assert read_live(folder) is None


def test_a_target_that_is_gone_is_told_and_leaves_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    run = start(RunRequest(LONG, Target("http://127.0.0.1:9", "key", "the-master-secret", 1)), folder)
    with pytest.raises(RunError, match=r"no connection to 127\.0\.0\.1:9") as problem:
        run.wait()
    assert "the-master-secret" not in str(problem.value)
    assert not folder.exists()


def test_a_stop_before_the_first_call_lets_none_be_made(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    request_stop(folder)
    with pytest.raises(RunError, match="stopped before its first call"):
        start(RunRequest(LONG), folder).wait()
    assert not list(tmp_path.rglob("calls*"))


def content(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / name).read_text())  # type: ignore[no-any-return]


def test_a_search_that_is_stopped_is_reported_as_stopped_with_its_trials(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with running(folder, work=LONG_SEARCH) as run:
        live = read_live(folder)
        assert live
        assert live.kind is RunKind.SEARCH
        assert "Trial at 1 user" in str(read_progress(folder))
        request_stop(folder)
        run.wait()
    found = content(folder, "capacity.json")
    assert (found["ended"], found["exit_code"], found["is_settled"]) == ("interrupted", ExitCode.INTERRUPTED, False)
    assert [it["doubt"] for it in found["trials"]] == ["cut"]
    assert {it.name for it in folder.iterdir()} == {"capacity.json", "report.html", "trial-01"}
    assert not of_run(tmp_path)


def test_a_search_that_is_left_is_stopped_and_keeps_the_trial_that_was_watched(tmp_path: Path) -> None:
    options = LoadOptions(find_capacity=True, limits=("p99(send.caller_ms) < 9000",), rate_per_s=5, duration_s=6)
    folder = tmp_path / "run"

    def has_watched_a_trial() -> bool:
        show_connected(folder)
        return bool(content(folder, "capacity.json")["trials"])

    with running(folder, max_away_s=5, work=CapacitySearch("throughput", options)) as run:
        wait_until(has_watched_a_trial)
        run.wait()
    found = content(folder, "capacity.json")
    assert (found["ended"], found["exit_code"]) == ("interrupted", ExitCode.INTERRUPTED)
    assert (found["trials"][0]["result"], found["trials"][-1]["doubt"]) == ("held", "cut")
    assert away_text(5) in found["unsettled"]
    assert away_text(5) in (folder / "report.html").read_text()
    assert not of_run(tmp_path)


def test_a_probe_that_nobody_watches_is_stopped_and_keeps_what_it_has_found(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with running(folder, max_away_s=1, work=LONG_PROBE) as run:
        run.wait()
    found = content(folder, "probe.json")
    assert (found["ended"], found["exit_code"]) == ("interrupted", ExitCode.INTERRUPTED)
    assert found["problem"] == f"it was stopped by {away_text(1)}"
    assert found["messages"] >= 1
    assert "rules" in found
    assert [it.name for it in folder.iterdir()] == ["probe.json"]


@pytest.mark.parametrize(("work", "name"), [(LONG_SEARCH, "capacity.json"), (LONG_PROBE, "probe.json")])
def test_a_search_or_a_probe_that_was_killed_is_incomplete(tmp_path: Path, work: Work, name: str) -> None:
    folder = tmp_path / "run"
    with running(folder, work=work) as run:
        live = read_live(folder)
        assert live
        started = psutil.Process(live.pid).children(recursive=True)
        os.kill(live.pid, signal.SIGKILL)
        with pytest.raises(RunError, match="killed by SIGKILL: the run is incomplete"):
            run.wait()
        wait_gone(started)
    assert content(folder, name)["ended"] == "incomplete"


def test_the_secret_is_on_no_command_line_and_in_no_file(tmp_path: Path, sandbox: Running) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    target = Target(sandbox.url, sandbox.app_key, sandbox.master_secret, sandbox.temp_id)
    run = start(RunRequest(LONG_PROBE, target), folder)
    wait_until(lambda: read_progress(folder) or not run.is_alive)
    live = read_live(folder)
    assert live
    process = psutil.Process(live.pid)
    words = [word for it in (process, *process.children(recursive=True)) for word in it.cmdline()]
    assert not [it for it in words if sandbox.master_secret in it]
    process.terminate()
    run.wait()
    assert content(folder, "probe.json")["ended"] == "terminated"
    assert not [it for it in folder.iterdir() if sandbox.master_secret in it.read_text()]
