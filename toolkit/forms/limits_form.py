"""Test rate limits on a sandbox or infer them from a log, and show the result as a table and a timeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from toolkit.analysis import Calls, limits, read
from toolkit.api.durations import EXAMPLES, parse_duration
from toolkit.api.errors import InputError
from toolkit.api.rate_rules import Rule, parse_rules
from toolkit.browser_charts import Axis, BrowserChart
from toolkit.forms.inputs.run_controls import Look
from toolkit.forms.inputs.run_form import RunForm
from toolkit.forms.inputs.target_chooser import parse_speed
from toolkit.forms.parts import send_timeline
from toolkit.forms.parts.inferred_rules import inferred_rows, inferred_rules
from toolkit.forms.parts.jupyter_server import find_server
from toolkit.forms.parts.load_result import FinishedRun, read_finished, result_html, runs_html
from toolkit.forms.parts.runs_folder import RunEntry
from toolkit.forms.widgets.chart import Chart
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import actions, card, columns, form
from toolkit.forms.widgets.templates import render
from toolkit.forms.widgets.text_field import TextField
from toolkit.load_and_report import LoadTest
from toolkit.load_test.plan.options import LoadOptions
from toolkit.report.inputs import find_speed
from toolkit.runs.live_run import LiveRun, RunKind
from toolkit.runs.progress import Progress, ProgressReader
from toolkit.runs.run_folder import read_each_settings, read_settings
from toolkit.settings import Target

SCENARIO = "frequency_limits"
TEST, INFER = "test", "infer"
_USERS = 8


class LimitsForm(RunForm):
    """Tests rate limits on a sandbox that enforces them, or infers the rate limits of a log.

    Display it in a notebook. ``runs`` has the runs that it has shown, each in a folder of ``out``.
    """

    def __init__(self, out: str | Path = "runs") -> None:
        self.runs: list[FinishedRun] = []
        modes = [("Test expected rules on a sandbox", TEST), ("Infer rules from a log", INFER)]
        self.mode = widgets.Dropdown(description="Mode", options=modes)
        self.rules = TextField("Rules", "1/60s 5/3600s", help="Separated by spaces. 1/60s allows one send in 60 s.")
        self.speed = TextField("Speed", "60", kind="number", help="How many times faster the sandbox's clock runs.")
        self.duration = TextField("Duration", "12s", help=f"{EXAMPLES[0].upper()}{EXAMPLES[1:]}.")
        self.log = TextField("Log", "", hint="runs/20261123T090434Z", help="A run's folder, or files of calls.")
        self.chart, self._caption = Chart(), HtmlPanel()
        self.mode.observe(lambda _: self.controls.enable(), "value")
        super().__init__(out, RunKind.LOAD_TEST, "Test rules", render("no_rules_tested"))

    def begin(self) -> None:
        """Check the fields, and start in the chosen mode."""
        if self.mode.value == TEST:
            super().begin()
        elif log := self.log.read(_read_log):
            self.controls.work.begin(lambda: self._infer(log))

    def __repr__(self) -> str:
        return "LimitsForm()"

    def _lay_out(self) -> Any:
        self._rule_fields = widgets.VBox([self.rules, columns(self.speed, self.duration)])
        options = card("Rules", self.mode, self._rule_fields, self.log, actions(self.start, self.stop))
        found = card("Result", self.controls.progress, self._result)
        picture = card("Sends over time", self._caption, self.chart)
        return form(
            columns(options, found), picture, card("Runs", self._history, self.controls.guard), name="sms-limits"
        )

    def _is_own(self, run: RunEntry) -> bool:
        return run.scenario == SCENARIO

    def _read(self, real: Target | None) -> LoadTest | None:
        rules, speed = self.rules.read(_read_rules), self.speed.read(parse_speed)
        duration_s = self.duration.read(parse_duration)
        if rules is None or speed is None or duration_s is None:
            return None
        texts = tuple(map(str, rules))
        return LoadTest(SCENARIO, LoadOptions(users=_USERS, duration_s=duration_s, rules=texts, speed=speed))

    # These methods run in a thread.

    def _follow(self, folder: Path, until_end: Callable[[Look], None]) -> None:
        self._caption.html, self.chart.spec = "", {}
        with closing(ProgressReader(folder)) as reader:
            until_end(lambda run, goes_on: self._show(run, reader.read(time.time_ns() if goes_on else None)))
        run = read_finished(folder)
        self.runs.append(run)
        self._result.html = result_html(run)
        rules: Any = read_settings(folder).get("rules") or ()
        self._draw(read(folder), parse_rules(" ".join(rules)), find_speed([read_settings(folder)]))

    def _show(self, run: LiveRun, progress: Progress) -> None:
        planned_s = run.run_time_s or progress.elapsed_s
        text = f"Sending at the boundaries of each window: {min(progress.elapsed_s, planned_s):.0f} of {planned_s:g} s"
        self.controls.show_progress(f"{text}, {progress.calls:,} sends")

    def _show_list(self, runs: Sequence[RunEntry]) -> None:
        self._history.html = runs_html(runs, find_server())

    def _infer(self, log: str) -> None:
        calls = read(log)
        speed = find_speed(read_each_settings(Path(log)))
        found = limits(calls, speed=speed)
        self._result.html = render("inferred", rows=list(inferred_rows(found)))
        self._draw(calls, inferred_rules(found), speed)

    def _draw(self, calls: Calls, rules: tuple[Rule, ...], speed: float) -> None:
        drawn = send_timeline.lanes(calls, rules, speed)
        end_s = max((at for it in drawn for at in (*it.accepted, *it.refused)), default=1.0) + 0.5
        description = (
            f"Accepted and refused sends to {len(drawn)} mobiles over {end_s:.0f} s, and the times of full windows"
        )
        self.chart.draw(BrowserChart(send_timeline.panels(drawn), Axis("seconds", -0.3, end_s), description))
        text = f"{description}. The service should refuse a send exactly while a window is full."
        self._caption.html = render("note", text=text)

    def _enable(self, is_enabled: bool) -> None:
        infers = self.mode.value == INFER
        self.start.description = "Infer rules" if infers else "Test rules"
        self._rule_fields.layout.display = "none" if infers else ""
        self.log.layout.display = "" if infers else "none"
        if infers:
            self.stop.disabled = True
        for field in (self.rules, self.speed, self.duration, self.log):
            field.disabled = not is_enabled


def _read_rules(text: str) -> tuple[Rule, ...]:
    if not text:
        raise InputError("enter rules, e.g. 1/60s")
    return parse_rules(text)


def _read_log(text: str) -> str:
    if not text:
        raise InputError("enter a run's folder or files of calls, e.g. runs/20261123T090434Z")
    return text
