"""A fair queue: callers take turns, regardless of the number of items that each has put in."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """A first-in, first-out queue for each key, served round robin.

    >>> queue = FairQueue()
    >>> for key, item in [("busy", 1), ("busy", 2), ("busy", 3), ("quiet", 4)]:
    ...     queue.put(key, item)
    >>> [queue.pop() for _ in range(len(queue))]
    [1, 4, 2, 3]
    """

    __slots__ = ("_by_key", "_count", "_turns")

    def __init__(self) -> None:
        self._by_key: dict[Hashable, deque[T]] = {}
        self._turns: deque[Hashable] = deque()  # the keys with items, the next one first
        self._count = 0

    def put(self, key: Hashable, item: T) -> None:
        """Add an item behind those with the same key."""
        if (items := self._by_key.get(key)) is None:
            items = self._by_key[key] = deque()
            self._turns.append(key)
        items.append(item)
        self._count += 1

    def pop(self) -> T:
        """Remove and return the oldest item of the key whose turn it is; raise IndexError if the queue is empty."""
        key = self._turns.popleft()
        items = self._by_key[key]
        item = items.popleft()
        self._count -= 1
        if items:
            self._turns.append(key)
        else:
            del self._by_key[key]
        return item

    def count(self, key: Hashable) -> int:
        """Return the number of items with a key."""
        return len(self._by_key.get(key, ()))

    def __len__(self) -> int:
        return self._count
