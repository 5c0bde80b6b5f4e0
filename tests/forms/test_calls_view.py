"""RunPicker and ReportView, without a browser."""

from __future__ import annotations

import csv
import io
import json
import queue
import subprocess
import sys
from pathlib import Path

import pytest
from support import outage
from support.forms import press, state, type_into

from toolkit.analysis import from_records, read
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.forms import ReportView, RunPicker
from toolkit.forms.parts.call_filter import CallFilter, as_calls
from toolkit.forms.parts.jupyter_server import JupyterServer
from toolkit.forms.parts.load_result import runs_html
from toolkit.forms.parts.report_questions import QUESTIONS
from toolkit.forms.parts.runs_folder import RunEntry, RunsFolder
from toolkit.records.call_record import CallRecord, Failure, RecordBuilder
from toolkit.records.parquet import write_parquet
from toolkit.report.sections.changes import PERIOD
from toolkit.runs.live_run import LiveRun, RunKind, hold
from toolkit.runs.run_folder import write_settings

START_S = 1_800_000_000
RECORDS = RecordBuilder.of("run", "host", "key", "secret")


def call(at_s: float, code: ReturnCode, endpoint: Endpoint = Endpoint.SEND, mobile: str = "13800138000") -> CallRecord:
    answer, about = ApiResponse(code.http_status, code, code.message), {"mobile": mobile, "temp_id": 1}
    started_ns = int((START_S + at_s) * 1e9)
    return RECORDS.build(endpoint, started_ns, 5_000_000, response=answer, **about)  # type: ignore[arg-type]


CALLS = [
    *(call(second, ReturnCode.SUCCESS) for second in range(10)),
    *(call(second, ReturnCode.OUT_OF_FREQ, mobile="13900139000") for second in range(3)),
    *(call(second, ReturnCode.INVALID_CODE, Endpoint.VERIFY) for second in range(2)),
    RECORDS.build(Endpoint.SEND, START_S * 10**9, 1000, error=Failure.TIMEOUT, mobile="13800138000", temp_id=2),
]


@pytest.fixture
def view() -> ReportView:
    view = ReportView(from_records(CALLS))
    view.wait()
    return view


def calls(view: ReportView) -> int:
    view.wait()
    return len(view.calls.to_pandas())


def test_calls_are_shown_as_tables_and_charts(view: ReportView) -> None:
    for what in ("50009 out of freq", "timeout", "10", "rate"):
        assert what in view._codes.html
    assert "server latency" in view._latency.html
    assert [it["title"] for it in view.chart.spec["panels"]] == ["send: calls per second", "verify: calls per second"]
    assert view.chart.spec["selectable"]
    assert len(view.tail.spec["panels"]) == 1


def test_each_filter_leaves_what_it_says(view: ReportView) -> None:
    for change, left in (
        (lambda: setattr(view.endpoint, "value", Endpoint.VERIFY), 2),
        (lambda: setattr(view.kind, "value", Kind.RATE), 3),
        (lambda: setattr(view.outcome, "value", int(ReturnCode.SUCCESS)), 10),
        (lambda: setattr(view.outcome, "value", "timeout"), 1),
        (lambda: setattr(view.template, "value", 2), 1),
        (lambda: type_into(view.prefix, "139", enter=True), 3),
        (lambda: type_into(view.since, "2027-01-15T08:00:05", enter=True), 5),
        (lambda: type_into(view.until, "2027-01-15T08:00:01", enter=True), 4),
    ):
        press(view.reset)
        view.wait()
        change()
        assert calls(view) == left
    press(view.reset)
    assert calls(view) == len(CALLS)
    assert view.filter == CallFilter()


def test_dragging_over_the_chart_chooses_a_time(view: ReportView) -> None:
    view.chart.selection = [START_S + 2.0, START_S + 4.0]
    assert calls(view) == 3
    assert view.since.value == "2027-01-15T08:00:02.000"
    assert "3" in view._facts.html


@pytest.mark.parametrize(("field", "text"), [("prefix", "13800138000"), ("prefix", "x"), ("since", "noon")])
def test_what_cannot_be_used_is_refused_beside_its_field(view: ReportView, field: str, text: str) -> None:
    type_into(getattr(view, field), text, enter=True)
    assert getattr(view, field).error
    assert calls(view) == len(CALLS)


