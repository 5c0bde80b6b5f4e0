"""Find the rate limits of an API by sending, and show the rules."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import ipywidgets as widgets

from toolkit import number_format
from toolkit.api.durations import EXAMPLES, parse_duration
from toolkit.api.errors import InputError
from toolkit.client import Client
from toolkit.forms.inputs.target_chooser import MISSING_TARGET, TargetChooser, parse_speed
from toolkit.forms.parts.background_task import BackgroundTask
from toolkit.forms.parts.shared_sandbox import Sandbox
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import actions, card, columns, form, mimebundle
from toolkit.forms.widgets.templates import render
from toolkit.forms.widgets.text_field import TextField
from toolkit.load_test.launch.sandbox_process import sandbox as running_sandbox
from toolkit.probe.findings import Findings, conclude
from toolkit.probe.permission import permit
from toolkit.probe.planner import Planner
from toolkit.probe.prober import ProbeProgress, TargetClock, run_probe
from toolkit.settings import Target


class ProbeForm:
    """Finds the rate limits of an API. Display it in a notebook. ``findings`` has those of the last probe.

    A sandbox is started for each probe. A real API is probed after the user confirmed it, with a cap and with mobiles
    from a file. A probe ends with its time, with its messages and with ``stop``.
    """

    def __init__(self, sandbox: Sandbox | None = None) -> None:
        self.findings: Findings | None = None
        self._is_asked = False
        self._stopped = threading.Event()
        self.chooser = TargetChooser(sandbox or Sandbox(), self.drop_pending)
        self.messages = TextField("Max messages", "12", kind="number", help="Accepted sends. Refused ones are free.")
        self.duration = TextField("Max duration", "2m", help=f"{EXAMPLES[0].upper()}{EXAMPLES[1:]}.")
        self.speed = TextField("Speed", "60", kind="number", help="How many times faster the sandbox's clock runs.")
        self.mobiles = TextField("Mobiles", "", hint="own-phones.txt", help="File with mobiles that may be used.")
        self.start = widgets.Button(description="Find limits", button_style="primary")
        self.stop = widgets.Button(description="Stop")
        self.confirm = widgets.Button(description="Start probe", button_style="danger")
        self.cancel = widgets.Button(description="Cancel")
        self._question, self._progress = HtmlPanel(live=True), HtmlPanel(live=True)
        self._confirmation = widgets.VBox([self._question, actions(self.confirm, self.cancel)]).add_class("sms-asked")
        self._result = HtmlPanel(render("probe", findings=None), live=True)
        self._work = BackgroundTask(self._show_busy, self._show_problem)
        self.start.on_click(lambda _: self.ask_to_start())
        self.stop.on_click(lambda _: self.stop_probe())
        self.confirm.on_click(lambda _: self.start_pending())
        self.cancel.on_click(lambda _: self.drop_pending())
        self.widget = self._lay_out()
        self._enable()

    def ask_to_start(self) -> None:
        """Check the fields, and start; on a real API only after the user confirmed the cost."""
        if self._work.is_busy:
            return
        fields = [self.messages.read(_read_messages), self.duration.read(parse_duration)]
        fields.append(self.mobiles.read(_read_file) if self.chooser.is_real else self.speed.read(parse_speed))
        if None in fields:
            return
        if self.chooser.is_real and self.chooser.chosen is None:
            self._show_problem(MISSING_TARGET)
        elif self.chooser.is_real and self.chooser.chosen:
            url = self.chooser.chosen.base_url
            self._question.html = render("probe_question", url=url, cap=self.messages.value, file=self.mobiles.value)
            self._is_asked = True
            self._enable()
        else:
            self._begin()

    def start_pending(self) -> None:
        """Start the probe that waits for confirmation."""
        if self._is_asked:
            self._is_asked = False
            self._begin()

    def drop_pending(self) -> None:
        """Discard the probe that waits for confirmation."""
        self._is_asked = False
        self._enable()

    def stop_probe(self) -> None:
        """End the probe early; it shows what it found."""
        self._stopped.set()
        self.stop.disabled = True

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until no probe is active."""
        self._work.wait(timeout_s)

    def close(self) -> None:
        """End the probe."""
        self._stopped.set()
        self._work.wait()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return mimebundle(self, **options)

    def __repr__(self) -> str:
        return "ProbeForm()"

    def _lay_out(self) -> Any:
        fields = [columns(self.messages, self.duration), columns(self.speed, self.mobiles)]
        options = card("Probe", *fields, actions(self.start, self.stop), self._confirmation)
        left = widgets.VBox([card("Target", self.chooser.widget), options])
        return form(columns(left, card("Rate limits", self._progress, self._result)), name="sms-probe")

    def _begin(self) -> None:
        self._stopped.clear()
        max_messages, duration_s = int(self.messages.value), parse_duration(self.duration.value)
        speed = 1.0 if self.chooser.is_real else float(self.speed.value)
        real, mobiles = self.chooser.chosen, f"file:{self.mobiles.value}" if self.chooser.is_real else None
        self._work.begin(lambda: self._probe(real, mobiles, max_messages, duration_s, speed))

    # These methods run in a thread.

    def _probe(
        self, real: Target | None, mobiles: str | None, max_messages: int, duration_s: float, speed: float
    ) -> None:
        with ExitStack() as stack:
            target = real or stack.enter_context(running_sandbox("--speed", f"{speed:g}"))
            allowed = [urlsplit(target.base_url).hostname or ""]
            plan = permit(
                target, mobiles=mobiles, max_messages=max_messages, speed=speed, allowed=allowed, pays=bool(real)
            )
            clock = TargetClock(speed)
            until_s = clock.started_s + duration_s * speed
            planner = Planner(len(plan.mobiles), plan.max_messages, until_s, seeks_app=plan.seeks_app)
            client = stack.enter_context(Client(target.base_url, target.app_key, target.master_secret))
            send = partial(client.send_code, temp_id=target.temp_id)
            run_probe(planner, plan.mobiles, send, clock, self._show, self._stopped.is_set)
            self.findings = conclude(planner, clock.now() - clock.started_s)
        self._result.html = _result_html(self.findings)

    def _show(self, progress: ProbeProgress) -> None:
        text = (
            f"{number_format.duration(progress.elapsed_s)} of the target's time:"
            f" {number_format.plural(progress.messages, 'message')}, {progress.refused:,} refused sends,"
            f" {number_format.plural(len(progress.found), 'rule')}; {progress.next.reason}"
        )
        self._progress.html = render("busy", text=text)

    def _show_busy(self, is_busy: bool) -> None:
        self._progress.html = render("busy", text="Starting …") if is_busy else ""
        self._enable()

    def _show_problem(self, problem: str) -> None:
        self._result.html = render("problem", text=problem)

    def _enable(self) -> None:
        is_asked = self._is_asked and self.chooser.is_real
        self._confirmation.layout.display = "" if is_asked else "none"
        self.speed.layout.display = "none" if self.chooser.is_real else ""
        self.mobiles.layout.display = "" if self.chooser.is_real else "none"
        self.start.disabled = self._work.is_busy or is_asked
        self.stop.disabled = not self._work.is_busy
        self.chooser.enable(not self._work.is_busy)
        for field in (self.messages, self.duration, self.speed, self.mobiles):
            field.disabled = self._work.is_busy


def _result_html(findings: Findings) -> str:
    rows = [
        {
            "says": str(it),
            "window": f"{it.window_low_s:,.1f} to {it.window_high_s:,.1f} s" if it.window_high_s else "not known",
            "confidence": number_format.share(it.confidence) if it.window_s else number_format.MISSING,
        }
        for it in findings.rules
    ]
    cost = (
        f"{number_format.plural(findings.messages, 'message')}, {findings.refused:,} refused sends,"
        f" {number_format.duration(findings.elapsed_s)} of the target's time"
    )
    return render("probe", findings=findings, rows=rows, cost=cost)


def _read_messages(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) <= 1_000_000):
        raise InputError("expected a number of messages above 0, e.g. 12")
    return int(text)


def _read_file(text: str) -> str:
    if not text:
        raise InputError("enter a file with mobiles that may be used, one per line, e.g. own-phones.txt")
    return text
