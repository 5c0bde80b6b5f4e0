"""Read the state that the processes of a load generator write to the run's folder once a second.

The state has the delays of the generator and the calls in flight. Without it, a target that hangs looks as good as
before, because calls are recorded when they end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.runs import run_folder
from toolkit.validation import load_json


@dataclass(frozen=True, slots=True)
class GeneratorState:
    """The state of a load generator, over all of its processes.

    Attributes:
        bottlenecks: how the generator held the run back, the largest cause first.
        saturations: how arrivals had to wait while every connection was busy with the target.
        elapsed_s: time from the start of the test in a process to its last write, of the process with the longest.
        stalled_ratio: the largest share of the time in which a process did not run.
        busy_ratio: the largest share of the seconds in which a process used all of its core.
        max_lag_ms: the longest that a process was kept from running.
        in_flight: calls whose response is not complete.
        waiting: calls that are due and wait for a connection.
        oldest_s: age of the oldest of both.
        caller_ages: ages of both, as numbers of a histogram's buckets and counts.

    """

    bottlenecks: tuple[str, ...] = ()
    saturations: tuple[str, ...] = ()
    elapsed_s: float = 0.0
    stalled_ratio: float = 0.0
    busy_ratio: float = 0.0
    max_lag_ms: float = 0.0
    in_flight: int = 0
    waiting: int = 0
    oldest_s: float = 0.0
    caller_ages: tuple[tuple[list[int], list[int]], ...] = ()

    def settings(self) -> dict[str, object]:
        """Return the state at the end of a run as run.json's settings contain it."""
        return {
            "bottleneck": "; ".join(self.bottlenecks) or None,
            "saturation": "; ".join(self.saturations) or None,
            "generator": {
                "elapsed_s": self.elapsed_s,
                "stalled_ratio": self.stalled_ratio,
                "busy_ratio": self.busy_ratio,
                "max_lag_ms": self.max_lag_ms,
            },
        }


def read_generator_state(folder: Path, more_causes: Iterable[tuple[float, str]] = ()) -> GeneratorState | None:
    """Return the state of a run's processes; None before the first second is over.

    ``more_causes``: further ways in which the generator held the run back, each as its share, 0 to 1, and a sentence.
    """
    processes: list[dict[str, Any]] = [
        load_json(path) for path in sorted(folder.glob(f"{run_folder.GENERATOR_STEM}-*.json"))
    ]
    if not processes:
        return None
    causes = [*more_causes, *((cause["share"], cause["text"]) for it in processes for cause in it["causes"])]
    in_flight = [it["in_flight"] for it in processes]
    return GeneratorState(
        bottlenecks=tuple(dict.fromkeys(text for _, text in sorted(causes, reverse=True))),
        saturations=tuple(dict.fromkeys(it["saturation"] for it in processes if it["saturation"])),
        elapsed_s=max(it["elapsed_s"] for it in processes),
        stalled_ratio=max(it["stalled_s"] / max(it["elapsed_s"], it["stalled_s"], 1e-9) for it in processes),
        busy_ratio=max(it["busy_seconds"] / max(1, it["seconds"]) for it in processes),
        max_lag_ms=max(it["max_lag_ms"] for it in processes),
        in_flight=sum(it["calls"] for it in in_flight),
        waiting=sum(it["waiting"] for it in in_flight),
        oldest_s=max(it["oldest_s"] for it in in_flight),
        caller_ages=tuple((ages[0], ages[1]) for it in processes for ages in it["caller_ages"]),
    )
