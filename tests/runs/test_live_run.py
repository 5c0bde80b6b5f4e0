"""The marks of a live run, between real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from toolkit.api.errors import InputError
from toolkit.runs.live_run import (
    LIVE_NAME,
    Attendance,
    LiveRun,
    find_live,
    hold,
    is_stop_requested,
    read_live,
    read_progress,
    request_stop,
    show_connected,
    show_progress,
    was_killed,
)

OWNER = """
import sys
from pathlib import Path
from toolkit.runs.live_run import LiveRun, hold

with hold(Path(sys.argv[1]), LiveRun.of_this_process(scenario="throughput", load="5 users", max_away_s=600)):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def owner(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds a folder until its stdin closes."""
    folder.mkdir(parents=True)
    (folder / "calls.parquet").touch()
    command = [sys.executable, "-c", OWNER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_run_is_live_until_its_owner_ends(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with owner(folder) as process:
        live = read_live(folder)
        assert live
        assert (live.pid, live.scenario, live.load, live.max_away_s) == (process.pid, "throughput", "5 users", 600)
        assert find_live(tmp_path) == {folder: live}
        request_stop(folder)
        request_stop(folder)  # from two pages at once
        assert is_stop_requested(folder)
        process.communicate("")
        assert process.returncode == 0
    assert [it.name for it in folder.iterdir()] == ["calls.parquet"]
    assert not was_killed(folder)


def test_a_run_whose_owner_was_killed_is_not_live(tmp_path: Path) -> None:
    with owner(tmp_path / "run") as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert read_live(tmp_path / "run") is None
        assert was_killed(tmp_path / "run")
        assert find_live(tmp_path) == {}


def test_who_was_connected_is_measured_by_the_owners_clock(tmp_path: Path) -> None:
    with hold(tmp_path, LiveRun.of_this_process(scenario="soak")):
        os.utime(tmp_path / LIVE_NAME, ns=(0, 0))  # as by a clock that is wrong
        attendance = Attendance(tmp_path, now_s=100.0)
        assert attendance.away_s(130.0) == 30.0
        show_connected(tmp_path)
        assert attendance.away_s(131.0) == 0.0
        assert attendance.away_s(141.0) == 10.0


def test_a_trial_ends_with_its_search(tmp_path: Path) -> None:
    assert not is_stop_requested(tmp_path / "trial-01")
    request_stop(tmp_path)
    assert is_stop_requested(tmp_path / "trial-01")


def test_progress_is_told_in_words_until_the_run_has_ended(tmp_path: Path) -> None:
    assert read_progress(tmp_path) is None
    with hold(tmp_path, LiveRun.of_this_process(scenario="probe")):
        show_progress(tmp_path, "3 messages")
        progress = read_progress(tmp_path)
        assert progress
        assert progress.text == "3 messages"
        (tmp_path / "probe.json").touch()
    assert [it.name for it in tmp_path.iterdir()] == ["probe.json"]


def test_a_folder_that_stays_empty_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with hold(folder, LiveRun.of_this_process(scenario="soak")):
        request_stop(folder)
    assert not folder.exists()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    run = LiveRun.of_this_process(scenario="soak")
    with pytest.raises(InputError, match=r"can't write live\.json"), hold(tmp_path / "missing", run):
        pass


def test_a_live_file_of_another_form_is_no_live_run(tmp_path: Path) -> None:
    (tmp_path / LIVE_NAME).write_text("{")
    assert read_live(tmp_path) is None
