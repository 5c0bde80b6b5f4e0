"""Scenarios under plain locust: a sandbox passes each check, and a faulty service fails it."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.api import Api, serving
from support.locust import LOCUSTFILES, run_locust
from support.waiting import wait_until
from support.windows import Fixed, Forgetful, Right, Service
from support.wrong import Amnesiac, Denying, Limited

from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.load_test.launch import locust_process
from toolkit.load_test.launch.sandbox_process import sandbox
from toolkit.load_test.plan.options import LoadOptions
from toolkit.runs import run_folder
from toolkit.settings import Target

FAST = ("--speed", "60")
RULES = ("--rule", "1/60s", "--rule", "3/240s")
LIMITS = (Rule(1, 60), Rule(3, 240))
BROKEN = 99


def run(scenario: str, target: Target, *options: str) -> tuple[int, str]:
    """Run a scenario for a few seconds; return its exit code and what it printed of its check."""
    ended = run_locust(
        target, *FAST, "-u", "8", "-r", "8", "-t", "5", "--stop-timeout", "5", *options, scenario=scenario
    )
    told = re.search(rf"^(PASS|FAIL|NO_DATA) +{scenario}: .*\n(?:    .*\n)+", ended.stdout, re.MULTILINE)
    assert told, ended.stdout + ended.stderr
    return ended.returncode, told[0]


def test_a_sandbox_keeps_its_frequency_limits_at_any_edge() -> None:
    with sandbox(*FAST, *RULES) as target:
        code, told = run("frequency_limits", target, *RULES)
    assert code == 0, told
    assert "over admissions: 0\n" in told
    assert "false refusals: 0\n" in told
    assert int(re.search(r"decided: ([\d,]+)", told)[1].replace(",", "")) > 50


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        (("--rule", "2/60s", "--rule", "3/240s"), "over admissions"),
        (("--rule", "1/58s", "--rule", "3/240s"), "over admissions"),
        (("--rule", "1/62s", "--rule", "3/240s"), "false refusals"),
        (("--rule", "1/60s", "--rule", "2/240s"), "false refusals"),
    ],
    ids=["one more", "two ticks short", "two ticks long", "one less"],
)
def test_a_sandbox_with_other_rules_is_caught(rules: tuple[str, ...], named: str) -> None:
    with sandbox(*FAST, *rules) as target:
        code, told = run("frequency_limits", target, *RULES)
    assert code == BROKEN
    assert f"{named}: 0\n" not in told


@pytest.mark.parametrize(
    "limit",
    [lambda: Fixed(LIMITS, 60), lambda: Forgetful(LIMITS, 60), lambda: lambda at_ns: True],
    ids=["fixed windows", "forgets", "no limits"],
)
def test_a_service_with_wrong_windows_is_caught(limit: Callable[[], Service]) -> None:
    with serving(Limited(limit)) as api:
        code, told = run("frequency_limits", api.target, *RULES)
    assert code == BROKEN
    assert "over admissions: 0\n" not in told


def test_a_simulated_service_with_right_windows_is_not_accused() -> None:
    with serving(Limited(lambda: Right(LIMITS, 60))) as api:
        code, told = run("frequency_limits", api.target, *RULES)
    assert code == 0, told


def processes() -> tuple[str, ...]:
    """Return what makes locust two workers, with a master on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    return "-t", "10", "--processes", "2", "--master-port", port, "--master-bind-port", port


def test_workers_that_send_to_one_mobile_are_judged_together() -> None:
    with sandbox(*FAST, *RULES) as target:
        code, told = run("frequency_limits", target, *RULES, *processes())
    assert code == 0, told


def test_guessing_does_not_get_into_a_sandbox() -> None:
    with sandbox(*FAST, "--rule", "1000/1s") as target:
        code, told = run("brute_force", target, "--rule", "1000/1s")
    assert code == 0, told
    assert "guesses judged: 0\n" not in told


