"""The exit code of a run, run.json, JUnit and the page agree, because they have the same reasons."""

from __future__ import annotations

import html
import json

import pytest
from junitparser import JUnitXml

from toolkit import analysis
from toolkit.analysis.calls import Calls
from toolkit.analysis.calls_table import lazy
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.records.parquet import write_parquet
from toolkit.report.build import build_report
from toolkit.report.exit_reasons import condition_reasons
from toolkit.report.inputs import ReportInputs, ReportOptions, read_run
from toolkit.report.run_digest import digest
from toolkit.report.run_result import RunResult, save
from toolkit.runs import run_folder
from toolkit.runs.begun_calls import open_counts
from toolkit.runs.check_results import CheckRecord
from toolkit.runs.exit_codes import ExitCode
from toolkit.runs.thresholds import Status, parse_threshold

DONE = {"ended": "finished", "target": "http://127.0.0.1:1", "duration_s": 20.0, "target_at_end": "answered"}
KEPT, MISSED = "failed <= 100%", "failed < 1%"
BOTTLENECK = {"bottleneck": "it got too little CPU time", "generator": {"max_lag_ms": 50.0}}
GONE = {"target_at_end": "no connection to 127.0.0.1:1"}
PASSED = CheckRecord(name="replay", description="one succeeds", status=Status.PASS, reason="one succeeded", figures={})


def calls(call, *outcomes):
    """Make calls of 2 ms: return codes, or errors of calls without one."""
    records = []
    for number, it in enumerate(outcomes):
        code, error = (it, None) if isinstance(it, int) else (None, it)
        records.append(call(Endpoint.SEND, code, error=error, started_ns=10**18 + number * 10**9))
    return Calls(lazy(analysis.from_records(records)))


@pytest.mark.parametrize(
    ("outcomes", "settings", "codes"),
    [
        ([50000], {}, []),
        ([50000], {"thresholds": [KEPT]}, []),
        ([], {}, [3]),
        (["connect", "timeout"], {}, [3]),
        (["connect", "timeout"], {"thresholds": [MISSED]}, [3, 99]),
        ([50002], {"ended": "refused", "thresholds": [MISSED]}, [1, 99]),
        ([50000, "connect"], {"thresholds": [MISSED]}, [99]),
        ([50000], {"thresholds": ["rate(verify) > 1/s"]}, [99]),
        ([50000], GONE, [99]),
        ([50000], {"ended": "incomplete", "target_at_end": None}, [99]),
        ([50000], {**BOTTLENECK, "thresholds": [MISSED]}, [98]),
        ([50019], {**BOTTLENECK, "thresholds": [MISSED]}, [99, 98]),
        ([50000], {"unrecorded": {"verify": 2}, "thresholds": [KEPT]}, [99, 99]),
        ([50000], {"unrecorded": {}, "thresholds": [KEPT]}, []),
        ([50000], {"ended": "budget"}, [97]),
        ([50000], {"ended": "interrupted", "ended_because": "SIGINT"}, [130]),
        ([50000], {"ended": "interrupted", "ended_because": "SIGTERM"}, [143]),
        ([50000, "reset"], {"ended": "interrupted", "ended_because": "SIGTERM", "thresholds": [MISSED]}, [99, 143]),
        ([50000], {**GONE, **BOTTLENECK, "ended": "budget"}, [99, 98, 97]),
    ],
)
def test_the_first_code_of_the_list_is_the_exit_code_everywhere(call, tmp_path, outcomes, settings, codes):
    result = RunResult("friday", calls(call, *outcomes), {**DONE, **settings})
    assert [int(it.code) for it in result.reasons] == codes
    save(result, tmp_path)
    summary = json.loads((tmp_path / "run.json").read_text())
    assert (summary["exit_code"], len(summary["exit_reasons"])) == (codes[0] if codes else 0, len(codes))
    junit = tmp_path / "junit.xml"
    if codes or settings.get("thresholds"):
        suites = JUnitXml.fromfile(str(junit))
        assert (suites.failures + suites.errors > 0) == bool(codes)
    else:
        assert not junit.exists()
    report = build_report(ReportInputs(result.calls, (result,)))
    assert [int(it.code) for end in report.ends for it in end.reasons] == codes


@pytest.mark.parametrize("settings", [BOTTLENECK, {"ended": "incomplete"}, {"unrecorded": {"send": 1}}])
def test_nothing_passes_in_a_run_that_was_killed_or_its_own_bottleneck(call, tmp_path, settings):
    options = ReportOptions(conditions=(parse_threshold("share(50019) > 50%").opposite(),))
    settings = {**DONE, **settings, "thresholds": [KEPT, "p50(send.latency_ms) < 99"]}
    result = RunResult("friday", calls(call, 50000), settings, [PASSED])
    report = build_report(ReportInputs(result.calls, (result,), options))
    assert [it.verdict.status for it in report.verdicts] == [Status.NO_DATA] * 3
    assert [it.status for it in report.checks] == [Status.NO_DATA]
    assert list(condition_reasons(it.verdict for it in report.verdicts if it.is_condition)) == []
    save(result, tmp_path)
    suites = JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert suites.errors == suites.tests or suites.failures + suites.errors == suites.tests
    assert {it["status"] for it in [*result.summary["verdicts"], *result.summary["checks"]]} == {"NO_DATA"}


