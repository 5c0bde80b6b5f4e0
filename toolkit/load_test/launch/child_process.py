"""End a child process with everything it started, and read its last lines of output."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import IO


def end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Terminate a child, which leads its session, and kill every process that is left of the session.

    Args:
        process: A child that was started with ``start_new_session=True``.
        grace_s: Time that the child has to end by itself.
    """
    try:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    finally:
        with suppress(ProcessLookupError, PermissionError):  # macOS raises the second one if the session has just ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last_lines(file: IO[bytes], count: int) -> str:
    """Return the last lines of a file that are not blank, or "no output"."""
    file.seek(0)
    lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return "\n".join(lines[-count:]) or "no output"
