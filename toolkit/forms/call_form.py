"""Send and verify a code by hand, and explain each response."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from toolkit.api.errors import InputError
from toolkit.api.wire import parse_mobile, parse_whole, verify_path
from toolkit.forms.inputs.target_chooser import MISSING_TARGET, TargetChooser
from toolkit.forms.parts.background_task import BackgroundTask
from toolkit.forms.parts.call_attempt import Attempt, read_sent_code, send, verify
from toolkit.forms.parts.call_result import history_html, response_html
from toolkit.forms.parts.shared_sandbox import Sandbox
from toolkit.forms.widgets.displayed import Displayed
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import actions, card, columns, form
from toolkit.forms.widgets.templates import render
from toolkit.forms.widgets.text_field import TextField
from toolkit.masking import mask_text
from toolkit.records.call_record import CallRecord
from toolkit.settings import load_price

_MAX_HISTORY = 50
_DEFAULT_TEMPLATE = "1"


class CallForm(Displayed):
    """Sends a code and verifies it. Display it in a notebook. ``records`` has the calls so far, for ``analysis``.

    ``sandbox`` may be shared with other forms. Without it, the form starts its own on the first call, and ends it with
    ``close`` or with the process.
    """

    def __init__(self, sandbox: Sandbox | None = None) -> None:
        self._own = Sandbox() if sandbox is None else None
        self.attempts: list[Attempt] = []
        self._pending: tuple[str, int] | None = None
        self.chooser = TargetChooser(sandbox or self._own or Sandbox(), self._reset)
        self.mobile = TextField("Mobile", hint="13800138000", help="11 digits, with or without +86.")
        self.template = TextField("Template", _DEFAULT_TEMPLATE, kind="number", help="The template's temp_id.")
        self.send = widgets.Button(description="Send code", button_style="primary")
        self.confirm = widgets.Button(description="Send message", button_style="danger")
        self.cancel = widgets.Button(description="Cancel")
        self.msg_id = TextField("Message ID", hint="msg_id of a send", help="Filled in by the latest send.")
        self.code = TextField("Code", hint="123456", help="The digits in the SMS.")
        self.peek = widgets.Button(description="Read code", tooltip="Read the code that the sandbox sent")
        self.verify = widgets.Button(description="Verify", button_style="primary")
        self._question, self._progress = HtmlPanel(live=True), HtmlPanel(live=True)
        self._confirmation = widgets.VBox([self._question, actions(self.confirm, self.cancel)]).add_class(
            "sms-confirmation"
        )
        self._response, self._history = HtmlPanel(response_html(None), live=True), HtmlPanel(history_html([]))
        self._work = BackgroundTask(self._show_busy, self._show_problem)
        self._connect()
        self.widget = self._lay_out()
        self._enable()

    @property
    def records(self) -> list[CallRecord]:
        """The records of the calls so far."""
        return [attempt.record for attempt in self.attempts]

    def ask_to_send(self) -> None:
        """Check the fields, and send; to a real API only after the user confirmed the cost."""
        mobile, temp_id = self.mobile.read(_read_mobile), self.template.read(_read_template)
        if mobile is None or temp_id is None or self._work.is_busy:
            return
        self._pending = (mobile, temp_id)
        target = self.chooser.chosen
        if not self.chooser.is_real:
            self.send_pending()
        elif target is None:
            self._show_problem(MISSING_TARGET)
        else:
            price = load_price()
            cost = f" for {price.per_send:f} {price.currency}" if price else ""
            self.confirm.description = f"Send message{cost}"
            self._question.html = render("question", mobile=mask_text(mobile), url=target.base_url, price=price)
            self._enable()

    def send_pending(self) -> None:
        """Send the message that waits for confirmation."""
        pending, self._pending = self._pending, None
        self._enable()
        if pending:
            self._work.begin(lambda: self._keep(send(self.chooser.target(), *pending)))

    def drop_pending(self) -> None:
        """Discard the message that waits for confirmation."""
        self._pending = None
        self._enable()

    def verify_typed(self) -> None:
        """Check the fields, and verify the code."""
        msg_id, code = self.msg_id.read(_read_msg_id), self.code.read(_read_code)
        if msg_id is not None and code is not None:
            self._work.begin(lambda: self._keep(verify(self.chooser.target(), msg_id, code)))

    def read_code(self) -> None:
        """Fill in the code that the sandbox sent."""
        msg_id = self.msg_id.read(_read_msg_id)
        if msg_id is not None:
            target = self.chooser.target
            self._work.begin(lambda: setattr(self.code, "value", read_sent_code(target(), msg_id)))

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until no call is in flight."""
        self._work.wait(timeout_s)

    def close(self) -> None:
        """Stop the form's own sandbox."""
        self.wait()
        if self._own:
            self._own.close()

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
                card("Send", columns(self.mobile, self.template), actions(self.send), self._confirmation),
                card("Verify", self.msg_id, self.code, actions(self.verify, self.peek)),
            ]
        )
        right = widgets.VBox([card("Response", self._progress, self._response)])
        return form(columns(left, right), card("History", self._history), name="sms-calls")

    def _keep(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        self._response.html = response_html(attempt)
        self._history.html = history_html(self.attempts[-_MAX_HISTORY:])
        if attempt.record.endpoint == "send" and attempt.msg_id:
            self.msg_id.value, self.code.value = attempt.msg_id, ""
        self.chooser.show()

    def _reset(self) -> None:
        """Clear the values that belong to the previous target."""
        self.msg_id.value = self.code.value = ""
        self.drop_pending()

    def _show_busy(self, is_busy: bool) -> None:
        self._enable()
        starts = not self.chooser.is_real and not self.chooser.sandbox.is_running
        text = "Starting a sandbox and calling it …" if starts else "Calling …"
        self._progress.html = render("busy", text=text) if is_busy else ""

    def _show_problem(self, problem: str) -> None:
        self._response.html = render("problem", text=problem)

    def _enable(self) -> None:
        """Enable the buttons that can be used, and show the question while a message waits for confirmation."""
        is_pending = self._pending is not None and self.chooser.is_real
        self._confirmation.layout.display = "" if is_pending else "none"
        self.send.disabled = self._work.is_busy or is_pending
        self.verify.disabled = self._work.is_busy
        self.chooser.enable(not self._work.is_busy)
        self.peek.disabled = self._work.is_busy or not self.chooser.may_have_codes


def _read_mobile(text: str) -> str:
    if parse_mobile(text) is None:
        raise InputError("expected a mainland mobile of 11 digits, e.g. 13800138000, with or without +86")
    return text


def _read_template(text: str) -> int:
    temp_id = parse_whole(text)
    if temp_id is None:
        raise InputError("expected the number of a template, e.g. 1")
    return temp_id


def _read_msg_id(text: str) -> str:
    if not text:
        raise InputError("send a code first, or enter the msg_id of an earlier send")
    verify_path(text)
    return text


def _read_code(text: str) -> str:
    if not text:
        raise InputError("enter the code")
    return text
