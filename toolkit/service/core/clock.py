"""Read the service clock: milliseconds since 1970, UTC, by elapsed time. A sandbox can run it faster.

The lifetimes of codes and the windows of rate limits are elapsed time. The machine's time of day may step, for example
when NTP corrects it, so only the start of the service clock is read from it. From there on a monotonic clock counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux: counts while the machine sleeps, too


def wall_ms() -> int:
    """Return the machine's time in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def elapsed_ms() -> int:
    """Return the milliseconds since the machine's start; no correction of its time of day changes them."""
    return time.clock_gettime_ns(_ELAPSED) // 1_000_000


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
    """A clock that runs ``speed`` times as fast as elapsed time.

    Args:
        anchor: the anchor of an earlier run on the same store, so that a restart does not turn the clock back.
        wall: returns the machine's time of day in milliseconds. It is read at the start.
        elapsed: returns milliseconds that never step.
        newest_ms: the newest time in the store. The clock starts there if the machine's time is earlier.

    >>> clock = Clock(wall=lambda: 1000, elapsed=lambda: 0, newest_ms=61_000)
    >>> clock.now_ms(), clock.ahead_s()
    (61000, 60.0)
    """

    def __init__(
        self,
        speed: float = 1.0,
        anchor: Anchor | None = None,
        wall: Callable[[], int] = wall_ms,
        elapsed: Callable[[], int] = elapsed_ms,
        newest_ms: int = 0,
    ) -> None:
        self._wall, self._elapsed = wall, elapsed
        self._started_ms = elapsed()
        now = wall()
        expected = max(now, anchor.at(now) if anchor else 0)
        self._skipped_ms = max(0, newest_ms - expected)
        self.anchor = Anchor(now, expected + self._skipped_ms, speed)

    @property
    def speed(self) -> float:
        """The seconds of this clock that pass in one real second."""
        return self.anchor.speed

    def anchor_after(self, by_ms: int) -> Anchor:
        """Return the anchor of this clock moved ahead; a sandbox sets it as ``anchor``."""
        return replace(self.anchor, clock_ms=self.anchor.clock_ms + by_ms)

    def now_ms(self) -> int:
        """Return the time of the service."""
        return self.anchor.clock_ms + int((self._elapsed() - self._started_ms) * self.anchor.speed)

    def ahead_s(self) -> float:
        """Return the real seconds by which the machine's time of day has fallen behind this clock.

        It is about 0 unless the machine's time was stepped: positive after a step back, negative after one ahead.
        """
        stepped_ms = (self._elapsed() - self._started_ms) - (self._wall() - self.anchor.wall_ms)
        return (stepped_ms + self._skipped_ms / self.speed) / 1000

    def real_seconds(self, service_ms: int) -> int:
        """Convert a duration of this clock to whole real seconds, rounded up."""
        return -int(-service_ms / self.speed // 1000)
