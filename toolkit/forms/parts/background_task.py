"""Run one job of a form at a time in a thread, and show its progress and problems in the form.

A callback of a widget may run on any thread and loop of the kernel, and must return at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from toolkit.api.errors import ToolkitError


class BackgroundTask:
    """What one form has under way; ``is_busy`` tells whether there is something.

    ``show_busy`` is called when something begins (True) and is over (False), ``show_problem`` with what went wrong.
    """

    def __init__(self, show_busy: Callable[[bool], object], show_problem: Callable[[str], object]) -> None:
        self._show_busy = show_busy
        self._show_problem = show_problem
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.is_busy = False

    def begin(self, job: Callable[[], object]) -> bool:
        """Do something in a thread, unless something is under way already; tell whether it was begun."""
        with self._lock:
            if self.is_busy:
                return False
            self.is_busy = True
            self._thread = threading.Thread(target=self._do, args=(job,), daemon=True)
            self._show_busy(True)
            self._thread.start()
            return True

    def wait(self, timeout_s: float | None = None) -> None:
        """Return when nothing is under way any more, or the time is over."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _do(self, job: Callable[[], object]) -> None:
        try:
            with showing_problems(self._show_problem):
                job()
        finally:
            self.is_busy = False
            self._show_busy(False)


@contextmanager
def showing_problems(show_problem: Callable[[str], object]) -> Iterator[None]:
    """Have what goes wrong shown in words."""
    try:
        yield
    except (ToolkitError, OSError) as problem:
        show_problem(str(problem))
    except Exception as problem:
        show_problem(f"a defect of the toolkit: {type(problem).__name__}: {problem}")
