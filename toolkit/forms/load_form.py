"""Start, watch and stop a load test, and show its verdicts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from toolkit.browser_charts import Axis, BrowserChart
from toolkit.forms.inputs.load_options import LoadFields
from toolkit.forms.inputs.run_controls import Look
from toolkit.forms.inputs.run_form import RunForm
from toolkit.forms.inputs.target_chooser import TargetChooser
from toolkit.forms.parts import live_chart
from toolkit.forms.parts.jupyter_server import find_server
from toolkit.forms.parts.live_results import LiveResults
from toolkit.forms.parts.load_result import (
    FinishedRun,
    facts_html,
    question_html,
    read_finished,
    result_html,
    runs_html,
)
from toolkit.forms.parts.runs_folder import RunEntry
from toolkit.forms.parts.shared_sandbox import Sandbox
from toolkit.forms.widgets.chart import Chart
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import actions, card, columns, form
from toolkit.forms.widgets.templates import render
from toolkit.load_and_report import LoadTest
from toolkit.runs.arrival_counts import ArrivalCounts, read_arrival_counts
from toolkit.runs.live_run import LiveRun, RunKind
from toolkit.runs.progress import Progress, ProgressReader
from toolkit.settings import Target

_LONGEST_END_S = 2.0  # the calls of a run may take this time longer than its plan


class LoadForm(RunForm):
    """Runs load tests. Display it in a notebook.

    ``runs`` has the runs that it has shown, each in a folder of ``out``.
    """

    def __init__(self, sandbox: Sandbox | None = None, out: str | Path = "runs") -> None:
        self.runs: list[FinishedRun] = []
        self.chooser = TargetChooser(sandbox or Sandbox(), self.drop_pending)
        self.fields = LoadFields()
        self._facts, self.chart = HtmlPanel(), Chart()
        super().__init__(out, RunKind.LOAD_TEST, "Start", render("no_load_test"), self.chooser)

    def __repr__(self) -> str:
        return f"LoadForm({len(self.runs)} runs)"

    def _lay_out(self) -> Any:
        run = self.controls
        options = card("Load", self.fields.widget, run.presence, actions(run.start, run.stop), run.confirmation)
        left = widgets.VBox([card("Target", self.chooser.widget), options])
        right = widgets.VBox([card("Progress", run.progress, self._facts, self.chart, self._result)])
        return form(columns(left, right), card("Runs", self._history, run.guard), name="sms-loads")

    def _read(self, real: Target | None) -> LoadTest | None:
        return self.fields.read(real)

    def _enable(self, is_enabled: bool) -> None:
        self.fields.enable(is_enabled)

    def _question(self, work: LoadTest, target: Target) -> str:
        return question_html(work, target)

    # These methods run in a thread.

    def _follow(self, folder: Path, until_end: Callable[[Look], None]) -> None:
        self._facts.html, self.chart.spec = "", {}
        live, paces = LiveResults(), list[ArrivalCounts]()
        with closing(ProgressReader(folder)) as reader:

            def look(run: LiveRun, goes_on: bool) -> None:
                progress = reader.read(time.time_ns() if goes_on else None, live.add)
                pace = read_arrival_counts(folder)
                paces.extend([pace] if pace and pace not in paces[-1:] else [])
                self._show(live, paces, run, progress)

            until_end(look)
        run = read_finished(folder)
        self.runs.append(run)
        self._result.html = result_html(run)

    def _show(self, live: LiveResults, paces: list[ArrivalCounts], run: LiveRun, progress: Progress) -> None:
        buckets = live.buckets()
        if not buckets:
            return
        planned_s = run.run_time_s or progress.elapsed_s
        over = progress.elapsed_s > planned_s + _LONGEST_END_S
        text = f"Loading: {min(progress.elapsed_s, planned_s):.0f} of {planned_s:g} s"
        self.controls.show_progress("Writing the report …" if over else text)
        self._facts.html = facts_html(live, paces, run, progress)
        end_s = max(buckets[-1].end_s, min(planned_s, 10.0))
        calls = sum(it.calls.total() for it in buckets)
        description = f"{calls:,} calls by return code, and their response time"
        self.chart.draw(BrowserChart(list(live_chart.panels(buckets, paces)), Axis("seconds", 0.0, end_s), description))

    def _show_list(self, runs: Sequence[RunEntry]) -> None:
        self._history.html = runs_html(runs, find_server())
