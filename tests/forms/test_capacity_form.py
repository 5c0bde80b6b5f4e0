"""CapacityForm, without a browser: a real search with as few messages as there can be."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.forms import press, type_into
from support.processes import of_run
from support.service import Running
from support.waiting import wait_until

from toolkit.forms import CapacityForm, Sandbox
from toolkit.forms.inputs.load_options import USERS
from toolkit.forms.inputs.target_chooser import CONFIGURED, SANDBOX
from toolkit.runs.exit_codes import ExitCode


@pytest.fixture
def form(shared: Sandbox, tmp_path: Path) -> CapacityForm:
    form = CapacityForm(shared, tmp_path / "runs")
    type_into(form.duration, "1s")
    type_into(form.messages, "20")
    return form


def test_a_search_shows_its_trials_and_what_it_could_not_settle(form: CapacityForm, tmp_path: Path) -> None:
    form.pace.value = USERS
    type_into(form.first, "2")
    type_into(form.label, "release 7")
    press(form.start)
    form.wait()
    (found,) = form.results
    assert found["settings"]["label"] == "release 7"
    assert found["exit_code"] == ExitCode.BUDGET
    assert ">NOT SETTLED<" in form._result.html
    assert "No figure" in form._result.html
    assert "trial-01" in form._trials.html
    assert form.chart.spec["panels"]
    (trial,) = (tmp_path / "runs").glob("*/trial-01/calls.parquet")
    other = CapacityForm(out=tmp_path / "runs")
    wait_until(lambda: trial.parents[1].name in other._history.html)
    assert "NOT SETTLED" in other._history.html
    assert "No figure" not in other._result.html


def test_a_search_that_another_page_stops_is_shown_as_stopped_on_both(form: CapacityForm, tmp_path: Path) -> None:
    type_into(form.duration, "10m")
    type_into(form.messages, "")
    other = CapacityForm(out=tmp_path / "runs")
    press(form.start)
    wait_until(lambda: "Trial at" in other.controls.progress.html)
    assert other.controls.guard.asks
    assert other.start.disabled
    assert "RUNNING" in other._history.html
    press(other.stop)
    for page in (form, other):
        page.wait(240)
        (found,) = page.results
        assert (found["ended"], found["is_settled"]) == ("interrupted", False)
        assert ">STOPPED<" in page._result.html
        assert not page.controls.guard.asks
    assert not of_run(tmp_path)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("first", "0"),
        ("limits", "fast"),
        ("limits", ""),
        ("limits", "p99(send.caller_ms) > 250"),
        ("limits", "p99(send.caller_ms, 5m) < 250"),
        ("duration", "12"),
        ("width", "0%"),
        ("max_duration", "x"),
        ("messages", "0"),
        ("label", "x" * 81),
    ],
)
def test_what_cannot_be_used_is_refused_beside_its_field(form: CapacityForm, field: str, text: str) -> None:
    type_into(getattr(form, field), text)
    press(form.start)
    assert [name for name, it in vars(form).items() if getattr(it, "error", "")] == [field]
    assert not form.controls.work.is_busy


def test_a_field_that_must_be_filled_in_does_not_say_that_it_may_be_empty(form: CapacityForm) -> None:
    for field in (form.first, form.duration, form.limits):
        assert field.hint == ""
        type_into(field, "")
    press(form.start)
    assert all(field.error for field in (form.first, form.duration, form.limits))


def test_a_limit_that_a_low_load_misses_is_refused_beside_its_field(form: CapacityForm) -> None:
    type_into(form.limits, "rate(send) > 9/s")
    press(form.start)
    assert "can't be searched" in form.limits.error


def test_a_real_target_is_searched_only_once_that_was_confirmed(
    shared: Sandbox, configured: Running, tmp_path: Path
) -> None:
    form = CapacityForm(shared, tmp_path / "runs")
    form.chooser.choice.value = CONFIGURED
    form.pace.value = USERS
    type_into(form.first, "1")
    type_into(form.duration, "1s")
    type_into(form.messages, "5")
    press(form.start)
    assert not form.controls.work.is_busy
    assert not (tmp_path / "runs").exists()
    assert "5 messages" in form.controls.question.html
    assert "0.23 CNY" in form.controls.question.html
    assert (form.controls.confirmation.layout.display, form.start.disabled) == ("", True)
    press(form.controls.confirm)
    form.wait()
    (found,) = form.results
    assert 0 < found["messages"] <= 5
    assert found["settings"]["target"] == configured.url
    assert form.controls.confirmation.layout.display == "none"


def test_another_choice_of_the_target_or_cancel_drops_the_search(
    shared: Sandbox, configured: Running, tmp_path: Path
) -> None:
    form = CapacityForm(shared, tmp_path / "runs")
    type_into(form.messages, "5")
    for drop in (lambda: press(form.controls.cancel), lambda: setattr(form.chooser.choice, "value", SANDBOX)):
        form.chooser.choice.value = CONFIGURED
        press(form.start)
        drop()
        form.controls.start_pending()
        assert not form.controls.work.is_busy
        assert (form.controls.confirmation.layout.display, form.start.disabled) == ("none", False)
    assert not (tmp_path / "runs").exists()
