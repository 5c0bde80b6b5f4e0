"""Run the load tests of a form, one at a time, and keep the finished ones."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from toolkit.forms.parts.background_task import BackgroundTask
from toolkit.forms.parts.interrupt_watcher import InterruptWatcher
from toolkit.forms.parts.load_result import FinishedRun, result_html, runs_html
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.load_and_report import LoadTest, conclude
from toolkit.load_test.launch.locust_process import Ended, LoadRun
from toolkit.records.packed import PackedRow
from toolkit.report.preload_imports import Preload
from toolkit.runs.progress import Progress
from toolkit.settings import Target

_EVERY_S = 0.5


class LoadTestRunner:
    """Runs a form's load tests. ``result`` shows the last finished one, ``history`` lists all."""

    def __init__(self, work: BackgroundTask, result: HtmlPanel, history: HtmlPanel) -> None:
        self._work, self._result, self._history = work, result, history
        self._stopped = threading.Event()
        self.runs: list[FinishedRun] = []

    @property
    def is_stopped(self) -> bool:
        """Whether the active load test was told to stop."""
        return self._stopped.is_set()

    def begin(self, job: Callable[[], object]) -> None:
        """Start a job in a thread; ``stop`` ends its load test."""
        self._stopped.clear()
        self._work.begin(job)

    def stop(self) -> None:
        """End the active load test early; its calls so far count."""
        self._stopped.set()

    def wait(self, timeout_s: float | None, stop: Callable[[], object]) -> None:
        """Wait until no load test is active. KeyboardInterrupt calls ``stop``, waits and is raised again."""
        try:
            self._work.wait(timeout_s)
        except KeyboardInterrupt:
            stop()
            self._work.wait()
            raise

    def close(self) -> None:
        """End the active load test, and wait for its end."""
        self.stop()
        self._work.wait()

    def play(
        self,
        load_test: LoadTest,
        target: Target,
        folder: Path,
        show: Callable[[LoadRun, Progress], object],
        on_rows: Callable[[list[PackedRow]], object] = lambda _: None,
    ) -> Ended:
        """Run a load test until it ends, is stopped, or the kernel is interrupted. ``show`` gets its progress."""
        with load_test.prepare(folder) as run, InterruptWatcher() as watcher, Preload():
            load_test.begin(run, target)
            for progress in run.follow(_EVERY_S, on_rows):
                show(run, progress)
                if self.is_stopped or watcher.is_interrupted:
                    run.stop()
            return run.wait()

    def keep(self, load_test: LoadTest, target: Target, folder: Path, ended: Ended) -> None:
        """Write the report of a finished load test, and show its result."""
        result, page = conclude(folder, load_test.final_settings(target, ended))
        self.runs.append(FinishedRun(folder, result.summary))
        self._result.html = result_html(result.summary, page, ended.notes)
        self._history.html = runs_html(self.runs)
