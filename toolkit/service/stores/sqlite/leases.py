"""Which delivery jobs are out, and when each may be taken again: for a store that one process owns.

A process that dies takes its leases with it; whoever opens the store next begins with every job that is left.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Leases:
    """The jobs that were taken and not settled, by number. Times are seconds of any clock that never goes back."""

    newest: int = 0
    attempts: dict[int, int] = field(default_factory=dict)
    _until_s: dict[int, float] = field(default_factory=dict)
    _queue: list[tuple[float, int]] = field(default_factory=list)

    def take(self, number: int, until_s: float) -> int:
        """Take a job until a time; return how often it was taken before."""
        self.newest = max(self.newest, number)
        self.attempts[number] = self.attempts.get(number, -1) + 1
        self.hold(number, until_s)
        return self.attempts[number]

    def hold(self, number: int, until_s: float) -> None:
        """Keep a taken job from being taken again before a time."""
        self._until_s[number] = until_s
        heapq.heappush(self._queue, (until_s, number))

    def release(self, number: int) -> None:
        """Forget a job."""
        self.attempts.pop(number, None)
        self._until_s.pop(number, None)

    def due(self, now_s: float) -> Iterator[int]:
        """Yield the jobs whose time has come, the longest due first."""
        while self._queue and self._queue[0][0] <= now_s:
            until_s, number = heapq.heappop(self._queue)
            if self._until_s.get(number) == until_s:
                yield number
