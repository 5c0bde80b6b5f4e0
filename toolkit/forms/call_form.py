"""CallForm: send a code and verify it by hand, and see what each answer means."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from toolkit.api.errors import InputError
from toolkit.api.wire import parse_mobile, parse_whole, verify_path
from toolkit.forms.inputs.target_chooser import TargetChooser
from toolkit.forms.parts.background_task import BackgroundTask
from toolkit.forms.parts.call_attempt import Attempt, peek, send, verify
from toolkit.forms.parts.call_result import answer_html, history_html
from toolkit.forms.parts.shared_sandbox import Sandbox
from toolkit.forms.parts.templates import render
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import actions, card, columns, form, shown
from toolkit.forms.widgets.text_field import TextField
from toolkit.masking import mask_text
from toolkit.records.call_record import CallRecord
from toolkit.settings import load_price

_MOST_SHOWN = 50
_DEFAULT_TEMPLATE = "1"


class CallForm:
    """Sends a code and verifies it. Display it in a notebook; ``records`` are the calls so far, for ``analysis``.

    ``sandbox``: shared with other forms; without one, this form has its own, which ends with the process or ``close``.
    """

    def __init__(self, sandbox: Sandbox | None = None) -> None:
        self._own = Sandbox() if sandbox is None else None
        self.attempts: list[Attempt] = []
        self._pending: tuple[str, int] | None = None
        self.chooser = TargetChooser(sandbox or self._own or Sandbox(), self._forget)
        self.mobile = TextField("Mobile", hint="13800138000", help="11 digits; +86 may stand before them.")
        self.template = TextField("Template", _DEFAULT_TEMPLATE, kind="number", help="Its number, temp_id.")
        self.send = widgets.Button(description="Send the code", button_style="primary")
        self.confirm = widgets.Button(description="Send it", button_style="danger")
        self.cancel = widgets.Button(description="Don't send")
        self.msg_id = TextField("Message", hint="msg_id of a send", help="The latest send fills it in.")
        self.code = TextField("Code", hint="123456", help="The digits in the SMS.")
        self.peek = widgets.Button(description="Read the code", tooltip="A sandbox tells the code that it sent")
        self.verify = widgets.Button(description="Verify", button_style="primary")
        self._question, self._progress = HtmlPanel(live=True), HtmlPanel(live=True)
        self._asked = widgets.VBox([self._question, actions(self.confirm, self.cancel)]).add_class("sms-asked")
        self._answer, self._history = HtmlPanel(answer_html(None), live=True), HtmlPanel(history_html([]))
        self._work = BackgroundTask(self._show_busy, self._show_problem)
        self._connect()
        self.widget = self._lay_out()
        self._enable()

    @property
    def records(self) -> list[CallRecord]:
        """The calls so far."""
        return [attempt.record for attempt in self.attempts]

    def ask_to_send(self) -> None:
        """Check what was typed, and send it; to a real API only once the price was confirmed."""
        mobile, temp_id = self.mobile.read(_read_mobile), self.template.read(_read_template)
        if mobile is None or temp_id is None or self._work.is_busy:
            return
        self._pending = (mobile, temp_id)
        if self.chooser.is_real:
            self._ask(mobile)
        else:
            self.send_pending()

    def send_pending(self) -> None:
        """Send what was asked for, once."""
        pending, self._pending = self._pending, None
        self._enable()
        if pending:
            self._work.begin(lambda: self._keep(send(self.chooser.target(), *pending)))

    def drop_pending(self) -> None:
        """Don't send what was asked for."""
        self._pending = None
        self._enable()

    def verify_typed(self) -> None:
        """Verify the typed code."""
        msg_id, code = self.msg_id.read(_read_msg_id), self.code.read(_read_code)
        if msg_id is not None and code is not None:
            self._work.begin(lambda: self._keep(verify(self.chooser.target(), msg_id, code)))

    def read_code(self) -> None:
        """Put the code that the sandbox sent into its field."""
        msg_id = self.msg_id.read(_read_msg_id)
        if msg_id is not None:
            self._work.begin(lambda: self._fill_in(msg_id))

    def wait(self, timeout_s: float | None = None) -> None:
        """Return when no call is under way."""
        self._work.wait(timeout_s)

    def close(self) -> None:
        """End the form's own sandbox."""
        self.wait()
        if self._own:
            self._own.close()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return shown(self, **options)

    def __repr__(self) -> str:
        return f"CallForm({len(self.attempts)} calls)"

    def _connect(self) -> None:
        self.send.on_click(lambda _: self.ask_to_send())
        self.mobile.on_enter(self.ask_to_send)
        self.confirm.on_click(lambda _: self.send_pending())
        self.cancel.on_click(lambda _: self.drop_pending())
        self.peek.on_click(lambda _: self.read_code())
        self.verify.on_click(lambda _: self.verify_typed())
        self.code.on_enter(self.verify_typed)

    def _lay_out(self) -> Any:
        left = widgets.VBox(
            [
                card("Target", self.chooser.widget),
                card("Send", columns(self.mobile, self.template), actions(self.send), self._asked),
                card("Verify", self.msg_id, self.code, actions(self.verify, self.peek)),
            ]
        )
        right = widgets.VBox([card("Answer", self._progress, self._answer)])
        return form(columns(left, right), card("History", self._history), name="sms-calls")

    def _ask(self, mobile: str) -> None:
        price, target = load_price(), self.chooser.chosen
        if target is None:
            return self._show_problem("say first which API: its base URL, app key and master secret")
        self.confirm.description = f"Send it for {price.per_send:f} {price.currency}" if price else "Send it"
        self._question.html = render("question", mobile=mask_text(mobile), url=target.base_url, price=price)
        return self._enable()

    def _keep(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        self._answer.html = answer_html(attempt)
        self._history.html = history_html(self.attempts[-_MOST_SHOWN:])
        if attempt.record.endpoint == "send" and attempt.msg_id:
            self.msg_id.value, self.code.value = attempt.msg_id, ""
        self.chooser.show()

    def _fill_in(self, msg_id: str) -> None:
        self.code.value = peek(self.chooser.target(), msg_id)

    def _forget(self) -> None:
        """Forget what belongs to the target before."""
        self.msg_id.value = self.code.value = ""
        self.drop_pending()

    def _show_busy(self, is_busy: bool) -> None:
        self._enable()
        self._progress.html = render("busy", text=self._doing()) if is_busy else ""

    def _doing(self) -> str:
        starts = not self.chooser.is_real and not self.chooser.sandbox.runs
        return "Starting a sandbox and calling it …" if starts else "Calling …"

    def _show_problem(self, problem: str) -> None:
        self._answer.html = render("problem", text=problem)

    def _enable(self) -> None:
        """Let be pressed what can be, and show the question while it waits for its answer."""
        is_asked = self._pending is not None and self.chooser.is_real
        self._asked.layout.display = "" if is_asked else "none"
        self.send.disabled = self._work.is_busy or is_asked
        self.verify.disabled = self._work.is_busy
        self.chooser.enable(not self._work.is_busy)
        self.peek.disabled = self._work.is_busy or not self.chooser.may_tell_codes


def _read_mobile(text: str) -> str:
    if parse_mobile(text) is None:
        raise InputError("not a mainland mobile: 11 digits, such as 13800138000, with or without +86")
    return text


def _read_template(text: str) -> int:
    temp_id = parse_whole(text)
    if temp_id is None:
        raise InputError("a template's number is whole, such as 1")
    return temp_id


def _read_msg_id(text: str) -> str:
    if not text:
        raise InputError("send a code first, or give the msg_id of a send")
    verify_path(text)
    return text


def _read_code(text: str) -> str:
    if not text:
        raise InputError("type the code")
    return text
