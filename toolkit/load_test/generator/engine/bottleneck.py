"""Watch: what became of a process's arrivals, and whether the load generator itself held the run back.

It leaves both in the run's folder once a second, so that they are there however the run ends.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

from toolkit.atomic_write import write_atomically
from toolkit.load_test.plan.schedule import Arrivals
from toolkit.runs import run_folder

_EVERY_S = 1.0
_BUSY = 0.95  # of a core
_BUSY_SECONDS, _LATE, _DROPPED = 0.05, 0.01, 0.01  # more than these shares, and the run says little of the service
_FEW = 3  # late arrivals that tell nothing: of a short run's they are more than a hundredth


class Watch:
    """Watches one process from its first arrival on. ``folder`` None: nothing is left anywhere."""

    def __init__(self, arrivals: Arrivals, max_connections: int, folder: Path | None, source: str) -> None:
        self.arrivals, self._max_connections = arrivals, max_connections
        self._path = folder and folder / f"{run_folder.ARRIVALS_STEM}-{source}.json"
        self._began_s = self._seen_s = time.monotonic()
        self._cpu_s = time.process_time()
        self._seconds = self._busy_seconds = 0

    def look(self) -> None:
        """Look at the last second, once it is over."""
        now_s, cpu_s = time.monotonic(), time.process_time()
        passed_s = now_s - self._seen_s
        if passed_s >= _EVERY_S:
            self._seconds += 1
            self._busy_seconds += cpu_s - self._cpu_s >= _BUSY * passed_s
            self._seen_s, self._cpu_s = now_s, cpu_s
            self.leave()

    def bottleneck(self) -> str | None:
        """Say in a few words how the load generator held the run back; None where it didn't."""
        it = self.arrivals
        owned = it.due - it.orphaned
        if self._busy_seconds > _BUSY_SECONDS * self._seconds:
            share = self._busy_seconds / self._seconds
            return f"the load generator used all of its core in {share:.0%} of the seconds: give it more --workers"
        if it.late > max(_FEW, _LATE * owned):
            return f"{it.late / owned:.1%} of the arrivals were begun late: the generator had too little of a core"
        if it.dropped > _DROPPED * owned:
            return f"{it.dropped / owned:.1%} of the arrivals never got one of {self._max_connections} connections"
        return None

    def leave(self) -> None:
        """Leave what there is to know; the file appears whole or not at all."""
        if self._path:
            elapsed_s = time.monotonic() - self._began_s
            known = {"elapsed_s": elapsed_s, **asdict(self.arrivals), "bottleneck": self.bottleneck()}
            write_atomically(self._path, json.dumps(known))
