"""Search the highest load that a target holds, watch its trials, and show the answer with its reasons."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ipywidgets as widgets

from toolkit.api.errors import InputError, RunError
from toolkit.find_capacity import CapacitySearch, find_capacity
from toolkit.forms.inputs.load_options import RATE, USERS, check_field, option_field
from toolkit.forms.inputs.target_chooser import TargetChooser
from toolkit.forms.parts import capacity_chart
from toolkit.forms.parts.background_task import BackgroundTask
from toolkit.forms.parts.load_result import question_html
from toolkit.forms.parts.running_load_tests import LoadTestRunner
from toolkit.forms.parts.shared_sandbox import Sandbox
from toolkit.forms.widgets.chart import Chart
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import actions, card, columns, form, mimebundle
from toolkit.forms.widgets.templates import render
from toolkit.load_and_report import LONG_TRIAL, LoadTest, new_folder
from toolkit.load_test.launch.locust_process import Ended
from toolkit.load_test.launch.scenarios import scenarios
from toolkit.load_test.plan.capacity_search import NextTrial
from toolkit.load_test.plan.expectations import check_limit
from toolkit.load_test.plan.options import LoadOptions, parse_option
from toolkit.runs.progress import Progress
from toolkit.runs.thresholds import parse_threshold
from toolkit.settings import Price, Target, load_price


class CapacityForm:
    """Searches the capacity of a target. Display it in a notebook.

    ``results`` has the content of each search's capacity.json. A search ends by itself, with ``stop``, when the kernel
    is interrupted, and with this process.
    """

    def __init__(self, sandbox: Sandbox | None = None, out: str | Path = "runs") -> None:
        self._own = Sandbox() if sandbox is None else None
        self._out = Path(out)
        self.results: list[dict[str, Any]] = []
        self._pending: CapacitySearch | None = None
        self.chooser = TargetChooser(sandbox or self._own or Sandbox(), self.drop_pending)
        self.scenario = widgets.Dropdown(description="Scenario", options=sorted(scenarios()), value="throughput")
        ways = [("Arrival rate", RATE), ("Users", USERS)]
        self.pace = widgets.Dropdown(description="Load", options=ways)
        self.limits = option_field(
            "limits", kind="lines", help="One per line. The search finds the load that misses one."
        )
        self.limits.value = "p99(send.caller_ms) < 250"
        self.first = option_field(RATE, help="The first load. The search doubles or halves it.")
        self.duration = option_field("duration_s", help="Length of the trials that decide.")
        self.duration.label, self.duration.value = "Long trials", LONG_TRIAL
        self.messages = option_field("max_messages", kind="number", hint="unlimited")
        self.max_duration = option_field("max_duration_s")
        self.width = option_field("width")
        self.label = option_field("label")
        self.start = widgets.Button(description="Find capacity", button_style="primary")
        self.stop = widgets.Button(description="Stop")
        self.confirm = widgets.Button(description="Start search", button_style="danger")
        self.cancel = widgets.Button(description="Cancel")
        self._question, self._progress = HtmlPanel(live=True), HtmlPanel(live=True)
        self._confirmation = widgets.VBox([self._question, actions(self.confirm, self.cancel)]).add_class("sms-asked")
        self._result = HtmlPanel(render("no_capacity"), live=True)
        self.chart, self._trials = Chart(), HtmlPanel()
        self._work = BackgroundTask(self._show_busy, self._show_problem)
        self._running = LoadTestRunner(self._work, self._result)
        self.pace.observe(lambda _: self._choose_load(), "value")
        self.start.on_click(lambda _: self.begin())
        self.stop.on_click(lambda _: self.stop_search())
        self.confirm.on_click(lambda _: self.start_pending())
        self.cancel.on_click(lambda _: self.drop_pending())
        self.widget = self._lay_out()
        self._enable()

    def begin(self) -> None:
        """Check the fields, and start; against a real API only after the user confirmed it."""
        if self._work.is_busy:
            return
        self._pending = self._read(self.chooser.chosen if self.chooser.is_real else None)
        if self._pending and self.chooser.is_real and self.chooser.chosen:
            self._question.html = question_html(self._pending.first_trial, self.chooser.chosen)
            self._enable()
        else:
            self.start_pending()

    def start_pending(self) -> None:
        """Start the search that waits for confirmation."""
        search, self._pending = self._pending, None
        if search and not self._running.begin(lambda: self._search(search)):
            self._show_problem("not started: another search is going on")

    def drop_pending(self) -> None:
        """Discard the search that waits for confirmation."""
        self._pending = None
        self._enable()

    def stop_search(self) -> None:
        """End the search early; what it has settled is shown."""
        self._running.stop()
        self.stop.disabled = True
        self._progress.html = render("busy", text="Stopping: waiting for calls that are under way …")

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until no search is active. KeyboardInterrupt ends the search."""
        self._running.wait(timeout_s, self.stop_search)

    def close(self) -> None:
        """End the search, and stop the form's own sandbox."""
        self._running.close()
        if self._own:
            self._own.close()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return mimebundle(self, **options)

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
            actions(self.start, self.stop),
            self._confirmation,
        )
        left = widgets.VBox([card("Target", self.chooser.widget), search])
        right = widgets.VBox([card("Capacity", self._progress, self._result, self.chart)])
        return form(columns(left, right), card("Trials", self._trials), name="sms-capacity")

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

    # These methods run in a thread.

    def _search(self, search: CapacitySearch) -> None:
        if find_spec("locust") is None:
            raise RunError("load tests need the extra load: pip install 'sms-code-toolkit[load]'")
        self._result.html, self._trials.html, self.chart.spec = "", "", {}
        target = self.chooser.target()
        self.chooser.show()
        search.first_trial.check(target)
        folder = new_folder(self._out)
        why = ""

        def play(load_test: LoadTest, target: Target, run: Path) -> Ended:
            return self._running.play(load_test, target, run, show)

        def show(progress: Progress) -> None:
            if not self._running.is_stopped:
                self._progress.html = render("busy", text=f"{why}, {progress.elapsed_s:.0f} s")

        def announce(step: NextTrial) -> None:
            nonlocal why
            unit = " users" if search.plan.is_whole else "/s"
            why = f"Trial at {step.load:,g}{unit} ({step.why})"

        content = find_capacity(search, target, folder, play, self._show_trials, announce)
        self.results.append(content)
        self._progress.html = ""
        self._show_trials(content)
        page = folder / "report.html"
        self._result.html = render("capacity", **capacity_chart.answer(content), page=page)

    def _show_trials(self, content: dict[str, Any]) -> None:
        self._trials.html = render("trials", rows=capacity_chart.rows(content), unit=content["unit"])
        self.chart.draw(capacity_chart.chart(content))

    def _show_busy(self, is_busy: bool) -> None:
        self._progress.html = render("busy", text="Starting …") if is_busy else ""
        self._enable()

    def _show_problem(self, problem: str) -> None:
        self._result.html = render("problem", text=problem)

    def _enable(self) -> None:
        is_confirmation = self._pending is not None and self.chooser.is_real
        self._confirmation.layout.display = "" if is_confirmation else "none"
        self.start.disabled = self._work.is_busy or is_confirmation
        self.stop.disabled = not self._work.is_busy
        for field in (self.scenario, self.pace, *self._fields().values()):
            field.disabled = self._work.is_busy
        self.chooser.enable(not self._work.is_busy)


def _check_field(name: str, real: Target | None, price: Price | None, text: str) -> str:
    """Check a field as ``check_field`` does, and limits for their use in a search."""
    if name == "limits":
        limits = parse_option(name, text)
        if not limits:
            raise InputError("expected at least one limit, e.g. p99(send.caller_ms) < 250")
        for limit in limits:
            check_limit(parse_threshold(limit))
    return check_field(name, real, price, text)
