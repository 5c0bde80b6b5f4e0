"""Running: the load tests of a form, one at a time: what follows and stops one, and those that are over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from toolkit.forms.parts.background_task import BackgroundTask
from toolkit.forms.parts.interrupt_watcher import InterruptWatcher
from toolkit.forms.parts.load_result import Run, result_html, runs_html
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.load_and_report import LoadTest, conclude, ending
from toolkit.load_test.launch.locust_process import Ended, LoadRun
from toolkit.records.packed import PackedRow
from toolkit.report.preload import Preload
from toolkit.runs.progress import Progress
from toolkit.settings import Target

_EVERY_S = 0.5


class Running:
    """What a form's load tests have in common. ``result`` shows the last one, ``history`` all of them."""

    def __init__(self, work: BackgroundTask, result: HtmlPanel, history: HtmlPanel) -> None:
        self._work, self._result, self._history = work, result, history
        self._stopped = threading.Event()
        self.runs: list[Run] = []

    @property
    def is_stopped(self) -> bool:
        """Whether the one that is on was told to end."""
        return self._stopped.is_set()

    def begin(self, job: Callable[[], object]) -> None:
        """Do something in a thread, which ``stop`` then ends."""
        self._stopped.clear()
        self._work.begin(job)

    def stop(self) -> None:
        """Have the one that is on end; what ran counts."""
        self._stopped.set()

    def wait(self, timeout_s: float | None, stop: Callable[[], object]) -> None:
        """Return when none is on; interrupting that stops the one that is, by ``stop``."""
        try:
            self._work.wait(timeout_s)
        except KeyboardInterrupt:
            stop()
            self._work.wait()
            raise

    def close(self) -> None:
        """Stop the one that is on."""
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
        """Load until the load_test is over, is stopped, or the kernel interrupted; ``show`` is told how far it is."""
        with load_test.prepare(folder) as run, InterruptWatcher() as sentinel, Preload():
            run.begin(target)
            for progress in run.follow(_EVERY_S, on_rows):
                show(run, progress)
                if self.is_stopped or sentinel.is_interrupted:
                    run.stop()
            return run.wait()

    def keep(self, load_test: LoadTest, target: Target, folder: Path, ended: Ended) -> None:
        """Judge one that is over, and show what came of it."""
        result, page = conclude(folder, load_test.settings(target) | ending(ended))
        self.runs.append(Run(folder, result.summary))
        self._result.html = result_html(result.summary, page, ended.notes)
        self._history.html = runs_html(self.runs)
