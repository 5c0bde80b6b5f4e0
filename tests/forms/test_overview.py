"""Overview, without a browser: runs of every kind, and a sandbox that runs, never ran, or is gone."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.service import Running

from toolkit.api.return_codes import ReturnCode
from toolkit.forms import Overview, Sandbox
from toolkit.forms.overview import last_runs_html, live_html
from toolkit.forms.parts.load_result import runs_html
from toolkit.forms.parts.run_verdict import verdict_of
from toolkit.forms.parts.runs_folder import RunEntry, RunsFolder, read_summary
from toolkit.forms.parts.sandbox_state import read_sandbox_state
from toolkit.outcome_colours import colours_of
from toolkit.runs.exit_codes import ExitCode
from toolkit.runs.live_run import LiveRun, RunKind, hold


def run(exit_code: int = 0, *statuses: str, ended: str = "finished", reason: str = "") -> RunEntry:
    """A run that has ended with an exit code and verdicts."""
    summary = {
        "calls": 1,
        "exit_code": exit_code,
        "exit_reasons": [reason] if reason else [],
        "verdicts": [{"status": it} for it in statuses],
        "settings": {"ended": ended, "scenario": "throughput", "users": 4},
    }
    return RunEntry(Path("runs/1"), summary=summary)


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        (run(0, "PASS", "PASS"), "PASS"),
        (run(ExitCode.FAILED, "PASS", "FAIL"), "FAIL"),
        (run(ExitCode.FAILED, "FAIL", "NO_DATA"), "FAIL"),
        (run(ExitCode.FAILED, "PASS", "NO_DATA"), "NO DATA"),
        (run(ExitCode.FAILED, "PASS"), "FAIL"),
        (run(ExitCode.NO_ANSWER), "FAIL"),
        (run(ExitCode.BOTTLENECK, "NO_DATA"), "INCONCLUSIVE"),
        (run(ExitCode.INTERRUPTED, "PASS"), "INCONCLUSIVE"),
        (run(0), "NO VERDICT"),
        (run(0, "PASS", ended="incomplete"), "KILLED"),
        (RunEntry(Path("runs/1")), "NO DATA"),
        (RunEntry(Path("runs/1"), None, {"exit_code": 0}, RunKind.SEARCH), "SETTLED"),
        (RunEntry(Path("runs/1"), None, {"exit_code": 97}, RunKind.SEARCH), "NOT SETTLED"),
        (RunEntry(Path("runs/1"), None, {"exit_code": 130}, RunKind.SEARCH), "STOPPED"),
        (RunEntry(Path("runs/1"), None, {"ended": "incomplete"}, RunKind.PROBE), "KILLED"),
        (RunEntry(Path("runs/1"), None, {"exit_code": 143}, RunKind.PROBE), "STOPPED"),
        (RunEntry(Path("runs/1"), None, {"exit_code": 99}, RunKind.PROBE), "FAILED"),
        (RunEntry(Path("runs/1"), None, {"exit_code": 0}, RunKind.PROBE), "COMPLETE"),
        (RunEntry(Path("runs/1"), None, {"rules": []}, RunKind.PROBE), "NO DATA"),
        (RunEntry(Path("runs/1"), summary={"calls": 3}), "NO DATA"),
        (
            RunEntry(Path("runs/1"), summary={"calls": 3, "exit_code": None, "verdicts": [{"status": "PASS"}]}),
            "NO DATA",
        ),
        (RunEntry(Path("runs/1"), summary={"calls": 3, "exit_code": 42}), "NO DATA"),
        (RunEntry(Path("runs/1"), summary={"calls": 3, "verdicts": [{"status": "FAIL"}]}), "FAIL"),
    ],
)
def test_only_a_run_that_passed_everything_is_good(entry: RunEntry, word: str) -> None:
    verdict = verdict_of(entry)
    assert verdict.word == word
    assert (verdict.chip == "sms-safe") == (word in ("PASS", "SETTLED", "COMPLETE"))
    is_green = f"--light:{colours_of(ReturnCode.SUCCESS).light};" in runs_html([entry])
    assert is_green == (word == "PASS")


def test_a_run_without_an_exit_code_says_that_it_is_unknown() -> None:
    entry = RunEntry(Path("runs/1"), summary={"calls": 3, "verdicts": [{"status": "PASS"}]})
    assert "no exit code, so whether it passed is unknown" in last_runs_html([entry], None)
    assert "1 of 1 passed" not in runs_html([entry])


@pytest.mark.parametrize(
    "wrong",
    [
        *({"verdicts": it} for it in (None, "PASS", [["PASS"]], {"status": "PASS"})),
        {"checks": ["PASS"]},
        {"duration_s": "10"},
        {"settings": {"users": "five"}},
        {"settings": {"rate_per_s": "50"}},
    ],
)
def test_a_result_of_another_form_is_none(tmp_path: Path, wrong: dict[str, object]) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"calls": 3, "exit_code": 0, **wrong}))
    assert read_summary(tmp_path) == {}


def test_a_verdict_is_shown_with_its_reason() -> None:
    html = last_runs_html([run(ExitCode.FAILED, "FAIL", reason="1 of 1 thresholds <missed>")], None)
    assert "1 of 1 thresholds &lt;missed&gt;" in html
    assert "throughput" in html
    assert "4 users" in html


def test_without_a_run_it_says_how_to_begin() -> None:
    html = last_runs_html([], None)
    assert "smscode load throughput" in html
    assert "Nothing is running" in live_html([], None)


def test_a_live_run_is_told_from_one_that_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "runs/20261130T160000Z"
    folder.mkdir(parents=True)
    (folder / "locust.log").touch()
    (folder / "run.json").write_text(json.dumps({"settings": {"ended": "incomplete"}}))
    with ExitStack() as stack:
        stack.enter_context(hold(folder, LiveRun.of_this_process(scenario="soak", load="50/s", run_time_s=60)))
        runs = RunsFolder(tmp_path / "runs").entries()
        assert "soak" in live_html(runs, None)
        assert "until about" in live_html(runs, None)
        assert "No run has ended yet" in last_runs_html(runs, None)
    runs = RunsFolder(tmp_path / "runs").entries()
    assert "Nothing is running" in live_html(runs, None)
    assert "KILLED" in last_runs_html(runs, None)


def html_of(overview: Overview) -> str:
    overview.check_configured()
    return str(overview._state.html)


def test_the_sandbox_is_asked_for_its_counts_and_its_absence_is_told() -> None:
    with Sandbox() as sandbox:
        overview = Overview(sandbox)
        assert "NOT STARTED" in html_of(overview)
        target = sandbox.target()
        html = html_of(overview)
        assert "RUNNING" in html
        assert target.base_url in html
        assert target.master_secret not in html
        gone = sandbox.metrics_url
    assert "NOT STARTED" in html_of(overview)
    assert read_sandbox_state(gone).problem
    assert read_sandbox_state(gone).calls.total() == 0
    overview.close()


def test_an_answer_without_a_sandboxs_counters_is_no_running_sandbox(tmp_path: Path) -> None:
    (tmp_path / "metrics").write_text("up 1\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        state = read_sandbox_state(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert "no counters" in state.problem


def test_the_configured_target_is_asked_if_it_is_on_this_machine(
    configured: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    overview = Overview()
    assert "It answers, and is a sandbox" in html_of(overview)
    monkeypatch.setenv("SMSCODE_BASE_URL", "https://api.example.com")
    assert "so it was not called" in html_of(overview)
    monkeypatch.setenv("SMSCODE_BASE_URL", "http://127.0.0.1:9")
    assert "not known to be a sandbox" in html_of(overview)
    overview.close()


def test_it_follows_the_folder(tmp_path: Path, shared: Any) -> None:
    overview = Overview(shared, tmp_path / "runs")
    folder = tmp_path / "runs/20261130T160000Z"
    folder.mkdir(parents=True)
    (folder / "locust.log").touch()
    (folder / "run.json").write_text(json.dumps(run(0, "PASS").summary))
    while "20261130T160000Z" not in overview._last.html:
        overview._watcher._thread.join(0.05)
    assert "PASS" in overview._last.html
    assert repr(overview) == "Overview(1 runs)"
    overview.close()
