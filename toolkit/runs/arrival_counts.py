"""Pacing: what became of an open loop's arrivals, summed over the workers that left it in the run's folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolkit.runs import run_folder

_SUMS = ("due", "late", "queued", "dropped", "orphaned")
_ORPHANED_KEY = "unowned"  # the name in run.json, and in the arrivals files of earlier versions
_RATE_OVER_S = 0.9  # workers leave their counts once a second


@dataclass(frozen=True, slots=True)
class Pacing:
    """The arrivals of a run so far.

    due: whose time has come. late: begun late, the load generator being busy. queued: had to wait for a connection.
    dropped: not begun. orphaned: not begun either, as their worker was lost and no other had taken over.
    ``bottlenecks``: how the load generator held the run back, in a few words for each worker.
    """

    elapsed_s: float
    due: int
    late: int
    queued: int
    dropped: int
    orphaned: int
    bottlenecks: tuple[str, ...] = ()

    @property
    def intended_per_s(self) -> float:
        """Journeys that should have been begun in a second, as a mean."""
        return self.due / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def achieved_per_s(self) -> float:
        """Journeys that were."""
        return self.begun / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def begun(self) -> int:
        """Journeys that were begun."""
        return self.due - self.dropped - self.orphaned

    def settings(self) -> dict[str, object]:
        """Return what run.json keeps of it."""
        arrivals = asdict(self)
        arrivals[_ORPHANED_KEY] = arrivals.pop("orphaned")
        bottlenecks = dict.fromkeys(arrivals.pop("bottlenecks"))
        rates = {"intended_per_s": self.intended_per_s, "achieved_per_s": self.achieved_per_s}
        return {"pacing": arrivals | rates, "bottleneck": "; ".join(bottlenecks) or None}


@dataclass(frozen=True, slots=True)
class Rate:
    """Journeys a second that should have been begun, and that were."""

    intended_per_s: float
    achieved_per_s: float


class Pacer:
    """Tells the rate of the last second or so, from one reading of a run's pacing to the next."""

    def __init__(self) -> None:
        self._before: Pacing | None = None
        self._rate = Rate(0.0, 0.0)

    def rate(self, now: Pacing) -> Rate:
        """Return the rate between the last two readings that are a second apart; that of all until there are two."""
        before = self._before
        if before is None:
            self._before, self._rate = now, Rate(now.intended_per_s, now.achieved_per_s)
        elif (passed_s := now.elapsed_s - before.elapsed_s) >= _RATE_OVER_S:
            intended, begun = now.due - before.due, now.begun - before.begun
            self._before, self._rate = now, Rate(intended / passed_s, begun / passed_s)
        return self._rate


def read_pacing(folder: Path) -> Pacing | None:
    """Read what a run's workers left; None where users set the pace, and before the first second is over."""
    left: list[dict[str, Any]] = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob(f"{run_folder.ARRIVALS_STEM}-*.json"))
    ]
    if not left:
        return None
    sums = {name: sum(worker.get(name, 0) for worker in left) for name in _SUMS}
    sums["orphaned"] += sum(worker.get(_ORPHANED_KEY, 0) for worker in left)
    bottlenecks = tuple(worker["bottleneck"] for worker in left if worker["bottleneck"])
    return Pacing(max(worker["elapsed_s"] for worker in left), **sums, bottlenecks=bottlenecks)
