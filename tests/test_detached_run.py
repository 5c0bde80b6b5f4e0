"""Load tests in a process of their own: what ends them, and what their folder says then."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.processes import of_run, wait_gone

from toolkit.api.errors import RunError
from toolkit.detached_run import DetachedRun, Order, away_text, start
from toolkit.load_and_report import LoadTest
from toolkit.load_test.plan.options import LoadOptions
from toolkit.runs.live_run import LIVE_NAME, ask_to_stop, read_live
from toolkit.settings import Target

LONG = LoadTest("throughput", LoadOptions(users=1, duration_s=600))


def wait_until(is_true: Callable[[], object]) -> None:
    until = time.monotonic() + 240
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.1)  # nothing tells when another process has done something


@contextmanager
def running(folder: Path, max_away_s: float | None = None) -> Iterator[DetachedRun]:
    """Start a run that makes calls; at the end kill its process."""
    folder.mkdir()
    run = start(Order(LONG, folder, max_away_s=max_away_s))
    try:
        wait_until(lambda: list(folder.glob("calls*")) or not run.is_alive)  # a slow machine makes no call in 1 s
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
        ask_to_stop(folder)
        ask_to_stop(folder)
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
    run = start(Order(LONG, folder, Target("http://127.0.0.1:9", "key", "the-master-secret", 1)))
    with pytest.raises(RunError, match=r"no connection to 127\.0\.0\.1:9") as problem:
        run.wait()
    assert "the-master-secret" not in str(problem.value)
    assert not folder.exists()


def test_a_stop_before_the_first_call_lets_none_be_made(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    ask_to_stop(folder)
    with pytest.raises(RunError, match="stopped before its first call"):
        start(Order(LONG, folder)).wait()
    assert not list(tmp_path.rglob("calls*"))
