"""Find the rate limits of an API by sending, and show the rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ipywidgets as widgets

from toolkit import number_format
from toolkit.api.durations import EXAMPLES, parse_duration
from toolkit.api.errors import InputError, RunError
from toolkit.forms.inputs.run_controls import Look
from toolkit.forms.inputs.run_form import RunForm
from toolkit.forms.inputs.target_chooser import TargetChooser, parse_speed
from toolkit.forms.parts.jupyter_server import find_server
from toolkit.forms.parts.run_outcomes import outcomes_html
from toolkit.forms.parts.run_verdict import verdict_of
from toolkit.forms.parts.runs_folder import RunEntry, read_summary
from toolkit.forms.parts.shared_sandbox import Sandbox
from toolkit.forms.widgets.layout import actions, card, columns, form
from toolkit.forms.widgets.templates import render
from toolkit.forms.widgets.text_field import TextField
from toolkit.probe.probe_run import Probe
from toolkit.runs.live_run import LiveRun, RunKind, read_progress
from toolkit.runs.run_folder import Cause
from toolkit.settings import Target


class ProbeForm(RunForm):
    """Finds the rate limits of an API. Display it in a notebook.

    ``results`` has the content of each probe's probe.json, whose folder is in ``out``. A sandbox is started for each
    probe. A real API is probed after the user confirmed it, with a cap and with mobiles from a file. A probe also ends
    when its messages are used up.
    """

    def __init__(self, sandbox: Sandbox | None = None, out: str | Path = "runs") -> None:
        self.results: list[dict[str, Any]] = []
        self.chooser = TargetChooser(sandbox or Sandbox(), self.drop_pending)
        self.messages = TextField("Max messages", "12", kind="number", help="Accepted sends. Refused ones are free.")
        self.duration = TextField("Max duration", "2m", help=f"{EXAMPLES[0].upper()}{EXAMPLES[1:]}.")
        self.speed = TextField("Speed", "60", kind="number", help="How many times faster the sandbox's clock runs.")
        self.mobiles = TextField("Mobiles", "", hint="own-phones.txt", help="File with mobiles that may be used.")
        super().__init__(out, RunKind.PROBE, "Find limits", render("probe", found=None), self.chooser)

    def __repr__(self) -> str:
        return f"ProbeForm({len(self.results)} probes)"

    def _lay_out(self) -> Any:
        it = self.controls
        fields = [columns(self.messages, self.duration), columns(self.speed, self.mobiles), it.presence]
        options = card("Probe", *fields, actions(self.start, self.stop), it.confirmation)
        left = widgets.VBox([card("Target", self.chooser.widget), options])
        right = card("Rate limits", it.progress, self._result)
        return form(columns(left, right), card("Probes", self._history, it.guard), name="sms-probe")

    def _read(self, real: Target | None) -> Probe | None:
        """Return the probe, or None if a field is invalid; the field then shows the error."""
        is_real = self.chooser.is_real
        messages, duration_s = self.messages.read(_read_messages), self.duration.read(parse_duration)
        mobiles = self.mobiles.read(_read_file) if is_real else ""
        speed = 1.0 if is_real else self.speed.read(parse_speed)
        if messages is None or duration_s is None or mobiles is None or speed is None:
            return None
        if not real:
            return Probe(duration_s, max_messages=messages, speed=speed)
        allowed = (urlsplit(real.base_url).hostname or "",)
        return Probe(duration_s, f"file:{mobiles}", messages, allowed=allowed, pays=True)

    def _question(self, work: Probe, target: Target) -> str:
        cap = number_format.plural(work.max_messages or 0, "message")
        return render("probe_question", url=target.base_url, cap=cap, file=self.mobiles.value)

    # These methods run in a thread.

    def _follow(self, folder: Path, until_end: Callable[[Look], None]) -> None:
        def look(_: LiveRun, goes_on: bool) -> None:
            if goes_on and (progress := read_progress(folder)):
                self.controls.show_progress(progress.text)

        until_end(look)
        found = read_summary(folder, RunKind.PROBE)
        if found.get("ended", Cause.INCOMPLETE) == Cause.INCOMPLETE:
            last = read_progress(folder)
            state = f"; its last state: {last.text}" if last else ""
            raise RunError(f"the probe {folder.name} failed or was killed, so it found no rule{state}")
        self.results.append(found)
        self._result.html = _result_html(RunEntry(folder, None, found, RunKind.PROBE))

    def _show_list(self, probes: Sequence[RunEntry]) -> None:
        self._history.html = outcomes_html(probes, find_server())

    def _enable(self, is_enabled: bool) -> None:
        self.speed.layout.display = "none" if self.chooser.is_real else ""
        self.mobiles.layout.display = "" if self.chooser.is_real else "none"
        for field in (self.messages, self.duration, self.speed, self.mobiles):
            field.disabled = not is_enabled


def _result_html(probe: RunEntry) -> str:
    found: Mapping[str, Any] = probe.summary
    rows = [
        {
            "description": it["description"],
            "window": f"{it['window_low_s']:,.1f} to {it['window_high_s']:,.1f} s"
            if it["window_high_s"]
            else "not known",
            "confidence": number_format.share(it["confidence"]) if it["window_s"] else number_format.MISSING,
        }
        for it in found["rules"]
    ]
    cost = (
        f"{number_format.plural(found['messages'], 'message')}, {found['refused']:,} refused sends,"
        f" {number_format.duration(found['elapsed_s'])} of the target's time"
    )
    return render("probe", found=found, rows=rows, cost=cost, verdict=verdict_of(probe))


def _read_messages(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) <= 1_000_000):
        raise InputError("expected a number of messages from 1 to 1,000,000, e.g. 12")
    return int(text)


def _read_file(text: str) -> str:
    if not text:
        raise InputError("enter a file with mobiles that may be used, one per line, e.g. own-phones.txt")
    return text
