"""Whole runs at a rate: locust in its processes, a server that counts, and this process in the parent's place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.api import Api
from support.locust import run_locust
from support.processes import of_run

from toolkit.api.errors import InputError, RunError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.load_test.launch import locust_process
from toolkit.load_test.plan.options import LoadOptions
from toolkit.runs.run_folder import Cause
from toolkit.settings import Target

LOCUSTFILE = Path(__file__).parents[4] / "locustfiles/throughput.py"


def start(api: Api, folder: Path, scenario: str = "throughput", **options: Any) -> locust_process.LoadRun:
    return locust_process.start(scenario, api.target, LoadOptions(seed=1, **options), folder=folder)


def recorded(folder: Path) -> Counter[tuple[str, int]]:
    rows = pq.read_table(folder / "calls.parquet", columns=["endpoint", "return_code"]).to_pylist()
    return Counter((row["endpoint"], row["return_code"]) for row in rows)


def table(folder: Path) -> dict[tuple[str, str], int]:
    return {
        (row["name"], row["method"]): row["num_requests"] for row in json.loads((folder / "locust.json").read_text())
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rate_is_kept_to_the_journey_by_all_workers_together(api: Api, tmp_path: Path, workers: int) -> None:
    with start(api, tmp_path, duration_s=2, rate_per_s=50, workers=workers) as run:
        ended = run.wait()
    assert ended.cause is Cause.FINISHED
    assert ended.pacing
    assert ended.pacing.due == 100 or ended.pacing.elapsed_s < 2  # locust ends a run that a busy machine begins late
    assert len(api.mobiles) == len(set(api.mobiles)) == ended.pacing.due - ended.pacing.dropped
    assert recorded(tmp_path) == api.answered
    assert not of_run(tmp_path)


def test_locusts_tables_have_latencies_and_callers_times(api: Api, tmp_path: Path) -> None:
    api.refuse = {Endpoint.SEND: (60, ReturnCode.OUT_OF_FREQ)}
    with start(api, tmp_path, duration_s=2, rate_per_s=50) as run:
        run.wait()
    sends = sum(calls for (endpoint, _), calls in api.answered.items() if endpoint == "send")
    rows = table(tmp_path)
    assert rows["send", "POST"] == rows["send", "CALLER"] == sends
    assert rows["verify", "POST"] == rows["verify", "CALLER"] == api.answered.total() - sends
    failures = {row["num_failures"] for row in json.loads((tmp_path / "locust.json").read_text())}
    assert failures == {0, api.answered["send", ReturnCode.OUT_OF_FREQ]}


def test_a_listener_of_locusts_events_hears_of_every_call(api: Api, tmp_path: Path) -> None:
    scenario = tmp_path / "heard.py"
    scenario.write_text(
        "from locust import events\n"
        "from toolkit.load_test.generator.journeys import people\n"
        "from toolkit.load_test.generator.user import SmsCodeUser\n"
        "class Person(SmsCodeUser):\n    tasks = [people.verify_right]\n"
        "@events.request.add_listener\ndef hear(name, context, **_):\n"
        f"    open({str(tmp_path / 'heard.txt')!r}, 'a').write(f'{{name}} {{context}}\\n')\n"
    )
    with start(api, tmp_path / "run", duration_s=1, rate_per_s=30, scenario=str(scenario)) as run:
        run.wait()
    assert len((tmp_path / "heard.txt").read_text().splitlines()) == api.answered.total() > 0
    assert table(tmp_path / "run")["send", "POST"] == len(api.mobiles)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_at_a_rate_never_sends_more_than_it_may(api: Api, tmp_path: Path, workers: int) -> None:
    with start(api, tmp_path, duration_s=20, rate_per_s=100, workers=workers, max_messages=70) as run:
        ended = run.wait()
    assert ended.cause is Cause.BUDGET
    assert api.answered["send", ReturnCode.SUCCESS] == 70


def test_an_app_without_balance_stops_a_run_at_a_rate(api: Api, tmp_path: Path) -> None:
    api.refuse = {Endpoint.SEND: (20, ReturnCode.NO_MONEY)}
    with start(api, tmp_path, duration_s=60, rate_per_s=100) as run:
        ended = run.wait()
    assert (ended.cause, ended.reason) == (Cause.REFUSED, "50014 no money")
    assert recorded(tmp_path) == api.answered


@pytest.mark.parametrize(("cut_off_timeout_s", "error"), [(3600, "cancelled"), (0, "timeout")])
def test_a_call_that_the_end_cuts_off_is_a_timeout_if_it_waited_for_long(
    api: Api, tmp_path: Path, cut_off_timeout_s: float, error: str
) -> None:
    limit = {"cut_off_timeout_s": cut_off_timeout_s}
    with api.stalled(), start(api, tmp_path, duration_s=60, rate_per_s=20, **limit) as run:
        api.wait_for_stalled(3)
        run.stop()
    errors = Counter(pq.read_table(tmp_path / "calls.parquet", columns=["error"])["error"].to_pylist())
    assert set(errors) == {error}
    assert errors[error] >= 3


def test_dropped_arrivals_are_reported_as_saturation_of_the_connections(api: Api, tmp_path: Path) -> None:
    with start(api, tmp_path, duration_s=2, rate_per_s=20_000, max_connections=1) as run:
        ended = run.wait()
    assert ended.pacing
    assert ended.pacing.dropped > 1_000
    assert ended.pacing.achieved_per_s < ended.pacing.intended_per_s
    assert ended.generator
    (text,) = ended.generator.saturations
    assert text.startswith("all 1 connections were busy with calls to the target")
    assert ended.generator.settings()["saturation"] == text


def test_a_name_that_is_not_resolved_when_the_load_begins_is_told() -> None:
    target, consent = Target("http://nope.invalid:1", "a", "b", 1), ("--allow-target", "nope.invalid")
    ended = run_locust(target, *consent, "--max-messages", "9", "--rate", "5", "-t", "1", scenario="throughput")
    assert ended.returncode == 99
    assert "nope.invalid has no address" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_task_that_is_no_journey_cannot_be_begun_at_a_rate(api: Api, tmp_path: Path) -> None:
    scenario = tmp_path / "task.py"
    scenario.write_text(
        "from toolkit.load_test.generator.user import SmsCodeUser\n"
        "def go(user): pass\nclass Person(SmsCodeUser):\n    tasks = [go]\n"
    )
    with (
        start(api, tmp_path / "run", duration_s=1, rate_per_s=1, scenario=str(scenario)) as run,
        pytest.raises(RunError, match="not a journey"),
    ):
        run.wait()


def plain(api: Api, *options: str) -> subprocess.CompletedProcess[str]:
    settings = {"APP_KEY": api.target.app_key, "MASTER_SECRET": api.target.master_secret, "TEMP_ID": "1"}
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--host", api.target.base_url]
    environment = os.environ | {f"SMSCODE_{name}": value for name, value in settings.items()}
    return subprocess.run([*command, *options], env=environment, capture_output=True, text=True, timeout=240)


def test_plain_locust_has_the_same_options_and_ends_with_the_stages(api: Api) -> None:
    done = plain(api, "--stages", "1s@20,1s=20", "--arrivals", "poisson", "--max-connections", "3")
    assert done.returncode == 0, done.stderr
    assert 10 < len(api.mobiles) < 60
    assert api.connections <= 3 + 2  # two only asked whether the target is a sandbox


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rate", "5", "-u", "3"], "--users and --rate exclude one another"),
        (["--rate", "5", "--stages", "1s=1"], "--rate and --stages exclude one another"),
        (["--rate", "0"], "above 0"),
        (["--stages", "soon"], "invalid --stages 'soon'"),
        (["--rate", "1", "--max-connections", "0"], "from 1 to 100,000"),
    ],
)
def test_invalid_options_end_plain_locust_with_one_line(api: Api, options: list[str], words: str) -> None:
    done = plain(api, *options)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not api.mobiles


@pytest.mark.parametrize(
    "plan",
    [{}, {"users": 1, "rate_per_s": 1.0}, {"rate_per_s": 1.0, "stages": "1s=1"}, {"users": 1, "workers": 0}],
)
def test_a_plan_is_users_or_a_rate_or_stages(plan: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        LoadOptions(duration_s=1, **plan)
