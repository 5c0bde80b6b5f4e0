"""RunPicker: which runs of a folder, or which period of them, are looked at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from toolkit.analysis import Calls, read
from toolkit.analysis.timestamps import parse_time_ns
from toolkit.api.errors import InputError
from toolkit.forms.calls_view import ReportView
from toolkit.forms.parts.background_task import BackgroundTask
from toolkit.forms.parts.templates import render
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import actions, card, columns, form, shown
from toolkit.forms.widgets.text_field import TextField
from toolkit.report.inputs import is_run
from toolkit.runs.run_folder import SUMMARY_NAME

_LEAST_ROWS, _MOST_ROWS = 2, 8


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run's folder, and what its run.json says of it in a few words."""

    folder: Path
    says: str


def find_runs(out: Path) -> list[KnownRun]:
    """Return the runs in a folder, the latest first."""
    folders = [it for it in sorted(out.glob("*/"), reverse=True) if is_run(it)]
    return [KnownRun(it, _say(it)) for it in folders]


def read_runs(folders: Sequence[Path], since: str, until: str) -> Calls:
    """Return the calls of runs, of those from ``since`` and before ``until``, where they aren't ""."""
    if not folders:
        raise InputError("there are no runs here: load an API first")
    return read(*map(str, folders)).between(since or None, until or None)


class RunPicker:
    """Chooses runs of the folder ``out``, and shows them in ``view``."""

    def __init__(self, out: str | Path = "runs") -> None:
        self.view = ReportView()
        self.out = TextField("Folder", str(out), help="Each run has a folder in it; Enter looks again.")
        self.since = TextField("From (UTC)", hint="2026-11-01T14:05", help="Leave it empty for the whole of the runs.")
        self.until = TextField("Until (UTC)", hint="2026-11-01T15:00")
        self.runs = widgets.SelectMultiple(description="Runs", rows=_LEAST_ROWS)
        self.open = widgets.Button(description="Open", button_style="primary")
        self.refresh = widgets.Button(description="Look again")
        self._says = HtmlPanel(live=True)
        self._work = BackgroundTask(self._show_busy, self._show_problem)
        self.out.on_enter(self.look)
        self.refresh.on_click(lambda _: self.look())
        self.open.on_click(lambda _: self.open_chosen())
        picked = card(
            "Which runs",
            columns(self.out, self.since, self.until),
            self.runs,
            self._says,
            actions(self.open, self.refresh),
        )
        self.widget = widgets.VBox([form(picked, name="sms-picker"), self.view.widget]).add_class("sms-stack")
        self.look()

    def look(self) -> None:
        """Look which runs there are."""
        known = find_runs(Path(self.out.value.strip() or "."))
        self.runs.options = [(it.says, it.folder) for it in known]
        self.view.against.offer(self.runs.options)
        self.runs.rows = min(_MOST_ROWS, max(_LEAST_ROWS, len(known)))
        self.open.disabled = not known
        self._says.html = render("says", text=_advise(len(known)))

    def open_chosen(self) -> None:
        """Show the chosen runs; all, where none is."""
        since, until = self.since.read(_check_time), self.until.read(_check_time)
        if since is None or until is None:
            return
        chosen = list(self.runs.value) or [folder for _, folder in self.runs.options]
        name = chosen[0].name if len(chosen) == 1 else "runs"
        self._work.begin(lambda: self.view.show(read_runs(chosen, since, until), name, chosen))

    def wait(self, timeout_s: float | None = None) -> None:
        """Return when everything is shown."""
        self._work.wait(timeout_s)
        self.view.wait(timeout_s)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return shown(self, **options)

    def __repr__(self) -> str:
        return f"RunPicker({len(self.runs.options)} runs)"

    def _show_busy(self, is_busy: bool) -> None:
        self.open.disabled = is_busy
        if is_busy:
            self._says.html = render("busy", text="Reading …")
        elif "sms-problem" not in self._says.html:
            self._says.html = render("says", text=_advise(len(self.runs.options)))

    def _show_problem(self, problem: str) -> None:
        self._says.html = render("problem", text=problem)


def _say(folder: Path) -> str:
    try:
        summary = json.loads((folder / SUMMARY_NAME).read_text(encoding="utf-8"))
        return f"{folder.name}   {summary['settings']['scenario']}, {summary['calls']:,} calls"
    except (OSError, ValueError, KeyError, TypeError):
        return folder.name


def _advise(known: int) -> str:
    if not known:
        return "No runs here yet: each load test leaves one."
    return f"{known} runs. Choose some with Ctrl or Shift; where none is chosen, all are opened."


def _check_time(text: str) -> str:
    if text:
        parse_time_ns(text)
    return text
