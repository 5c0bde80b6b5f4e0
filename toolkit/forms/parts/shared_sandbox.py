"""A sandbox that the forms of a process share. It starts when the first form needs it."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from toolkit.load_test.launch.sandbox_process import sandbox_with_metrics
from toolkit.settings import Target


class Sandbox:
    """A sandbox that runs from the first call of ``target`` to ``close``, or to the end of this process."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._target: Target | None = None
        self._metrics_url = ""

    @property
    def is_running(self) -> bool:
        """Whether the sandbox is running."""
        return self._target is not None

    @property
    def url(self) -> str:
        """Its base URL, "" while it is not running."""
        target = self._target
        return target.base_url if target else ""

    @property
    def metrics_url(self) -> str:
        """The base URL of its /metrics, "" while it is not running."""
        return self._metrics_url

    def target(self) -> Target:
        """Return the sandbox as a target; start it if needed, which takes 1 to 2 s. Raises RunError."""
        with self._lock:
            if self._target is None:
                self._target, self._metrics_url = self._stack.enter_context(sandbox_with_metrics())
            return self._target

    def close(self) -> None:
        """Stop the sandbox; the next call of ``target`` starts a new one."""
        with self._lock:
            self._target, self._metrics_url = None, ""
            self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()
