"""Keep the times of sends and of wrong codes, which the sliding windows of the rate limits count.

``RateWindows`` suits many keys with few times each (the sends to a mobile, its wrong codes), ``SendTimes`` one key with
many (all sends of an app).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import cycle, islice
from sys import byteorder

from toolkit.api.rate_rules import Rule
from toolkit.service.core.policy import wait_ms

_SHARDS = 1024
_SHARDS_A_SWEEP = 4
_TIME_BYTES = 8


Times = int | bytes  # one time, or ascending times in 8 bytes each: most mobiles have one, and an int is smaller


class RateWindows:
    """A mapping of keys to the times that ``rules`` may still count.

    The keys are split into shards, so that neither growing a dict nor forgetting expired keys ever takes long.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self.longest_ms = max((rule.window_ms for rule in rules), default=0)
        self._max_bytes = _TIME_BYTES * max((rule.count for rule in rules), default=0)
        self._after_one_ms = max((rule.window_ms for rule in rules if rule.count == 1), default=0)
        self._shards: list[dict[int, Times]] = [{} for _ in range(_SHARDS)]
        self._next_shards = cycle(range(_SHARDS))

    def get(self, key: int) -> Times | None:
        """Return the times of a key."""
        return self._shards[key % _SHARDS].get(key)

    def __setitem__(self, key: int, times: Times) -> None:
        self._shards[key % _SHARDS][key] = times

    def pop(self, key: int) -> None:
        """Remove a key."""
        self._shards[key % _SHARDS].pop(key, None)

    def wait_ms(self, times: Times | None, now_ms: int) -> int:
        """Return the time until every rule allows one more than the times of a key; 0 or less if they allow it now."""
        if times is None:
            return 0
        if isinstance(times, int):
            return times + self._after_one_ms - now_ms
        return wait_ms(memoryview(times).cast("Q"), self.rules, now_ms)

    def with_one_more(self, times: Times | None, now_ms: int) -> Times:
        """Return the times of a key with one added, less those that no rule can count any more."""
        if times is None or self._max_bytes <= _TIME_BYTES:
            return now_ms
        earlier = times.to_bytes(_TIME_BYTES, byteorder) if isinstance(times, int) else times
        return (earlier + now_ms.to_bytes(_TIME_BYTES, byteorder))[-self._max_bytes :]

    def keys(self, first: int, end: int) -> list[int]:
        """Return the keys from ``first`` up to but not including ``end``."""
        return [key for shard in self._shards for key in shard if first <= key < end]

    def load(self, times: Iterable[tuple[int, int]]) -> None:
        """Load keys with a time each, the earliest first."""
        if self.rules:
            for key, time_ms in times:
                shard = self._shards[key % _SHARDS]
                shard[key] = self.with_one_more(shard[key], time_ms) if key in shard else time_ms

    def forget_expired(self, now_ms: int) -> None:
        """Remove the keys whose times have left every window, in the next few shards."""
        for shard in islice(self._next_shards, _SHARDS_A_SWEEP):
            times_of = self._shards[shard]
            current = {key: times for key, times in times_of.items() if _latest(times) + self.longest_ms > now_ms}
            if len(current) < len(times_of):
                self._shards[shard] = current


def _latest(times: Times) -> int:
    return times if isinstance(times, int) else int.from_bytes(times[-_TIME_BYTES:], byteorder)


class SendTimes:
    """A mapping of 0, 1, 2, ... to ascending times, which is extended at the end and shortened at the beginning."""

    def __init__(self) -> None:
        self._times: deque[int] = deque()
        self._first = 0

    @property
    def end(self) -> int:
        """The number of the next time."""
        return self._first + len(self._times)

    def get(self, number: int) -> int | None:
        """Return a time, or None if it was removed or not added yet."""
        index = number - self._first
        return self._times[index] if 0 <= index < len(self._times) else None

    def __setitem__(self, number: int, time_ms: int) -> None:
        self._times.append(time_ms)

    def pop(self, number: int) -> None:
        """Remove the last time, unless ``forget_before`` has removed it."""
        if number >= self._first:
            self._times.pop()

    def wait_ms(self, rules: Sequence[Rule], now_ms: int) -> int:
        """Return the time until every rule allows one more; 0 if they allow it now."""
        return wait_ms(self._times, rules, now_ms)

    def forget_before(self, before_ms: int) -> None:
        """Remove the times before a time."""
        while self._times and self._times[0] < before_ms:
            self._times.popleft()
            self._first += 1
