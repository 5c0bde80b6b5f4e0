"""Arrivals: when the journeys of an open loop begin, whatever the answers do. No clock and no I/O.

The rate over time is data: a stage or several, written one after the other with commas between them:

    stages   = stage { "," stage }
    stage    = duration "@" rate                                  ramps evenly to a rate, the first stage from 0
             | duration "=" rate                                  jumps to a rate and holds it
             | duration "~" rate "+-" rate "/" duration           swings about a rate in sines of a period
    duration                                                      as in ``toolkit.api.durations``: 500ms, 30s, 1h30m
    rate     = number                                             journeys a second, of all workers together

    30s@500,2m@2000,30s@0       ramps: up, further up, and down
    1m=500,1m=1000,1m=1500      steps
    1m=200,10s=3000,1m=200      a spike
    10m~500+-300/2m             a day in ten minutes, as sines
    5m@800,8h=800               a soak with a gentle start

An arrival is where the rate's integral reaches the next whole number (constant), or the next of the points that a
Poisson process of rate 1 has drawn (poisson): so the number of arrivals is right under any shape. Of N workers, worker
``shard`` takes every Nth point, or draws points N times as far apart; together they are the whole.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count, pairwise
from operator import add, sub
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from toolkit.api import durations
from toolkit.api.durations import parse_duration
from toolkit.api.errors import InputError

_BLOCK = 1024  # arrivals that are worked out at once
_HALVINGS = 60  # narrow a time down to less than a nanosecond
_NS_PER_S = 1e9

Floats: TypeAlias = NDArray[np.float64]


class Stage(Protocol):
    """A rate over some time."""

    @property
    def duration_s(self) -> float:
        """How long it lasts; may be infinite."""

    def arrivals(self, until_s: float) -> float:
        """Return the rate's integral from the stage's start."""

    def when(self, arrivals: Floats) -> Floats:
        """Return how many seconds after the stage's start the integral reaches each number, below the whole."""


@dataclass(frozen=True, slots=True)
class Ramp:
    """A rate that changes evenly, or not at all."""

    duration_s: float
    start_per_s: float
    end_per_s: float

    def arrivals(self, until_s: float) -> float:
        """Return the rate's integral from the stage's start."""
        growth = self._growth()
        return until_s * (self.start_per_s + (growth * until_s / 2 if growth else 0.0))  # which may be for ever

    def when(self, arrivals: Floats) -> Floats:
        """Return when the integral reaches each number: the root of a quadratic, written so that nothing cancels."""
        slope = self.start_per_s + np.sqrt(np.maximum(self.start_per_s**2 + 2 * self._growth() * arrivals, 0))
        return np.divide(2 * arrivals, slope, out=np.zeros_like(arrivals), where=slope > 0)

    def _growth(self) -> float:
        rise = self.end_per_s - self.start_per_s
        return rise / self.duration_s if rise else 0.0


