"""Wait for another thread or process that tells nobody when it has done something."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(is_so: Callable[[], object], timeout_s: float = 240) -> None:
    """Return once something is so; fail after ``timeout_s``."""
    until = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)
