"""Simulated services: a right one, and each of the wrong ones that a test plants."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from toolkit.api.rate_rules import Rule

_MS = 1_000_000

Service = Callable[[int], bool]
"""Decides on a send at a time in ns of the caller's."""


class Right:
    """A service with exact sliding windows; each fault below changes one thing about it."""

    def __init__(self, rules: Sequence[Rule], speed: float = 1.0, *, longer_ms: int = 0, more: int = 0) -> None:
        self.rules, self.speed, self.longer_ms, self.more = rules, speed, longer_ms, more
        self.accepted_ms: list[int] = []

    def __call__(self, at_ns: int) -> bool:
        now_ms = int(at_ns // _MS * self.speed)
        accepts = all(self._has_room(rule, now_ms) for rule in self.rules)
        if accepts:
            self.accepted_ms.append(now_ms)
        return accepts

    def _has_room(self, rule: Rule, now_ms: int) -> bool:
        since_ms = self._since_ms(rule.window_ms + self.longer_ms, now_ms)
        return sum(it > since_ms for it in self.accepted_ms) < rule.count + self.more

    def _since_ms(self, window_ms: int, now_ms: int) -> int:
        return now_ms - window_ms


class Fixed(Right):
    """Counts from the last multiple of the window."""

    def _since_ms(self, window_ms: int, now_ms: int) -> int:
        return now_ms - now_ms % window_ms - 1


class Forgetful(Right):
    """Is restarted halfway through the first window after its second accepted send, and then knows of nothing."""

    def __call__(self, at_ns: int) -> bool:
        restarted_ms = self.accepted_ms[1] + self.rules[0].window_ms // 2 if len(self.accepted_ms) == 2 else None
        if restarted_ms is not None and int(at_ns // _MS * self.speed) >= restarted_ms:
            self.accepted_ms.clear()
        return super().__call__(at_ns)
