"""A run is judged against another one, or is refused a verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from toolkit.analysis import from_frame
from toolkit.report import job_summary
from toolkit.report.exit_reasons import condition_reasons
from toolkit.report.inputs import ReportInputs, ReportOptions
from toolkit.report.model import Report, RunVerdict, Table
from toolkit.report.run_result import RunResult
from toolkit.report.sections.verdicts import build_verdicts
from toolkit.report.worsenings import judge_worsenings
from toolkit.runs.thresholds import Status
from toolkit.runs.worsening import parse_worsening

START_NS = 1_793_966_400_000_000_000
SETTINGS: dict[str, Any] = {"scenario": "soak", "rate_per_s": 20.0, "ended": "finished", "target_at_end": "answered"}
CONDITIONS = tuple(map(parse_worsening, ("p90(send.caller_ms) by 10%", "share(50019) by 50%")))


def run(name: str, slower: float = 1.0, calls: int = 3_000, code: int = 50019, **settings: object) -> RunResult:
    draw = np.random.default_rng(len(name))
    frame = pd.DataFrame(
        {
            "started_ns": START_NS + np.arange(calls) * 50_000_000,
            "endpoint": "send",
            "latency_ns": (20e6 * slower * np.exp(draw.normal(0, 0.3, calls))).astype(np.int64),
            "return_code": np.where(np.arange(calls) % 10 == 0, code, 50000),
            "http_status": 200,
        }
    )
    return RunResult(name, from_frame(frame), SETTINGS | settings)


def judged(before: RunResult, now: RunResult) -> list[tuple[Status, str]]:
    inputs = ReportInputs(now.calls, (now,), ReportOptions(against=before, worsenings=CONDITIONS))
    return [(it.status, it.note) for it in judge_worsenings(inputs)]


def test_only_the_figure_that_is_worse_fails() -> None:
    assert judged(run("before"), run("after", slower=1.3)) == [(Status.FAIL, ""), (Status.PASS, "")]
    assert judged(run("before"), run("after")) == [(Status.PASS, ""), (Status.PASS, "")]


@pytest.mark.parametrize(
    ("before", "now", "note"),
    [
        ({}, {"rate_per_s": 50.0}, "other settings than before: rate_per_s 50.0, not 20.0"),
        ({"bottleneck": "late"}, {}, "before: the load generator was the bottleneck"),
        ({}, {"bottleneck": "late"}, "after: the load generator was the bottleneck"),
        ({}, {"ended": "incomplete"}, "after: incomplete: it was killed or is still running"),
        ({}, {"ended": "interrupted"}, "after: ended early (interrupted)"),
        ({}, {"saturation": "99 %"}, "after: saturated: arrivals waited for a connection"),
    ],
)
def test_incomparable_runs_have_no_data_and_one_reason(before: dict[str, Any], now: dict[str, Any], note: str) -> None:
    one, other = run("before", **before), run("after", slower=3, **now)
    assert judged(one, other) == [(Status.NO_DATA, note)] * 2
    inputs = ReportInputs(other.calls, (other,), ReportOptions(against=one, worsenings=CONDITIONS))
    (reason,) = condition_reasons(judge_worsenings(inputs))
    assert reason.text == f"--fail-if-worse: no data for {CONDITIONS[0]}, {CONDITIONS[1]}: {note}"


def test_a_run_without_data_passes_nothing() -> None:
    short = run("short", calls=4)
    assert [status for status, _ in judged(run("before"), short)] == [Status.NO_DATA] * 2
    assert judged(run("before"), run("now", calls=0))[0] == (Status.NO_DATA, "no data in now")


def test_the_report_shows_each_verdict_with_both_values() -> None:
    before, now = run("before"), run("after", slower=1.3)
    inputs = ReportInputs(now.calls, (now,), ReportOptions(against=before, worsenings=CONDITIONS))
    (section,) = build_verdicts(
        inputs, [RunVerdict(now.name, it, is_condition=True) for it in judge_worsenings(inputs)]
    )
    (table,) = section.parts
    assert isinstance(table, Table)
    worse = table.frame.iloc[0]
    assert (worse["threshold"], worse["status"], worse["limit"]) == ("p90(send.caller_ms) by 10%", "FAIL", 10)
    assert worse["value"] == pytest.approx(30, abs=5)
    assert " ms → " in str(table.rows[0][-1])
    verdicts = [RunVerdict(now.name, it, is_condition=True) for it in judge_worsenings(inputs)]
    summary = job_summary.render(Report("now", "", "", 1.0, [], [], [section], verdicts))
    assert "| FAIL | --fail-if-worse: p90" in summary


def test_a_rate_counts_the_time_after_the_last_call_in_which_calls_were_due() -> None:
    def sent_for(name: str, seconds: int) -> RunResult:
        calls = 50 * seconds
        frame = pd.DataFrame(
            {
                "started_ns": START_NS + np.arange(calls) * 20_000_000,
                "endpoint": "send",
                "latency_ns": 5_000_000,
                "return_code": 50000,
                "http_status": 200,
            }
        )
        hung = frame.tail(10).assign(latency_ns=(120 - seconds) * 10**9, return_code=None, http_status=None)
        frame = pd.concat([frame.iloc[:-10], hung.assign(error="timeout")]) if seconds < 120 else frame
        settings = SETTINGS | {"users": 10, "rate_per_s": None, "duration_s": 120.0}
        return RunResult(name, from_frame(frame), settings)

    options = ReportOptions(against=sent_for("before", 120), worsenings=(parse_worsening("rate(send) by 10%"),))
    hung, steady = sent_for("hung", 20), sent_for("steady", 120)
    for now, status in ((hung, Status.FAIL), (steady, Status.PASS)):
        (verdict,) = judge_worsenings(ReportInputs(now.calls, (now,), options))
        assert verdict.status is status, verdict
