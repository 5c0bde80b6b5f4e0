"""Notice that the kernel was interrupted, even while it is idle and therefore ignores the interrupt.

Jupyter sends SIGINT to the kernel's whole process group. A thread of the kernel cannot see a signal that the kernel
ignores, but a child process in the same group is ended by it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Self

_SCRIPT = "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); sys.stdin.read()"


class InterruptWatcher:
    """Runs a child process that SIGINT ends, for as long as the ``with`` block."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-I", "-S", "-c", _SCRIPT]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()

    @property
    def is_interrupted(self) -> bool:
        """Whether the process group was interrupted."""
        return os.name == "posix" and self._process.poll() is not None