def test_nothing_left_is_shown_as_that(view: ReportView) -> None:
    type_into(view.prefix, "188", enter=True)
    view.wait()
    assert "No calls match the filters" in view._codes.html
    assert view.chart.spec["panels"] == []


def test_what_is_looked_at_can_be_taken_along(view: ReportView, tmp_path: Path) -> None:
    view.select(CallFilter(kind=Kind.RATE))
    view.wait()
    rows = list(csv.DictReader(io.StringIO(view.csv().decode())))
    assert [row["return_code"] for row in rows] == ["50009"] * 3
    (tmp_path / "calls.parquet").write_bytes(view.parquet())
    again = read(tmp_path / "calls.parquet").to_pandas()
    assert len(again) == 3
    assert set(again["mobile_key"]) == {CALLS[10].mobile_key}
    assert "50009" in view.html().decode()
    assert "13900139000" not in view.csv().decode() + view.html().decode()


def test_the_last_of_many_wishes_is_what_is_shown(view: ReportView) -> None:
    for kind in Kind:
        view.kind.value = kind
    view.kind.value = Kind.RATE
    view.wait()
    assert "50009" in view._codes.html
    assert "50000" not in view._codes.html


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name, chosen in (("20270115T080000Z", CALLS[:4]), ("20270116T080000Z", CALLS[4:])):
        (tmp_path / name).mkdir()
        write_parquet(chosen, tmp_path / name / "calls.parquet")
    (tmp_path / "20270115T080000Z/run.json").write_text('{"settings": {"scenario": "spike"}, "calls": 4}')
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_runs_are_listed_the_latest_first(runs: Path) -> None:
    picker = RunPicker(runs)
    assert [says for says, _ in picker.runs.options] == ["20270116T080000Z", "20270115T080000Z   spike, 4 calls"]


def test_chosen_runs_are_opened_and_without_a_choice_all(runs: Path) -> None:
    picker = RunPicker(runs)
    press(picker.open)
    picker.wait()
    assert calls(picker.view) == len(CALLS)
    picker.runs.value = (runs / "20270115T080000Z",)
    press(picker.open)
    picker.wait()
    assert calls(picker.view) == 4


def test_a_period_cuts_through_runs(runs: Path) -> None:
    picker = RunPicker(runs)
    type_into(picker.since, "2027-01-15T08:00:03")
    press(picker.open)
    picker.wait()
    assert calls(picker.view) == 7
    type_into(picker.until, "soon")
    press(picker.open)
    assert picker.until.error


def test_a_folder_without_runs_says_so(tmp_path: Path) -> None:
    picker = RunPicker(tmp_path / "none")
    assert picker.open.disabled
    assert "No runs yet" in picker._status.html


def test_a_folder_that_does_not_exist_is_refused_and_the_list_stays(runs: Path) -> None:
    picker = RunPicker(runs)
    listed = picker.runs.options
    type_into(picker.out, "/none", enter=True)
    assert "/none is not a folder" in picker.out.error
    assert picker.runs.options == listed
    assert listed


