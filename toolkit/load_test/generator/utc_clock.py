"""Read the UTC time during a test. A step of the system's clock during the test does not move it.

The checks compare the times of calls: with a clock that is stepped by a minute, a service that keeps its rate limits
exactly seems to break them. So the system's clock is read once for each test, and the monotonic clock then goes on.
"""

from __future__ import annotations

import time

_READINGS = 20


class UtcClock:
    """A clock that is set by the system's clock and then goes on by the monotonic one.

    Attributes:
        offset_ns: UTC in ns since 1970, less the monotonic time of ``time.perf_counter_ns``.
    """

    def __init__(self) -> None:
        self.set()

    def set(self) -> None:
        """Set the clock to the system's time; done once at the start of each test.

        The process may have to wait between two readings, so the pair that took the shortest time counts.
        """
        readings = [(time.perf_counter_ns(), time.time_ns(), time.perf_counter_ns()) for _ in range(_READINGS)]
        before_ns, utc_ns, after_ns = min(readings, key=lambda it: it[2] - it[0])
        self.offset_ns = utc_ns - (before_ns + after_ns) // 2

    def now_ns(self) -> int:
        """Return the time in ns since 1970, UTC."""
        return self.offset_ns + time.perf_counter_ns()


UTC_CLOCK = UtcClock()
"""The clock of this process. All calls, checks and journeys read it, so that their times can be compared."""
