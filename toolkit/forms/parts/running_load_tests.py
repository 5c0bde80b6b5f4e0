"""Run the load tests of a form, one at a time, and keep the finished ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from toolkit.api.errors import RunError
from toolkit.detached_run import DetachedRun, Order, start
from toolkit.forms.parts.background_task import BackgroundTask, showing_problems
from toolkit.forms.parts.interrupt_watcher import InterruptWatcher
from toolkit.forms.parts.jupyter_server import find_server
from toolkit.forms.parts.load_result import FinishedRun, result_html
from toolkit.forms.parts.runs_folder import read_summary
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.templates import render
from toolkit.load_and_report import LoadTest
from toolkit.load_test.launch.locust_process import Ended
from toolkit.records.packed import PackedRow
from toolkit.report.preload_imports import Preload
from toolkit.runs.live_run import LiveRun, ask_to_stop, read_live
from toolkit.runs.progress import Progress, ProgressReader
from toolkit.settings import Target

_EVERY_S = 0.5
_SHUTDOWN_S = 3.0  # Jupyter interrupts a kernel shortly before it ends it: that must not stop the run

Show = Callable[[LiveRun, Progress], object]
"""Shows the progress of a run."""


class LoadTestRunner:
    """Runs a form's load tests. ``result`` shows the last finished one, ``runs`` has all that the form has followed."""

    def __init__(self, work: BackgroundTask, result: HtmlPanel) -> None:
        self._work, self._result = work, result
        self.runs: list[FinishedRun] = []
        self.folder: Path | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether the active load test was told to stop."""
        return self._work.is_stopped

    def begin(self, job: Callable[[], object]) -> bool:
        """Start a job in a thread, and return whether it was started; ``stop`` ends its load test."""
        return self._work.begin(job)

    def stop(self) -> None:
        """End the active load test early; its calls so far count."""
        self._work.stop()

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

    def play(self, load_test: LoadTest, target: Target, folder: Path, show: Callable[[Progress], object]) -> Ended:
        """Run a load test that ends with this process, until it ends, is stopped, or the kernel is interrupted."""
        with load_test.prepare(folder) as run, InterruptWatcher() as watcher, Preload():
            load_test.begin(run, target)
            for progress in run.follow(_EVERY_S):
                show(progress)
                if self.is_stopped or watcher.interrupted_s:
                    run.stop()
            return run.wait()

    def start(self, order: Order, show: Show, on_rows: Callable[[list[PackedRow]], object] = lambda _: None) -> None:
        """Start a load test that outlives this process, and follow it; a kernel that is interrupted stops it."""
        run = start(order)
        with InterruptWatcher() as watcher:
            self._follow(order.folder, show, on_rows, lambda: watcher.interrupted_s > _SHUTDOWN_S, run)

    def follow(self, folder: Path, show: Show, on_rows: Callable[[list[PackedRow]], object] = lambda _: None) -> None:
        """Follow a live run that another process has started, and show its result."""
        self._follow(folder, show, on_rows, lambda: False)

    def _follow(
        self,
        folder: Path,
        show: Show,
        on_rows: Callable[[list[PackedRow]], object],
        is_interrupted: Callable[[], bool],
        run: DetachedRun | None = None,
    ) -> None:
        self.folder = folder
        is_told, last = False, None
        with closing(ProgressReader(folder)) as reader:
            while (live := read_live(folder)) or (run and run.is_alive):
                last = live or last
                with showing_problems(self._show_problem):  # the run goes on, and must be stopped if that is wanted
                    if live and not is_told and (self.is_stopped or is_interrupted()):
                        ask_to_stop(folder)
                        is_told = True
                    if live:
                        show(live, reader.read(time.time_ns(), on_rows))
                time.sleep(_EVERY_S)
            with showing_problems(self._show_problem):
                if last:
                    show(last, reader.read())
        if run:
            run.wait()
        self._keep(folder)

    def _show_problem(self, problem: str) -> None:
        self._result.html = render("problem", text=problem)

    def _keep(self, folder: Path) -> None:
        """Show the result of a run that has ended."""
        summary = read_summary(folder)
        if not folder.is_dir():
            raise RunError(f"the run {folder.name} ended before its first call")
        if "calls" not in summary:
            raise RunError(
                f"the run {folder.name} failed or was killed, so it is incomplete and nothing passes;"
                f" smscode report {folder} reports on the calls that it has recorded"
            )
        self.runs.append(FinishedRun(folder, summary))
        page, server = folder / "report.html", find_server()
        self._result.html = result_html(summary, page, server.link(page) if server else "")