@dataclass(frozen=True, slots=True)
class Sine:
    """A rate that swings about a mean, beginning there and rising. The swing is not above the mean."""

    duration_s: float
    mean_per_s: float
    swing_per_s: float
    period_s: float

    def arrivals(self, until_s: float) -> float:
        """Return the rate's integral from the stage's start."""
        return float(self._integral(np.array(until_s)))

    def when(self, arrivals: Floats) -> Floats:
        """Return when the integral, which never falls, reaches each number: found by halving."""
        early, late = np.zeros_like(arrivals), np.full_like(arrivals, self.duration_s)
        for _ in range(_HALVINGS):
            middle = (early + late) / 2
            is_late = self._integral(middle) > arrivals
            early, late = np.where(is_late, early, middle), np.where(is_late, middle, late)
        return early

    def _integral(self, until_s: Floats) -> Floats:
        turns_per_s = 2 * math.pi / self.period_s
        swung = self.swing_per_s / turns_per_s * (1 - np.cos(turns_per_s * until_s))
        return np.asarray(self.mean_per_s * until_s + swung)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When journeys begin: the stages of the rate, and how arrivals are spread at a given rate."""

    stages: tuple[Stage, ...]
    is_poisson: bool = False

    @property
    def duration_s(self) -> float:
        """How long the stages last together; may be infinite."""
        return sum(stage.duration_s for stage in self.stages)

    def arrivals(self, until_s: float) -> float:
        """Return how many arrivals are due by then, on average: those of all workers."""
        due = 0.0
        for stage in self.stages:
            within_s = min(max(until_s, 0.0), stage.duration_s)
            due += stage.arrivals(within_s)
            until_s -= within_s
        return due

    def times_ns(self, seed: int, shard: int = 0, shards: int = 1, after_s: float = 0.0) -> Iterator[int]:
        """Yield when the journeys of one of ``shards`` workers begin, in ns from the start, ascending."""
        points = self._draw if self.is_poisson else self._count
        for block in points(self.arrivals(after_s), seed, shard, shards):
            times = self._when(block)
            yield from (times * _NS_PER_S).astype(np.int64).tolist()
            if len(times) < len(block):
                return

    def _count(self, first: float, seed: int, shard: int, shards: int) -> Iterator[Floats]:
        start = shard + shards * max(0, math.ceil((first - shard) / shards))
        for block in count(start, _BLOCK * shards):
            yield np.arange(block, block + _BLOCK * shards, shards, dtype=np.float64)

    def _draw(self, first: float, seed: int, shard: int, shards: int) -> Iterator[Floats]:
        draw, at = np.random.default_rng([seed, shard, shards]), first
        while True:
            block = at + np.cumsum(draw.exponential(shards, _BLOCK))
            at = float(block[-1])
            yield block

    def _when(self, points: Floats) -> Floats:
        """Return when the integral reaches each point, in seconds; without those that it never reaches."""
        starts_s = np.cumsum([0.0, *(stage.duration_s for stage in self.stages)])
        bounds = np.cumsum([0.0, *(stage.arrivals(stage.duration_s) for stage in self.stages)])
        found = [
            start_s + stage.when(points[(points >= low) & (points < high)] - low)
            for stage, start_s, (low, high) in zip(self.stages, starts_s[:-1], pairwise(bounds), strict=True)
        ]
        return np.concatenate(found)


@dataclass(frozen=True, slots=True)
class Share:
    """One worker's arrivals of a schedule: shard 0, 1, ... of as many shards as there are workers.

    ``after_s``: how far the schedule has come when it joins in. ``orphaned_s``: for how long before that the share had
    nobody, its worker being lost.
    """

    schedule: Schedule
    seed: int
    shard: int = 0
    shards: int = 1
    after_s: float = 0.0
    orphaned_s: float = 0.0

    @property
    def duration_s(self) -> float:
        """When the schedule is over; may be infinite."""
        return self.schedule.duration_s

    def times_ns(self) -> Iterator[int]:
        """Yield when this worker's journeys begin, in ns from the schedule's start, ascending."""
        return self.schedule.times_ns(self.seed, self.shard, self.shards, self.after_s)

    def due(self, until_s: float) -> float:
        """Return how many of them are due by then, on average."""
        return (self.schedule.arrivals(until_s) - self.schedule.arrivals(self.after_s)) / self.shards

    def orphaned(self) -> float:
        """Return how many came while the share had nobody, on average."""
        return -self.due(self.after_s - self.orphaned_s)


@dataclass(slots=True)
class Arrivals:
    """What became of the arrivals of an open loop; all 0 in a closed one.

    due: those whose time has come. late: begun later than they should have been, the load generator being busy.
    queued: had to wait for a connection. dropped: not begun. orphaned: not begun either, as their worker was lost and
    no other had taken over.
    """

    due: int = 0
    late: int = 0
    queued: int = 0
    dropped: int = 0
    orphaned: int = 0

    def grow(self, more: Arrivals) -> None:
        """Count more of them."""
        for name, number in asdict(more).items():
            setattr(self, name, getattr(self, name) + number)

    def __add__(self, other: Arrivals) -> Arrivals:
        return Arrivals(*map(add, asdict(self).values(), asdict(other).values()))

    def __sub__(self, other: Arrivals) -> Arrivals:
        return Arrivals(*map(sub, asdict(self).values(), asdict(other).values()))


def steady(rate_per_s: float, duration_s: float = math.inf) -> tuple[Stage, ...]:
    """Return the stages of one rate that holds; raise InputError for none."""
    if not 0 < rate_per_s < math.inf:
        raise InputError(f"a rate of {rate_per_s:g}: give a number of journeys a second above 0")
    return (Ramp(duration_s, rate_per_s, rate_per_s),)


def parse_stages(text: str) -> tuple[Stage, ...]:
    """Read stages; raise InputError for what is none, and for stages that bring no arrival."""
    stages: list[Stage] = []
    rate_per_s = 0.0
    for word in text.split(","):
        stage, rate_per_s = _read_stage(word.strip(), rate_per_s)
        stages.append(stage)
    if not Schedule(tuple(stages)).arrivals(math.inf):
        raise InputError(f"stages {text!r}: they bring no arrival")
    return tuple(stages)


_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_STAGE = re.compile(rf"({durations.PATTERN})(?:([@=]){_NUMBER}|~{_NUMBER}\+-{_NUMBER}/({durations.PATTERN}))")


def _read_stage(word: str, from_per_s: float) -> tuple[Stage, float]:
    """Read a stage that follows a rate, and return it with the rate that it leaves."""
    match = _STAGE.fullmatch(word)
    if not match:
        raise InputError(f"stage {word!r}: write 30s@500 to ramp, 1m=500 to hold, or 10m~500+-300/2m to swing")
    duration, how, rate, mean, swing, period = match.groups()
    duration_s = parse_duration(duration, allow_zero=True)
    if how:
        to_per_s = float(rate)
        return Ramp(duration_s, from_per_s if how == "@" and duration_s else to_per_s, to_per_s), to_per_s
    sine = Sine(duration_s, float(mean), float(swing), parse_duration(period, allow_zero=True))
    if not 0 < sine.swing_per_s <= sine.mean_per_s or not sine.period_s:
        raise InputError(f"stage {word!r}: a rate swings by no more than itself, and a period takes time")
    return sine, sine.mean_per_s
