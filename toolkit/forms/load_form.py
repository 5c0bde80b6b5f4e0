"""Start, watch and stop a load test, and show its verdicts."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from toolkit.analysis.browser_charts import Axis, BrowserChart
from toolkit.api.errors import RunError
from toolkit.forms.inputs.load_options import LoadFields
from toolkit.forms.inputs.target_chooser import TargetChooser
from toolkit.forms.parts import live_chart
from toolkit.forms.parts.background_task import BackgroundTask
from toolkit.forms.parts.live_results import LiveResults
from toolkit.forms.parts.load_result import facts_html, question_html, runs_html
from toolkit.forms.parts.running_load_tests import LoadTestRunner
from toolkit.forms.parts.shared_sandbox import Sandbox
from toolkit.forms.widgets.chart import Chart
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import actions, card, columns, form, mimebundle
from toolkit.forms.widgets.templates import render
from toolkit.load_and_report import LoadTest, new_folder
from toolkit.load_test.launch.locust_process import LoadRun
from toolkit.runs.arrival_counts import ArrivalCounts
from toolkit.runs.progress import Progress


class LoadForm:
    """Runs load tests. Display it in a notebook. ``runs`` has the runs so far, each in a folder of ``out``.

    A run ends with its time, with ``stop``, when the kernel is interrupted, and with this process.
    """

    def __init__(self, sandbox: Sandbox | None = None, out: str | Path = "runs") -> None:
        self._own = Sandbox() if sandbox is None else None
        self._out = Path(out)
        self._pending: LoadTest | None = None
        self.chooser = TargetChooser(sandbox or self._own or Sandbox(), self.drop_pending)
        self.order = LoadFields()
        self.start = widgets.Button(description="Start", button_style="primary")
        self.stop = widgets.Button(description="Stop")
        self.confirm = widgets.Button(description="Start load test", button_style="danger")
        self.cancel = widgets.Button(description="Cancel")
        self._question, self._progress = HtmlPanel(live=True), HtmlPanel(live=True)
        self._confirmation = widgets.VBox([self._question, actions(self.confirm, self.cancel)]).add_class("sms-asked")
        self._facts, self.chart, self._result = HtmlPanel(render("no_load_test")), Chart(), HtmlPanel(live=True)
        self._history = HtmlPanel(runs_html([]))
        self._work = BackgroundTask(self._show_busy, self._show_problem)
        self._running = LoadTestRunner(self._work, self._result, self._history)
        self.runs = self._running.runs
        self.start.on_click(lambda _: self.ask_to_start())
        self.stop.on_click(lambda _: self.stop_run())
        self.confirm.on_click(lambda _: self.start_pending())
        self.cancel.on_click(lambda _: self.drop_pending())
        self.widget = self._lay_out()
        self._enable()

    def ask_to_start(self) -> None:
        """Check the fields, and start; against a real API only after the user confirmed it."""
        if self._work.is_busy:
            return
        load_test = self.order.read(self.chooser.chosen if self.chooser.is_real else None)
        if load_test is None:
            return
        self._pending = load_test
        if self.chooser.is_real and self.chooser.chosen:
            self._question.html = question_html(load_test, self.chooser.chosen)
            self._enable()
        else:
            self.start_pending()

    def start_pending(self) -> None:
        """Start the load test that waits for confirmation."""
        load_test, self._pending = self._pending, None
        if load_test:
            self._running.begin(lambda: self._load(load_test))

    def drop_pending(self) -> None:
        """Discard the load test that waits for confirmation."""
        self._pending = None
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
        """End the run, and stop the form's own sandbox."""
        self._running.close()
        if self._own:
            self._own.close()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return mimebundle(self, **options)

    def __repr__(self) -> str:
        return f"LoadForm({len(self.runs)} runs)"

    def _lay_out(self) -> Any:
        options = card("Load", self.order.widget, actions(self.start, self.stop), self._confirmation)
        left = widgets.VBox([card("Target", self.chooser.widget), options])
        right = widgets.VBox([card("Progress", self._progress, self._facts, self.chart, self._result)])
        return form(columns(left, right), card("Runs", self._history), name="sms-loads")

    # These methods run in a thread.

    def _load(self, load_test: LoadTest) -> None:
        if find_spec("locust") is None:
            raise RunError("load tests need the extra load: pip install 'sms-code-toolkit[load]'")
        self._result.html, self.chart.spec = "", {}
        target = self.chooser.target()
        self.chooser.show()
        load_test.check(target)
        folder = new_folder(self._out)
        live, paces = LiveResults(), list[ArrivalCounts]()

        def show(run: LoadRun, progress: Progress) -> None:
            paces.extend([pace] if (pace := run.pacing()) and pace not in paces[-1:] else [])
            self._show(live, paces, load_test, progress)

        ended = self._running.play(load_test, target, folder, show, live.add)
        self._progress.html = render("busy", text="Writing the report …")
        self._running.keep(load_test, target, folder, ended)

    def _show(self, live: LiveResults, paces: list[ArrivalCounts], load_test: LoadTest, progress: Progress) -> None:
        buckets = live.buckets()
        if not buckets:
            return
        if not self._running.is_stopped:
            text = f"Loading: {progress.elapsed_s:.0f} of {load_test.options.run_time_s:g} s"
            self._progress.html = render("busy", text=text)
        self._facts.html = facts_html(live, paces, load_test, progress, self.chooser.is_real)
        end_s = max(buckets[-1].end_s, min(load_test.options.run_time_s, 10.0))
        calls = sum(it.calls.total() for it in buckets)
        says = f"{calls:,} calls by return code, and their response time"
        self.chart.draw(BrowserChart(list(live_chart.panels(buckets, paces)), Axis("seconds", 0.0, end_s), says))

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
        self.order.enable(not self._work.is_busy)
        self.chooser.enable(not self._work.is_busy)
