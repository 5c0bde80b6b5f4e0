"""Sum the arrival counts that the workers of an open-loop load test write to the run's folder once a second."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from toolkit.runs import run_folder
from toolkit.validation import load_json

_SUMS = ("due", "late", "queued", "dropped", "orphaned")
_ORPHANED_KEY = "unowned"  # the name in run.json, and in the arrivals files of earlier versions
_MIN_INTERVAL_S = 0.9  # workers write once a second


@dataclass(frozen=True, slots=True)
class ArrivalCounts:
    """The arrivals of a run so far, over all workers.

    Attributes:
        elapsed_s: time in which arrivals were due so far. It ends with the schedule, before the last responses arrive.
        due: arrivals whose time has come.
        late: started late because the load generator was busy.
        queued: had to wait for a connection.
        dropped: not started.
        orphaned: not started because their worker was lost and no other had taken over.

    """

    elapsed_s: float
    due: int
    late: int
    queued: int
    dropped: int
    orphaned: int

    @property
    def intended_per_s(self) -> float:
        """Mean rate of journeys that were due."""
        return self.due / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def achieved_per_s(self) -> float:
        """Mean rate of journeys that were started."""
        return self.started / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def started(self) -> int:
        """Number of journeys that were started."""
        return self.due - self.dropped - self.orphaned

    def settings(self) -> dict[str, object]:
        """Return the counts as run.json's settings contain them."""
        arrivals = asdict(self)
        arrivals[_ORPHANED_KEY] = arrivals.pop("orphaned")
        rates = {"intended_per_s": self.intended_per_s, "achieved_per_s": self.achieved_per_s}
        return {"pacing": arrivals | rates}

    def account(self, planned: int) -> ArrivalCounts:
        """Return the counts of a run that has ended, with every planned arrival among them.

        Those that no worker has reported are orphaned: their worker was lost, maybe before its first report. So the
        arrivals that were started, dropped or orphaned are those of the plan.
        """
        served = self.due - self.orphaned
        return replace(self, due=max(planned, served), orphaned=max(0, planned - served))


@dataclass(frozen=True, slots=True)
class ArrivalRate:
    """Rates of journeys that were due and that were started, per second."""

    intended_per_s: float
    achieved_per_s: float


class ArrivalRateMeter:
    """Computes the current arrival rate from successive counts."""

    def __init__(self) -> None:
        self._before: ArrivalCounts | None = None
        self._rate = ArrivalRate(0.0, 0.0)

    def rate(self, now: ArrivalCounts) -> ArrivalRate:
        """Return the rate between the last two counts that are a second apart, or the mean rate until there are two."""
        before = self._before
        if before is None:
            self._before, self._rate = now, ArrivalRate(now.intended_per_s, now.achieved_per_s)
        elif (passed_s := now.elapsed_s - before.elapsed_s) >= _MIN_INTERVAL_S:
            due, started = now.due - before.due, now.started - before.started
            self._before, self._rate = now, ArrivalRate(due / passed_s, started / passed_s)
        return self._rate


def read_arrival_counts(folder: Path) -> ArrivalCounts | None:
    """Return the sum over a run's workers; None in a closed loop, and before the first second is over."""
    workers: list[dict[str, Any]] = [
        load_json(path) for path in sorted(folder.glob(f"{run_folder.ARRIVALS_STEM}-*.json"))
    ]
    if not workers:
        return None
    sums = {name: sum(worker.get(name, 0) for worker in workers) for name in _SUMS}
    sums["orphaned"] += sum(worker.get(_ORPHANED_KEY, 0) for worker in workers)
    return ArrivalCounts(max(worker["elapsed_s"] for worker in workers), **sums)


def read_shard_spans(folder: Path) -> dict[int, float]:
    """Return the progress of each shard's schedule, in s, without shards that no worker reported."""
    spans: dict[int, float] = {}
    for path in folder.glob(f"{run_folder.ARRIVALS_STEM}-*.json"):
        for shard, until_s in load_json(path).get("until_s", {}).items():
            spans[int(shard)] = max(spans.get(int(shard), 0.0), until_s)
    return spans
