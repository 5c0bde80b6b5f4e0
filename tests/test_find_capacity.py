"""A search for the capacity with real trials: what they count, its budget, its end and its files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.processes import of_run
from support.service import Running, smscode

from toolkit.analysis.calls import from_frame, from_records
from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.find_capacity import CapacitySearch, find_capacity, play_trial, read_trial
from toolkit.load_and_report import LoadTest, read_options
from toolkit.load_test.launch.locust_process import Ended
from toolkit.load_test.plan.capacity_search import Conclusion, Doubt, NextTrial, Trial, decide
from toolkit.load_test.plan.options import LoadOptions
from toolkit.records.call_record import RecordBuilder
from toolkit.report.run_result import RunResult
from toolkit.runs.arrival_counts import ArrivalCounts
from toolkit.runs.exit_codes import ExitCode
from toolkit.runs.run_folder import ANSWERED, Cause
from toolkit.settings import Target

LIMIT = "p99(send.caller_ms) < 50"
PLANTED = Path(__file__).parents[1] / "benchmarks/planted_server.py"
GUIDE = Path(__file__).parents[1] / "docs/guides/capacity.md"
PACING = ArrivalCounts(10, 100, 0, 0, 0, 0)
RECORDS = RecordBuilder.of("trial-01", "host", "key", "secret")


def search(**options: Any) -> CapacitySearch:
    given: dict[str, Any] = {"duration_s": 10, "warm_up_s": 1, "limits": (LIMIT,)} | options
    given |= {} if "users" in options else {"rate_per_s": 10}
    return CapacitySearch("throughput", LoadOptions(find_capacity=True, seed=1, **given))


def call(at_s: float, latency_ms: float, code: ReturnCode = ReturnCode.SUCCESS, wait_ms: float = 0) -> Any:
    return RECORDS.build(
        Endpoint.SEND,
        10**18 + round(at_s * 1e9),
        round(latency_ms * 1e6),
        wait_ns=round(wait_ms * 1e6),
        response=ApiResponse(code.http_status, code, code.message),
        mobile="13800138000",
        temp_id=1,
    )


def trial(
    calls: list[Any],
    settings: dict[str, Any] | None = None,
    cause: Cause = Cause.FINISHED,
    reason: str = "",
    earlier: Sequence[Trial] = (),
    pacing: ArrivalCounts = PACING,
) -> Any:
    """Return a long trial of some calls."""
    result = RunResult("trial-01", from_frame(from_records(calls)), {"target_at_end": ANSWERED} | (settings or {}))
    step = NextTrial(10, True, "")
    return read_trial(search(), step, result, Ended(cause, reason, (), len(calls), pacing), earlier)


def test_calls_of_the_warm_up_are_left_out() -> None:
    found, code = trial([*(call(at / 10, 900) for at in range(10)), *(call(1 + at / 10, 5) for at in range(100))])
    assert code is None
    assert sum(found.evidence[0].bad) == 0
    assert sum(found.evidence[0].calls) == 100
    assert found.p99_ms == pytest.approx(5)


def test_dropped_arrivals_are_those_of_the_whole_trial() -> None:
    found, _ = trial([call(0, 5), *(call(1 + at / 100, 5) for at in range(100))], pacing=replace(PACING, dropped=20))
    (dropped,) = (it for it in found.evidence if it.limit.startswith("dropped"))
    assert (dropped.calls, dropped.bad, dropped.value) == ((PACING.due,), (20,), 100 * 20 / PACING.due)


def test_a_call_counts_when_it_was_due() -> None:
    found, _ = trial(
        [call(0, 5), *(call(1.5, 5, wait_ms=400) for _ in range(9)), *(call(1.5, 5, wait_ms=600) for _ in range(9))]
    )
    assert sum(found.evidence[0].calls) == 9


def test_sends_that_a_rate_limit_refused_are_in_no_figure_and_too_many_are_a_doubt() -> None:
    few = [call(1 + at / 100, 5) for at in range(400)]
    found, _ = trial([call(0, 5), *few, call(2, 900, ReturnCode.OUT_OF_FREQ)])
    assert (found.doubt, found.failed_ratio, sum(found.evidence[0].bad)) == (None, 0, 0)
    found, _ = trial([call(0, 5), *few, *(call(2, 900, ReturnCode.OUT_OF_FREQ) for _ in range(9))])
    assert found.doubt is Doubt.RATE_LIMIT
    assert found.doubt_text == "2.20 % of the sends were refused by a rate limit, not for want of capacity"


def test_refusals_that_a_scenario_expects_are_a_doubt_only_where_their_share_grows() -> None:
    def limited(refused: int, earlier: list[Trial], expected: list[str]) -> Trial:
        calls = [call(1 + at / 100, 5) for at in range(400 - refused)]
        calls += [call(2, 5, ReturnCode.OUT_OF_FREQ) for _ in range(refused)]
        return trial([call(0, 5), *calls], {"expected": expected}, earlier=earlier)[0]  # type: ignore[no-any-return]

    first = limited(100, [], ["RATE"])
    assert (first.doubt, first.rate_limited_ratio) == (None, 0.25)
    assert limited(102, [first], ["RATE"]).doubt is None
    assert limited(108, [first], ["RATE"]).doubt is Doubt.RATE_LIMIT
    assert limited(100, [], []).doubt is Doubt.RATE_LIMIT


def test_a_trial_without_a_call_to_measure_ends_the_search() -> None:
    found, code = trial([call(at / 10, 5) for at in range(9)])  # all of the warm-up
    assert (found.doubt, code) == (Doubt.CUT, ExitCode.FAILED)
    assert found.rate_limited_ratio == 0
    end = decide(search().plan, [found])
    assert isinstance(end, Conclusion)
    assert f"The last trial can't be judged: no call to measure {LIMIT}." in end.unsettled


def test_a_saturated_generator_is_a_doubt() -> None:
    found, code = trial([call(at / 10, 900) for at in range(100)], {"bottleneck": "9% of the arrivals were begun late"})
    assert (found.doubt, code) == (Doubt.GENERATOR, None)


@pytest.mark.parametrize(
    ("cause", "reason", "settings", "expected"),
    [
        (Cause.INTERRUPTED, "", {}, ExitCode.INTERRUPTED),
        (Cause.INTERRUPTED, "SIGTERM", {}, ExitCode.TERMINATED),
        (Cause.BUDGET, "9 messages", {}, ExitCode.BUDGET),
        (Cause.REFUSED, "50014 no money", {}, ExitCode.REFUSED),
        (Cause.FINISHED, "", {"target_at_end": "connection refused"}, ExitCode.FAILED),
    ],
)
def test_a_trial_that_tells_nothing_ends_the_search(
    cause: Cause, reason: str, settings: dict[str, Any], expected: ExitCode
) -> None:
    found, code = trial([call(at / 10, 5) for at in range(100)], settings, cause, reason)
    assert (found.doubt, code) == (Doubt.CUT, expected)


def test_the_guide_names_each_exit_code_that_a_search_may_have() -> None:
    (text,) = (it for it in GUIDE.read_text(encoding="utf-8").split("\n\n") if it.startswith("The exit code is"))
    before = {ExitCode.USAGE, ExitCode.DEFECT}
    assert {int(it) for it in re.findall(r"\b\d+\b", text)} == {int(it) for it in ExitCode if it not in before}


def test_the_budget_of_the_next_trial_is_estimated_from_those_before() -> None:
    done = Trial(10, 10, True, (), messages=110)
    step = NextTrial(20, True, "")
    assert search(max_messages=400).over_budget(step, [done], 0) == ""
    assert "needs 220 messages, but only 90 of the 200 of --max-messages" in search(max_messages=200).over_budget(
        step, [done], 0
    )
    assert "of --max-duration" in search(max_duration_s=60).over_budget(step, [done], 50)
    assert search(max_duration_s=60).over_budget(step, [done], 40) == ""


def test_each_trial_has_its_own_mobiles_and_what_is_left_of_the_budget() -> None:
    first, second = (search().load_test(NextTrial(25, False, ""), number, 7).options for number in (1, 2))
    assert first.seed != second.seed
    assert (first.rate_per_s, first.max_messages, first.duration_s, first.limits) == (25, 7, 6, ())


def test_the_defaults_are_those_of_the_guide() -> None:
    options = read_options("soak", {"find_capacity": True, "limits": [LIMIT]})
    found = CapacitySearch("soak", options)
    assert (found.plan.start, found.plan.duration_s, found.plan.short_s, found.warm_up_s) == (50, 60, 10, 5)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"limits": ()}, "needs a --limit"),
        ({"limits": ("rate(send) > 5/s",)}, "can't be searched"),
        ({"thresholds": (LIMIT,)}, "takes no --threshold"),
        ({"stages": "5s=5"}, "--stages exclude"),
        ({"width": "0%"}, "above 0"),
        ({"find_capacity": False, "limits": (), "max_duration_s": 5}, "without --find-capacity"),
    ],
)
def test_options_that_make_no_search_are_refused(options: dict[str, Any], problem: str) -> None:
    load: dict[str, Any] = {} if "stages" in options else {"rate_per_s": 10, "duration_s": 10}
    given = {"find_capacity": True, "limits": (LIMIT,)} | load
    with pytest.raises(InputError, match=problem):
        LoadOptions(**(given | options))


@contextmanager
def planted(*arguments: str) -> Iterator[dict[str, str]]:
    """Run a planted server and give the variables that make it the target."""
    command = [sys.executable, str(PLANTED), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().strip()
            yield {"SMSCODE_BASE_URL": url, "SMSCODE_APP_KEY": "key", "SMSCODE_MASTER_SECRET": "secret"}
        finally:
            process.terminate()


def test_a_rate_limit_that_binds_gives_no_figure_and_leaves_a_record_of_each_trial(tmp_path: Path) -> None:
    with planted("--rate-limit", "5", "--mean-ms", "1") as environment:
        words = (
            "load",
            "--find-capacity",
            "--rate",
            "40",
            "--duration",
            "2s",
            "--limit",
            LIMIT,
            "--max-messages",
            "60",
        )
        done = smscode(*words, "--json", env=environment, cwd=tmp_path)
    found = json.loads(done.stdout)
    assert done.returncode == found["exit_code"] != 0
    assert (found["capacity"], found["answer"]) == (None, "no figure")
    assert found["trials"][0]["doubt"] == "rate limit"
    assert found["messages"] <= 60
    (folder,) = (tmp_path / "runs").iterdir()
    assert {it["name"] for it in found["trials"]} == {it.name for it in folder.glob("trial-*")}
    for name in ("run.json", "calls.parquet"):
        assert all((folder / it["name"] / name).exists() for it in found["trials"])
    assert json.loads((folder / "capacity.json").read_text()) == found
    page = (folder / "report.html").read_text()
    assert "not settled" in page
    assert "left out of all figures except messages and dropped arrivals" in page


def test_a_search_is_reported_again_and_only_as_a_whole(sandbox: Running, tmp_path: Path) -> None:
    target = Target(sandbox.url, sandbox.app_key, sandbox.master_secret, sandbox.temp_id)
    folder = tmp_path / "x"
    found = find_capacity(search(users=1, duration_s=1, warm_up_s=0, max_messages=9), target, folder)
    (folder / "report.html").unlink()
    for words in ([], ["--json"]):
        done = smscode("report", str(folder), *words)
        assert done.returncode == found["exit_code"] != 0
        assert (json.loads(done.stdout) == found) if words else ("trial" in done.stdout.lower())
        assert found["unsettled"] in done.stderr
    assert "not settled" in (folder / "report.html").read_text()
    trial_folder = str(folder / "trial-01")
    for given in (["--fail-if", "failed > 1%"], [trial_folder], ["--out", str(tmp_path)]):
        done = smscode("report", str(folder), *given)
        assert done.returncode == ExitCode.USAGE
        assert f"can't be reported with {given[0]}" in done.stderr
        assert trial_folder in done.stderr
    done = smscode("report", trial_folder, "--against", str(folder))
    assert "can't be reported with --against" in done.stderr
    (folder / "capacity.json").write_text("{}")
    assert "has no result of a search" in smscode("report", str(folder)).stderr


def test_the_message_cap_holds_over_all_trials_and_ends_the_search(sandbox: Running, tmp_path: Path) -> None:
    target = Target(sandbox.url, sandbox.app_key, sandbox.master_secret, sandbox.temp_id)
    found = find_capacity(search(users=2, duration_s=2, max_messages=25), target, tmp_path / "x")
    assert found["messages"] <= 25
    assert (found["exit_code"], found["ended"]) == (ExitCode.BUDGET, "budget")
    assert found["unit"] == "users"


def test_a_load_generator_that_is_killed_ends_the_search_and_loses_no_trial(sandbox: Running, tmp_path: Path) -> None:
    target = Target(sandbox.url, sandbox.app_key, sandbox.master_secret, sandbox.temp_id)

    def kill_the_second(load_test: LoadTest, target: Target, folder: Path) -> Ended:
        if folder.name == "trial-02":
            with load_test.prepare(folder) as run:
                load_test.begin(run, target)
                for process in of_run(folder):
                    process.kill()
                return run.wait()
        return play_trial(load_test, target, folder)

    found = find_capacity(search(), target, tmp_path / "x", kill_the_second)
    assert (found["exit_code"], found["ended"]) == (ExitCode.FAILED, "failed")
    assert "The load generator of trial-02 failed: locust was killed by SIGKILL" in found["unsettled"]
    assert [it["name"] for it in found["trials"]] == ["trial-01"]
    assert "trial-02 failed" in (tmp_path / "x" / "report.html").read_text()


def test_an_interrupted_search_tells_what_it_has_settled(sandbox: Running, tmp_path: Path) -> None:
    target = Target(sandbox.url, sandbox.app_key, sandbox.master_secret, sandbox.temp_id)

    def stop(load_test: LoadTest, target: Target, folder: Path) -> Ended:
        with load_test.prepare(folder) as run:
            load_test.begin(run, target)
            for progress in run.follow(0.1):
                if progress.calls:
                    run.stop("SIGTERM")
            return run.wait()

    found = find_capacity(search(), target, tmp_path / "x", stop)
    assert (found["exit_code"], found["ended"]) == (ExitCode.TERMINATED, "terminated")
    assert "interrupted by SIGTERM" in found["unsettled"]
    assert len(found["trials"]) == 1


def test_a_search_that_is_stopped_begins_no_trial(sandbox: Running, tmp_path: Path) -> None:
    target = Target(sandbox.url, sandbox.app_key, sandbox.master_secret, sandbox.temp_id)
    found = find_capacity(search(), target, tmp_path / "x", find_stop=lambda: "SIGTERM")
    assert (found["exit_code"], found["ended"], found["trials"]) == (ExitCode.TERMINATED, "terminated", [])
    assert "The search was stopped by SIGTERM." in found["unsettled"]
    assert "stopped by SIGTERM" in (tmp_path / "x/report.html").read_text()
    assert smscode("report", str(tmp_path / "x")).returncode == ExitCode.TERMINATED


def _play(load_test: LoadTest, target: Target, folder: Path) -> Ended:
    with load_test.prepare(folder) as run:
        load_test.begin(run, target)
        return run.wait()
