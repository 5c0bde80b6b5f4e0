"""Call a method of a form every few seconds, until the form is gone."""

from __future__ import annotations

import threading
import traceback
import weakref
from collections.abc import Callable


class Poller:
    """Calls a method of a form in a thread, at once and then every ``every_s``. It ends with the form or ``close``."""

    def __init__(self, method: Callable[[], object], every_s: float) -> None:
        self._method, self._every_s = weakref.WeakMethod(method), every_s
        self._closed = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """End the calls."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.is_set() and (method := self._method()):
            try:
                method()
            except Exception:
                traceback.print_exc()  # the next call may succeed
            del method  # it would keep the form alive
            self._closed.wait(self._every_s)
