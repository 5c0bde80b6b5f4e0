"""Measure the overhead of `smscode load` before and after the load: `python benchmarks/load_startup.py [SMSCODE ...]`.

Two wall-clock times, from the run's own records: from the command to the first call, and from the end of the last call
to the end of the command. Each SMSCODE is an executable, e.g. of two checkouts. They take turns, so that a busy machine
affects both alike. The default is the executable of this Python. Takes about 20 s a run.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

ROUNDS, DURATION = 5, "10s"


def measure(executable: str) -> tuple[float, float]:
    """Run a load test on a new sandbox; return the seconds before the first and after the last call."""
    with tempfile.TemporaryDirectory() as folder:
        command = [executable, "load", "--duration", DURATION]
        started_ns = time.time_ns()
        # Not check=True: on a busy machine the load generator is the bottleneck, which has an exit code of its own.
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        ended_ns = time.time_ns()
        (records,) = Path(folder).glob("runs/*/calls.parquet")
        calls = pq.read_table(records, columns=["started_ns", "latency_ns"])
    first_ns = pc.min(calls["started_ns"]).as_py()
    last_ns = pc.max(pc.add(calls["started_ns"], calls["latency_ns"])).as_py()
    return (first_ns - started_ns) / 1e9, (ended_ns - last_ns) / 1e9


def main() -> None:
    executables = sys.argv[1:] or [str(Path(sys.executable).with_name("smscode"))]
    for executable in executables:
        measure(executable)  # the files of its packages are in the cache from now on
    rounds = [{executable: measure(executable) for executable in executables} for _ in range(ROUNDS)]
    print("| smscode | to the first call, s (median) | best | from the last call, s (median) | best |")
    print("|---|---:|---:|---:|---:|")
    for executable in executables:
        before_s, after_s = zip(*(it[executable] for it in rounds), strict=True)
        cells = (statistics.median(before_s), min(before_s), statistics.median(after_s), min(after_s))
        print(f"| {executable} | " + " | ".join(f"{it:.2f}" for it in cells) + " |")


if __name__ == "__main__":
    main()
