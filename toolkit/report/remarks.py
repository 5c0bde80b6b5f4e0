"""Remarks: what a reader of a run must know first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from toolkit.runs.run_folder import Cause

_ENDINGS = {
    Cause.INTERRUPTED: "It was interrupted.",
    Cause.REFUSED: "It was ended early: every further call would have been refused: {because}",
    Cause.MISSED: "It was ended early by a threshold that it missed: {because}",
    Cause.BUDGET: "It was ended early by its budget: {because}",
}


def remarks(settings: Mapping[str, object]) -> Iterator[str]:
    """Word what a reader of a run must know first: that it ended early, or measured nothing but its own generator."""
    ended, bottleneck = str(settings.get("ended")), settings.get("bottleneck")
    if ended in _ENDINGS:
        yield _ENDINGS[Cause(ended)].format(because=settings.get("ended_because"))
    if bottleneck:
        yield f"The load generator was the bottleneck, so that no threshold passes: {bottleneck}"
