"""The short summary of a run, in the shell and for the page of a CI job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from toolkit import analysis
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import CallRecord
from toolkit.report import job_summary
from toolkit.report.build import build_report
from toolkit.report.inputs import ReportInputs, ReportOptions
from toolkit.report.run_digest import digest
from toolkit.report.run_result import RunResult
from toolkit.runs.thresholds import parse_threshold

PACING = {"elapsed_s": 2.0, "due": 4, "dropped": 1, "intended_per_s": 2.0, "achieved_per_s": 1.5}
SETTINGS: dict[str, Any] = {
    "scenario": "throughput",
    "target": "http://127.0.0.1:8018",
    "rate_per_s": 2.0,
    "duration_s": 2.0,
    "pacing": PACING,
    "ended": "finished",
    "target_at_end": "answered",
    "price_per_send": "0.045",
    "currency": "CNY",
}


@pytest.fixture
def calls(call: Callable[..., CallRecord]) -> list[CallRecord]:
    waited = {"wait_ns": 8_000_000}
    sends = [
        call(Endpoint.SEND, 50000, **waited),
        call(Endpoint.SEND, None, error="timeout"),
        call(Endpoint.SEND, 50009),
    ]
    return [*sends, call(Endpoint.VERIFY, 50000)]


def result(calls: list[CallRecord], *thresholds: str, **settings: Any) -> RunResult:
    return RunResult(
        "friday", analysis.from_frame(analysis.from_records(calls)), SETTINGS | {"thresholds": thresholds} | settings
    )


def test_the_main_figures_are_summed_up(calls: list[CallRecord]) -> None:
    found = digest(result(calls, "failed < 60%"))
    assert (found.verdict, list(found.reasons)) == ("PASS", [])
    assert found.headline == "throughput: 2 journeys/s for 2 s against http://127.0.0.1:8018"
    month = RunResult("month", analysis.from_records(calls), {"scenario": "simulate", "target": None})
    assert digest(month).headline == "simulate: 4 calls"
    assert {fact.label: fact.value for fact in found.facts} == {
        "journeys per s": "1.50 of 2.00 intended, 1 dropped",
        "calls per s": "2.00",
        "failed calls": "2 of 4 (50.00 %)",
        "send, ms": "p50 2.00  p95 9.20  p99 9.84",
        "verify, ms": "p50 2.00  p95 2.00  p99 2.00",
        "messages": "at most 2, 0.09 CNY",
        "return codes": "50000 50.00 %  50009 25.00 %  timeout 25.00 %",
        "bottleneck": "none",
    }


@pytest.mark.parametrize(
    ("settings", "verdict", "bottleneck"),
    [
        ({}, "FAIL", "none"),
        ({"bottleneck": "too little CPU time"}, "INCONCLUSIVE", "too little CPU time"),
        ({"saturation": "all 5 connections were busy"}, "FAIL", "the target: all 5 connections were busy"),
    ],
)
def test_a_failure_and_the_bottleneck_are_named(
    calls: list[CallRecord], settings: dict[str, Any], verdict: str, bottleneck: str
) -> None:
    found = digest(result(calls, "mean(send.caller_ms) < 1", **settings))
    if "bottleneck" in settings:  # a time may be the generator's fault
        settings["generator"] = {"max_lag_ms": 1000.0}
        found = digest(result(calls, "mean(send.caller_ms) < 1", **settings))
    assert (found.verdict, found.facts[-1].value) == (verdict, bottleneck)
    assert found.reasons


@pytest.mark.parametrize(("threshold", "verdict"), [("failed < 60%", "INCONCLUSIVE"), ("failed < 10%", "FAIL")])
def test_a_killed_run_fails_only_by_what_it_has_shown(calls: list[CallRecord], threshold: str, verdict: str) -> None:
    found = digest(result(calls, threshold, ended="incomplete"))
    assert found.verdict == verdict
    assert "incomplete: ended after" in " ".join(found.reasons)


def test_calls_of_a_log_have_no_verdict_and_no_failures(calls: list[CallRecord]) -> None:
    found = digest(RunResult("access.log", analysis.from_records(calls)))
    assert (found.verdict, found.headline) == ("", "access.log: 4 calls")
    assert not {"failed calls", "bottleneck"} & {fact.label for fact in found.facts}


def test_the_summary_of_a_job_has_verdicts_conditions_and_no_markup_of_others(calls: list[CallRecord]) -> None:
    run = result(calls, "failed < 1%", target="http://127.0.0.1/<b>|x")
    conditions = (parse_threshold("share(50009) > 1%").opposite(),)
    text = job_summary.render(build_report(ReportInputs(run.calls, (run,), ReportOptions(conditions=conditions))))
    assert text.startswith("### FAIL throughput: ")
    assert "\\<b\\>\\|x" in text
    assert "| FAIL | failed \\< 1% | 50.00 % |" in text
    assert "| FAIL | --fail-if: share(50009) \\> 1% | 25.00 % |" in text
    assert "| failed calls | 2 of 4 (50.00 %) |" in text
    assert len(text.splitlines()) < 40


def test_a_reason_is_told_once(calls: list[CallRecord]) -> None:
    run = result(calls, "failed < 90%", bottleneck="too little CPU time")
    text = job_summary.render(build_report(ReportInputs(run.calls, (run,))))
    assert text.count("was the bottleneck") == 1


@pytest.mark.parametrize(("condition", "verdict"), [("failed < 1%", "FAIL"), ("failed < 60%", "PASS")])
def test_the_conditions_of_a_report_count_for_the_verdict(
    call: Callable[..., CallRecord], condition: str, verdict: str
) -> None:
    now = result([call(Endpoint.SEND, 50000), call(Endpoint.SEND, 50019)], "rate(send) > 0/s", ended="finished")
    report = build_report(ReportInputs(now.calls, (now,), ReportOptions(conditions=(parse_threshold(condition),))))
    assert [it.verdict for it in report.digests] == [verdict]
    assert job_summary.render(report).startswith(f"### {verdict} ")
