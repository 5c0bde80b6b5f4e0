"""Run a load test in a process of its own, which outlives the page or the notebook that started it.

    page, notebook                    this process                        locust
    start(order)     -- stdin -->     hold(folder)
                                      start a sandbox, check the target
                                      LoadTest.begin            ------>   load the target
    read the folder  <-- files --                               <------   records
    show_connected   -- files -->     no page for max_away_s:   ------>   stop
    ask_to_stop      -- files -->     stop.txt exists:          ------>   stop
                                      write the report

``toolkit.runs.live_run`` describes the files. Nothing ends with the process that called ``start``: a kernel that is
restarted or killed, or a page that is loaded again, finds the run in its folder. If this process is killed, the load
generator and the sandbox end with it, and run.json says that the run is incomplete.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from toolkit import number_format
from toolkit.api.errors import RunError, ToolkitError
from toolkit.load_and_report import LoadTest, conclude
from toolkit.load_test.launch.child_process import last_lines
from toolkit.load_test.launch.sandbox_process import sandbox
from toolkit.runs.live_run import Attendance, hold, is_asked_to_stop
from toolkit.settings import Target

MAX_AWAY_S, MAX_AWAY_PAID_S = 600.0, 120.0
"""Default times without a connected page or notebook after which a run is stopped; the second one if it costs money."""

_EVERY_S = 0.5
_SHOWN_LINES = 5
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Order:
    """A load test to run in a process of its own.

    Args:
        load_test: The load test.
        folder: A new folder.
        target: The API to load; None for a sandbox that lives as long as the run.
        max_away_s: The run is stopped if no page and no notebook was connected for this time, in seconds; None: never.
    """

    load_test: LoadTest
    folder: Path
    target: Target | None = None
    max_away_s: float | None = MAX_AWAY_S


class DetachedRun:
    """A run in a process of its own, as the process that started it sees it."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes], folder: Path) -> None:
        self.folder = folder
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


def start(order: Order) -> DetachedRun:
    """Start a process for a load test. The secret is passed on its stdin.

    >>> run = start(Order(LoadTest("throughput", LoadOptions(users=5, duration_s=10)), Path("run")))  # doctest: +SKIP
    >>> run.wait()  # doctest: +SKIP
    """
    errors = tempfile.TemporaryFile()  # noqa: SIM115  # DetachedRun.wait closes it
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,  # a kernel is ended with its process group, a terminal's Ctrl-C goes to its session
    )
    run = DetachedRun(process, errors, order.folder)
    assert process.stdin
    try:
        with process.stdin:
            pickle.dump(order, process.stdin)
    except BrokenPipeError:  # it has ended already
        run.wait()
        raise
    return run


def run(order: Order, signals: list[str]) -> None:
    """Run a load test until it ends or is to be stopped, and write its report.

    Args:
        order: The load test.
        signals: Names of the signals that this process has received. The signal handler appends to it.
    """
    from toolkit.report.preload_imports import Preload

    load_test, folder = order.load_test, order.folder
    with hold(folder, load_test.live_run(order.target, order.max_away_s)):
        with ExitStack() as stack:
            child = stack.enter_context(load_test.prepare(folder))  # imports locust while the sandbox starts
            if order.target:
                load_test.check(order.target)
            target = order.target or stack.enter_context(sandbox(*load_test.options.sandbox_arguments()))
            if signals or is_asked_to_stop(folder):
                raise RunError("the run was stopped before its first call")
            load_test.begin(child, target)
            stack.enter_context(Preload())
            attendance = Attendance(folder, time.monotonic())
            while not child.ends_within(_EVERY_S):
                away_s = attendance.away_s(time.monotonic())
                if signals:
                    child.stop(signals[0])
                elif order.max_away_s is not None and away_s >= order.max_away_s:
                    child.stop(away_text(order.max_away_s))
            settings = load_test.final_settings(target, child.wait())
        conclude(folder, settings)


def away_text(max_away_s: float) -> str:
    """Return why a run that nobody watched was stopped.

    >>> away_text(600)
    'its supervisor, because no page and no notebook was connected for 10 min'
    """
    away = number_format.duration(max_away_s)
    return f"its supervisor, because no page and no notebook was connected for {away}"


def main() -> None:
    """Run the load test that is read from stdin."""
    signals: list[str] = []
    for number in _SIGNALS:
        signal.signal(number, lambda received, _: signals.append(signal.Signals(received).name))
    order: Order = pickle.load(sys.stdin.buffer)
    try:
        run(order, signals)
    except ToolkitError as problem:
        raise SystemExit(str(problem)) from None
    except OSError as problem:  # e.g. a full disk
        raise SystemExit(f"the run {order.folder} is incomplete: {problem}") from None


if __name__ == "__main__":
    # The order was pickled by a process that knows this module by its name.
    from toolkit.detached_run import main as named_main

    named_main()
