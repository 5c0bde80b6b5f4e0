"""Start, confirm, follow and stop the runs of a form: load tests, searches for the capacity or probes.

A run that is started here goes on in a process of its own; the controls read its folder. So do the controls of every
other form on the same folder: a page that is loaded again, or another notebook, shows the live run and can stop it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import ipywidgets as widgets
from ipywidgets.widgets.widget_bool import CheckboxStyle

from toolkit.api.durations import parse_duration
from toolkit.api.errors import InputError, RunError
from toolkit.detached_run import MAX_AWAY_PAID_S, MAX_AWAY_S, RunRequest, Work, start
from toolkit.forms.inputs.target_chooser import MISSING_TARGET, TargetChooser
from toolkit.forms.parts.background_task import BackgroundTask, pause, showing_problems
from toolkit.forms.parts.interrupt_watcher import InterruptWatcher
from toolkit.forms.parts.runs_folder import RunEntry, RunsWatcher
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import actions, columns
from toolkit.forms.widgets.leave_guard import LeaveGuard
from toolkit.forms.widgets.templates import render
from toolkit.forms.widgets.text_field import TextField
from toolkit.load_and_report import new_folder
from toolkit.runs.live_run import LiveRun, RunKind, read_live, request_stop
from toolkit.settings import Target

_EVERY_S = 0.5
_SHUTDOWN_S = 6.0  # Jupyter interrupts a kernel up to 5 s before it kills it: that must not stop the run
_MIN_AWAY_S = 30.0  # pages show every 5 s that they are connected; one answer of the server may be late

Look: TypeAlias = Callable[[LiveRun, bool], object]
"""Shows the state of a run, twice a second and once after its end. The flag is True while the run goes on."""


class RunControls:
    """The buttons that start, confirm and stop the runs of a form, and the panels for their progress and their result.

    Args:
        out: The folder of the runs.
        kind: The kind of runs.
        start: Label of the button that starts a run.
        read: Reads the fields of the form, for a real target or None; returns None if one is invalid.
        follow: Clears the form, calls its second argument, which returns when the run of the folder has ended, with a
            ``Look``, and shows the result. It is called in a thread.
        show_list: Shows the runs of the folder that belong to the form.
        enable: Enables or disables the fields of the form.
        chooser: The target; None for a form that only uses sandboxes.
        ask: Returns the question before a run on a real target, as HTML.
        is_own: Whether a run of this kind belongs to the form.
    """

    def __init__(
        self,
        out: Path,
        kind: RunKind,
        start: str,
        *,
        read: Callable[[Target | None], Work | None],
        follow: Callable[[Path, Callable[[Look], None]], object],
        show_list: Callable[[Sequence[RunEntry]], object],
        enable: Callable[[bool], object],
        chooser: TargetChooser | None = None,
        ask: Callable[[Any, Target], str] = lambda _work, _target: "",
        is_own: Callable[[RunEntry], bool] = lambda _: True,
    ) -> None:
        self._out, self._kind, self._chooser = out, kind, chooser
        self._read, self._follow, self._show_list, self._enable_fields = read, follow, show_list, enable
        self._ask, self._is_own = ask, is_own
        self._pending: RunRequest | None = None
        self._folder: Path | None = None
        self.start = widgets.Button(description=start, button_style="primary")
        self.stop = widgets.Button(description="Stop")
        self.confirm = widgets.Button(description=f"Start {kind}", button_style="danger")
        self.cancel = widgets.Button(description="Cancel")
        # Colab's widget manager has no style for check boxes.
        plain = CheckboxStyle(_model_name="DescriptionStyleModel")
        self.keep = widgets.Checkbox(description="Keep running without a page", indent=False, style=plain)
        self.away = TextField(
            "Stop without a page after",
            hint=f"{MAX_AWAY_S / 60:g}m",
            help=f"{MAX_AWAY_PAID_S / 60:g}m if messages cost money. A notebook counts as a page.",
        )
        self.presence = columns(self.keep, self.away)
        self.question = HtmlPanel(live=True)
        self.confirmation = widgets.VBox([self.question, actions(self.confirm, self.cancel)]).add_class(
            "sms-confirmation"
        )
        self.progress, self.result = HtmlPanel(live=True), HtmlPanel(live=True)
        self.guard = LeaveGuard()
        self.work = BackgroundTask(self._show_busy, self.show_problem)
        self.stop.on_click(lambda _: self.stop_run())
        self.confirm.on_click(lambda _: self.start_pending())
        self.cancel.on_click(lambda _: self.drop_pending())
        self.keep.observe(lambda _: self.enable(), "value")

    def watch(self) -> None:
        """Watch the folder for changes. Call it when the form is complete."""
        self.enable()
        self._watcher = RunsWatcher(self._out, self._show_runs)

    def ask_to_start(self) -> None:
        """Read the fields, and start; on a real API only after the user confirmed it."""
        if self.work.is_busy:
            return
        is_real = self._chooser is not None and self._chooser.is_real
        target = self._chooser.chosen if self._chooser and is_real else None
        work, away_s = None, self.away.read(_read_away)
        with showing_problems(self.show_problem):  # of options that are valid alone, but not together
            work = self._read(target)
        if work is None or away_s is None:
            return
        if is_real and target is None:
            self.show_problem(MISSING_TARGET)
            return
        away_s = away_s or (MAX_AWAY_PAID_S if is_real else MAX_AWAY_S)
        self._pending = RunRequest(work, target, None if self.keep.value else away_s)
        if target:
            self.question.html = self._ask(work, target)
            self.enable()
        else:
            self.start_pending()

    def start_pending(self) -> None:
        """Start the run that waits for confirmation."""
        request, self._pending = self._pending, None
        if request and not self.work.begin(lambda: self._start(request)):
            self.show_problem(f"not started: the form shows another {self._kind} that is going on")

    def drop_pending(self) -> None:
        """Discard the run that waits for confirmation."""
        self._pending = None
        self._watcher.look_now()  # a run that began in the meantime was not shown
        self.enable()

    def stop_run(self) -> None:
        """End the run early."""
        self.work.stop()
        self.stop.disabled = True
        self.progress.html = render("busy", text="Stopping: waiting for calls in flight …")

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until no run is active. KeyboardInterrupt ends the run, and is raised again."""
        try:
            self.work.wait(timeout_s)
        except KeyboardInterrupt:
            self.stop_run()
            self.work.wait()
            raise

    def close(self) -> None:
        """End the run that the form shows, and wait for its end."""
        self._watcher.close()
        self.work.stop()
        self.work.wait()

    def show_progress(self, text: str) -> None:
        """Show progress, unless the run is being stopped."""
        if text and not self.work.is_stopped:
            self.progress.html = render("busy", text=text)

    def show_problem(self, problem: str) -> None:
        """Show a problem in place of a result."""
        self.result.html = render("problem", text=problem)

    def enable(self) -> None:
        """Enable the controls that can be used now."""
        is_free, is_pending = not self.work.is_busy, self._pending is not None
        self.confirmation.layout.display = "" if is_pending else "none"
        self.start.disabled = is_pending or not is_free
        self.stop.disabled = is_free
        self.keep.disabled = not is_free
        self.away.disabled = not is_free or self.keep.value
        if self._chooser:
            self._chooser.enable(is_free)
        self._enable_fields(is_free)

    # These methods run in a thread.

    def _start(self, request: RunRequest) -> None:
        if self._kind is not RunKind.PROBE and find_spec("locust") is None:
            raise RunError("load tests need the extra load: pip install 'sms-code-toolkit[load]'")
        folder = new_folder(self._out)
        self._watcher.look_now()
        self._show_run(folder, request)

    def _show_run(self, folder: Path, request: RunRequest | None = None) -> None:
        self._folder, self.result.html = folder, ""
        self._follow(folder, lambda look: self._until_end(folder, look, request))

    def _until_end(self, folder: Path, look: Look, request: RunRequest | None) -> None:
        """Show a run until its end. With a request, start it first, and stop it if the kernel is interrupted."""
        run = start(request, folder) if request else None
        is_stopping, last = False, None
        with ExitStack() as stack:
            watcher = stack.enter_context(InterruptWatcher()) if request else None
            while (live := read_live(folder)) or (run and run.is_alive):
                last = live or last
                must_stop = self.work.is_stopped or (watcher is not None and watcher.interrupted_s > _SHUTDOWN_S)
                with showing_problems(self.show_problem):  # the run goes on, and must stay stoppable
                    if live and must_stop and not is_stopping:
                        request_stop(folder)
                        is_stopping = True
                    if live:
                        self.guard.asks = live.max_away_s is not None
                        look(live, True)
                pause(_EVERY_S)
            with showing_problems(self.show_problem):
                if last:
                    look(last, False)
        if run:
            run.wait()
        if not folder.is_dir():
            raise RunError(f"the {self._kind} {folder.name} ended before its first call")

    def _show_runs(self, runs: Sequence[RunEntry]) -> None:
        """List the runs of the form, and show the latest one that is going on, unless the form shows another."""
        own = [it for it in runs if it.kind is self._kind and self._is_own(it)]
        self._show_list(own)
        live = next((it.folder for it in own if it.live), None)
        if live and live != self._folder and not self._pending and read_live(live):
            self.work.begin(lambda: self._show_run(live))

    def _show_busy(self, is_busy: bool) -> None:
        self.progress.html = render("busy", text="Starting …") if is_busy else ""
        self.guard.asks = False
        if not is_busy:
            self._watcher.look_now()  # there may be another run that is going on
        self.enable()


def _read_away(text: str) -> float:
    """Return the time in seconds of the field, 0 for the default; raise InputError for one below 30 s."""
    away_s = parse_duration(text) if text else 0.0
    if text and away_s < _MIN_AWAY_S:
        raise InputError(f"expected at least {_MIN_AWAY_S:g}s, e.g. 10m")
    return away_s
