"""Limits on CPU time that mean the same on a fast and on a slow machine."""

from __future__ import annotations

import time

_NOMINAL_S = 0.06  # what the loop below takes on the machine for which limits are set


def reference_s() -> float:
    """Return the CPU time of a fixed loop on this machine, under its present load."""
    began_s = time.process_time()
    total = 0
    for number in range(2_000_000):
        total += number & 7
    return time.process_time() - began_s


def cpu_limit_s(nominal_s: float) -> float:
    """Scale a limit that was set for a fast machine to this one, but never lower it."""
    return nominal_s * max(1.0, reference_s() / _NOMINAL_S)
