"""Run a load test, a search for the capacity or a probe in a process that outlives the page that started it.

    page, notebook                    this process                        locust, or the prober
    start(request)   -- stdin -->     hold(folder)
                                      start a sandbox, check the target
                                      begin                     ------>   load or probe the target
    read the folder  <-- files --                               <------   records, results, progress
    show_connected   -- files -->     no page for max_away_s:   ------>   stop
    request_stop     -- files -->     stop.txt exists:          ------>   stop
                                      write the report

``toolkit.runs.live_run`` describes the files. Nothing ends with the process that called ``start``: a kernel that is
restarted or killed, or a page that is loaded again, finds the run in its folder. If this process is killed, the load
generator and the sandbox end with it, and the run is incomplete.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

from toolkit import number_format
from toolkit.api.errors import RunError, ToolkitError
from toolkit.find_capacity import CapacitySearch, find_capacity
from toolkit.load_and_report import LoadTest, conclude
from toolkit.load_test.launch.child_process import last_lines
from toolkit.load_test.launch.locust_process import Ended, LoadRun
from toolkit.load_test.launch.sandbox_process import sandbox
from toolkit.probe import probe_run
from toolkit.probe.probe_run import Probe
from toolkit.runs.live_run import Attendance, hold, is_stop_requested, show_progress
from toolkit.settings import Target

MAX_AWAY_S, MAX_AWAY_PAID_S = 600.0, 120.0
"""Default times without a connected page or notebook after which a run is stopped; the second one if it costs money."""

_EVERY_S = 0.5
_SHOWN_LINES = 5
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Work: TypeAlias = LoadTest | CapacitySearch | Probe
FindStop: TypeAlias = Callable[[], str | None]
"""Returns the reason to stop now, "" if a page requested it, None to go on."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run to start in a process of its own.

    Args:
        work: A load test, a search for the capacity or a probe.
        target: The API; None for a sandbox that lives as long as the run.
        max_away_s: The run is stopped if no page and no notebook was connected for this time, in seconds; None: never.
    """

    work: Work
    target: Target | None = None
    max_away_s: float | None = MAX_AWAY_S


class DetachedRun:
    """A handle of a run's process, for the process that started it."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._process, self._errors = process, errors

    def wait(self) -> None:
        """Wait until the report is written. Raises RunError if the run did not start, failed or was killed."""
        with self._errors:
            code = self._process.wait()
            if code < 0:
                raise RunError(f"the run's process was killed by {signal.Signals(-code).name}: the run is incomplete")
            if code:
                raise RunError(last_lines(self._errors, _SHOWN_LINES))

    @property
    def is_alive(self) -> bool:
        """Whether the run's process is running."""
        return self._process.poll() is None


def start(request: RunRequest, folder: Path) -> DetachedRun:
    """Start a process for a run in a new folder. The secret is passed on its stdin.

    >>> load_test = LoadTest("throughput", LoadOptions(users=5, duration_s=10))  # doctest: +SKIP
    >>> start(RunRequest(load_test), Path("run")).wait()  # doctest: +SKIP
    """
    errors = tempfile.TemporaryFile()  # noqa: SIM115  # DetachedRun.wait closes it
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,  # a kernel is ended with its process group, a terminal's Ctrl-C goes to its session
    )
    run = DetachedRun(process, errors)
    assert process.stdin
    try:
        with process.stdin:
            pickle.dump((request, folder), process.stdin)
    except BrokenPipeError:  # it has ended already
        run.wait()
        raise
    return run


def run(request: RunRequest, folder: Path, signals: list[str]) -> None:
    """Run until the end, or until the run is to be stopped, and write its report.

    Args:
        request: The run.
        folder: Its folder.
        signals: Names of the signals that this process has received. The signal handler appends to it.
    """
    work = request.work
    with hold(folder, work.live_run(request.target, request.max_away_s)), ExitStack() as stack:
        # It imports locust while the sandbox starts.
        child = stack.enter_context(work.prepare(folder)) if isinstance(work, LoadTest) else None
        if request.target:
            work.check(request.target)
        target = request.target or stack.enter_context(sandbox(*work.sandbox_arguments()))
        if signals or is_stop_requested(folder):
            raise RunError("the run was stopped before its first call")
        attendance = Attendance(folder, time.monotonic())

        def find_stop() -> str | None:
            away_s = attendance.away_s(time.monotonic())
            if signals:
                return signals[0]
            if is_stop_requested(folder):
                return ""
            is_abandoned = request.max_away_s is not None and away_s >= request.max_away_s
            return away_text(request.max_away_s or 0.0) if is_abandoned else None

        match work:
            case LoadTest():
                assert child
                _load(work, child, target, find_stop)
            case CapacitySearch():
                _search(work, target, folder, find_stop)
            case Probe():
                _probe(work, target, folder, find_stop)


def _load(load_test: LoadTest, child: LoadRun, target: Target, find_stop: FindStop) -> None:
    ended = _play(load_test, child, target, find_stop)
    conclude(child.folder, load_test.final_settings(target, ended))


def _search(search: CapacitySearch, target: Target, folder: Path, find_stop: FindStop) -> None:
    def play(load_test: LoadTest, target: Target, trial: Path) -> Ended:
        with load_test.prepare(trial) as child:
            return _play(load_test, child, target, find_stop)

    find_capacity(search, target, folder, play, find_stop=find_stop)


def _play(load_test: LoadTest, child: LoadRun, target: Target, find_stop: FindStop) -> Ended:
    """Load a target until the end, or until the run is to be stopped."""
    from toolkit.report.preload_imports import Preload

    load_test.begin(child, target)
    with Preload():
        while not child.ends_within(_EVERY_S):
            if (reason := find_stop()) is not None:
                child.stop(reason)
        return child.wait()


def _probe(probe: Probe, target: Target, folder: Path, find_stop: FindStop) -> None:
    settings = probe.settings(target)
    probe_run.write_begin(folder, settings)
    result = probe_run.play(probe, target, probe.check(target), lambda it: show_progress(folder, str(it)), find_stop)
    probe_run.write_result(folder, settings, result)


def away_text(max_away_s: float) -> str:
    """Return the reason why a run without a connected page was stopped.

    >>> away_text(600)
    'its supervisor, because no page and no notebook was connected for 10 min'
    """
    away = number_format.duration(max_away_s)
    return f"its supervisor, because no page and no notebook was connected for {away}"


def main() -> None:
    """Start the run that is requested on stdin."""
    signals: list[str] = []
    for number in _SIGNALS:
        signal.signal(number, lambda received, _: signals.append(signal.Signals(received).name))
    request, folder = pickle.load(sys.stdin.buffer)
    try:
        run(request, folder, signals)
    except ToolkitError as problem:
        raise SystemExit(str(problem)) from None
    except OSError as problem:  # e.g. a full disk
        raise SystemExit(f"the run {folder} is incomplete: {problem}") from None


if __name__ == "__main__":
    # The request was pickled by a process that imports this module by its name.
    from toolkit.detached_run import main as named_main

    named_main()
