"""List the runs of a folder, live ones included, and watch it for changes."""

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

from pydantic import BaseModel, ConfigDict

from toolkit.forms.parts.jupyter_server import is_page_connected
from toolkit.report.inputs import is_run
from toolkit.runs.live_run import LiveRun, RunKind, read_live, show_connected, was_killed
from toolkit.runs.run_folder import CAPACITY_NAME, PROBE_NAME, SUMMARY_NAME, Cause

_EVERY_S = 1.0
_SHOW_CONNECTED_EVERY_S = 5.0
_RESULTS = {RunKind.SEARCH: CAPACITY_NAME, RunKind.PROBE: PROBE_NAME, RunKind.LOAD_TEST: SUMMARY_NAME}


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A run of a folder.

    Args:
        folder: The folder.
        live: The content of its live.json; None once it has ended.
        summary: The content of its run.json, capacity.json or probe.json, {} without one.
        kind: The kind of the run.
    """

    folder: Path
    live: LiveRun | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    kind: RunKind = RunKind.LOAD_TEST

    @property
    def is_incomplete(self) -> bool:
        """Whether its process was killed before the run ended."""
        is_load_test = self.kind is RunKind.LOAD_TEST
        ended = (self.summary.get("settings", {}) if is_load_test else self.summary).get("ended")
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
    def title(self) -> str:
        """Its scenario, behind the kind of a search; "probe" for a probe."""
        if self.kind is RunKind.PROBE:
            return str(self.kind)
        return " of ".join(filter(None, ["" if self.kind is RunKind.LOAD_TEST else str(self.kind), self.scenario]))

    @property
    def label(self) -> str:
        """Its name, scenario, and number of calls or state."""
        state = f"{self.summary['calls']:,} calls" if self.has_result else ""
        state = "running" if self.live else "incomplete" if self.is_incomplete else state
        return f"{self.folder.name}   {', '.join(filter(None, (self.scenario, state)))}".rstrip()


class _Settings(BaseModel):
    model_config = ConfigDict(strict=True)

    users: int | None = None
    rate_per_s: float | None = None
    stages: str | None = None


class _Rule(BaseModel):
    description: str


class _Listed(BaseModel):
    """The values that lists of runs show. They are validated because one of another type would end the whole list."""

    model_config = ConfigDict(strict=True)

    settings: _Settings = _Settings()
    calls: int = 0
    duration_s: float | None = None
    verdicts: list[dict[str, Any]] = []
    checks: list[dict[str, Any]] = []
    rules: list[_Rule] = []


class RunsFolder:
    """Lists the runs of a folder. A second listing reads only the files that have changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[Path, tuple[int, RunEntry]] = {}

    def entries(self) -> tuple[RunEntry, ...]:
        """Return the runs, latest first."""
        return tuple(self._entries())

    def _entries(self) -> list[RunEntry]:
        known = dict[Path, tuple[int, RunEntry]]()
        try:
            folders = sorted(self.path.glob("*/"), reverse=True)
        except OSError:  # e.g. no permission
            folders = []
        for folder in folders:
            live, (before_ns, before) = read_live(folder), self._known.get(folder, (-1, None))
            kind = live.kind if live else before.kind if before else _find_kind(folder)
            if kind is None:
                continue
            try:
                changed_ns = (folder / _RESULTS[kind]).stat().st_mtime_ns
            except OSError:
                changed_ns = 0
            summary = before.summary if before and before_ns == changed_ns else read_summary(folder, kind)
            known[folder] = changed_ns, RunEntry(folder, live, summary, kind)
        self._known = known
        return [entry for _, entry in known.values()]


def _find_kind(folder: Path) -> RunKind | None:
    """Return the kind of a run that has ended, None if the folder has none."""
    if is_run(folder):
        return RunKind.LOAD_TEST
    return next((kind for kind, name in _RESULTS.items() if (folder / name).exists()), None)


def read_summary(folder: Path, kind: RunKind = RunKind.LOAD_TEST) -> dict[str, Any]:
    """Return the content of a folder's run.json, capacity.json or probe.json, {} without one of this toolkit."""
    try:
        summary: dict[str, Any] = json.loads((folder / _RESULTS[kind]).read_text(encoding="utf-8"))
        _Listed.model_validate(summary)
    except (OSError, ValueError):  # a ValidationError is one, too
        return {}
    return summary


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
                entries = self._folder.entries()
                is_new, self._seen = entries != self._seen, entries
                live = [it.folder for it in entries if it.live]
                if live and time.monotonic() - shown_s >= _SHOW_CONNECTED_EVERY_S:
                    shown_s = time.monotonic()
                    if is_page_connected():
                        for folder in live:
                            show_connected(folder)
                if is_new:
                    on_change(entries)
            except Exception:
                traceback.print_exc()  # the next change may be shown again
            del on_change  # it would keep the form alive
            self._wake.wait(_EVERY_S)
            self._wake.clear()