@pytest.mark.parametrize(
    ("fault", "named"),
    [(("--tries", "7"), "beyond tries"), (("--failures-per-hour", "40"), "beyond failures per hour")],
    ids=["too many tries", "too many failures"],
)
def test_a_sandbox_that_stands_more_guesses_is_caught(fault: tuple[str, ...], named: str) -> None:
    with sandbox(*FAST, "--rule", "1000/1s", *fault) as target:
        code, told = run("brute_force", target, "--rule", "1000/1s")
    assert code == BROKEN
    assert f"{named}: 0\n" not in told


def test_a_service_without_tries_is_caught(api: Api) -> None:
    code, told = run("brute_force", api.target)
    assert code == BROKEN
    assert "let in after tries: 0\n" not in told


def test_one_right_code_succeeds_once_in_a_sandbox_whoever_calls() -> None:
    with sandbox(*FAST) as target:
        code, told = run("replay", target, *processes())
    assert code == 0, told
    assert "callers per message: 7\n" in told


@pytest.mark.parametrize(
    ("wrong", "named"), [(Amnesiac, "verified twice"), (Denying, "verified never")], ids=["twice", "never"]
)
def test_a_code_that_succeeds_twice_or_never_is_caught(wrong: Callable[[], Api], named: str) -> None:
    with serving(wrong()) as api:
        code, told = run("replay", api.target)
    assert code == BROKEN
    assert f"{named}: 0\n" not in told


def test_every_journey_gets_the_expected_code_from_a_sandbox() -> None:
    with sandbox(*FAST) as target:
        code, told = run("journey", target)
    assert code == 0, told


def test_a_service_whose_codes_do_not_expire_is_caught() -> None:
    with sandbox() as target:
        code, told = run("journey", target, "--speed", "600", "-u", "40", "-r", "40")
    assert code == BROKEN
    assert "50010 instead of 50011" in told


def test_a_run_without_data_fails(api: Api) -> None:
    api.server_close()
    code, told = run("frequency_limits", api.target, "--allow-target", "127.0.0.1", "--max-messages", "1000")
    assert code == BROKEN
    assert told.startswith("NO_DATA")


def test_a_launched_run_leaves_its_checks_in_its_folder(tmp_path: Path) -> None:
    options = LoadOptions(duration_s=3, users=4, seed=1, rules=("1/60s", "1000/3600s"), speed=60)
    with (
        sandbox(*options.sandbox_arguments()) as target,
        locust_process.start("frequency_limits", target, options, folder=tmp_path) as load,
    ):
        assert load.wait().cause is locust_process.Cause.FINISHED
    (check,) = json.loads((tmp_path / run_folder.CHECKS_NAME).read_text())
    assert (check["name"], check["status"]) == ("frequency_limits", "NO_DATA")
    assert [(it["name"], it["status"]) for it in check["parts"]] == [("1/60s", "PASS"), ("1000/3600s", "NO_DATA")]
    assert check["reason"] == "no send reached 1000/3600s: run longer"
    assert set(check["figures"]["boundaries"]) == {"1/60s", "1000/3600s"}


def test_checks_have_no_data_until_the_run_has_ended(tmp_path: Path) -> None:
    options = LoadOptions(duration_s=600, users=1, seed=1)
    checks = tmp_path / run_folder.CHECKS_NAME
    with (
        sandbox(*options.sandbox_arguments()) as target,
        locust_process.start("frequency_limits", target, options, folder=tmp_path),
    ):
        wait_until(lambda: checks.exists() and checks.read_text().endswith("\n"))
        (check,) = json.loads(checks.read_text())
    assert (check["name"], check["status"]) == ("frequency_limits", "NO_DATA")


