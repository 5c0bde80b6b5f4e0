"""Decide which refusals of credentials are delayed: those of a peer or for a key with many failures.

Only the refusal is delayed. Each secret is compared, so the owner of a key is answered at once, even while others try
the same key or come from the same address.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from toolkit.api.wire import Refusal, read_authorization

FAILURES_A_MINUTE = 20
_PERIOD_S = 60.0
_SLOTS = 1024  # names that share a slot share its count, so that many names take no more memory


@dataclass(slots=True)
class AuthThrottle:
    """Counts failed authentications of each peer and of each claimed key, and starts again each minute.

    Args:
        now_s: a monotonic clock.

    >>> throttle = AuthThrottle(now_s=lambda: 0.0)
    >>> [throttle.exceeds("192.0.2.1", None) for _ in range(21)].index(True)
    20
    """

    now_s: Callable[[], float] = time.monotonic
    _counts: dict[int, int] = field(default_factory=dict)
    _until_s: float = float("-inf")

    def exceeds(self, peer: str, authorization: bytes | None) -> bool:
        """Count a failed authentication; return whether its peer or its claimed key had too many."""
        now_s = self.now_s()
        if now_s >= self._until_s:
            self._counts, self._until_s = {}, now_s + _PERIOD_S
        credentials = read_authorization(authorization)
        names = [("peer", peer)]
        if not isinstance(credentials, Refusal):
            names.append(("key", credentials.app_key))
        counts = []
        for slot in (hash(name) % _SLOTS for name in names):
            self._counts[slot] = self._counts.get(slot, 0) + 1
            counts.append(self._counts[slot])
        return max(counts) > FAILURES_A_MINUTE
