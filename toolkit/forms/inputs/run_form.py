"""The base class of the forms that start runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from toolkit.detached_run import Work
from toolkit.forms.inputs.run_controls import Look, RunControls
from toolkit.forms.inputs.target_chooser import TargetChooser
from toolkit.forms.parts.runs_folder import RunEntry
from toolkit.forms.widgets.displayed import Displayed
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.runs.live_run import RunKind
from toolkit.settings import Target


class RunForm(Displayed, ABC):
    """A form that starts runs, follows them and lists those of a folder.

    A run ends with its time, with ``stop_run`` of any form, and when the kernel that started it is interrupted. It does
    not end with this process: it is stopped when no page and no notebook was connected for some time (10 minutes, 2 if
    its messages cost money), unless ``controls.keep`` is set.

    Args:
        out: The folder of the runs.
        kind: The kind of runs.
        start: Label of the button that starts a run.
        no_result: HTML of the panel for the result before the first run.
        chooser: The target; None for a form that only uses sandboxes.
    """

    def __init__(
        self, out: str | Path, kind: RunKind, start: str, no_result: str, chooser: TargetChooser | None = None
    ) -> None:
        self.controls = RunControls(
            Path(out),
            kind,
            start,
            read=self._read,
            follow=self._follow,
            show_list=self._show_list,
            enable=self._enable,
            chooser=chooser,
            ask=self._question,
            is_own=self._is_own,
        )
        self.start, self.stop = self.controls.start, self.controls.stop
        self._result, self._history = self.controls.result, HtmlPanel()
        self._result.html = no_result
        self.start.on_click(lambda _: self.begin())
        self._show_list([])
        self.widget = self._lay_out()
        self.controls.watch()

    def begin(self) -> None:
        """Check the fields, and start; on a real API only after the user confirmed the cost."""
        self.controls.ask_to_start()

    def drop_pending(self) -> None:
        """Discard the run that waits for confirmation."""
        self.controls.drop_pending()

    def stop_run(self) -> None:
        """End the run early, and show the results so far."""
        self.controls.stop_run()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until no run is active. KeyboardInterrupt ends the run."""
        self.controls.wait(timeout_s)

    def close(self) -> None:
        """End the run that the form shows."""
        self.controls.close()

    @abstractmethod
    def _lay_out(self) -> Any:
        """Return the form's widget."""

    @abstractmethod
    def _read(self, real: Target | None) -> Work | None:
        """Read the fields of the form, for a real target or None; return None if one is invalid."""

    @abstractmethod
    def _enable(self, is_enabled: bool) -> None:
        """Enable or disable the fields of the form."""

    def _question(self, work: Any, target: Target) -> str:
        """Return the question before a run on a real target, as HTML; a form that only uses sandboxes has none."""
        return ""

    def _is_own(self, run: RunEntry) -> bool:
        """Return whether a run of the form's kind belongs to the form."""
        return True

    # These methods run in a thread.

    @abstractmethod
    def _follow(self, folder: Path, until_end: Callable[[Look], None]) -> None:
        """Clear the form, call ``until_end``, which returns when the folder's run has ended, and show the result."""

    @abstractmethod
    def _show_list(self, runs: Sequence[RunEntry]) -> None:
        """Show the runs of the folder that belong to the form."""
