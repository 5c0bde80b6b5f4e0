"""Whole load tests: locust in its process, a server that counts, and this process in the parent's place."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.api import Api
from support.processes import notes_without_bottlenecks, of_run, parent_of_a_run, wait_gone

from toolkit.api.errors import InputError, RunError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.load_test.launch import locust_process
from toolkit.load_test.launch.locust_process import LoadRun
from toolkit.load_test.plan.options import LoadOptions
from toolkit.records.parquet import pack_to_parquet
from toolkit.runs import run_folder
from toolkit.runs.run_folder import Cause

LONG_S = 240


def start(
    api: Api, folder: Path, *, duration_s: float = LONG_S, scenario: str = "throughput", users: int = 5, **more: Any
) -> LoadRun:
    options = LoadOptions(duration_s=duration_s, users=users, seed=1, **more)
    return locust_process.start(scenario, api.target, options, folder=folder)


def recorded(folder: Path) -> Counter[tuple[str, int]]:
    rows = pq.read_table(folder / "calls.parquet", columns=["endpoint", "return_code"]).to_pylist()
    return Counter((row["endpoint"], row["return_code"]) for row in rows)


def failures(folder: Path) -> int:
    stats = json.loads((folder / "locust.json").read_text())
    return sum(entry["num_failures"] for entry in stats)


def test_records_match_the_answers_and_each_user_has_a_connection_and_each_send_a_mobile(
    api: Api, tmp_path: Path
) -> None:
    with start(api, tmp_path, duration_s=2, users=7) as run:
        *_, last = run.follow()
        ended = run.wait()
    assert recorded(tmp_path) == api.answered
    assert last.outcomes == api.answered
    assert (ended.cause, ended.reason, notes_without_bottlenecks(ended)) == (Cause.FINISHED, "", ())
    assert ended.calls == last.calls == api.answered.total() > 0
    assert last.calls_per_s > 0
    assert not list(tmp_path.glob("*.msgpack"))
    assert api.connections == 7, "each user has one"
    assert len(set(api.mobiles)) == len(api.mobiles) > 7, "each send has its own"


def test_journeys_end_in_every_verdict_and_none_of_them_is_a_failure(api: Api, tmp_path: Path) -> None:
    verdicts = {ReturnCode.SUCCESS, ReturnCode.INVALID_CODE, ReturnCode.VERIFIED_CODE}
    with start(api, tmp_path) as run:
        api.wait_until(lambda: all(api.answered["verify", code] for code in verdicts))
        run.stop()
    assert {code for endpoint, code in api.answered if endpoint == "verify"} == verdicts
    assert failures(tmp_path) == 0


def test_an_app_without_balance_stops_the_run_with_a_reason(api: Api, tmp_path: Path) -> None:
    api.refuse = {Endpoint.SEND: (20, ReturnCode.NO_MONEY)}
    with start(api, tmp_path) as run:
        ended = run.wait()
    assert (ended.cause, ended.reason) == (Cause.REFUSED, "50014 no money")
    assert recorded(tmp_path) == api.answered
    assert (tmp_path / run_folder.LOG_NAME).read_text().count("50014 no money") == 1
    assert not of_run(tmp_path)


def test_sends_that_were_all_wrong_stop_the_run_with_a_reason(api: Api, tmp_path: Path) -> None:
    api.refuse = {Endpoint.SEND: (0, ReturnCode.INVALID_TEMP_ID)}
    with start(api, tmp_path) as run:
        ended = run.wait()
    assert (ended.cause, ended.reason) == (Cause.REFUSED, "50013 invalid temp_id")
    assert 20 <= api.answered.total() < 100
    assert (tmp_path / run_folder.LOG_NAME).read_text().count("50013 invalid temp_id") == 1


@pytest.mark.parametrize(
    ("accepted", "refusal"),
    [(1, ReturnCode.INVALID_TEMP_ID), (0, ReturnCode.OUT_OF_FREQ), (0, ReturnCode.SERVER_ERROR)],
)
def test_refusals_that_the_next_send_may_not_get_do_not_stop_the_run(
    api: Api, tmp_path: Path, accepted: int, refusal: ReturnCode
) -> None:
    api.refuse = {Endpoint.SEND: (accepted, refusal)}
    with start(api, tmp_path) as run:
        api.wait_for(calls=200)  # 20 would be enough to stop it
        run.stop()
        assert run.wait().cause is Cause.INTERRUPTED
    assert api.answered["send", refusal] > 20


def test_without_a_sandbox_a_journey_is_a_send_and_one_wrong_code_with_one_note(api: Api, tmp_path: Path) -> None:
    api.sandbox = False
    with start(api, tmp_path) as run:
        api.wait_for(calls=50)
        run.stop()
        ended = run.wait()
    assert recorded(tmp_path) == api.answered
    assert set(api.answered) == {("send", ReturnCode.SUCCESS), ("verify", ReturnCode.INVALID_CODE)}
    assert len(set(api.answered.values())) == 1
    assert len(notes_without_bottlenecks(ended)) == 1
    assert (tmp_path / run_folder.LOG_NAME).read_text().count("not a sandbox") == 1


def test_neither_secret_nor_mobile_is_in_the_folder_or_on_the_command_line(api: Api, tmp_path: Path) -> None:
    with start(api, tmp_path) as run:
        api.wait_for(calls=50)
        (locust,) = of_run(tmp_path)
        assert not [word for word in locust.cmdline() if "the-master-secret" in word]
        run.stop()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"the-master-secret" not in kept
    assert not [mobile for mobile in api.mobiles if mobile.encode() in kept]


def test_stopping_lets_users_finish_and_leaves_nothing_behind(api: Api, tmp_path: Path) -> None:
    with start(api, tmp_path) as run:
        api.wait_for(calls=50)
        run.stop()
        ended = run.wait()
    assert ended.cause is Cause.INTERRUPTED
    assert recorded(tmp_path) == api.answered
    assert not of_run(tmp_path)


def test_a_run_can_be_stopped_before_it_has_begun(api: Api, tmp_path: Path) -> None:
    with start(api, tmp_path) as run:
        run.stop()
        assert run.wait().cause is Cause.INTERRUPTED


def test_ctrl_c_in_the_parent_leaves_a_readable_run_and_no_process(api: Api, tmp_path: Path) -> None:
    with parent_of_a_run(api.target, tmp_path) as parent:
        processes = of_run(tmp_path)
        assert processes
        parent.send_signal(signal.SIGINT)
        _, stderr = parent.communicate(timeout=240)
    assert "KeyboardInterrupt" in stderr
    assert not [each for each in processes if each.is_running()]
    assert recorded(tmp_path) == api.answered


def test_a_parent_that_is_killed_takes_its_run_with_it(api: Api, tmp_path: Path) -> None:
    with parent_of_a_run(api.target, tmp_path) as parent:
        processes = of_run(tmp_path)
        assert processes
        parent.kill()
        wait_gone(processes)
    pack_to_parquet(tmp_path)
    assert recorded(tmp_path).total() >= api.answered.total() - 5  # the calls that five users were in


def test_locust_killed_loses_at_most_the_last_second(api: Api, tmp_path: Path) -> None:
    with start(api, tmp_path) as run:
        api.wait_for(calls=1)
        (locust,) = of_run(tmp_path)
        before = 0
        for progress in run.follow():
            if progress.elapsed_s > 3 and locust.is_running():
                locust.kill()
            if progress.elapsed_s < 2:
                before = api.answered.total()
        with pytest.raises(RunError, match="SIGKILL"):
            run.wait()
    assert recorded(tmp_path).total() >= before > 0


def test_a_scenario_that_raises_is_an_error_with_locusts_last_words(api: Api, tmp_path: Path) -> None:
    scenario = tmp_path / "broken.py"
    scenario.write_text(
        "from toolkit.load_test.generator.user import SmsCodeUser\n"
        "def go(user): raise LookupError('this scenario is broken')\n"
        "class Person(SmsCodeUser):\n    tasks = [go]\n    wait_time = lambda self: 0.1\n"
    )
    with (
        start(api, tmp_path / "run", scenario=str(scenario), duration_s=1) as run,
        pytest.raises(RunError, match="this scenario is broken"),
    ):
        run.wait()


def test_a_locustfile_that_cannot_be_read_is_an_error_with_locusts_last_words(api: Api, tmp_path: Path) -> None:
    scenario = tmp_path / "wrong.py"
    scenario.write_text("import no_such_module")
    with start(api, tmp_path / "run", scenario=str(scenario)) as run, pytest.raises(RunError, match="no_such_module"):
        run.wait()


@pytest.mark.parametrize(("cut_off_timeout_s", "error"), [(3600, "cancelled"), (0, "timeout")])
def test_a_call_that_the_end_cuts_off_is_a_timeout_if_it_waited_for_long(
    api: Api, tmp_path: Path, cut_off_timeout_s: float, error: str
) -> None:
    with api.stalled(), start(api, tmp_path, users=3, cut_off_timeout_s=cut_off_timeout_s) as run:
        api.wait_for_stalled(3)
        run.stop()
    errors = pq.read_table(tmp_path / "calls.parquet", columns=["error"])["error"].to_pylist()
    assert errors == [error] * 3
    failures = sum(row["num_failures"] for row in json.loads((tmp_path / "locust.json").read_text()))
    assert failures == (3 if error == "timeout" else 0)


def test_a_run_records_what_its_scenario_expects(api: Api, tmp_path: Path) -> None:
    with start(api, tmp_path, duration_s=1, scenario="brute_force", expected=["50014"]) as run:
        run.wait()
    assert run_folder.read_expected(tmp_path) == ["50014", "RATE"]


@pytest.mark.parametrize("load", [{"users": 5}, {"rate_per_s": 100}], ids=["closed", "open"])
def test_a_generator_that_is_stopped_for_a_quarter_of_every_second_is_the_bottleneck(
    api: Api, tmp_path: Path, load: dict[str, float]
) -> None:
    options = LoadOptions(duration_s=5, seed=1, max_bottleneck="1%", **load)
    with locust_process.start("throughput", api.target, options, folder=tmp_path) as run:
        api.wait_for(1)
        (process,) = of_run(tmp_path)
        for _ in range(4):
            process.suspend()
            time.sleep(0.25)
            process.resume()
            time.sleep(0.75)
        ended = run.wait()
    assert ended.generator
    (text, *_) = [it for it in ended.generator.bottlenecks if "did not run for" in it]
    assert text in ended.generator.settings()["bottleneck"]
    assert ended.generator.max_lag_ms > 200
    assert ended.generator.saturations == ()


def test_calls_in_flight_are_shown_with_their_age_while_a_target_hangs(api: Api, tmp_path: Path) -> None:
    with api.stalled(), start(api, tmp_path, users=3) as run:
        api.wait_for_stalled(3)
        progress = next(it for it in run.follow() if it.oldest_s > 1.5)
        run.stop()
    assert progress.calls == 0
    assert (progress.in_flight, progress.waiting) == (3, 0)
    assert progress.p99_ms == pytest.approx(1000 * progress.oldest_s, rel=0.01)


@pytest.mark.parametrize(
    ("load", "endpoint"), [({"users": 5}, "send"), ({"rate_per_s": 50, "max_connections": 4}, "send")]
)
def test_a_threshold_aborts_a_run_while_its_target_hangs(
    api: Api, tmp_path: Path, load: dict[str, float], endpoint: str
) -> None:
    limit = f"p99({endpoint}.caller_ms) < 900 abort after 3s"
    options = LoadOptions(duration_s=LONG_S, seed=1, thresholds=(limit,), **load)
    with locust_process.start("throughput", api.target, options, folder=tmp_path) as run:
        api.wait_for(500)
        with api.stalled():
            ended = run.wait()
    assert (ended.cause, ended.reason) == (Cause.MISSED, limit)


def test_a_folder_that_holds_something_is_refused(api: Api, tmp_path: Path) -> None:
    (tmp_path / "calls.parquet").touch()
    with pytest.raises(InputError, match="not empty"):
        start(api, tmp_path)


OWN_OPTION = """
from locust import events
from toolkit.load_test.generator.user import SmsCodeUser

