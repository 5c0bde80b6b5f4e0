"""History: what the calls of a test came to over time, in no more points than a chart has room for."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolkit.load_test.generator.results.metrics import Outcome

_MOST_POINTS = 240


class History:
    """Counts of calls at points in time, ``every_s`` seconds apart; once there are too many, twice as far apart."""

    def __init__(self, every_s: float) -> None:
        self._every_s = self._first_every_s = every_s
        self._points: list[tuple[float, Mapping[Outcome, int]]] = []

    def begin(self, at_s: float) -> None:
        """Begin anew, without calls: a test starts."""
        self._every_s = self._first_every_s
        self._points = [(at_s, {})]

    def add(self, at_s: float, counts: Mapping[Outcome, int]) -> None:
        """Add what all calls so far came to, at a time in s since 1970, unless the last point is too near."""
        if self._points and at_s - self._points[-1][0] < self._every_s:
            return
        self._points.append((at_s, dict(counts)))
        if len(self._points) > _MOST_POINTS:
            self._points = self._points[::2]
            self._every_s *= 2

    def times_s(self) -> list[float]:
        """Return the points, in s since 1970."""
        return [at_s for at_s, _ in self._points]

    def calls_per_s(self) -> dict[Outcome, list[float]]:
        """Return, for each outcome that calls came to, how many a second did between each two points."""
        outcomes = self._points[-1][1] if self._points else {}
        spans = [(end_s - start_s, before, after) for (start_s, before), (end_s, after) in pairwise(self._points)]
        return {of: [(after.get(of, 0) - before.get(of, 0)) / s for s, before, after in spans] for of in outcomes}
