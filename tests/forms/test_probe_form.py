"""ProbeForm, without a browser: a sandbox is probed, a real API only with a confirmation and mobiles from a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.forms import press, type_into
from support.service import Running

from toolkit.forms import ProbeForm
from toolkit.forms.inputs.target_chooser import ANOTHER


def test_a_sandbox_is_probed_and_its_rule_shown() -> None:
    form = ProbeForm()
    type_into(form.messages, "3")
    press(form.start)
    form.wait()
    assert form.findings
    assert form.findings.messages == 3
    assert form.findings.rules[0].count == 1
    assert "1 send per mobile" in form._result.html
    assert "Not reached" in form._result.html


def test_a_stopped_probe_shows_what_it_found() -> None:
    form = ProbeForm()
    press(form.start)
    form.stop_probe()
    form.close()
    assert form.findings
    assert form.findings.stopped == "it was stopped"


@pytest.mark.parametrize(("field", "text"), [("messages", "0"), ("messages", "x"), ("duration", "12"), ("speed", "0")])
def test_what_cannot_be_used_is_refused_beside_its_field(field: str, text: str) -> None:
    form = ProbeForm()
    type_into(getattr(form, field), text)
    press(form.start)
    assert getattr(form, field).error
    assert not form._work.is_busy


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
    assert not form._work.is_busy
    assert "1 messages" in form._question.html
    press(form.confirm)
    form.wait()
    assert form.findings
    assert form.findings.messages == 1
