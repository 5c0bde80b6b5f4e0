"""InterruptWatcher: tells that the kernel was interrupted, also while it runs nothing and therefore ignores it.

Jupyter sends SIGINT to the whole process group of a kernel. A thread can't see that; a process of the group can.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Self

_WAITS = "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); sys.stdin.read()"


class InterruptWatcher:
    """A process of this process group that a SIGINT ends; it isn't there longer than its ``with`` block."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-I", "-S", "-c", _WAITS]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()

    @property
    def is_interrupted(self) -> bool:
        """Whether the interrupt came."""
        return os.name == "posix" and self._process.poll() is not None
