"""The service's clock: whole milliseconds since 1970 that never go back, and in a sandbox may run faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


def wall_ms() -> int:
    """Return the machine's time in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Anchor:
    """At the wall's ``wall_ms`` the service's clock stood at ``clock_ms`` and ran ``speed`` times as fast."""

    wall_ms: int
    clock_ms: int
    speed: float

    def at(self, wall: int) -> int:
        """Return where the clock stands at a time of the wall's."""
        return self.clock_ms + int((wall - self.wall_ms) * self.speed)


class Clock:
    """Reads the wall, applies the speed, and holds still where the wall steps back.

    ``anchor`` is where an earlier run of the same store left the clock: a restart doesn't turn it back.
    """

    def __init__(self, speed: float = 1.0, anchor: Anchor | None = None, wall: Callable[[], int] = wall_ms) -> None:
        now = wall()
        self._wall = wall
        self._latest = max(now, anchor.at(now) if anchor else 0)
        self.anchor = Anchor(now, self._latest, speed)

    @property
    def speed(self) -> float:
        """How many service seconds pass in one of the wall's."""
        return self.anchor.speed

    def now_ms(self) -> int:
        """Return the service's time."""
        self._latest = max(self._latest, self.anchor.at(self._wall()))
        return self._latest

    def real_seconds(self, service_ms: int) -> int:
        """Return how many whole seconds of the wall's a span of the service's takes, rounded up."""
        return -int(-service_ms / self.speed // 1000)
