"""CapacityForm, without a browser: a real search with as few messages as there can be."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.forms import press, type_into

from toolkit.forms import CapacityForm, Sandbox
from toolkit.forms.inputs.load_options import USERS
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
    press(form.start)
    form.wait()
    (found,) = form.results
    assert found["exit_code"] == ExitCode.BUDGET
    assert "Not settled" in form._result.html
    assert "No figure" in form._result.html
    assert "trial-01" in form._trials.html
    assert form.chart.spec["panels"]
    assert list((tmp_path / "runs").glob("*/trial-01/calls.parquet"))


@pytest.mark.parametrize(
    ("field", "text"),
    [("first", "0"), ("limits", "fast"), ("duration", "12"), ("width", "0%"), ("max_duration", "x"), ("limits", "")],
)
def test_what_cannot_be_used_is_refused_beside_its_field(form: CapacityForm, field: str, text: str) -> None:
    type_into(getattr(form, field), text)
    press(form.start)
    assert getattr(form, field).error
    assert not form._work.is_busy


def test_a_limit_that_a_low_load_misses_is_refused_beside_its_field(form: CapacityForm) -> None:
    type_into(form.limits, "rate(send) > 9/s")
    press(form.start)
    assert "can't be searched" in form.limits.error
