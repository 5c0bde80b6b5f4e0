"""CallForm, without a browser."""

from __future__ import annotations

import pytest
from support.forms import press, state, type_into
from support.service import Running

from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.forms import CallForm, Sandbox
from toolkit.forms.inputs.target_chooser import ANOTHER, CONFIGURED


@pytest.fixture
def form(shared: Sandbox) -> CallForm:
    return CallForm(shared)


def send(form: CallForm, mobile: str) -> None:
    type_into(form.mobile, mobile)
    press(form.send)
    form.wait()


def shown(form: CallForm) -> str:
    return str(form._response.html)


def codes(form: CallForm) -> list[int | None]:
    return [record.return_code for record in form.records]


def test_a_code_is_sent_read_and_verified(form: CallForm, sandbox: Running) -> None:
    send(form, next(sandbox.mobiles))
    press(form.peek)
    form.wait()
    assert len(form.code.value) == 6
    press(form.verify)
    form.wait()
    assert codes(form) == [ReturnCode.SUCCESS, ReturnCode.SUCCESS]
    assert "50000" in shown(form)


def test_a_wrong_code_is_a_verdict(form: CallForm, sandbox: Running) -> None:
    send(form, next(sandbox.mobiles))
    type_into(form.code, "wrong", enter=True)
    form.wait()
    assert codes(form) == [ReturnCode.SUCCESS, ReturnCode.INVALID_CODE]


@pytest.mark.parametrize("row", [row for row in ReturnCode if row.kind not in (Kind.OK, Kind.VERDICT)])
def test_an_answer_shows_its_row_and_what_to_do(form: CallForm, row: ReturnCode) -> None:
    send(form, f"199000{row:d}")
    for what in (str(int(row)), row.message, row.meaning, str(row.http_status), row.kind.lower(), "ms", "curl"):
        assert what in shown(form), what


@pytest.mark.parametrize("mobile", ["", "1", "12800138000", "138001380001", "code"])
def test_what_is_no_mobile_is_refused_beside_the_field(form: CallForm, mobile: str) -> None:
    send(form, mobile)
    assert "11 digits" in form.mobile.error
    assert not form.records
    type_into(form.mobile, "13800138000")
    assert form.mobile.error == ""


def test_what_is_no_template_and_what_is_no_code_is_refused_beside_its_field(form: CallForm) -> None:
    type_into(form.mobile, "13800138000")
    type_into(form.template, "first")
    press(form.send)
    press(form.verify)
    assert form.template.error
    assert form.msg_id.error
    assert form.code.error
    assert not form.records


def test_nothing_that_is_kept_holds_a_whole_mobile_a_code_or_the_secret(form: CallForm, sandbox: Running) -> None:
    mobile = next(sandbox.mobiles)
    send(form, mobile)
    press(form.peek)
    form.wait()
    code = form.code.value
    press(form.verify)
    form.wait()
    kept = state() + repr(form) + repr(form.attempts) + repr(form.records)
    assert mobile[:7] in kept
    for secret in (mobile, code, sandbox.master_secret):
        assert secret not in kept


def test_a_real_target_is_called_only_once_its_price_was_confirmed(shared: Sandbox, configured: Running) -> None:
    form, mobile = CallForm(shared), next(configured.mobiles)
    form.chooser.choice.value = CONFIGURED
    send(form, mobile)
    assert not form.records
    assert "0.045 CNY" in form._question.html
    assert mobile not in state()
    assert form.send.disabled
    press(form.cancel)
    assert not form.records
    send(form, mobile)
    press(form.confirm)
    form.wait()
    assert codes(form) == [ReturnCode.SUCCESS]


def test_another_target_confirms_nothing_of_the_one_before(shared: Sandbox, configured: Running) -> None:
    form = CallForm(shared)
    form.chooser.choice.value = CONFIGURED
    send(form, next(configured.mobiles))
    form.chooser.choice.value = ANOTHER
    form.send_pending()
    form.wait()
    assert not form.records


def test_a_typed_target_is_called_and_its_secret_forgotten_by_its_field(form: CallForm, sandbox: Running) -> None:
    form.chooser.choice.value = ANOTHER
    for field, text in ((form.chooser.base_url, sandbox.url), (form.chooser.app_key, sandbox.app_key)):
        type_into(field, text)
    type_into(form.chooser.secret, sandbox.master_secret)
    press(form.chooser.use)
    assert form.chooser.secret.value == ""
    send(form, next(sandbox.mobiles))
    press(form.confirm)
    form.wait()
    assert codes(form) == [ReturnCode.SUCCESS]
    assert sandbox.master_secret not in state() + repr(form.chooser.target())


def test_a_typed_target_that_cannot_be_one_is_refused_beside_the_fields(form: CallForm) -> None:
    form.chooser.choice.value = ANOTHER
    type_into(form.chooser.base_url, "example")
    type_into(form.chooser.app_key, "a:b")
    press(form.chooser.use)
    assert form.chooser.base_url.error
    assert form.chooser.app_key.error
    assert form.chooser.secret.error
    send(form, "13800138000")
    assert "no target: enter the base URL" in shown(form)


def test_a_target_that_does_not_answer_is_explained(form: CallForm) -> None:
    form.chooser.choice.value = ANOTHER
    for field, text in (("base_url", "http://127.0.0.1:9"), ("app_key", "key"), ("secret", "secret")):
        type_into(getattr(form.chooser, field), text)
    press(form.chooser.use)
    send(form, "13800138000")
    press(form.confirm)
    form.wait()
    assert "No response" in shown(form)
    assert "calling again is safe" in shown(form)


def test_the_host_of_a_real_target_stands_out(shared: Sandbox, configured: Running) -> None:
    form = CallForm(shared)
    assert "Sandbox" in form.chooser._status.html
    form.chooser.choice.value = CONFIGURED
    assert configured.url.removeprefix("http://") in form.chooser._status.html


def test_settings_that_cannot_be_used_leave_the_form_usable(
    shared: Sandbox, sandbox: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMSCODE_BASE_URL", "nonsense")
    form = CallForm(shared)
    assert "SMSCODE_BASE_URL" in form.chooser._status.html
    send(form, next(sandbox.mobiles))
    assert codes(form) == [ReturnCode.SUCCESS]


def test_nothing_can_be_pressed_while_a_call_is_under_way(form: CallForm, sandbox: Running) -> None:
    seen: list[bool] = []
    form._progress.observe(lambda _: seen.append(form.send.disabled and form.verify.disabled), "html")
    send(form, next(sandbox.mobiles))
    assert seen == [True, False]


def test_every_control_has_a_label(form: CallForm) -> None:
    chooser = form.chooser
    fields = [form.mobile, form.template, form.msg_id, form.code, chooser.base_url, chooser.app_key, chooser.secret]
    assert all(field.label for field in fields)
    assert all(it.description for it in (chooser.choice, form.send, form.verify, form.peek, form.confirm, form.cancel))


def test_a_form_without_a_sandbox_starts_its_own_and_ends_it() -> None:
    form = CallForm()
    send(form, "13800138000")
    assert codes(form) == [ReturnCode.SUCCESS]
    assert form.chooser.sandbox.is_running
    form.close()
    assert not form.chooser.sandbox.is_running


def test_markup_in_what_is_typed_is_text(form: CallForm, sandbox: Running) -> None:
    send(form, next(sandbox.mobiles))
    type_into(form.msg_id, "<b>x</b>")
    type_into(form.code, "<i>1</i>")
    press(form.verify)
    form.wait()
    assert "<b>x" not in form._history.html + shown(form)
