"""Sandbox: one for all forms of a process, started when the first of them needs it."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from toolkit.load_test.launch.sandbox_process import sandbox
from toolkit.settings import Target


class Sandbox:
    """A sandbox that is there once ``target`` was called, until ``close``, and never longer than this process."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._target: Target | None = None

    @property
    def runs(self) -> bool:
        """Whether it was started."""
        return self._target is not None

    def target(self) -> Target:
        """Return it as a target; start it where it doesn't run yet, which takes a second or two. Raise RunError."""
        with self._lock:
            if self._target is None:
                self._target = self._stack.enter_context(sandbox())
            return self._target

    def close(self) -> None:
        """End it; it starts anew when it is needed again."""
        with self._lock:
            self._target = None
            self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()
