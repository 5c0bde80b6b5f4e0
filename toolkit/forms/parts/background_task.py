"""Run one job of a form at a time in a thread, and show its progress and problems in the form.

A widget's callback may run on any thread of the kernel and must return at once, so each job runs in a separate thread.
The process waits at its exit for a job that computes: a thread that is cut off in DuckDB or Arrow aborts the process. A
job that only waits ends with ``pause``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from toolkit.api.errors import ToolkitError


class BackgroundTask:
    """Runs a form's jobs; ``is_busy`` while one is running, ``is_stopped`` once ``stop`` was called for it.

    ``show_busy`` is called with True when a job begins and with False when it ends, ``show_problem`` with the message
    of an error.
    """

    def __init__(self, show_busy: Callable[[bool], object], show_problem: Callable[[str], object]) -> None:
        self._show_busy = show_busy
        self._show_problem = show_problem
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self.is_busy = False

    @property
    def is_stopped(self) -> bool:
        """Whether ``stop`` was called for the last job."""
        return self._stopped.is_set()

    def begin(self, job: Callable[[], object]) -> bool:
        """Start a job in a thread unless one is running; return whether it was started."""
        with self._lock:
            if self.is_busy:
                return False
            self.is_busy = True
            self._stopped.clear()
            self._thread = threading.Thread(target=self._run, args=(job,))
            self._show_busy(True)
            self._thread.start()
            return True

    def stop(self) -> None:
        """Set ``is_stopped``, which the job has to check."""
        self._stopped.set()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until no job is running, or until the timeout."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self, job: Callable[[], object]) -> None:
        try:
            with showing_problems(self._show_problem):
                job()
        finally:
            self.is_busy = False
            self._show_busy(False)


def pause(duration_s: float) -> None:
    """Sleep in a job; end the job if the process is about to end."""
    time.sleep(duration_s)
    if not threading.main_thread().is_alive():
        raise SystemExit


@contextmanager
def showing_problems(show_problem: Callable[[str], object]) -> Iterator[None]:
    """Call a function with the message of any exception that is raised in the block."""
    try:
        yield
    except (ToolkitError, OSError) as problem:
        show_problem(str(problem))
    except Exception as problem:
        show_problem(f"internal error: {type(problem).__name__}: {problem}")