def test_a_recorded_run_is_played_again_call_by_call(tmp_path: Path) -> None:
    options = LoadOptions(duration_s=3, users=8, seed=1, speed=60)
    with sandbox(*options.sandbox_arguments()) as target:
        with locust_process.start("journey", target, options, folder=tmp_path / "1") as first:
            first.wait()
        again = LoadOptions(duration_s=10, users=20, seed=2, speed=60, recording=tmp_path / "1")
        with locust_process.start("replay", target, again, folder=tmp_path / "2") as second:
            assert second.wait().cause is locust_process.Cause.FINISHED
    recorded, played = (starts_s(tmp_path / name) for name in ("1", "2"))
    assert len(played) == len(recorded) > 10
    assert max(abs(one - other) for one, other in zip(recorded, played, strict=True)) < 0.5
    (check,) = json.loads((tmp_path / "2" / run_folder.CHECKS_NAME).read_text())
    assert check["status"] == "PASS"


def starts_s(folder: Path) -> list[float]:
    """Return when the sends of a run began, in seconds after its first call."""
    rows = pq.read_table(folder / "calls.parquet", columns=["endpoint", "started_ns"]).to_pylist()
    first_ns = min(row["started_ns"] for row in rows)
    return sorted((row["started_ns"] - first_ns) / 1e9 for row in rows if row["endpoint"] == "send")


def test_a_folder_that_is_no_recording_is_an_error_of_one_line(tmp_path: Path) -> None:
    ended = run_locust(Target("http://127.0.0.1:9", "a", "b", 1), "--recording", str(tmp_path), scenario="replay")
    assert ended.returncode == 1
    assert "calls.parquet" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("option", ["--limit=ok_ratio(send) >= 0%", f"--recording={LOCUSTFILES}"])
def test_an_option_that_the_locustfile_does_not_read_is_an_error_of_one_line(option: str, tmp_path: Path) -> None:
    (tmp_path / "calls.parquet").touch()
    ended = run_locust(Target("http://127.0.0.1:9", "a", "b", 1), option, scenario="soak")
    assert ended.returncode == 1
    assert option.partition("=")[0] in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_place_for_the_records_that_cannot_be_used_ends_the_run_before_a_call(api: Api) -> None:
    ended = run_locust(api.target, SMSCODE_RUN_DIR="nosuch://place/friday?endpoint_override=there")
    assert ended.returncode == 1
    assert "nosuch://... can't be used" in ended.stderr
    assert not api.answered


def test_a_target_that_refuses_right_codes_fails_although_no_call_has_failed(api: Api) -> None:
    api.refuse = {Endpoint.VERIFY: (5, ReturnCode.INVALID_CODE)}
    ended = run_locust(api.target, "-t", "2", scenario="throughput")
    assert (ended.returncode, "PASS    failed < 1%" in ended.stderr) == (BROKEN, True), ended.stderr
    assert re.search(r"^FAIL +codes_judged: \d+ right codes were refused$", ended.stdout, re.MULTILINE), ended.stdout


@pytest.mark.parametrize("name", [run_folder.ENDED_NAME, run_folder.CHECKS_NAME, run_folder.EXPECTED_NAME])
def test_a_run_whose_folder_lacks_a_file_has_no_exit_code_of_a_verdict(api: Api, tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/dev/full")
    ended = run_locust(api.target, "--max-messages", "9", scenario="frequency_limits", SMSCODE_RUN_DIR=str(tmp_path))
    shown = re.findall(rf"{tmp_path / name}.*: (.*)", ended.stderr)
    assert (ended.returncode, set(shown)) == (2, {"No space left on device"}), ended.stderr
    assert "Traceback" not in ended.stderr
    assert api.answered.total() > 0


def test_a_locustfile_only_chooses() -> None:
    lengths = {path.stem: len(path.read_text().splitlines()) for path in LOCUSTFILES.glob("*.py")}
    assert {"throughput", "frequency_limits", "journey", "soak", "spike", "brute_force", "replay"} <= set(lengths)
    assert max(lengths.values()) <= 30
