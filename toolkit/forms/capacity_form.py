"""Search for the highest load that a target holds, and show the trials and the answer with its reasons."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ipywidgets as widgets

from toolkit.api.errors import InputError, RunError
from toolkit.find_capacity import CapacitySearch
from toolkit.forms.inputs.load_options import RATE, USERS, check_field, option_field
from toolkit.forms.inputs.run_controls import Look
from toolkit.forms.inputs.run_form import RunForm
from toolkit.forms.inputs.target_chooser import TargetChooser
from toolkit.forms.parts import capacity_chart
from toolkit.forms.parts.jupyter_server import find_server
from toolkit.forms.parts.load_result import question_html
from toolkit.forms.parts.run_outcomes import outcomes_html
from toolkit.forms.parts.run_verdict import verdict_of
from toolkit.forms.parts.runs_folder import RunEntry, read_summary
from toolkit.forms.parts.shared_sandbox import Sandbox
from toolkit.forms.widgets.chart import Chart
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import actions, card, columns, form
from toolkit.forms.widgets.templates import render
from toolkit.load_and_report import LONG_TRIAL
from toolkit.load_test.launch.scenarios import scenarios
from toolkit.load_test.plan.expectations import check_limit
from toolkit.load_test.plan.options import LoadOptions, parse_option
from toolkit.runs.live_run import LiveRun, RunKind, read_progress
from toolkit.runs.run_folder import Cause
from toolkit.runs.thresholds import parse_threshold
from toolkit.settings import Price, Target, load_price


class CapacityForm(RunForm):
    """Searches for the capacity of a target. Display it in a notebook.

    ``results`` has the content of each search's capacity.json, whose folder is in ``out``.
    """

    def __init__(self, sandbox: Sandbox | None = None, out: str | Path = "runs") -> None:
        self.results: list[dict[str, Any]] = []
        self.chooser = TargetChooser(sandbox or Sandbox(), self.drop_pending)
        self.scenario = widgets.Dropdown(description="Scenario", options=sorted(scenarios()), value="throughput")
        ways = [("Arrival rate", RATE), ("Users", USERS)]
        self.pace = widgets.Dropdown(description="Load", options=ways)
        self.limits = option_field(
            "limits", kind="lines", hint="", help="One per line. The search finds the load that misses one."
        )
        self.limits.value = "p99(send.caller_ms) < 250"
        self.first = option_field(RATE, help="The first load. The search doubles or halves it.")
        self._choose_load()
        self.duration = option_field("duration_s", help="Length of the trials that decide.")
        self.duration.label, self.duration.value = "Long trials", LONG_TRIAL
        self.messages = option_field("max_messages", kind="number", hint="unlimited")
        self.max_duration = option_field("max_duration_s")
        self.width = option_field("width")
        self.label = option_field("label")
        self.pace.observe(lambda _: self._choose_load(), "value")
        self.chart, self._trials = Chart(), HtmlPanel()
        super().__init__(out, RunKind.SEARCH, "Find capacity", render("no_capacity"), self.chooser)

    def __repr__(self) -> str:
        return f"CapacityForm({len(self.results)} searches)"

    def _lay_out(self) -> Any:
        search = card(
            "Search",
            self.scenario,
            columns(self.pace, self.first),
            self.limits,
            columns(self.duration, self.width),
            columns(self.messages, self.max_duration),
            self.label,
            self.controls.presence,
            actions(self.start, self.stop),
            self.controls.confirmation,
        )
        left = widgets.VBox([card("Target", self.chooser.widget), search])
        right = widgets.VBox([card("Capacity", self.controls.progress, self._result, self.chart)])
        searches = card("Searches", self._history, self.controls.guard)
        return form(columns(left, right), card("Trials", self._trials), searches, name="sms-capacity")

    def _fields(self) -> dict[str, Any]:
        return {
            self.pace.value: self.first,
            "limits": self.limits,
            "duration_s": self.duration,
            "width": self.width,
            "max_messages": self.messages,
            "max_duration_s": self.max_duration,
            "label": self.label,
        }

    def _read(self, real: Target | None) -> CapacitySearch | None:
        """Return the search, or None if a field is invalid; the field then shows the error."""
        price = load_price()
        texts = {name: it.read(partial(_check_field, name, real, price)) for name, it in self._fields().items()}
        if None in texts.values():
            return None
        values: dict[str, Any] = {name: parse_option(name, text) for name, text in texts.items() if text}
        if real:
            values |= {"allow_target": (urlsplit(real.base_url).hostname or "",), "i_pay_for_this": True}
        return CapacitySearch(self.scenario.value, LoadOptions(find_capacity=True, **values), price)

    def _choose_load(self) -> None:
        self.first.label, self.first.value = ("First rate", "50") if self.pace.value == RATE else ("First users", "5")
        self.first.error = ""

    def _question(self, work: CapacitySearch, target: Target) -> str:
        return question_html(work.first_trial, target)

    # These methods run in a thread.

    def _follow(self, folder: Path, until_end: Callable[[Look], None]) -> None:
        self._trials.html, self.chart.spec = "", {}
        shown = dict[str, Any]()

        def look(_: LiveRun, goes_on: bool) -> None:
            nonlocal shown
            progress = read_progress(folder)
            if goes_on and progress:
                self.controls.show_progress(f"{progress.text}, {max(0.0, time.time() - progress.time_s):.0f} s")
            content = read_summary(folder, RunKind.SEARCH)
            if content.get("trials") and content != shown:
                shown = content
                self._trials.html = render("trials", rows=capacity_chart.rows(content), unit=content["unit"])
                self.chart.draw(capacity_chart.chart(content))

        until_end(look)
        content = read_summary(folder, RunKind.SEARCH)
        if content.get("ended", Cause.INCOMPLETE) == Cause.INCOMPLETE:
            raise RunError(
                f"the search {folder.name} failed or was killed, so it has no answer;"
                f" smscode report {folder} shows the trials that ended"
            )
        self.results.append(content)
        page, server = folder / "report.html", find_server()
        verdict, link = verdict_of(RunEntry(folder, None, content, RunKind.SEARCH)), server.link(page) if server else ""
        self._result.html = render("capacity", **capacity_chart.answer(content), verdict=verdict, page=page, link=link)

    def _show_list(self, searches: Sequence[RunEntry]) -> None:
        self._history.html = outcomes_html(searches, find_server())

    def _enable(self, is_enabled: bool) -> None:
        for field in (self.scenario, self.pace, *self._fields().values()):
            field.disabled = not is_enabled


def _check_field(name: str, real: Target | None, price: Price | None, text: str) -> str:
    """Check a field as ``check_field`` does, and limits for their use in a search."""
    if name == "limits":
        limits = parse_option(name, text)
        if not limits:
            raise InputError("expected at least one limit, e.g. p99(send.caller_ms) < 250")
        for limit in limits:
            check_limit(parse_threshold(limit))
    return check_field(name, real, price, text)
