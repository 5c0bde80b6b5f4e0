"""When something was last done: what the sliding windows of the frequency rules are counted from.

``Windows`` is for many keys with few times each, ``Stream`` for one key with many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import cycle, islice
from sys import byteorder

from toolkit.api.rate_rules import Rule
from toolkit.service.core.policy import wait_ms

_SHARDS = 1024
_SHARDS_A_SWEEP = 4
_TIME_BYTES = 8


class RateWindows:
    """A mapping of keys to the packed times that ``rules`` may still count, in ascending order.

    The keys lie in shards, so that neither growing nor sweeping ever takes long.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self.longest_ms = max((rule.window_ms for rule in rules), default=0)
        self._kept = _TIME_BYTES * max((rule.count for rule in rules), default=0)
        self._shards: list[dict[int, bytes]] = [{} for _ in range(_SHARDS)]
        self._sweeping = cycle(range(_SHARDS))

    def get(self, key: int) -> bytes | None:
        """Return the packed times of a key."""
        return self._shards[key % _SHARDS].get(key)

    def __setitem__(self, key: int, times: bytes) -> None:
        self._shards[key % _SHARDS][key] = times

    def pop(self, key: int) -> None:
        """Remove a key."""
        self._shards[key % _SHARDS].pop(key, None)

    def wait_ms(self, key: int, now_ms: int) -> int:
        """Return how long until one more is within every rule; 0 when it is now."""
        times = self.get(key)
        return 0 if times is None else wait_ms(memoryview(times).cast("Q"), self.rules, now_ms)

    def with_one_more(self, key: int, now_ms: int) -> bytes:
        """Return the packed times of a key with one added, without those that no rule can count any more."""
        return ((self.get(key) or b"") + now_ms.to_bytes(_TIME_BYTES, byteorder))[-self._kept :]

    def load(self, key: int, time_ms: int) -> None:
        """Take in a time that was written earlier."""
        if self.rules:
            self[key] = self.with_one_more(key, time_ms)

    def forget_expired(self, now_ms: int) -> None:
        """Let go of the keys of the next shards whose times have left every window."""
        for shard in islice(self._sweeping, _SHARDS_A_SWEEP):
            times_of = self._shards[shard]
            kept = {key: times for key, times in times_of.items() if _latest(times) + self.longest_ms > now_ms}
            if len(kept) < len(times_of):
                self._shards[shard] = kept


class SendTimes:
    """A mapping of 0, 1, 2, ... to times in ascending order: added at the end, let go at the beginning."""

    def __init__(self) -> None:
        self._times: deque[int] = deque()
        self._first = 0

    @property
    def end(self) -> int:
        """The number of the next time."""
        return self._first + len(self._times)

    def get(self, number: int) -> int | None:
        """Return a time that was not let go."""
        place = number - self._first
        return self._times[place] if 0 <= place < len(self._times) else None

    def __setitem__(self, number: int, time_ms: int) -> None:
        self._times.append(time_ms)

    def pop(self, number: int) -> None:
        """Remove the last time, unless it was let go."""
        if number >= self._first:
            self._times.pop()

    def wait_ms(self, rules: Sequence[Rule], now_ms: int) -> int:
        """Return how long until one more is within every rule; 0 when it is now."""
        return wait_ms(self._times, rules, now_ms)

    def forget_expired(self, before_ms: int) -> None:
        """Let go of the times before one."""
        while self._times and self._times[0] < before_ms:
            self._times.popleft()
            self._first += 1


def _latest(times: bytes) -> int:
    return int.from_bytes(times[-_TIME_BYTES:], byteorder)