def test_a_run_that_is_damaged_is_a_problem_in_words(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/calls.parquet").write_text("nothing")
    picker = RunPicker(tmp_path)
    press(picker.open)
    picker.wait()
    assert "damaged" in picker._status.html


def test_a_frame_and_what_read_returns_are_the_same(tmp_path: Path) -> None:
    write_parquet(CALLS, tmp_path / "calls.parquet")
    of_file, of_frame = as_calls(read(tmp_path / "calls.parquet")), as_calls(from_records(CALLS))
    assert len(of_file.to_pandas()) == len(of_frame.to_pandas())


@pytest.fixture
def troubled() -> ReportView:
    """A view of a run in which the service failed for a while."""
    view = ReportView(from_records(outage.records()))
    view.wait()
    return view


def ask(view: ReportView, question: str) -> str:
    """Ask, and return what is answered."""
    view.ask.choice.value = question
    view.wait()
    return str(view.ask.shown.html)


def test_nothing_is_answered_before_it_is_asked_for(troubled: ReportView) -> None:
    assert [value for _, value in troubled.ask.choice.options] == ["", *QUESTIONS]
    for asking in (troubled.ask, troubled.against):
        assert (asking.choice.value, asking.status.html, asking.shown.html) == ("", "", "")
    assert "What changed" in ask(troubled, "What changed")
    assert ask(troubled, "") == ""


def test_every_question_is_answered_in_tables_and_without_whole_mobiles(troubled: ReportView) -> None:
    for question in QUESTIONS:
        answer = ask(troubled, question)
        assert f"<h3>{question}</h3>" in answer
        assert troubled.ask.status.html == ""
        for secret in ("the-master-secret", *outage.MOBILES):
            assert secret not in state()
        assert "<table>" in answer or question in (PERIOD, "Suspected abuse")


def test_what_changed_is_told_with_where_it_gathers_and_a_picture(troubled: ReportView) -> None:
    answer = ask(troubled, "What changed")
    for what in ("<svg", "2027-01-15 08:15:00", "50019 server error", "Where changes are concentrated", "app-a"):
        assert what in answer


def test_a_selected_time_is_asked_what_is_different_in_it(troubled: ReportView) -> None:
    assert "Select a period" in ask(troubled, PERIOD)
    assert ask(troubled, "") == ""
    troubled.chart.selection = [outage.START_S + 900.0, outage.START_S + 1200.0]
    troubled.wait()
    answer = troubled.ask.shown.html
    for what in (f"<h3>{PERIOD}</h3>", "50019 server error", "at other times", "Where it is concentrated", "app-a"):
        assert what in answer
    assert "50010" not in answer  # as frequent as before
    quiet = [outage.START_S + 100.0, outage.START_S + 500.0]
    troubled.chart.selection = quiet
    troubled.wait()
    assert "app-a" not in troubled.ask.shown.html


def test_a_question_is_asked_of_what_is_looked_at(troubled: ReportView) -> None:
    assert "50009 out of freq" in ask(troubled, "Errors")
    troubled.kind.value = Kind.SERVER
    troubled.wait()
    assert "50019 server error" in troubled.ask.shown.html
    assert "50009" not in troubled.ask.shown.html
    troubled.select(CallFilter(endpoint=Endpoint.VERIFY))
    assert "no data for this question" in ask(troubled, "Cost")


def test_the_last_of_many_questions_is_answered(troubled: ReportView) -> None:
    for question in (*QUESTIONS, "Cost", "Errors"):
        troubled.ask.choice.value = question
    troubled.wait()
    assert "<h3>Errors</h3>" in troubled.ask.shown.html
    assert "<h3>Cost</h3>" not in troubled.ask.shown.html


def test_what_cannot_be_answered_is_a_note_in_the_form(view: ReportView) -> None:
    Path("smscode.toml").write_text('[[prices]]\nsince = 2026-01-01\nper_segment = "much"\ncurrency = "CNY"\n')
    assert ask(view, "Cost") == ""
    assert "sms-problem" in view.ask.status.html
    assert "per_segment" in view.ask.status.html
    assert "<h3>Errors</h3>" in ask(view, "Errors")
    assert view.ask.status.html == ""


def test_cost_knows_the_price_of_the_run_and_before_it_that_of_the_settings(tmp_path: Path) -> None:
    outage.write(tmp_path / "runs/one", price_per_send="0.5", currency="CNY")
    picker = RunPicker()
    press(picker.open)
    picker.wait()
    accepted = sum((it.endpoint, it.return_code) == ("send", 50000) for it in outage.records())
    assert f"{accepted / 2:,.2f} CNY" in ask(picker.view, "Cost")
    Path("smscode.toml").write_text('[[prices]]\nsince = 2026-01-01\nper_segment = "0.25"\ncurrency = "EUR"\n')
    assert ask(picker.view, "") == ""
    assert "EUR" in ask(picker.view, "Cost")
    assert "EUR" in picker.view.html().decode()


def test_runs_are_compared(tmp_path: Path) -> None:
    run = outage.write(tmp_path / "runs/troubled")
    (tmp_path / "runs/quiet").mkdir()
    quiet = [it for it in outage.records("quiet") if it.return_code == ReturnCode.SUCCESS]
    write_parquet(quiet, tmp_path / "runs/quiet/calls.parquet")
    picker = RunPicker()
    picker.runs.value = (Path("runs/troubled"),)
    press(picker.open)
    picker.wait()
    against = picker.view.against
    assert (against.choice.value, against.status.html, against.shown.html) == ("", "", "")
    against.choice.value = Path("runs/quiet")
    picker.wait()
    for what in ("<h3>Comparison</h3>", "Before: quiet", "50009 out of freq", "<td>differs</td>", "<svg"):
        assert what in against.shown.html
    picker.list_runs()
    assert against.choice.value == Path("runs/quiet")
    picker.view.endpoint.value = Endpoint.VERIFY
    picker.wait()
    assert "50009" not in against.shown.html
    (run / "calls.parquet").write_text("nothing")
    against.choice.value = Path("runs/troubled")
    picker.wait()
    assert "damaged" in against.status.html
    assert against.shown.html == ""


def test_a_run_that_begins_ends_or_is_killed_is_listed_by_itself(tmp_path: Path) -> None:
    picker, folder = RunPicker(tmp_path), tmp_path / "20270115T080000Z"
    labels: queue.Queue[list[str]] = queue.Queue()
    picker.runs.observe(lambda change: labels.put([label for label, _ in change["new"]]), "options")
    folder.mkdir()
    with hold(folder, LiveRun.of_this_process(scenario="throughput")):
        assert labels.get(timeout=240) == ["20270115T080000Z   throughput, running"]
        write_parquet(outage.records(), folder / "calls.parquet")
        write_settings(folder, {"scenario": "throughput"})
    assert labels.get(timeout=240) == ["20270115T080000Z   throughput, incomplete"]
    (folder / "run.json").write_text(json.dumps({"calls": 1234, "settings": {"scenario": "throughput"}}))
    assert labels.get(timeout=240) == ["20270115T080000Z   throughput, 1,234 calls"]


def test_searches_and_probes_are_known_but_have_no_calls_to_open(tmp_path: Path) -> None:
    for name, file in (("search", "capacity.json"), ("probe", "probe.json"), ("load", "calls.parquet")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    with hold(tmp_path / "probe", LiveRun.of_this_process(kind=RunKind.PROBE, scenario="probe")):
        found = {it.folder.name: (it.kind, bool(it.live)) for it in RunsFolder(tmp_path).entries()}
        assert [it.name for _, it in RunPicker(tmp_path).runs.options] == ["load"]
    kinds = RunKind.SEARCH, RunKind.PROBE, RunKind.LOAD_TEST
    assert found == dict(zip(("search", "probe", "load"), zip(kinds, (False, True, False), strict=True), strict=True))


def test_a_problem_is_shown_until_the_runs_have_changed(tmp_path: Path) -> None:
    picker = RunPicker(tmp_path)
    picker._show_problem("the disk is gone")
    picker.list_runs()
    assert "the disk is gone" in picker._status.html
    (tmp_path / "one").mkdir()
    (tmp_path / "one/calls.parquet").touch()
    picker.list_runs()
    assert "1 run. Choose" in picker._status.html


def test_the_link_of_a_csv_file_that_is_too_large_opens_a_page(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/calls.parquet").touch()
    server = JupyterServer("http://127.0.0.1:1/", "token", "kernel", tmp_path, "/runs-of/")
    for calls, saved in ((1_000_000, 2), (1_000_001, 1)):
        shown = runs_html([RunEntry(tmp_path / "run", summary={"calls": calls})] * 21, server)
        assert shown.count(" download ") == 20 * saved
        assert "And 1 earlier run, in Runs." in shown


def test_only_a_question_loads_what_draws_its_pictures() -> None:
    check = """
import sys
from support import outage
from toolkit.analysis import from_records
from toolkit.forms import ReportView
view = ReportView(from_records(outage.records()))
view.wait()
print("altair" in sys.modules)
view.ask.choice.value = "Errors"
view.wait()
print("altair" in sys.modules)
"""
    command = [sys.executable, "-c", check]
    environment = {"PYTHONPATH": str(Path(outage.__file__).parents[1])}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["False", "True"]
