"""Decide whether the load generator itself held a run back, and write the counts of its arrivals once a second.

They are written while the run goes on, so that they are in the run's folder however the run ends.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

from toolkit.load_test.plan.schedule import ArrivalCounts
from toolkit.runs import run_folder

_WRITE_EVERY_S = 1.0
_BUSY = 0.95  # of a core
# Above these shares, the run says little about the service.
_MAX_BUSY_SECONDS, _MAX_LATE, _MAX_DROPPED = 0.05, 0.01, 0.01
_FEW_LATE = 3  # late arrivals of a short run, which are soon more than a hundredth of it


class BottleneckMonitor:
    """Measures one process from its first arrival on.

    Args:
        arrivals: the counts of the arrivals, which the engine keeps up to date.
        max_connections: the most connections of the process.
        folder: the folder that the counts are written to; None to write nothing.
        source: names the file, ``arrivals-<source>.json``.
    """

    def __init__(self, arrivals: ArrivalCounts, max_connections: int, folder: Path | None, source: str) -> None:
        self._arrivals, self._max_connections = arrivals, max_connections
        self._path = folder and folder / f"{run_folder.ARRIVALS_STEM}-{source}.json"
        self._began_s = self._measured_s = time.monotonic()
        self._cpu_s = time.process_time()
        self._seconds = self._busy_seconds = 0

    def measure(self) -> None:
        """Measure the CPU time of the last second, once it is over, and write the counts."""
        now_s, cpu_s = time.monotonic(), time.process_time()
        passed_s = now_s - self._measured_s
        if passed_s >= _WRITE_EVERY_S:
            self._seconds += 1
            self._busy_seconds += cpu_s - self._cpu_s >= _BUSY * passed_s
            self._measured_s, self._cpu_s = now_s, cpu_s
            self.write()

    def bottleneck(self) -> str | None:
        """Return a sentence on how the load generator held the run back, or None if it didn't."""
        arrivals = self._arrivals
        owned = arrivals.due - arrivals.orphaned
        if self._busy_seconds > _MAX_BUSY_SECONDS * self._seconds:
            share = self._busy_seconds / self._seconds
            return f"the load generator used all of its core in {share:.0%} of the seconds: give it more --workers"
        if arrivals.late > max(_FEW_LATE, _MAX_LATE * owned):
            return (
                f"{arrivals.late / owned:.1%} of the arrivals were begun late: the generator had too little of a core"
            )
        if arrivals.dropped > _MAX_DROPPED * owned:
            share = arrivals.dropped / owned
            return f"{share:.1%} of the arrivals never got one of {self._max_connections} connections"
        return None

    def write(self) -> None:
        """Write the counts. The file appears whole or not at all."""
        if self._path:
            elapsed_s = time.monotonic() - self._began_s
            counts = {"elapsed_s": elapsed_s, **asdict(self._arrivals), "bottleneck": self.bottleneck()}
            partial = self._path.with_suffix(".part")
            partial.write_text(json.dumps(counts), encoding="utf-8")
            partial.replace(self._path)
