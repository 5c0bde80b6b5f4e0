"""Thresholds under plain locust: judged from what its processes counted, while the run is on and at its end."""

from __future__ import annotations

import time

import psutil
import pytest
from support.api import Api
from support.locust import plain_locust, run_locust

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint

KEPT, MISSED, UNMEASURED = "ok_ratio(send) >= 50%", "rate(send) > 900000/s", "max(verify.caller_ms) < 1"


@pytest.mark.parametrize("processes", ["1", "2"])
def test_thresholds_that_are_kept_are_exit_0(api: Api, processes: str) -> None:
    options = ("--threshold", KEPT, "--threshold", "mean(verify.latency_ms) > 0", "--processes", processes)
    done = run_locust(api.target, *options, "-t", "2")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("PASS ") == 3  # the default threshold on failed calls is the third


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_threshold_that_is_missed_is_exit_99_and_a_line(api: Api, processes: str) -> None:
    done = run_locust(api.target, "--threshold", KEPT, "--threshold", MISSED, "--processes", processes, "-t", "2")
    assert (done.returncode, done.stderr.count("PASS "), done.stderr.count(f"FAIL    {MISSED}")) == (99, 2, 1)


def test_a_threshold_without_data_is_exit_99(api: Api) -> None:
    api.refuse = {Endpoint.SEND: (0, ReturnCode.OUT_OF_FREQ)}
    done = run_locust(api.target, "--threshold", UNMEASURED, "-t", "1")
    assert (done.returncode, f"NO_DATA {UNMEASURED}  (no data)" in done.stderr) == (99, True)


def test_refusals_that_the_thresholds_allow_are_exit_0(api: Api) -> None:
    api.refuse = {Endpoint.SEND: (5, ReturnCode.OUT_OF_FREQ)}
    assert run_locust(api.target, "--threshold", "share(50019) <= 0%", "--expect", "RATE", "-t", "1").returncode == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_threshold_that_is_missed_when_its_time_has_come_ends_the_run(api: Api, processes: str) -> None:
    done = run_locust(api.target, "--threshold", f"{MISSED} abort after 2s", "--processes", processes)
    assert (done.returncode, f"the run ends: {MISSED} abort after 2s" in done.stderr) == (99, True), done.stderr
    assert api.answered.total() > 0


def test_a_threshold_that_is_kept_aborts_nothing(api: Api) -> None:
    done = run_locust(api.target, "--threshold", f"{KEPT} abort after 1s", "-t", "3")
    assert (done.returncode, "the run ends" in done.stderr) == (0, False)


def test_failures_at_the_start_count_for_no_threshold_after_a_warm_up_but_for_one_with_a_window(api: Api) -> None:
    strict, windowed = "failed(send) <= 0%", "failed(send, 3s) < 0.01%"
    for options, code, shown in (
        (("--threshold", strict, "--warm-up", "6s", "-t", "9"), 0, f"PASS    {strict}"),
        (("--threshold", strict, "-t", "3"), 99, f"FAIL    {strict}"),
        (("--threshold", windowed, "-t", "7"), 99, f"FAIL    {windowed}"),
        (("--threshold", windowed, "--warm-up", "6s", "-t", "11"), 0, f"PASS    {windowed}"),
    ):
        api.refuse = {Endpoint.SEND: (0, ReturnCode.SERVER_ERROR)}
        refused = api.answered[Endpoint.SEND, ReturnCode.SERVER_ERROR]
        with plain_locust(api.target, *options) as process:
            api.wait_until(lambda so_far=refused: api.answered[Endpoint.SEND, ReturnCode.SERVER_ERROR] > so_far + 30)
            api.refuse = {}
            _, stderr = process.communicate(timeout=240)
        assert (process.returncode, shown in stderr) == (code, True), stderr


def test_a_window_that_is_longer_than_the_run_has_no_data(api: Api) -> None:
    done = run_locust(api.target, "--threshold", "ok_ratio(send, 60s) >= 0%", "-t", "2")
    assert (done.returncode, "NO_DATA ok_ratio(send, 60s) >= 0%" in done.stderr) == (99, True)


def test_a_budget_that_ended_a_run_is_exit_97_unless_a_threshold_was_missed(api: Api) -> None:
    assert run_locust(api.target, "--max-messages", "9", "--threshold", KEPT).returncode == 97
    assert run_locust(api.target, "--max-messages", "9", "--threshold", MISSED).returncode == 99


def test_a_threshold_that_cannot_be_read_costs_nothing(api: Api) -> None:
    done = run_locust(api.target, "--threshold", "p99(send) < 250")
    assert (done.returncode, "p99(send) < 250" in done.stderr, "Traceback" in done.stderr) == (1, True, False)
    assert not api.connections


def test_thresholds_come_from_the_environment_too(api: Api) -> None:
    done = run_locust(api.target, "-t", "3", SMSCODE_THRESHOLD=f"[{KEPT},{MISSED}]")
    assert (done.returncode, done.stderr.count("PASS "), done.stderr.count("FAIL ")) == (99, 2, 1)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_bottleneck_of_the_load_generator_is_exit_98_and_no_pass(api: Api, processes: str) -> None:
    options = ("--threshold", KEPT, "--processes", processes, "-t", "5")
    with plain_locust(api.target, *options, SMSCODE_MAX_BOTTLENECK="1%") as run:
        api.wait_for(1)
        everything = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
        for _ in range(4):
            for process in everything:
                process.suspend()
            time.sleep(0.3)
            for process in everything:
                process.resume()
            time.sleep(0.5)
        _, stderr = run.communicate(timeout=240)
    assert (run.returncode, stderr.count(f"NO_DATA {KEPT}"), "PASS " in stderr) == (98, 1, False), stderr
