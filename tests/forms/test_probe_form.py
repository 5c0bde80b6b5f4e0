"""ProbeForm, without a browser: a sandbox is probed, a real API only with a confirmation and mobiles from a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.forms import press, type_into
from support.service import Running
from support.waiting import wait_until

from toolkit.forms import ProbeForm
from toolkit.forms.inputs.target_chooser import ANOTHER
from toolkit.runs.exit_codes import ExitCode


def test_a_sandbox_is_probed_and_its_rule_shown() -> None:
    form = ProbeForm()
    type_into(form.messages, "3")
    press(form.start)
    form.wait()
    (found,) = form.results
    assert found["messages"] == 3
    assert found["rules"][0]["count"] == 1
    assert ">COMPLETE<" in form._result.html
    assert "1 send per mobile" in form._result.html
    assert "Not reached" in form._result.html
    wait_until(lambda: "COMPLETE" in form._history.html)
    assert "1 send per mobile" in form._history.html


def test_a_probe_that_another_page_stops_shows_what_it_found_on_both() -> None:
    form, other = ProbeForm(), ProbeForm()
    type_into(form.messages, "50")
    type_into(form.speed, "1")
    press(form.start)
    wait_until(lambda: re.search(r": [1-9]\d* message", other.controls.progress.html))
    assert other.controls.guard.asks
    press(other.stop)
    for page in (form, other):
        page.wait(240)
        (found,) = page.results
        assert (found["stopped"], found["exit_code"]) == ("it was stopped", ExitCode.INTERRUPTED)
        assert ">STOPPED<" in page._result.html
        assert found["messages"] >= 1


@pytest.mark.parametrize(
    ("field", "text"), [("messages", "0"), ("messages", "1000001"), ("duration", "12"), ("speed", "0")]
)
def test_what_cannot_be_used_is_refused_beside_its_field(field: str, text: str) -> None:
    form = ProbeForm()
    type_into(getattr(form, field), text)
    press(form.start)
    assert getattr(form, field).error
    assert not form.controls.work.is_busy


def test_another_api_needs_a_file_of_mobiles_and_a_confirmation(sandbox: Running, tmp_path: Path) -> None:
    form = ProbeForm()
    form.chooser.choice.value = ANOTHER
    type_into(form.chooser.base_url, sandbox.url)
    type_into(form.chooser.app_key, sandbox.app_key)
    type_into(form.chooser.secret, sandbox.master_secret)
    press(form.chooser.use)
    press(form.start)
    assert "enter a file" in form.mobiles.error
    (tmp_path / "own.txt").write_text(next(sandbox.mobiles), encoding="utf-8")
    type_into(form.mobiles, str(tmp_path / "own.txt"))
    type_into(form.messages, "1")
    press(form.start)
    assert not form.controls.work.is_busy
    assert "1 message<" in form.controls.question.html
    press(form.controls.confirm)
    form.wait()
    (found,) = form.results
    assert found["messages"] == 1
    assert found["settings"]["target"] == sandbox.url
