"""A report says first how much of its logs was read, and passes nothing by what it could not read."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from toolkit.api.errors import InputError
from toolkit.report import html, json_csv, junit, markdown
from toolkit.report.build import build_report
from toolkit.report.inputs import ReportOptions, read_inputs
from toolkit.report.model import Report
from toolkit.report.table_columns import without_formulas
from toolkit.runs.thresholds import Status, parse_threshold

LINE = '10.0.0.1 - k1 [01/Nov/2026:16:%02d:%02d +0800] "POST /v1/codes HTTP/1.1" %d 45 "-" "okhttp/4"\n'


def write_log(path: Path, *statuses: int, cut: int = 0) -> Path:
    lines = [LINE % (*divmod(number, 60), status) for number, status in enumerate(statuses)]
    path.write_text("".join([*lines, *["10.0.0.1 - k1 [01/No\n"] * cut]))
    return path


def report_of(*paths: Path, fail_if: str = "share(50000) < 1%", max_unread_ratio: float = 0.01) -> Report:
    conditions = (parse_threshold(fail_if).opposite(),)
    options = ReportOptions(conditions=conditions, max_unread_ratio=max_unread_ratio)
    return build_report(read_inputs(paths, options))


def status_of(report: Report) -> Status:
    (condition,) = [it.verdict for it in report.verdicts if it.is_condition]
    return condition.status


@pytest.mark.parametrize(
    ("condition", "statuses", "status"),
    [
        ("share(50019) > 0.1%", [200] * 394 + [500] * 6, Status.FAIL),
        ("share(50019) > 2%", [200] * 394 + [500] * 6, Status.PASS),
        ("share(50009) > 0.1%", [200] * 394 + [500] * 6, Status.NO_DATA),  # no code of a 403 can be in the log
        ("share(50009) > 50%", [200] * 9 + [403], Status.NO_DATA),
        ("share(50105) > 0.1%", [200] * 10, Status.NO_DATA),
        ("share(timeout) > 0.1%", [200] * 10, Status.NO_DATA),
        ("failed > 1%", [200] * 90 + [403] * 10, Status.NO_DATA),  # the 403 may be wrong codes, or failures
        ("failed > 20%", [200] * 90 + [403] * 10, Status.PASS),  # even if they all failed
        ("failed > 1%", [200] * 90 + [502] * 10, Status.FAIL),
        ("p99(send.latency_ms) > 200", [200] * 10, Status.NO_DATA),
    ],
)
def test_a_log_of_statuses_alone_passes_nothing_that_it_cannot_hold(condition, statuses, status, tmp_path) -> None:
    assert status_of(report_of(write_log(tmp_path / "a.log", *statuses), fail_if=condition)) is status


def test_unknown_codes_that_decide_a_condition_are_no_data(tmp_path) -> None:
    line = (
        '{"time": "2026-11-01T08:00:00Z", "endpoint": "send", "latency_ms": 1, "http_status": %d, "return_code": %s}\n'
    )
    lines = [line % (200, 50000)] * 90 + [line % (403, 50009)] * 5 + [line % (403, "null")] * 5
    (tmp_path / "a.log").write_text("".join(lines))
    expected = {
        "share(50009) > 20%": Status.PASS,
        "share(50009) > 7%": Status.NO_DATA,
        "share(50009) > 3%": Status.FAIL,
    }
    assert {it: status_of(report_of(tmp_path / "a.log", fail_if=it)) for it in expected} == expected


def test_unread_lines_are_told_first_in_every_format(tmp_path) -> None:
    report = report_of(write_log(tmp_path / "a.log", *[200] * 50, cut=50))
    said = "50 of 100 lines (50.00 %) could not be read and are left out of all figures."
    assert report.remarks[0].startswith(said)
    assert report.remarks[0].endswith("a.log, line 51: not in the log's format.")
    page = html.render(report)
    assert page.index(said) < page.index('class="facts"')
    assert said in markdown.render(report).replace("\\", "").splitlines()[4]
    assert list(json.loads(json_csv.to_json(report)))[1] == "remarks"
    xml = junit.render("a", report.verdicts, 1.0, ends=report.ends, remarks=report.remarks)
    suite = ElementTree.fromstring(xml)[0]
    assert suite[0].tag == "properties"
    assert suite[0][0].attrib["value"].startswith(said)


def test_no_condition_passes_with_more_unread_lines_than_allowed(tmp_path) -> None:
    log = write_log(tmp_path / "a.log", *[200] * 98, cut=2)
    refused = report_of(log)
    assert status_of(refused) is Status.NO_DATA
    assert [it.text for it in refused.reasons] == [
        "nothing passes, because 2.00 % of the lines could not be read; --max-unread allows 1.00 %"
    ]
    allowed = report_of(log, max_unread_ratio=0.02)
    assert (status_of(allowed), allowed.reasons) == (Status.PASS, [])


def test_a_file_without_calls_is_named_and_leaves_the_share_alone(tmp_path) -> None:
    write_log(tmp_path / "a.log", *[200] * 10)
    (tmp_path / "error.log").write_text("upstream timed out\n" * 100)
    report = report_of(tmp_path)
    assert status_of(report) is Status.PASS
    assert any("error.log (100 lines)" in it for it in report.remarks)


def test_inferred_codes_and_missing_values_are_told(tmp_path) -> None:
    remarks = " ".join(report_of(write_log(tmp_path / "a.log", 200, 500, 403)).remarks)
    assert "1 × 50000 success (HTTP 200), 1 × 50019 server error (HTTP 500)" in remarks
    assert "the code of an HTTP 400 or 403 is unknown" in remarks
    assert "No latencies are in" in remarks


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "  =1"])
def test_csv_holds_no_formula(text) -> None:
    frame = pd.DataFrame({"request_id": pd.Series([text, "r-1"], dtype="string"), "change": [-1.5, 2.0]})
    for made in (frame, frame.astype({"request_id": "category"})):
        assert without_formulas(made)["request_id"].tolist() == [f"'{text}", "r-1"]
        assert without_formulas(made)["change"].tolist() == [-1.5, 2.0]


def test_control_and_bidirectional_characters_of_a_log_are_shown_as_escapes(tmp_path) -> None:
    log = write_log(tmp_path / "a.log", *[200] * 10)
    log.write_text(log.read_text() + "evil \x1b[2J \u202etxt.exe\n")
    report = report_of(log)
    for text in (html.render(report), markdown.render(report).replace("\\\\", "\\")):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert r"\x1b[2J \u202etxt.exe" in html.render(report)


def test_a_named_file_without_a_call_does_not_end_the_report(tmp_path):
    log, errors = write_log(tmp_path / "service.log", 200, 500), tmp_path / "error.log"
    errors.write_text("2026/11/01 16:00:00 [error] upstream timed out\n" * 99)
    report = report_of(errors, log)
    assert [run.name for run in read_inputs([errors, log]).runs] == ["service"]
    assert report.remarks[0] == f"Left out, because no line is a call: {errors} (99 lines)."
    assert status_of(report) is Status.PASS  # the lines of the other file do not count as unread
    with pytest.raises(InputError, match=r"error\.log holds no calls"):
        report_of(errors)


def test_without_an_accepted_message_the_head_says_nothing_of_its_cost(tmp_path):
    report = report_of(write_log(tmp_path / "a.log", *[500] * 9))
    assert [section.name for section in report.findings()] == ["verdicts", "errors"]
