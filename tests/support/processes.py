"""Processes that a test has to find, and to see end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from toolkit.load_test.launch.locust_process import Ended
from toolkit.settings import Target

PARENT = """
import sys
from pathlib import Path
from toolkit.load_test.launch import locust_process as launch
from toolkit.load_test.plan.options import LoadOptions
from toolkit.settings import Target

target = Target(sys.argv[1], "key", "the-master-secret", 1)
options = LoadOptions(duration_s=240, users=5, workers=int(sys.argv[3]))
with launch.start("throughput", target, options, folder=Path(sys.argv[2])) as run:
    for progress in run.follow():
        print(progress.calls, flush=True)
"""


def notes_without_bottlenecks(ended: Ended) -> tuple[str, ...]:
    """Return the notes of a run but for those on a load generator that had too little CPU, as on a slow machine."""
    return tuple(note for note in ended.notes if not note.startswith("the load generator "))


def of_run(folder: Path) -> list[psutil.Process]:
    """Return the processes that carry a run's folder in their command line: locust, not the test's own."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if {"locust", "toolkit.load_test.generator"} & set(words) and any(
            word.startswith(str(folder)) for word in words
        ):
            found.append(process)
    return found


def wait_gone(processes: list[psutil.Process], timeout_s: float = 240) -> None:
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]


@contextmanager
def parent_of_a_run(target: Target, folder: Path, workers: int = 1) -> Iterator[subprocess.Popen[str]]:
    """Start a process that starts a load test; it is running, and has made calls, when the block begins."""
    command = [sys.executable, "-c", PARENT, target.base_url, str(folder), str(workers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout
            assert any(int(line) > 0 for line in parent.stdout)
            yield parent
        finally:
            parent.kill()
