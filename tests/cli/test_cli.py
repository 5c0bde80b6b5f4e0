"""The command line: what goes to stdout and stderr, and the exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from support.service import Running, smscode

from toolkit.cli import app
from toolkit.cli.runs import parse_duration
from toolkit.codes import ReturnCode
from toolkit.errors import InputError


def environment(service: Running, **changes: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "SMSCODE_BASE_URL": service.url,
        "SMSCODE_APP_KEY": service.app_key,
        "SMSCODE_MASTER_SECRET": service.master_secret,
    } | changes


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("smscode:")]


def test_a_code_is_sent_and_verified(sandbox: Running) -> None:
    env = environment(sandbox)
    sent = smscode("send", next(sandbox.mobiles), env=env)
    assert (sent.returncode, sent.stderr) == (0, "")
    msg_id = sent.stdout.strip()
    assert len(msg_id) == 36
    wrong = smscode("verify", msg_id, "wrong", "--json", env=env)
    assert (wrong.returncode, json.loads(wrong.stdout)) == (
        1,
        {"is_valid": False, "return_code": 50010, "message": "invalid code"},
    )
    right = smscode("verify", msg_id, sandbox.peek(msg_id), env=env)
    assert (right.returncode, right.stdout) == (0, "50000 success\n")


def test_json_is_one_line_of_stdout(sandbox: Running) -> None:
    done = smscode("send", next(sandbox.mobiles), "--json", env=environment(sandbox))
    assert set(json.loads(done.stdout)) == {"msg_id"}
    table = json.loads(smscode("codes", "--json").stdout)
    assert [row["return_code"] for row in table] == [int(row) for row in ReturnCode]


@pytest.mark.parametrize(
    ("changes", "exit_code", "reason"),
    [
        ({"SMSCODE_MASTER_SECRET": "wrong"}, 1, "50002 auth failed"),
        ({"SMSCODE_BASE_URL": "http://127.0.0.1:9"}, 3, "no connection to 127.0.0.1:9"),
        ({"SMSCODE_MASTER_SECRET": ""}, 2, "SMSCODE_MASTER_SECRET"),
        ({"SMSCODE_BASE_URL": "127.0.0.1"}, 2, "SMSCODE_BASE_URL"),
    ],
)
@pytest.mark.parametrize("command", [["send", "13800138000"], ["verify", "x", "1"], ["load", "--duration", "1s"]])
def test_what_goes_wrong_is_one_clear_line(
    sandbox: Running, command: list[str], changes: dict[str, str], exit_code: int, reason: str, tmp_path: Path
) -> None:
    done = smscode(*command, env=environment(sandbox, **changes), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert len(lines(done.stderr)) == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_refused_send_says_which_code(sandbox: Running) -> None:
    done = smscode("send", "19900050014", env=environment(sandbox))
    assert (done.returncode, lines(done.stderr)) == (1, ["smscode: 50014 no money (HTTP 403)"])


@pytest.mark.parametrize(
    "command",
    [
        ["load", "nosuch"],
        ["load", "--duration", "0s"],
        ["load", "--duration", "ten"],
        ["load", "--users", "0"],
        ["load", "--target", "https://api.sms.jpush.cn", "--app-key", "a"],
        ["report", "nowhere"],
        ["serve", "--nosuch"],
        ["nosuch"],
    ],
)
def test_a_wrong_use_is_exit_2(command: list[str], tmp_path: Path) -> None:
    done = smscode(*command, env={"PATH": os.environ["PATH"], "SMSCODE_MASTER_SECRET": "x"}, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_only_this_machine_is_loaded_unless_told_otherwise(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "SMSCODE_MASTER_SECRET": "x"}
    done = smscode("load", "--target", "https://192.0.2.1", "--app-key", "a", env=env, cwd=tmp_path)
    assert (done.returncode, "--allow-target 192.0.2.1" in done.stderr) == (2, True)


def all_commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from all_commands(inner, (*path, name))


def test_every_option_tells_what_it_is_and_what_it_is_without() -> None:
    untold = []
    for path, command in all_commands(typer.main.get_command(app)):
        for option in command.params:
            text = getattr(option, "help", None) or ""
            shown = "Default" in text or getattr(option, "show_default", False) or option.required
            if (
                not getattr(option, "hidden", False)
                and (not text or not shown)
                and "completion" not in (option.name or "")
            ):
                untold.append((path, option.name))
    assert untold == []


@pytest.mark.parametrize(("text", "seconds"), [("10s", 10), ("2m", 120), ("1h", 3600), ("500ms", 0.5), ("1.5s", 1.5)])
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "0s", "1d", "1e9s"])
def test_a_duration_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="write a number above 0 and a unit"):
        parse_duration(text)


def test_a_load_test_needs_nothing_but_its_name(tmp_path: Path) -> None:
    done = smscode("load", "--duration", "2s", "--users", "5", env={"PATH": os.environ["PATH"]}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "50000" in done.stdout
    assert "50010" in done.stdout
    assert "calls" in done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    run = json.loads((folder / "run.json").read_text())
    send, verify = run["endpoints"]["send"], run["endpoints"]["verify"]
    assert set(send["return_codes"]) == {"50000"}
    assert set(verify["return_codes"]) >= {"50000", "50010"}
    assert send["calls"] + verify["calls"] == run["calls"] > 10
    assert send["rate_per_s"] > 0
    assert list(send["latency_ms"]) == ["p50", "p90", "p95", "p99", "p99.9", "max"]
    assert run["settings"]["users"] == 5
    assert (folder / "calls.parquet").exists()
    assert "<html" in (folder / "report.html").read_text()
    again = smscode("report", str(folder), "--json")
    assert json.loads(again.stdout) == run


def test_a_load_test_without_balance_reports_what_ran_and_is_exit_1(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--store", store)
    made = json.loads(smscode("app", "create", "--balance", "20", "--store", store, "--json").stdout)
    env = environment(
        service,
        SMSCODE_APP_KEY=made["app_key"],
        SMSCODE_MASTER_SECRET=made["master_secret"],
        SMSCODE_TEMP_ID=str(made["temp_id"]),
    )
    done = smscode("load", "--duration", "30s", env=env, cwd=tmp_path)
    assert done.returncode == 1
    assert len(lines(done.stderr)) == 1
    assert "50014 no money" in lines(done.stderr)[0]
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "run.json").read_text())["endpoints"]["send"]["return_codes"]["50000"] == 20


def test_ctrl_c_ends_a_load_test_with_the_report_of_what_ran_and_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "toolkit", "load", "--duration", "60s", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = []
        for line in process.stderr:
            told.append(line)
            if "50000" in line:
                break
        children = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["settings"]["ended"] == "interrupted"
    assert json.loads(out)["calls"] > 0
    assert len(children) >= 2
    assert [pid for pid in children if alive(pid)] == []


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and they in turn."""
    children = [int(it) for it in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [inner for child in children for inner in descendants(child)]


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
