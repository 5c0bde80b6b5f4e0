"""Detect that the kernel was interrupted, even while it is idle and therefore ignores the interrupt.

Jupyter sends SIGINT to the kernel's whole process group. A thread of the kernel cannot see a signal that the kernel
ignores, but a child process in the same group is ended by it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Self

_SCRIPT = "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); sys.stdin.read()"


class InterruptWatcher:
    """Runs a child process that SIGINT ends, for as long as the ``with`` block."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-I", "-S", "-c", _SCRIPT]
        self._seen_s = 0.0
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()

    @property
    def interrupted_s(self) -> float:
        """The time in seconds since the interrupt of the process group was detected, 0 without one."""
        if os.name == "posix" and self._process.poll() is not None:
            self._seen_s = self._seen_s or time.monotonic()
            return max(time.monotonic() - self._seen_s, sys.float_info.epsilon)
        return 0.0
