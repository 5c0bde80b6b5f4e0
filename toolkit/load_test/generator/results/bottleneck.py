"""Decide whether the load generator itself held a run back, and write its state to the run's folder once a second.

Problem
-------
A load test measures the target with its own clock. When the generator's process doesn't run, responses lie unread and
arrivals begin late, and the figures blame the target. Its process is at fault in these ways only:

    stalled   it was ready to run and did not: the machine was busy, or the process was stopped
    busy      it used all of its core, so responses waited for their turn
    late      arrivals of an open loop began late although a connection was free

Arrivals that wait while every connection is busy with a call are another matter: the target, or the limit on
connections, is saturated. They are reported, but they are no fault of the generator.

Method
------
In a closed loop, a greenlet sleeps for 20 ms again and again. The delay of its wake-up is the scheduling lag, and a
response that arrives then is read as late. In an open loop, the engine reports the delay of each of its turns. Lags
above the tolerance add up to the time in which the process was stalled. Each second the process's CPU time is compared
with a core. Every cause has a share: of the time, of the seconds or of the arrivals. Causes with a share above their
limit are reported, the largest first.

Constants
---------
_TICK_S       20 ms: a stall that is longer than this is seen in full, against 50 wake-ups a second.
_LAG_S        20 ms: on a busy machine with two cores, normal wake-ups are late by up to about this.
max_share     1 % of the time or of the arrivals unless --max-bottleneck is given: from there on the 99th percentile is
              the generator's.
_FEW_*        short runs: one hiccup, and a few late arrivals, are soon more than a hundredth.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gevent

from toolkit.atomic_write import replacing
from toolkit.load_test.generator.results.in_flight import InFlight
from toolkit.load_test.plan.schedule import ArrivalCounts
from toolkit.runs import run_folder
from toolkit.runs.thresholds import Measure

_TICK_S = _LAG_S = 0.02
_WRITE_EVERY_S = 1.0
_BUSY = 0.95  # of a core
_MAX_BUSY_SHARE, _MAX_WAITING_SHARE = 0.05, 0.01
_FEW_STALLED_S, _FEW_BUSY, _FEW_LATE = 0.5, 1, 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, order=True)
class BottleneckCause:
    """One way in which the load generator held the run back: its share, 0..1, and a sentence with numbers."""

    share: float
    text: str


class BottleneckMonitor:
    """Watches one process of the load generator during one test.

    Args:
        arrivals: the counts of the arrivals, which the engine keeps up to date; all 0 in a closed loop.
        in_flight: returns the calls in flight.
        max_connections: the most connections of the process in an open loop; None in a closed one.
        folder: the folder that the state is written to; None to write nothing.
        source: names the files, ``arrivals-<source>.json`` and ``generator-<source>.json``.
        max_share: the share of the time, or of the arrivals, that the process may hold up.
        clock_s: the monotonic time.
        cpu_s: the CPU time of the process.

    Attributes:
        until_s: for each shard of an open loop that this process served, how far its schedule has come.
    """

    def __init__(
        self,
        arrivals: ArrivalCounts,
        in_flight: Callable[[], InFlight],
        max_connections: int | None,
        folder: Path | None,
        source: str,
        max_share: float = 0.01,
        clock_s: Callable[[], float] = time.monotonic,
        cpu_s: Callable[[], float] = time.process_time,
    ) -> None:
        self._arrivals, self._in_flight, self._max_connections = arrivals, in_flight, max_connections
        self._folder, self._source, self._max_share = folder, source, max_share
        self._clock_s, self._read_cpu_s = clock_s, cpu_s
        self._began_s = self._measured_s = clock_s()
        self._cpu_s = cpu_s()
        self._seconds = self._busy_seconds = 0
        self._stalled_s = self._max_lag_s = self._elapsed_s = 0.0
        self._now, self._most_in_flight, self._oldest_ns = InFlight(), 0, 0
        self.until_s: dict[int, float] = {}
        self._watch: gevent.Greenlet | None = None
        self._has_failed = False

    def start(self) -> None:
        """Start watching the process."""
        self._watch = gevent.spawn(self._keep_watching)

    def close(self) -> None:
        """Stop watching, and write the state for the last time."""
        if self._watch is not None:
            self._watch.kill(block=False)
            self._watch = None
            self._measure()

    def tick(self, lag_s: float) -> None:
        """Record a wake-up or a turn that was ``lag_s`` late, and of the last second once it is over."""
        self._max_lag_s = max(self._max_lag_s, lag_s)
        if lag_s > _LAG_S:
            self._stalled_s += lag_s
        now_s = self._clock_s()
        passed_s = now_s - self._measured_s
        if passed_s >= _WRITE_EVERY_S:
            cpu_s = self._read_cpu_s()
            self._seconds += 1
            self._busy_seconds += cpu_s - self._cpu_s >= _BUSY * passed_s
            self._measured_s, self._cpu_s = now_s, cpu_s
            self._measure()

    def causes(self) -> list[BottleneckCause]:
        """Return how the load generator held the run back, the largest cause first; an empty list if it didn't."""
        arrivals, elapsed_s = self._arrivals, self._elapsed_s
        owned = arrivals.due - arrivals.orphaned
        found = []
        if self._stalled_s > max(_FEW_STALLED_S, self._max_share * elapsed_s):
            share, longest_ms = self._stalled_s / max(elapsed_s, self._stalled_s), 1000 * self._max_lag_s
            text = (
                f"the load generator did not run for {self._stalled_s:.1f} of {elapsed_s:.1f} s ({share:.0%}),"
                f" up to {longest_ms:.0f} ms at once: it got too little CPU time"
            )
            found.append(BottleneckCause(share, text))
        if self._busy_seconds > max(_FEW_BUSY, max(_MAX_BUSY_SHARE, self._max_share) * self._seconds):
            share = self._busy_seconds / self._seconds
            text = f"the load generator used all of its core in {share:.0%} of the seconds: give it more --workers"
            found.append(BottleneckCause(share, text))
        if arrivals.late > max(_FEW_LATE, self._max_share * owned):
            share = arrivals.late / owned
            text = f"{share:.1%} of the arrivals were begun late: the load generator got too little CPU time"
            found.append(BottleneckCause(share, text))
        return sorted(found, reverse=True)

    def bottleneck(self) -> str | None:
        """Return all causes in one text, or None if the load generator didn't hold the run back."""
        return "; ".join(cause.text for cause in self.causes()) or None

    def saturation(self) -> str | None:
        """Return how arrivals had to wait while every connection had a call in flight, or None if few had to."""
        arrivals = self._arrivals
        owned = arrivals.due - arrivals.orphaned
        if arrivals.queued + arrivals.dropped <= _MAX_WAITING_SHARE * owned:
            return None
        return (
            f"all {self._max_connections} connections were busy with calls to the target:"
            f" {arrivals.queued / owned:.1%} of the arrivals waited for one, {arrivals.dropped / owned:.1%} never got"
            f" one; up to {self._most_in_flight:,} calls were in flight, the oldest for {self._oldest_ns / 1e9:.1f} s"
        )

    def _keep_watching(self) -> None:
        while True:
            due_s = self._clock_s() + _TICK_S
            gevent.sleep(_TICK_S)
            self.tick(self._clock_s() - due_s if self._max_connections is None else 0.0)

    def _measure(self) -> None:
        self._elapsed_s = self._clock_s() - self._began_s
        self._now = self._in_flight()
        self._most_in_flight = max(self._most_in_flight, self._now.calls)
        self._oldest_ns = max(self._oldest_ns, self._now.oldest_ns)
        self.write()

    def write(self) -> None:
        """Write the state. Each file appears whole or not at all."""
        if self._folder is None:
            return
        causes, now = self.causes(), self._now
        caller_ages = [ages.buckets() for (_, measure), ages in now.ages.items() if measure is Measure.CALLER_MS]
        state: dict[str, Any] = {
            "elapsed_s": self._elapsed_s,
            "seconds": self._seconds,
            "busy_seconds": self._busy_seconds,
            "stalled_s": self._stalled_s,
            "max_lag_ms": 1000 * self._max_lag_s,
            "causes": [asdict(cause) for cause in causes],
            "saturation": self.saturation(),
            "in_flight": {"calls": now.calls, "waiting": now.waiting, "oldest_s": now.oldest_ns / 1e9},
            "caller_ages": [(buckets.tolist(), counts.tolist()) for buckets, counts in caller_ages],
        }
        self._write(f"{run_folder.GENERATOR_STEM}-{self._source}.json", state)
        if self._max_connections is not None:
            due_s = max(self.until_s.values(), default=0.0)
            counts = {"elapsed_s": due_s, **asdict(self._arrivals), "until_s": self.until_s}
            self._write(f"{run_folder.ARRIVALS_STEM}-{self._source}.json", counts)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        assert self._folder
        try:
            with replacing(self._folder / name) as partial:
                partial.write_text(json.dumps(content), encoding="utf-8")
        except OSError as error:  # a full disk must end neither the calls nor the measurement
            if not self._has_failed:
                self._has_failed = True
                logger.error("the state of the load generator can't be written now: %s", error)


def join_reports(reports: Mapping[str, str], connected: Set[str], *, has_ended: bool) -> str | None:
    """Return how the workers of a test hold it back, "" if they don't, or None if that is unknown.

    It is unknown while a connected worker has not reported, such as the successor of a lost one, and while a test that
    goes on has no worker.

    Args:
        reports: the text of each worker's last report, "" without a bottleneck. Lost workers may be among them.
        connected: the workers that are connected.
        has_ended: whether the test has ended, so that its workers have left.

    >>> join_reports({"lost": "", "a": ""}, {"a", "successor"}, has_ended=False) is None
    True
    >>> join_reports({"lost": "", "a": "busy"}, {"a", "successor"}, has_ended=False)
    'busy'
    """
    is_known = bool(reports) and reports.keys() >= connected and (has_ended or bool(connected))
    return "; ".join(filter(None, reports.values())) or ("" if is_known else None)
