"""LimitsForm, without a browser: rules that a sandbox is given, proved and drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.forms import press, type_into

from toolkit.analysis import from_records
from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.forms import LimitsForm
from toolkit.forms.limits_form import INFER
from toolkit.forms.parts.send_timeline import lanes, panels
from toolkit.records.call_record import CallRecord, RecordBuilder
from toolkit.records.parquet import write_parquet

RECORDS = RecordBuilder.of("run", "host", "key", "secret")


def sends(mobile: str, *at_s: tuple[float, ReturnCode]) -> list[CallRecord]:
    return [
        RECORDS.build(
            Endpoint.SEND,
            10**18 + int(second * 1e9),
            1_000_000,
            response=ApiResponse(code.http_status, code, code.message),
            mobile=mobile,
            temp_id=1,
        )
        for second, code in at_s
    ]


OK, REFUSED = ReturnCode.SUCCESS, ReturnCode.OUT_OF_FREQ
CALLS = sends("13800138000", (0, OK), (0.5, REFUSED), (1, OK), (1.2, REFUSED)) + sends("13900139000", (2, OK))


def test_rules_are_proved_and_drawn(tmp_path: Path) -> None:
    form = LimitsForm(tmp_path / "runs")
    type_into(form.rules, "1/60s")
    type_into(form.duration, "4s")
    press(form.start)
    form.wait()
    assert "PASS" in form._result.html
    assert "over admissions" in form._result.html
    drawn = form.chart.spec["panels"]
    assert drawn
    assert all(lane["series"][0]["points"] and lane["spans"] for lane in drawn)
    assert form.runs[0].folder.name in form._history.html
    assert list((tmp_path / "runs").glob("*/checks.json"))


@pytest.mark.parametrize(
    ("field", "text"), [("rules", ""), ("rules", "often"), ("speed", "0"), ("speed", "x"), ("duration", "12")]
)
def test_what_cannot_be_used_is_refused_beside_its_field(field: str, text: str) -> None:
    form = LimitsForm()
    type_into(getattr(form, field), text)
    press(form.start)
    assert getattr(form, field).error
    assert not form.controls.work.is_busy


def test_a_lane_tells_accepted_from_refused_and_when_a_rule_was_full() -> None:
    first, second = lanes(from_records(CALLS), [Rule(1, 60), Rule(2, 60)], speed=60)
    assert (first.name, first.accepted, first.refused) == ("13800…", (0, 1), (0.5, pytest.approx(1.2)))
    assert first.full == {"1/60s": ((0, 1), (1, 2)), "2/60s": ()}
    assert second.full == {"1/60s": ((2, 3),), "2/60s": ()}
    assert [panel.label for panel in panels([first, second])] == ["13800…", "13900…"]


def test_a_rule_of_several_is_full_from_its_last_send_until_its_first_is_out() -> None:
    (lane,) = lanes(from_records(sends("13800138000", (0, OK), (10, OK), (70, OK))), [Rule(2, 60)])
    assert lane.full == {"2/60s": ((10, 60),)}


def test_without_sends_there_are_no_lanes() -> None:
    assert lanes(from_records([]), [Rule(1, 60)]) == []


def log_of_a_rule() -> list[CallRecord]:
    """Return sends to many mobiles, each again and again, under a rule of one in a minute."""
    pattern = ((0, OK), (20, REFUSED), (59, REFUSED), (61, OK), (119, REFUSED), (122, OK))
    return [
        call for number in range(60) for call in sends(f"138{number:08d}", *((number + at, it) for at, it in pattern))
    ]


def test_rules_are_found_in_a_log_and_drawn(tmp_path: Path) -> None:
    write_parquet(log_of_a_rule(), tmp_path / "calls.parquet")
    form = LimitsForm()
    form.mode.value = INFER
    press(form.start)
    assert form.log.error
    type_into(form.log, str(tmp_path))
    press(form.start)
    form.wait()
    assert "1/60s" in form._result.html
    drawn = form.chart.spec["panels"]
    assert {span["name"] for lane in drawn for span in lane["spans"]} == {"1/60s is full"}


def test_runs_of_different_speed_are_a_problem_in_words(tmp_path: Path) -> None:
    for speed in (1, 60):
        folder = tmp_path / f"run-{speed}"
        folder.mkdir()
        write_parquet(log_of_a_rule(), folder / "calls.parquet")
        (folder / "run.json").write_text(json.dumps({"schema": 2, "settings": {"speed": speed}}))
    form = LimitsForm()
    form.mode.value = INFER
    type_into(form.log, str(tmp_path))
    press(form.start)
    form.wait()
    assert "the runs had different --speed" in form._result.html


def test_a_log_without_refusals_shows_no_rule(tmp_path: Path) -> None:
    write_parquet(sends("13800138000", (0, OK)), tmp_path / "calls.parquet")
    form = LimitsForm()
    form.mode.value = INFER
    type_into(form.log, str(tmp_path))
    press(form.start)
    form.wait()
    assert "No rule can be inferred" in form._result.html


def test_a_log_that_is_not_there_is_a_problem_in_words() -> None:
    form = LimitsForm()
    form.mode.value = INFER
    type_into(form.log, "nowhere")
    press(form.start)
    form.wait()
    assert "exist" in form._result.html
