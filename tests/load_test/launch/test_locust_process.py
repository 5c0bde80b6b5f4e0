"""Children that are started and end; the load itself is tried in tests/load_test/generator/test_runs.py."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from support.api import serving
from support.processes import wait_gone

from toolkit.api.errors import InputError, NotConnectedError, ReturnCodeError, RunError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import ServerResponse
from toolkit.load_test.launch import locust_process
from toolkit.load_test.launch.sandbox_process import sandbox
from toolkit.load_test.launch.scenarios import find_scenario, scenarios
from toolkit.load_test.plan.http_options import HttpOptions
from toolkit.load_test.plan.options import LoadOptions
from toolkit.runs.run_folder import Cause
from toolkit.settings import Target

REPOSITORY = Path(__file__).parents[3]
UNUSED = Target("http://127.0.0.1:1", "key", "secret", 1)
HOLDER = """
import sys
from toolkit.load_test.launch.sandbox_process import sandbox
with sandbox() as target:
    print("ready", flush=True)
    sys.stdin.read()
"""


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def test_launching_never_imports_locust() -> None:
    check = (
        "import sys, toolkit.load_test.launch.locust_process;"
        " sys.exit('locust' in sys.modules or 'gevent' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_a_sandbox_answers_and_is_gone_afterwards() -> None:
    before = set(children())
    with sandbox() as target:
        locust_process.check_target(target)
        assert set(children()) > before
    assert set(children()) == before
    with pytest.raises(NotConnectedError):
        locust_process.check_target(target)


def test_a_sandbox_is_gone_after_an_error_in_its_block() -> None:
    before = set(children())
    with pytest.raises(ZeroDivisionError), sandbox():
        _ = 1 / 0
    assert set(children()) == before


def test_a_sandbox_is_configured_by_its_arguments_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSCODE_STORE", f"sqlite:///{tmp_path}/mine.db")
    monkeypatch.setenv("SMSCODE_PRODUCTION", "true")
    (tmp_path / "smscode.toml").write_text("[service]\nproduction = true\n")
    monkeypatch.chdir(tmp_path)
    with sandbox() as target:
        locust_process.check_target(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["smscode.toml"]


def test_a_sandbox_that_cannot_start_says_why() -> None:
    before = set(children())
    with pytest.raises(RunError, match=r"invalid --store: expected sqlite:///path\.db"), sandbox("--store", "no:store"):
        pass
    assert set(children()) == before


def test_a_production_service_is_no_sandbox(tmp_path: Path) -> None:
    before = set(children())
    with (
        pytest.raises(InputError, match="invalid argument --production"),
        sandbox("--production", "--provider", "outbox", "--store", f"sqlite:///{tmp_path}/store.db"),
    ):
        pass
    assert set(children()) == before


def test_a_sandbox_is_gone_when_its_parent_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "ready\n"
        processes = psutil.Process(holder.pid).children(recursive=True)
        assert processes
        holder.kill()
    wait_gone(processes)


def test_a_check_of_a_wrong_key_says_so() -> None:
    with sandbox() as target, pytest.raises(ReturnCodeError) as caught:
        locust_process.check_target(Target(target.base_url, target.app_key, "wrong", 1))
    assert caught.value.return_code is ReturnCode.AUTH_FAILED


def answer_with(status: int, content: object) -> ServerResponse:
    body = json.dumps(content).encode()
    return ServerResponse(status, ((b"content-length", b"%d" % len(body)),), body)


@pytest.mark.parametrize(
    ("status", "content", "proves"),
    [
        (403, {"error": {"code": 50026, "message": "wrong msg_id"}}, True),
        (403, {"is_valid": False, "error": {"code": 50026, "message": "wrong msg_id"}}, True),
        (403, {"error": {"code": 50010, "message": "invalid code"}}, True),
        (403, {"error": {"code": 59026, "message": "new"}}, True),
        (403, {"error": {"code": 50036, "message": "app in black"}}, False),
        (500, {"error": {"code": 50026, "message": "wrong msg_id"}}, False),
        (404, {"error": {"code": 50016, "message": "api not found"}}, False),
    ],
)
def test_a_check_accepts_every_answer_that_proves_the_key(status: int, content: object, proves: bool) -> None:
    with serving() as api:
        api.reply = answer_with(status, content)
        with nullcontext() if proves else pytest.raises(ReturnCodeError):
            locust_process.check_target(api.target)


def test_a_load_test_of_a_sandbox_is_recorded(tmp_path: Path) -> None:
    with (
        sandbox() as target,
        locust_process.start("throughput", target, LoadOptions(duration_s=3, users=5), folder=tmp_path) as run,
    ):
        *_, last = run.follow()
        ended = run.wait()
    assert ended.cause is Cause.FINISHED
    assert {code for _, code in last.outcomes} == {
        ReturnCode.SUCCESS,
        ReturnCode.INVALID_CODE,
        ReturnCode.VERIFIED_CODE,
    }
    assert pq.read_metadata(tmp_path / "calls.parquet").num_rows == ended.calls == last.calls > 0


def test_a_load_test_that_hangs_is_killed_and_has_no_result(tmp_path: Path) -> None:
    file = tmp_path / "hangs.py"
    file.write_text(
        "import gevent\nfrom locust import events\nfrom toolkit.load_test.generator.journeys import people\n"
        "from toolkit.load_test.generator.user import SmsCodeUser\n\n"
        "class Person(SmsCodeUser):\n    tasks = [people.verify_right]\n\n"
        "events.test_stop.add_listener(lambda **_: gevent.sleep(3600))\n"
    )
    options = LoadOptions(users=1, duration_s=0.5)
    with (
        sandbox() as target,
        locust_process.prepare(str(file), options, folder=tmp_path / "run", overdue_s=5) as run,
    ):
        run.begin(target)
        with pytest.raises(RunError, match="still ran 5 s after the end of the load, and was killed"):
            run.wait()


def test_a_scenario_is_found_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_scenario("throughput").resolve() == REPOSITORY / "locustfiles/throughput.py"
    mine = tmp_path / "locustfiles/mine.py"
    mine.parent.mkdir()
    mine.touch()
    assert find_scenario(str(mine)) == mine
    monkeypatch.chdir(tmp_path)
    assert find_scenario("mine").resolve() == mine
    assert set(scenarios()) >= {"mine", "throughput"}


def test_a_scenario_in_the_current_directory_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "locustfiles/throughput.py"
    mine.parent.mkdir()
    mine.touch()
    monkeypatch.chdir(tmp_path)
    assert find_scenario("throughput").resolve() == mine


@pytest.mark.parametrize("name", ["no-such", "no/such.py", "../throughput", ""])
def test_an_unknown_scenario_lists_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match="throughput"):
        find_scenario(name)


@pytest.mark.parametrize(("users", "duration_s"), [(0, 1), (-1, 1), (1, 0), (1, -1), (1, float("nan"))])
def test_a_load_test_needs_users_and_time(tmp_path: Path, users: int, duration_s: float) -> None:
    with pytest.raises(InputError):
        LoadOptions(duration_s=duration_s, users=users)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("locustfile", sorted((REPOSITORY / "locustfiles").glob("*.py")), ids=lambda path: path.stem)
def test_a_locustfile_only_chooses(locustfile: Path) -> None:
    assert len(locustfile.read_text().splitlines()) <= 30


def locust_alone(cwd: Path, url: str, **settings: str) -> subprocess.CompletedProcess[str]:
    file = REPOSITORY / "locustfiles/throughput.py"
    command = [sys.executable, "-m", "locust", "-f", str(file), "--host", url, "--headless", "-u", "2", "-t", "4"]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **settings}, capture_output=True, text=True, timeout=240, check=False
    )


def test_a_locustfile_runs_under_locust_alone_and_then_records_nothing(tmp_path: Path) -> None:
    with sandbox() as target:
        settings = {"SMSCODE_APP_KEY": target.app_key, "SMSCODE_MASTER_SECRET": target.master_secret}
        done = locust_alone(tmp_path, target.base_url, **settings, SMSCODE_TEMP_ID=str(target.temp_id))
    assert done.returncode == 0, done.stderr
    assert "send" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_locustfile_without_credentials_says_what_is_missing(tmp_path: Path) -> None:
    done = locust_alone(tmp_path, UNUSED.base_url)
    assert done.returncode == 1
    assert "SMSCODE_APP_KEY" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_ends_the_wait_for_a_target_that_hangs_after_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def interrupt() -> None:
            with listener.accept()[0] as connection:
                connection.recv(1)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                is_done.wait(240)

        is_done, thread = threading.Event(), threading.Thread(target=interrupt)
        thread.start()
        target = Target(f"http://127.0.0.1:{listener.getsockname()[1]}", "key", "secret", 1)
        reason = locust_process.check_at_end(target, HttpOptions(timeout_s=240))
        is_done.set()
        thread.join()
    assert reason == "interrupted while waiting for its response"
