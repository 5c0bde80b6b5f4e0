"""Start, watch and stop a load test, and show its verdicts.

A load test that is started here runs in a process of its own; this form reads its folder. So does every other form on
the same folder: a page that is loaded again, or another notebook, shows the run that is going on, and can stop it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from toolkit.analysis.browser_charts import Axis, BrowserChart
from toolkit.api.durations import parse_duration
from toolkit.api.errors import InputError, RunError
from toolkit.detached_run import MAX_AWAY_PAID_S, MAX_AWAY_S, Order
from toolkit.forms.inputs.load_options import LoadFields
from toolkit.forms.inputs.target_chooser import MISSING_TARGET, TargetChooser
from toolkit.forms.parts import live_chart
from toolkit.forms.parts.background_task import BackgroundTask
from toolkit.forms.parts.jupyter_server import find_server
from toolkit.forms.parts.live_results import LiveResults
from toolkit.forms.parts.load_result import facts_html, question_html, runs_html
from toolkit.forms.parts.running_load_tests import LoadTestRunner, Show
from toolkit.forms.parts.runs_folder import RunEntry, RunsWatcher
from toolkit.forms.parts.shared_sandbox import Sandbox
from toolkit.forms.widgets.chart import Chart
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import actions, card, columns, form, mimebundle
from toolkit.forms.widgets.leave_guard import LeaveGuard
from toolkit.forms.widgets.templates import render
from toolkit.forms.widgets.text_field import TextField
from toolkit.load_and_report import LoadTest, new_folder
from toolkit.records.packed import PackedRow
from toolkit.runs.arrival_counts import ArrivalCounts, read_arrival_counts
from toolkit.runs.live_run import LiveRun, read_live
from toolkit.runs.progress import Progress

_LONGEST_END_S = 2.0  # the calls of a run may take this time longer than its plan
_MIN_AWAY_S = 30.0  # pages show every 5 s that they are connected; one answer of the server may be late


class LoadForm:
    """Runs load tests. Display it in a notebook. ``runs`` has the runs that it has shown, each in a folder of ``out``.

    A run ends with its time, with ``stop_run`` of any form, and when the kernel that started it is interrupted. It does
    not end with this process: it is stopped when no page and no notebook was connected for some time (10 minutes, 2 if
    its messages cost money), unless ``keep`` is set.
    """

    def __init__(self, sandbox: Sandbox | None = None, out: str | Path = "runs") -> None:
        self._out = Path(out)
        self._pending: tuple[LoadTest, float | None] | None = None  # with its max_away_s
        self.chooser = TargetChooser(sandbox or Sandbox(), self.drop_pending)
        self.order = LoadFields()
        self.keep = widgets.Checkbox(description="Keep running without a page", indent=False)
        self.away = TextField(
            "Stop without a page after",
            hint=f"{MAX_AWAY_S / 60:g}m",
            help=f"{MAX_AWAY_PAID_S / 60:g}m if messages cost money. A notebook counts as a page.",
        )
        self.start = widgets.Button(description="Start", button_style="primary")
        self.stop = widgets.Button(description="Stop")
        self.confirm = widgets.Button(description="Start load test", button_style="danger")
        self.cancel = widgets.Button(description="Cancel")
        self._question, self._progress = HtmlPanel(live=True), HtmlPanel(live=True)
        self._confirmation = widgets.VBox([self._question, actions(self.confirm, self.cancel)]).add_class("sms-asked")
        self._facts, self.chart, self._result = HtmlPanel(render("no_load_test")), Chart(), HtmlPanel(live=True)
        self._history, self._guard = HtmlPanel(runs_html([])), LeaveGuard()
        self._work = BackgroundTask(self._show_busy, self._show_problem)
        self._running = LoadTestRunner(self._work, self._result)
        self.runs = self._running.runs
        self.start.on_click(lambda _: self.ask_to_start())
        self.stop.on_click(lambda _: self.stop_run())
        self.confirm.on_click(lambda _: self.start_pending())
        self.cancel.on_click(lambda _: self.drop_pending())
        self.keep.observe(lambda _: self._enable(), "value")
        self.widget = self._lay_out()
        self._enable()
        self._watcher = RunsWatcher(self._out, self._show_runs)

    def ask_to_start(self) -> None:
        """Check the fields, and start; against a real API only after the user confirmed it."""
        if self._work.is_busy:
            return
        load_test = self.order.read(self.chooser.chosen if self.chooser.is_real else None)
        away_s = self.away.read(_read_away)
        if load_test is None or away_s is None:
            return
        away_s = away_s or (MAX_AWAY_PAID_S if self.chooser.is_real else MAX_AWAY_S)
        self._pending = load_test, None if self.keep.value else away_s
        if self.chooser.is_real and self.chooser.chosen:
            self._question.html = question_html(load_test, self.chooser.chosen)
            self._enable()
        else:
            self.start_pending()

    def start_pending(self) -> None:
        """Start the load test that waits for confirmation."""
        pending, self._pending = self._pending, None
        if pending and not self._running.begin(lambda: self._load(*pending)):
            self._show_problem("not started: the form shows another run that is going on")

    def drop_pending(self) -> None:
        """Discard the load test that waits for confirmation."""
        self._pending = None
        self._watcher.look_now()  # a run that began in the meantime was not shown
        self._enable()

    def stop_run(self) -> None:
        """End the run early; its calls so far count."""
        self._running.stop()
        self.stop.disabled = True
        self._progress.html = render("busy", text="Stopping: waiting for calls that are under way …")

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until no run is active. KeyboardInterrupt ends the run."""
        self._running.wait(timeout_s, self.stop_run)

    def close(self) -> None:
        """End the run that the form shows."""
        self._watcher.close()
        self._running.close()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return mimebundle(self, **options)

    def __repr__(self) -> str:
        return f"LoadForm({len(self.runs)} runs)"

    def _lay_out(self) -> Any:
        away = columns(self.keep, self.away)
        options = card("Load", self.order.widget, away, actions(self.start, self.stop), self._confirmation)
        left = widgets.VBox([card("Target", self.chooser.widget), options])
        right = widgets.VBox([card("Progress", self._progress, self._facts, self.chart, self._result)])
        return form(columns(left, right), card("Runs", self._history, self._guard), name="sms-loads")

    # These methods run in a thread.

    def _load(self, load_test: LoadTest, max_away_s: float | None) -> None:
        if find_spec("locust") is None:
            raise RunError("load tests need the extra load: pip install 'sms-code-toolkit[load]'")
        target = self.chooser.chosen if self.chooser.is_real else None
        if self.chooser.is_real and target is None:
            raise InputError(MISSING_TARGET)
        if target:
            load_test.check(target)
        order = Order(load_test, new_folder(self._out), target, max_away_s)
        self._watcher.look_now()
        show, add = self._begin_to_show(order.folder)
        self._running.start(order, show, add)

    def _attach(self, folder: Path) -> None:
        show, add = self._begin_to_show(folder)
        self._running.follow(folder, show, add)

    def _begin_to_show(self, folder: Path) -> tuple[Show, Callable[[list[PackedRow]], None]]:
        """Clear the form, and return what shows the progress of a run, and what takes its new rows."""
        self._result.html, self._facts.html, self.chart.spec = "", "", {}
        live, paces = LiveResults(), list[ArrivalCounts]()

        def show(run: LiveRun, progress: Progress) -> None:
            pace = read_arrival_counts(folder)
            paces.extend([pace] if pace and pace not in paces[-1:] else [])
            self._show(live, paces, run, progress)

        return show, live.add

    def _show(self, live: LiveResults, paces: list[ArrivalCounts], run: LiveRun, progress: Progress) -> None:
        self._guard.asks = run.max_away_s is not None
        buckets = live.buckets()
        if not buckets:
            return
        planned_s = run.run_time_s or progress.elapsed_s
        if not self._running.is_stopped:
            over = progress.elapsed_s > planned_s + _LONGEST_END_S
            text = f"Loading: {min(progress.elapsed_s, planned_s):.0f} of {planned_s:g} s"
            self._progress.html = render("busy", text="Writing the report …" if over else text)
        self._facts.html = facts_html(live, paces, run, progress)
        end_s = max(buckets[-1].end_s, min(planned_s, 10.0))
        calls = sum(it.calls.total() for it in buckets)
        says = f"{calls:,} calls by return code, and their response time"
        self.chart.draw(BrowserChart(list(live_chart.panels(buckets, paces)), Axis("seconds", 0.0, end_s), says))

    def _show_runs(self, runs: Sequence[RunEntry]) -> None:
        """List the runs of the folder, and show the latest one that is going on, unless the form shows another."""
        self._history.html = runs_html(runs, find_server())
        live = next((it.folder for it in runs if it.live), None)
        if live and live != self._running.folder and not self._pending and read_live(live):
            self._running.begin(lambda: self._attach(live))

    def _show_busy(self, is_busy: bool) -> None:
        self._progress.html = render("busy", text="Starting …") if is_busy else ""
        self._guard.asks = False
        if not is_busy:
            self._watcher.look_now()  # there may be another run that is going on
        self._enable()

    def _show_problem(self, problem: str) -> None:
        self._result.html = render("problem", text=problem)

    def _enable(self) -> None:
        is_confirmation = self._pending is not None and self.chooser.is_real
        self._confirmation.layout.display = "" if is_confirmation else "none"
        self.start.disabled = self._work.is_busy or is_confirmation
        self.stop.disabled = not self._work.is_busy
        self.order.enable(not self._work.is_busy)
        self.keep.disabled = self._work.is_busy
        self.away.disabled = self._work.is_busy or self.keep.value
        self.chooser.enable(not self._work.is_busy)


def _read_away(text: str) -> float:
    """Return the time in seconds of the field, 0 for the default; raise InputError for one below 30 s."""
    away_s = parse_duration(text) if text else 0.0
    if text and away_s < _MIN_AWAY_S:
        raise InputError(f"expected at least {_MIN_AWAY_S:g}s, e.g. 10m")
    return away_s
