"""Lease delivery jobs to one process, in its memory.

If the process ends, so do its leases, and the next owner of the store starts with every job that is left.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Leases:
    """The leases of jobs by their number. Times are seconds of any monotonic clock.

    A heap holds the ends of all leases. An entry is skipped if its lease was changed or released.
    ``newest`` is the highest number that was taken.
    """

    newest: int = 0
    attempts: dict[int, int] = field(default_factory=dict)
    _until_s: dict[int, float] = field(default_factory=dict)
    _queue: list[tuple[float, int]] = field(default_factory=list)

    def take(self, number: int, until_s: float) -> int:
        """Lease a job until a time; return the number of times it was taken before."""
        self.newest = max(self.newest, number)
        self.attempts[number] = self.attempts.get(number, -1) + 1
        self.hold(number, until_s)
        return self.attempts[number]

    def hold(self, number: int, until_s: float) -> None:
        """Set the time from which a job may be taken again."""
        self._until_s[number] = until_s
        heapq.heappush(self._queue, (until_s, number))

    def release(self, number: int) -> None:
        """Remove the lease of a job that is completed or deleted."""
        self.attempts.pop(number, None)
        self._until_s.pop(number, None)

    def due(self, now_s: float) -> Iterator[int]:
        """Yield the jobs that may be taken again, the longest due first. Each is yielded once."""
        while self._queue and self._queue[0][0] <= now_s:
            until_s, number = heapq.heappop(self._queue)
            if self._until_s.get(number) == until_s:
                yield number