def test_a_run_without_calls_says_why(call):
    def reason(**settings):
        return RunResult("friday", calls(call), {**DONE, **settings}).reasons[0].text

    assert reason(notes=[]).endswith(": give a longer --duration")
    assert reason(notes=["nope.invalid has no address"]).endswith(": nope.invalid has no address")


def test_calls_that_were_begun_and_not_recorded_are_reported_and_may_have_been_billed(call, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    write_parquet([call(Endpoint.SEND, 50000), call(Endpoint.SEND, None, error="connect")], folder / "calls.parquet")
    begun = open_counts(folder, "0")
    begun[True] += 1  # the send without a connection was never begun
    assert "unrecorded" not in read_run(folder).settings
    begun[True] += 2
    begun[False] += 1
    result = read_run(folder)
    assert result.settings["unrecorded"] == {"send": 2, "verify": 1}
    assert result.summary["spent"]["messages"] == 3
    text = "a killed process has left no record of 3 calls, 2 of them sends that may have been billed"
    assert [it.text for it in result.reasons] == [f"nothing passes, because {text}"]
    assert f"Nothing passes, because {text}." in result.remarks
    assert digest(result).verdict == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("threshold", "status"),
    [
        ("share(50019) < 1%", "FAIL"),
        ("failed < 1%", "FAIL"),
        ("ok_ratio(send) > 99%", "FAIL"),
        ("max(send.latency_ms) < 1.5", "NO_DATA"),  # within the limit but for the 50 ms
        ("rate(send) > 900/s", "NO_DATA"),
        ("rate(send) < 0.001/s", "FAIL"),
    ],
)
def test_a_failure_that_the_generator_cannot_have_caused_stays(call, threshold, status):
    settings = {**DONE, **BOTTLENECK, "thresholds": [threshold]}
    (verdict,) = RunResult("friday", calls(call, 50000, 50019), settings).verdicts
    assert verdict.status == status


def test_a_time_that_is_too_long_by_more_than_the_generators_lag_stays_a_failure(call):
    slow = analysis.from_records([call(Endpoint.SEND, 50000, latency_ns=7 * 10**9)])
    settings = {**DONE, **BOTTLENECK, "thresholds": ["max(send.latency_ms) < 250"]}
    (verdict,) = RunResult("friday", slow, settings).verdicts
    assert verdict.status is Status.FAIL


def test_the_head_says_first_how_many_calls_failed_and_why(call):
    frame = calls(call, 50000, *["connect"] * 7, "timeout", 50019)
    result = RunResult("friday", frame, {**DONE, **GONE})
    report = build_report(ReportInputs(frame, (result,)))
    assert report.remarks[0] == "90.00 % of 10 calls failed: 7 could not connect, 1 failed in the server, 1 timed out."
    assert report.remarks[1].startswith("The target could not be reached at the end of the run")
    assert result.summary["remarks"] == list(report.remarks)
    assert "failed of send" in {fact.label for fact in report.facts}


def test_a_call_that_the_run_cut_off_is_no_failure_in_any_part(call):
    frame = calls(call, 50000, "cancelled")
    result = RunResult("friday", frame, {**DONE, "thresholds": [MISSED]})
    assert (result.reasons, result.remarks, result.summary["endpoints"]["send"]["failed"]) == ([], [], 0)


def test_a_killed_run_says_how_far_it_came(call, tmp_path, render):
    run_folder.write_settings(tmp_path, {"duration_s": 20.0, "thresholds": [MISSED], "master_secret": "hunter2"})
    assert "hunter2" not in (tmp_path / "run.json").read_text()
    settings = run_folder.read_settings(tmp_path)
    result = RunResult("friday", calls(call, 50000, 50000, 50000, 50000, 50000), settings)
    assert [it.text for it in result.reasons] == [
        "incomplete: ended after 4 of 20 s",
        "1 of 1 thresholds did not pass: failed < 1%",
    ]
    assert "Incomplete: ended after 4 of 20 s." in html.unescape(render(result.calls, settings))


def test_expected_outcomes_of_the_folder_are_those_of_the_report(call, tmp_path):
    from toolkit.records.parquet import write_parquet

    refused = ReturnCode.OUT_OF_FREQ
    write_parquet([call(Endpoint.SEND, refused), call(Endpoint.SEND, 50000)], tmp_path / "calls.parquet")
    run_folder.write_settings(tmp_path, {"thresholds": [MISSED], "expected": []})
    assert read_run(tmp_path).failed[Endpoint.SEND] == 1
    (tmp_path / run_folder.EXPECTED_NAME).write_text('["RATE"]')
    assert read_run(tmp_path).failed[Endpoint.SEND] == 0


def test_junit_of_calls_without_a_condition_has_one_test_that_passes(call):
    from toolkit.report.write_files import Format, texts

    frame = calls(call, 50000)
    report = build_report(ReportInputs(frame, (RunResult("friday", frame),)))
    ((_, xml),) = texts(report, Format.JUNIT)
    suites = JUnitXml.fromstring(xml)
    assert (suites.tests, suites.failures, suites.errors) == (1, 0, 0)
    assert [case.name for suite in suites for case in suite] == ["run: 1 call in 2 ms"]


def test_every_code_has_a_description():
    assert all(code.description for code in ExitCode)
