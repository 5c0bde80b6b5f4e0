"""Read the service clock: milliseconds since 1970, UTC, that never go back, and that a sandbox can run faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


def wall_ms() -> int:
    """Return the machine's time in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Anchor:
    """A point that the service clock starts from: it read ``clock_ms`` at the machine's time ``wall_ms``.

    >>> Anchor(wall_ms=1000, clock_ms=5000, speed=60.0).at(2000)
    65000
    """

    wall_ms: int
    clock_ms: int
    speed: float

    def at(self, wall_ms: int) -> int:
        """Return the time of the service clock at a time of the machine."""
        return self.clock_ms + int((wall_ms - self.wall_ms) * self.speed)


class Clock:
    """A clock that runs ``speed`` times as fast as the machine's, and stands still while that one steps back.

    Args:
        anchor: the anchor of an earlier run on the same store, so that a restart does not turn the clock back.
        wall: returns the machine's time in milliseconds.
    """

    def __init__(self, speed: float = 1.0, anchor: Anchor | None = None, wall: Callable[[], int] = wall_ms) -> None:
        now = wall()
        self._wall = wall
        self._latest = max(now, anchor.at(now) if anchor else 0)
        self.anchor = Anchor(now, self._latest, speed)

    @property
    def speed(self) -> float:
        """The seconds of this clock that pass in one real second."""
        return self.anchor.speed

    def now_ms(self) -> int:
        """Return the time of the service."""
        self._latest = max(self._latest, self.anchor.at(self._wall()))
        return self._latest

    def real_seconds(self, service_ms: int) -> int:
        """Convert a duration of this clock to whole real seconds, rounded up."""
        return -int(-service_ms / self.speed // 1000)
