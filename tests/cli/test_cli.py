"""The command line: what goes to stdout and stderr, and the exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.s3 import s3
from support.service import Running, smscode, smscode_process

from toolkit.analysis import read
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.cli.output import show
from toolkit.records.call_record import CallRecord, RecordBuilder, short_key
from toolkit.records.parquet import write_parquet
from toolkit.runs.remote_storage import join

NO_PICTURES = ("--format", "md")  # drawing those of the page takes four times as long as all else


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
    sent = smscode_process("send", next(sandbox.mobiles), env=env)
    assert (sent.returncode, sent.stderr) == (0, "")
    msg_id = sent.stdout.strip()
    assert len(msg_id) == 36
    wrong = smscode_process("verify", msg_id, "wrong", "--json", env=env)
    assert (wrong.returncode, json.loads(wrong.stdout)) == (
        1,
        {"is_valid": False, "return_code": 50010, "message": "invalid code"},
    )
    right = smscode_process("verify", msg_id, sandbox.peek(msg_id), env=env)
    assert (right.returncode, right.stdout) == (0, "50000 success\n")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--speed", "0"], "invalid --speed '0': expected a number above 0"),
        (["--mobiles", "many"], "invalid --mobiles 'many'"),
        (["--mobiles", "file:no-such"], "invalid --mobiles 'file:no-such'"),
        (["replay", "--recording", "no-such"], "invalid --recording 'no-such': expected the folder of a finished run"),
        (["soak", "--limit", "ok_ratio(send) >= 99%"], "--limit has no effect on the scenario soak"),
        (["--rate", "50", "--limit", "ok_ratio(send) >= 99%"], "--limit needs --find-capacity, or a rate that rises"),
        (["--recording", "."], "--recording has no effect on the scenario throughput"),
        (["--out", "nosuch://bucket/runs"], "nosuch://"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_before_anything_is_started(
    options: list[str], reason: str, tmp_path: Path
) -> None:
    done = smscode("load", *options, env={"PATH": os.environ["PATH"]}, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()  # no sandbox was started
    assert line.startswith("smscode: ")
    assert reason in line
    assert list(tmp_path.iterdir()) == []


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


def test_the_key_of_a_mobile_is_that_of_its_records(tmp_path: Path) -> None:
    env = {"SMSCODE_MASTER_SECRET": "secret"}
    (row,) = json.loads(smscode("mobile-key", "+8613800138000", "--json", env=env, cwd=tmp_path).stdout)
    record = RecordBuilder.of("run", "here", "app", "secret").build(Endpoint.SEND, 1, 1, mobile="13800138000")
    assert row == {"key": short_key(record.mobile_key), "mobile_key": str(record.mobile_key)}
    log = tmp_path / "calls.jsonl"
    line = {"started": "2026-11-06T12:00:00Z", "endpoint": "send", "latency_ms": 1, "mobile": "13800138000"}
    log.write_text(json.dumps(line | {"return_code": 50000}))
    assert read(log, master_secret="secret").to_pandas()["mobile_key"].tolist() == [record.mobile_key]


@pytest.mark.parametrize(
    ("secret", "mobile", "reason"), [("", "13800138000", "SMSCODE_MASTER_SECRET"), ("s", "110", "e.g. 13800138000")]
)
def test_a_key_needs_the_secret_and_a_mobile(secret: str, mobile: str, reason: str, tmp_path: Path) -> None:
    done = smscode("mobile-key", mobile, env={"SMSCODE_MASTER_SECRET": secret}, cwd=tmp_path)
    assert (done.returncode, len(lines(done.stderr))) == (2, 1)
    assert reason in done.stderr


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
        ["serve", "--port", "0", "--expose-sandbox", "--host", "é" * 64],
        ["serve", "--port", "0", "--latency", "20ms~nan"],
        ["verify", "x" * 70_000, "1", "--target", "http://127.0.0.1:9", "--app-key", "a"],
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


def test_production_on_this_machine_is_not_loaded_without_consent_and_a_cap(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--production", "--provider", "outbox", "--store", store)
    made = json.loads(smscode("app", "create", "--balance", "50", "--store", store, "--json").stdout)
    target = ["--target", service.url, "--app-key", made["app_key"]]
    env = {"PATH": os.environ["PATH"], "SMSCODE_MASTER_SECRET": made["master_secret"]}
    done = smscode("load", *target, "--users", "1", "--duration", "1s", env=env, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (told,) = [line for line in lines(done.stderr) if line.startswith("smscode: ")]
    assert "(it answered HTTP 404 to GET /sandbox/state)" in told
    assert "--allow-target 127.0.0.1, and a limit, e.g. --max-messages" in told
    (app,) = json.loads(smscode("app", "list", "--store", store, "--json").stdout)
    assert app["balance"] == 50


@pytest.mark.parametrize(
    ("stdout", "reason"), [("> /dev/full", "No space left on device"), (">&-", "stdout is closed")]
)
@pytest.mark.parametrize("command", ["codes", "codes --json", "codes --markdown"])
def test_data_that_cannot_be_printed_is_exit_2_and_one_clear_line(command: str, stdout: str, reason: str) -> None:
    shell = ["sh", "-c", f"exec {sys.executable} -m toolkit {command} {stdout}"]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert reason in done.stderr


@pytest.mark.parametrize("text", ["[red]{code}[/x]", "[sign] :smile: {code}", "[/]{code}"])
def test_data_is_printed_as_it_stands(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    show([{"text": text, f"head {text}": 1}], title=text)
    assert capsys.readouterr().out.count(text) == 3


def test_serve_prints_nothing_but_what_a_shell_evaluates() -> None:
    command = [sys.executable, "-m", "toolkit", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            exports = [process.stdout.readline() for _ in range(4)]
            names = 'test -n "$SMSCODE_MASTER_SECRET" && echo "$SMSCODE_BASE_URL $SMSCODE_TEMP_ID"'
            shell = ["sh", "-ec", "".join([*exports, names])]
            url, temp_id = subprocess.run(shell, capture_output=True, text=True, check=True).stdout.split()
        finally:
            process.terminate()
        rest, stderr = process.communicate(timeout=240)
    assert (rest, temp_id) == ("", "1")
    assert url in stderr
    assert "counts down" in stderr


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_service_that_is_ended_leaves_nothing_behind(tmp_path: Path, ending: signal.Signals) -> None:
    command = [sys.executable, "-m", "toolkit", "serve", "--port", "0", "--json"]
    env = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True) as process:
        assert process.stdout
        assert process.stdout.readline()
        assert list(tmp_path.iterdir())
        process.send_signal(ending)
        assert process.wait(240) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_service_under_nohup_outlives_its_terminal() -> None:
    command = ["nohup", sys.executable, "-m", "toolkit", "serve", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout
            service = Running(process, **json.loads(process.stdout.readline()))
            process.send_signal(signal.SIGHUP)
            assert service.send()
        finally:
            process.terminate()


def test_a_load_test_needs_nothing_but_its_name(tmp_path: Path) -> None:
    done = smscode_process("load", "--duration", "2s", "--users", "5", env={"PATH": os.environ["PATH"]}, cwd=tmp_path)
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
    again = smscode("report", str(folder), *NO_PICTURES, "--json")
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
    refused, failed = lines(done.stderr)
    assert failed == "smscode: 1 of 1 thresholds did not pass: failed < 1%"
    assert "50014 no money" in refused
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "run.json").read_text())["endpoints"]["send"]["return_codes"]["50000"] == 20


def test_a_load_test_with_a_disabled_template_stops_and_is_exit_1(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    service = start()
    env = environment(service, SMSCODE_TEMP_ID="99")
    done = smscode("load", "--duration", "30s", "--json", env=env, cwd=tmp_path)
    assert done.returncode == 1
    refused, failed = lines(done.stderr)
    assert failed == "smscode: 1 of 1 thresholds did not pass: failed < 1%"
    assert "50013 invalid temp_id" in refused
    assert json.loads(done.stdout)["calls"] < 100


def test_a_file_of_calls_is_reported_on_and_gets_a_page_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "friday.parquet"
    write_parquet([CallRecord(10**18, "friday", "worker-0", Endpoint.SEND, 200, 50000, Kind.OK, 10**6)], file)
    done = smscode_process("report", str(file))
    assert (done.returncode, "50000" in done.stdout) == (0, True), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["friday.parquet", "friday.parquet.html"]
    assert json.loads(smscode("report", str(file), *NO_PICTURES, "--json").stdout)["calls"] == 1


@pytest.mark.parametrize("scenario", ["soak", "spike"])
def test_a_scenario_with_stages_of_its_own_takes_no_duration_alone(scenario: str, tmp_path: Path) -> None:
    done = smscode("load", scenario, "--duration", "1s", cwd=tmp_path)
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert f"{scenario} has stages, " in done.stderr


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_its_like_end_a_load_test_with_the_report_of_what_ran_and_leave_no_process(
    tmp_path: Path, ending: signal.Signals
) -> None:
    command = [sys.executable, "-m", "toolkit", "load", "--duration", "60s", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = []
        for line in process.stderr:
            told.append(line)
            if re.search(r"[1-9][\d,]* calls", line):
                break
        children = descendants(process.pid)
        process.send_signal(ending)
        out, _ = process.communicate(timeout=240)
    run = json.loads(out)
    # Something worse may be true of a busy machine: the load generator was the bottleneck.
    assert process.returncode == run["exit_code"] in (98, 143 if ending is signal.SIGTERM else 130)
    assert (run["settings"]["ended"], run["settings"]["ended_because"]) == ("interrupted", ending.name)
    assert run["calls"] > 0
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


# How a run is judged.


def load(cwd: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    return smscode("load", *options, env={"PATH": os.environ["PATH"], **env}, cwd=cwd)


def test_a_run_that_keeps_its_thresholds_is_exit_0_and_shows_the_verdicts_first(tmp_path: Path) -> None:
    kept = ("--threshold", "ok_ratio(send)>=99%", "--threshold", "p99(send.caller_ms) < 5000")
    done = load(tmp_path, "--duration", "2s", *kept)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("PASS  ")
    assert done.stdout.index("PASS") < done.stdout.index("Return codes")
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "run.json").read_text())["settings"]["thresholds"][0] == "ok_ratio(send) >= 99%"
    assert 'tests="4"' in (folder / "junit.xml").read_text()


def test_a_run_that_misses_a_threshold_is_exit_99_and_so_is_its_report(tmp_path: Path) -> None:
    done = load(tmp_path, "--duration", "2s", "--threshold", "rate(send) > 900000/s", "--json")
    assert (done.returncode, json.loads(done.stdout)["verdicts"][0]["status"]) == (99, "FAIL")
    assert lines(done.stderr) == ["smscode: 1 of 2 thresholds did not pass: rate(send) > 900000/s"]
    again = smscode_process("report", str(next((tmp_path / "runs").iterdir())), *NO_PICTURES, "--json")
    assert (again.returncode, again.stdout) == (99, done.stdout)


def test_a_threshold_ends_a_run_that_misses_it_and_the_report_says_which(tmp_path: Path) -> None:
    missed = "rate(send) > 900000/s abort after 1s"
    done = load(tmp_path, "--duration", "60s", "--threshold", missed, "--json")
    run = json.loads(done.stdout)
    assert (done.returncode, run["settings"]["ended"], run["settings"]["ended_because"]) == (99, "missed", missed)
    assert run["duration_s"] < 60
    (page,) = tmp_path.glob("runs/*/report.html")
    assert "ended early by a threshold that failed: rate(send)" in page.read_text()


def test_a_run_is_ended_by_its_budget_with_exit_97_and_what_ran(tmp_path: Path) -> None:
    done = load(tmp_path, "--max-cost", "1.00", "--duration", "60s", "--json", SMSCODE_PRICE_PER_SEND="0.03")
    run = json.loads(done.stdout)
    assert (done.returncode, run["settings"]["ended"]) == (97, "budget")
    assert run["endpoints"]["send"]["return_codes"] == {"50000": 33}
    assert lines(done.stderr) == ["smscode: the budget ended the run: it allowed 33 messages"]


@pytest.mark.parametrize(
    "options",
    [
        ["--threshold", "p99(send) < 1"],
        ["--max-cost", "5"],
        ["--max-messages", "0"],
        ["--target", "https://api.sms.jpush.cn", "--app-key", "a", "--allow-target", "api.sms.jpush.cn"],
    ],
)
def test_what_cannot_be_judged_or_paid_for_is_exit_2_before_anything_starts(tmp_path: Path, options: list[str]) -> None:
    done = load(tmp_path, *options, SMSCODE_MASTER_SECRET="x")
    assert (done.returncode, len(lines(done.stderr))) == (2, 1), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bottleneck_of_the_generator_is_exit_98_whatever_was_measured(tmp_path: Path) -> None:
    write_parquet(
        [CallRecord(10**18, "r", "worker-0", Endpoint.SEND, 200, 50000, Kind.OK, 1)], tmp_path / "calls.parquet"
    )
    settings = {"bottleneck": "no CPU left", "thresholds": ["ok_ratio(send) > 1%"]}
    (tmp_path / "run.json").write_text(json.dumps({"settings": settings}))
    done = smscode("report", str(tmp_path), *NO_PICTURES, "--json")
    assert (done.returncode, json.loads(done.stdout)["verdicts"][0]["status"]) == (98, "NO_DATA")


def test_the_help_tells_every_exit_code_of_a_run() -> None:
    told = " ".join(smscode("--help").stdout.split())
    assert [code for code in (97, 98, 99) if f" {code} " not in told] == []


def test_a_run_is_kept_where_a_url_says_and_reported_on_from_there(tmp_path: Path) -> None:
    done = load(tmp_path, "--duration", "2s", "--out", f"file://{tmp_path}/far", "--json", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["far"]
    (folder,) = (tmp_path / "far").iterdir()
    assert {"calls.parquet", "run.json", "report.html"} <= {path.name for path in folder.iterdir()}
    (folder / "report.html").unlink()
    again = smscode("report", f"file://{folder}", "--json")
    assert again.stdout == done.stdout
    assert (folder / "report.html").exists()


def test_a_run_is_kept_in_a_bucket_whose_url_has_options(tmp_path: Path) -> None:
    with s3() as bucket:
        done = load(tmp_path, "--duration", "1s", "--out", bucket.url("runs"), "--json", TMPDIR=str(tmp_path))
        assert done.returncode == 0, done.stderr
        (name,) = {key.split("/")[1] for key in bucket.objects if key.endswith("run.json")}
        kept = {key for key in bucket.objects if not key.endswith("/")}
        assert {f"runs/{name}/{file}" for file in ("calls.parquet", "run.json", "report.html")} <= kept
        assert all(key.startswith(f"runs/{name}/") for key in kept)
        assert b"the-secret" not in b"".join(bucket.objects.values()) + done.stderr.encode()
        del bucket.objects[f"runs/{name}/report.html"]
        again = smscode("report", join(bucket.url("runs"), name), "--json")
        assert again.stdout == done.stdout
        assert f"runs/{name}/report.html" in bucket.objects
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_used_costs_no_run(tmp_path: Path) -> None:
    done = load(tmp_path, "--out", "nosuch://place")
    assert (done.returncode, "nosuch://..." in lines(done.stderr)[0]) == (2, True)
