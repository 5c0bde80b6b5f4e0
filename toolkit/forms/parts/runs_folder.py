"""List the runs of a folder, live ones included, and notice when the list changes."""

from __future__ import annotations

import json
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.forms.parts.jupyter_server import is_page_connected
from toolkit.report.inputs import is_run
from toolkit.runs.live_run import LiveRun, read_live, show_connected, was_killed
from toolkit.runs.run_folder import SUMMARY_NAME, Cause

_EVERY_S = 1.0
_SHOW_CONNECTED_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A run of a folder: ``live`` while it goes on, ``summary`` is the content of its run.json, {} without a result."""

    folder: Path
    live: LiveRun | None = None
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def is_incomplete(self) -> bool:
        """Whether its process was killed before the run ended."""
        ended = self.summary.get("settings", {}).get("ended")
        return self.live is None and (ended == Cause.INCOMPLETE or was_killed(self.folder))

    @property
    def has_result(self) -> bool:
        """Whether run.json has the figures and verdicts of a run that has ended."""
        return "calls" in self.summary

    @property
    def scenario(self) -> str:
        """Its scenario, "" if it is not known."""
        settings = self.summary.get("settings", {})
        return self.live.scenario if self.live else str(settings.get("scenario") or "")

    @property
    def label(self) -> str:
        """Its name, scenario, and number of calls or state."""
        state = f"{self.summary['calls']:,} calls" if self.has_result else ""
        state = "running" if self.live else "incomplete" if self.is_incomplete else state
        return f"{self.folder.name}   {', '.join(filter(None, (self.scenario, state)))}".rstrip()


class RunsFolder:
    """Lists the runs of a folder. A second listing reads only the files that have changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[Path, tuple[int, dict[str, Any]]] = {}

    def entries(self) -> tuple[RunEntry, ...]:
        """Return the runs, latest first."""
        return tuple(self._entries())

    def _entries(self) -> list[RunEntry]:
        found, known = [], dict[Path, tuple[int, dict[str, Any]]]()
        try:
            folders = sorted(self.path.glob("*/"), reverse=True)
        except OSError:  # e.g. no permission
            folders = []
        for folder in folders:
            live = read_live(folder)
            try:
                changed_ns = (folder / SUMMARY_NAME).stat().st_mtime_ns
            except OSError:
                changed_ns = 0
            before = self._known.get(folder)
            if live is None and before is None and not is_run(folder):
                continue
            known[folder] = before if before and before[0] == changed_ns else (changed_ns, read_summary(folder))
            found.append(RunEntry(folder, live, known[folder][1]))
        self._known = known
        return found


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the content of a folder's run.json, {} if there is none that this toolkit has written."""
    try:
        summary = json.loads((folder / SUMMARY_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_valid = (
        isinstance(summary, dict)
        and isinstance(summary.get("settings", {}), dict)
        and isinstance(summary.get("calls", 0), int)
    )
    return summary if is_valid else {}


class RunsWatcher:
    """Calls a method of a form whenever the runs of a folder have changed.

    It also shows live runs that a page is connected. Its thread ends with the form, or with ``close``.
    """

    def __init__(self, path: Path, on_change: Callable[[Sequence[RunEntry]], object]) -> None:
        self._folder = RunsFolder(path)
        self._on_change = weakref.WeakMethod(on_change)
        self._wake, self._closed = threading.Event(), False
        self._seen: tuple[RunEntry, ...] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """The folder; another one may be set."""
        return self._folder.path

    @path.setter
    def path(self, path: Path) -> None:
        self._folder = RunsFolder(path)
        self.look_now()

    def look_now(self) -> None:
        """Read the folder at once, and call the form's method even if nothing has changed."""
        self._seen = None
        self._wake.set()

    def close(self) -> None:
        """End the watch."""
        self._closed = True
        self._wake.set()

    def _run(self) -> None:
        shown_s = -_SHOW_CONNECTED_EVERY_S
        while not self._closed and (on_change := self._on_change()):
            try:
                found = self._folder.entries()
                is_new, self._seen = found != self._seen, found
                live = [it.folder for it in found if it.live]
                if live and time.monotonic() - shown_s >= _SHOW_CONNECTED_EVERY_S:
                    shown_s = time.monotonic()
                    if is_page_connected():
                        for folder in live:
                            show_connected(folder)
                if is_new:
                    on_change(found)
            except Exception:
                traceback.print_exc()  # the next change may be shown again
            del on_change  # it would keep the form alive
            self._wake.wait(_EVERY_S)
            self._wake.clear()