@events.init_command_line_parser.add_listener
def add_options(parser, **_):
    parser.add_argument("--mobile", default="13800138000")

class Customer(SmsCodeUser):
    def on_start(self):
        self.mobile = self.environment.parsed_options.mobile

    def send(self):
        self.sms.send_code(self.mobile)

    tasks = [send]
"""


@pytest.mark.parametrize(
    ("own", "problem"),
    [
        (["--mobile", "13900139000"], ""),
        (["--hos=http://192.0.2.1"], "--hos is an option of locust"),
        (["-u9"], "-u is an option of locust"),
        (["--max-messages", "9"], "--max-messages is an option of locust"),
        (["--shop", "x"], "unrecognized arguments: --shop"),
    ],
)
def test_a_locustfile_gets_options_of_its_own_and_no_other(
    api: Api, tmp_path: Path, own: list[str], problem: str
) -> None:
    (tmp_path / "own.py").write_text(OWN_OPTION, encoding="utf-8")
    options, folder, told = LoadOptions(users=1, duration_s=2), tmp_path / "run", ""
    try:
        with locust_process.prepare(str(tmp_path / "own.py"), options, folder=folder, own_options=own) as run:
            run.begin(api.target)
            run.wait()
    except RunError as error:
        told = str(error)
    assert (problem in told, bool(problem)) == (True, bool(told))
    assert set(api.mobiles) == (set() if problem else {"13900139000"})
