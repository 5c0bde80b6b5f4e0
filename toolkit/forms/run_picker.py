"""Choose runs of a folder and a period, and show the calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ipywidgets as widgets

from toolkit import number_format
from toolkit.analysis import Calls, read
from toolkit.analysis.timestamps import parse_time_ns
from toolkit.api.errors import InputError
from toolkit.forms.calls_view import ReportView
from toolkit.forms.parts.background_task import BackgroundTask
from toolkit.forms.parts.runs_folder import RunEntry, RunsFolder, RunsWatcher
from toolkit.forms.widgets.displayed import Displayed
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import actions, card, columns, form
from toolkit.forms.widgets.templates import render
from toolkit.forms.widgets.text_field import TextField
from toolkit.runs.live_run import RunKind

_MIN_ROWS, _MAX_ROWS = 2, 8


def read_runs(folders: Sequence[Path], since: str, until: str, timezone: str) -> Calls:
    """Return the calls of runs that started at ``since`` or later and before ``until``; "" sets no limit."""
    if not folders:
        raise InputError("no runs in this folder: run a load test first")
    return read(*map(str, folders)).between(since or None, until or None, timezone)


class RunPicker(Displayed):
    """Lists the runs in the folder ``out``, and shows the calls of the chosen ones in ``view``."""

    def __init__(self, out: str | Path = "runs") -> None:
        self.view = ReportView()
        self.out = TextField("Folder", str(out), help="Contains a folder for each run. Press Enter to list them.")
        self.since = TextField(
            f"From ({self.view.timezone})", hint="2026-11-01T14:05", help="Leave empty for complete runs."
        )
        self.until = TextField(f"Until ({self.view.timezone})", hint="2026-11-01T15:00")
        self.runs = widgets.SelectMultiple(description="Runs", rows=_MIN_ROWS)
        self.open = widgets.Button(description="Open", button_style="primary")
        self._status = HtmlPanel(live=True)
        self._work = BackgroundTask(self._show_busy, self._show_problem)
        self.out.on_enter(self.list_runs)
        self.open.on_click(lambda _: self.open_chosen())
        picked = card(
            "Choose runs",
            columns(self.out, self.since, self.until),
            self.runs,
            self._status,
            actions(self.open),
        )
        self.widget = widgets.VBox([form(picked, name="sms-picker"), self.view.widget]).add_class("sms-stack")
        self._show_runs(RunsFolder(Path(out)).entries())
        self._watcher = RunsWatcher(Path(out), self._show_runs)

    def list_runs(self) -> None:
        """List the runs of the folder in the field. The list follows changes of the folder by itself."""
        if path := self.out.read(_read_folder):
            self._watcher.path = path
            self._show_runs(RunsFolder(path).entries())

    def _show_runs(self, entries: Sequence[RunEntry]) -> None:
        known = [it for it in entries if it.kind is RunKind.LOAD_TEST]
        chosen = set(self.runs.value)
        options = [(it.label, it.folder) for it in known]
        is_new = tuple(options) != self.runs.options
        if is_new:
            self.runs.options = options
            self.runs.value = [it for _, it in options if it in chosen]
            self.view.against.offer(options)
        self.runs.rows = min(_MAX_ROWS, max(_MIN_ROWS, len(known)))
        self.open.disabled = not known or self._work.is_busy
        if not self._work.is_busy and (is_new or "sms-problem" not in self._status.html):
            self._status.html = render("note", text=_status(len(known)))

    def open_chosen(self) -> None:
        """Show the chosen runs, or all runs if none is chosen."""
        since, until = self.since.read(_check_time), self.until.read(_check_time)
        if since is None or until is None:
            return
        chosen = list(self.runs.value) or [folder for _, folder in self.runs.options]
        name = chosen[0].name if len(chosen) == 1 else "runs"
        self._work.begin(lambda: self.view.show(read_runs(chosen, since, until, self.view.timezone), name, chosen))

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until everything is shown."""
        self._work.wait(timeout_s)
        self.view.wait(timeout_s)

    def __repr__(self) -> str:
        return f"RunPicker({len(self.runs.options)} runs)"

    def _show_busy(self, is_busy: bool) -> None:
        self.open.disabled = is_busy
        if is_busy:
            self._status.html = render("busy", text="Reading …")
        elif "sms-problem" not in self._status.html:
            self._status.html = render("note", text=_status(len(self.runs.options)))

    def _show_problem(self, problem: str) -> None:
        self._status.html = render("problem", text=problem)


def _status(known: int) -> str:
    if not known:
        return "No runs yet: each load test creates one."
    return (
        f"{number_format.plural(known, 'run')}. Choose several with Ctrl or Shift. If none is chosen, all are opened."
    )


def _read_folder(text: str) -> Path:
    path = Path(text or ".")
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: expected one with a folder for each run, e.g. runs")
    return path


def _check_time(text: str) -> str:
    if text:
        parse_time_ns(text)
    return text
