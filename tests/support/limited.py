"""Sends to mobiles under known frequency rules, decided one by one, exactly: what the inference has to find again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

START_S = 1_793_923_200  # 2026-11-06 00:00:00 UTC
DAY_S = 86_400
_NS = 1_000_000_000


@dataclass(frozen=True)
class Sliding:
    """At most ``count`` in any ``window_s`` seconds."""

    count: int
    window_s: float

    def allows(self, accepted: Sequence[float], now: float) -> bool:
        return sum(it > now - self.window_s for it in accepted[-self.count :]) < self.count


@dataclass(frozen=True)
class Clock:
    """At most ``count`` from each multiple of ``window_s`` on, shifted by ``offset_s``."""

    count: int
    window_s: int
    offset_s: int = 0

    def allows(self, accepted: Sequence[float], now: float) -> bool:
        begin = (now - self.offset_s) // self.window_s * self.window_s + self.offset_s
        return sum(it >= begin for it in accepted[-self.count :]) < self.count


@dataclass(frozen=True)
class FirstSend:
    """At most ``count`` within ``window_s`` seconds of the first, as a counter that expires."""

    count: int
    window_s: float

    def allows(self, accepted: Sequence[float], now: float) -> bool:
        begin, held = -np.inf, 0
        for it in accepted:
            begin, held = (it, 1) if it >= begin + self.window_s else (begin, held + 1)
        return now >= begin + self.window_s or held < self.count


@dataclass(frozen=True)
class TokenBucket:
    """``count`` tokens, all of which come back in ``window_s`` seconds, one after the other; a send takes one."""

    count: int
    window_s: float

    def allows(self, accepted: Sequence[float], now: float) -> bool:
        tokens, last = float(self.count), -np.inf
        for it in accepted:
            tokens, last = min(self.count, tokens + (it - last) * self.count / self.window_s) - 1, it
        return min(self.count, tokens + (now - last) * self.count / self.window_s) >= 1


@dataclass(frozen=True)
class LeakyBucket:
    """A bucket that leaks at an even rate, as a meter: a send that would make it overflow is refused."""

    count: int
    window_s: float

    def allows(self, accepted: Sequence[float], now: float) -> bool:
        level, last = 0.0, -np.inf
        for it in accepted:
            level, last = max(0.0, level - (it - last) * self.count / self.window_s) + 1, it
        return max(0.0, level - (now - last) * self.count / self.window_s) <= self.count - 1


Rule = Sliding | Clock | FirstSend | TokenBucket | LeakyBucket
Tries = list[tuple[float, int]]
"""When, in s, and to which mobile."""


def ordinary(rng: np.random.Generator, sessions: int, mobiles: int, days: float = 3) -> Tries:
    """Draw sends of people: some press again soon, after the minute, or again and again."""
    tries = []
    who = (mobiles * rng.random(sessions) ** 3).astype(int)
    for mobile, start in zip(who.tolist(), rng.uniform(0, days * DAY_S, sessions).tolist(), strict=True):
        for _ in range(int(rng.geometric(0.5))):
            tries.append((START_S + start, mobile))
            start += rng.uniform(1, 60) if rng.random() < 0.3 else 60 + rng.lognormal(3, 1)
    return tries


def hammered(rng: np.random.Generator, mobiles: Iterable[int], every_s: float, hours: float) -> Tries:
    """Draw sends to mobiles as often as this, more or less."""
    tries = []
    for mobile in mobiles:
        now = START_S + rng.uniform(0, DAY_S)
        end = now + hours * 3600
        while now < end:
            tries.append((now, mobile))
            now += rng.uniform(0.5, 1.5) * every_s
    return tries


def decide(
    tries: Tries,
    rules: Callable[[float, int], Sequence[Rule]],
    rng: np.random.Generator,
    *,
    skew_ms: float = 0.0,
    refused_ratio: float = 0.0,
    leak_ratio: float = 0.0,
    lost_ratio: float = 0.0,
    app: Callable[[int], str] = lambda mobile: "app-1",
) -> pd.DataFrame:
    """Decide on each try and return the records of the calls.

    ``rules``: those of a time and a mobile. ``refused_ratio``: of sends that are refused for another reason,
    ``leak_ratio``: that are accepted in spite of the rules, ``lost_ratio``: whose answer doesn't arrive.
    ``skew_ms``: how far the hosts' clocks are apart.
    """
    accepted: dict[int, list[float]] = {}
    rows = []
    for now, mobile in sorted(tries):
        before = accepted.setdefault(mobile, [])
        allowed = all(rule.allows(before, now) for rule in rules(now, mobile))
        allowed = (allowed or rng.random() < leak_ratio) and rng.random() >= refused_ratio
        if allowed:
            before.append(now)
        rows.append((now, mobile, allowed, rng.random() < lost_ratio))
    times, mobiles, allowed, lost = (np.array(it) for it in zip(*rows, strict=True))
    count = len(rows)
    latency_ns = rng.lognormal(16.5, 0.4, count).astype(np.int64)  # some 15 ms; decided half-way
    shift_ns = (rng.uniform(-skew_ms / 2, skew_ms / 2, 3)[rng.integers(0, 3, count)] * 1e6).astype(np.int64)
    codes = pd.array(np.where(allowed, 50000, 50009), "Int64")
    codes[lost] = pd.NA
    return pd.DataFrame(
        {
            "started_ns": (times * 1e6).astype(np.int64) * 1000 - latency_ns // 2 + shift_ns,
            "endpoint": "send",
            "latency_ns": latency_ns,
            "mobile_key": pd.array(mobiles * 7_919_777_777 - 2**40, "Int64"),
            "app_key": [app(it) for it in mobiles],
            "return_code": codes,
            "error": pd.array(np.where(lost, "timeout", None), "string"),
        }
    )
