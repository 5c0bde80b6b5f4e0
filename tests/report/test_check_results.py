"""A scenario's checks in run.json, report.html and junit.xml."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from junitparser import JUnitXml

from toolkit import analysis
from toolkit.api.errors import InputError
from toolkit.report import junit
from toolkit.report.run_result import RunResult, save
from toolkit.runs import run_folder
from toolkit.runs.check_results import figure_rows, read_check_results

CHECK = {
    "name": "frequency_limits",
    "description": "no send <beyond> the rules is accepted",
    "status": "FAIL",
    "reason": "1,204 sends were accepted beyond 1/60s",
    "parts": [
        {"name": "1/60s", "status": "FAIL", "reason": "1,204 sends were accepted beyond 1/60s"},
        {"name": "5/3600s", "status": "NO_DATA", "reason": "no send reached 5/3600s"},
    ],
    "figures": {"over_admissions": 1204, "boundaries": {"1/60s": {"last_refused_ms": None, "first_accepted_ms": 1.5}}},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / run_folder.CHECKS_NAME).write_text(json.dumps([CHECK]))
    return tmp_path


def test_a_check_is_in_run_json_and_a_test_of_junit_xml(run: Path, traffic) -> None:
    save(RunResult("friday", analysis.from_records(traffic), {}, read_check_results(run)), run)
    assert json.loads((run / run_folder.SUMMARY_NAME).read_text())["checks"] == [CHECK]
    ((_, whole, *parts),) = JUnitXml.fromfile(str(run / junit.FILE_NAME))
    assert [it.name for it in (whole, *parts)] == [
        "frequency_limits",
        "frequency_limits 1/60s",
        "frequency_limits 5/3600s",
    ]
    assert [type(it).__name__ for case in (whole, *parts) for it in case.result] == ["Failure", "Failure", "Error"]
    assert whole.result[0].message == "1,204 sends were accepted beyond 1/60s"


def test_a_check_is_on_the_page_with_its_figures(run: Path, traffic, render) -> None:
    html = render(analysis.from_records(traffic), {}, read_check_results(run))
    assert "no send &lt;beyond&gt; the rules is accepted" in html
    assert "FAIL: 1,204 sends were accepted beyond 1/60s." in html
    assert "no send reached 5/3600s" in html
    assert "boundaries 1/60s first accepted ms" in html


def test_a_result_of_an_earlier_version_has_the_sentence_of_its_check(run: Path) -> None:
    old = {name: value for name, value in CHECK.items() if name not in ("reason", "parts")}
    (run / run_folder.CHECKS_NAME).write_text(json.dumps([old]))
    (record,) = read_check_results(run)
    assert (record.finding, record.parts) == ("no send <beyond> the rules is accepted", ())


def test_figures_within_figures_have_both_names() -> None:
    assert dict(figure_rows(CHECK["figures"]))["boundaries 1/60s first accepted ms"] == "1.5"


def test_a_run_without_checks_has_none(tmp_path: Path) -> None:
    assert read_check_results(tmp_path) == []


def test_results_that_were_lost_are_no_run_without_checks(run: Path, traffic) -> None:
    save(RunResult("friday", analysis.from_records(traffic), {}, read_check_results(run)), run)
    (run / run_folder.CHECKS_NAME).unlink()
    with pytest.raises(InputError, match=r"checks\.json is missing"):
        read_check_results(run)


def test_checks_that_are_no_json_are_refused(tmp_path: Path) -> None:
    (tmp_path / run_folder.CHECKS_NAME).write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        read_check_results(tmp_path)
