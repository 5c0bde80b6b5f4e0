"""Calculate the start times of the journeys in an open model, where arrivals do not wait for responses. No I/O.

The arrival rate over time is given as one or more stages, separated by commas:

    stages   = stage { "," stage }
    stage    = duration "@" rate                                  ramps linearly to a rate, the first stage from 0
             | duration "=" rate                                  holds a rate
             | duration "~" rate "+-" rate "/" duration           varies around a mean rate as a sine with a period
    duration                                                      as in ``toolkit.api.durations``: 500ms, 30s, 1h30m
    rate     = number                                             journeys per second, all workers together

    30s@500,2m@2000,30s@0       ramps: up, further up, and down
    1m=500,1m=1000,1m=1500      steps
    1m=200,10s=3000,1m=200      a spike
    10m~500+-300/2m             a day in ten minutes, as sines
    5m@800,8h=800               a soak with a gentle start

Method: time change of a point process. Let L(t) be the integral of the rate, the expected number of arrivals until t.
Take points on the axis of L at 0, 1, 2, ... (constant) or as a Poisson process of rate 1 (poisson), and map each back
to the time at which L reaches it. The number of arrivals is then correct for any shape of the rate.

    L(t) = 4 |          __/      rate 2/s from 0 to 2 s: L(t) = 2 t
         3 |       __/|          point 3 -> t = 1.5 s
         2 |    __/   |
         1 | __/|     |
           +----+-----+----> t

Of N workers, worker ``shard`` takes every Nth point, or draws its points N times as far apart. The union of all shards
is the whole process.
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

_BLOCK = 1024  # arrivals calculated at once
_HALVINGS = 60  # of an interval, down to less than a nanosecond
_NS_PER_S = 1e9

Floats: TypeAlias = NDArray[np.float64]


class Stage(Protocol):
    """An arrival rate over an interval."""

    @property
    def duration_s(self) -> float:
        """The length of the stage in seconds; may be infinite."""

    @property
    def rates_per_s(self) -> tuple[float, float]:
        """The rate at its beginning, and at its end or its highest."""

    def arrivals(self, until_s: float) -> float:
        """Return the rate's integral from the stage's start."""

    def when(self, arrivals: Floats) -> Floats:
        """Return the times, in seconds from the stage's start, at which the integral reaches each of the numbers."""


@dataclass(frozen=True, slots=True)
class Ramp:
    """A rate that changes linearly, or is constant."""

    duration_s: float
    start_per_s: float
    end_per_s: float

    @property
    def rates_per_s(self) -> tuple[float, float]:
        """The rate at its beginning and at its end."""
        return self.start_per_s, self.end_per_s

    def arrivals(self, until_s: float) -> float:
        """Return the rate's integral from the stage's start."""
        growth = self._growth()
        return until_s * (self.start_per_s + (growth * until_s / 2 if growth else 0.0))  # until_s may be infinite

    def when(self, arrivals: Floats) -> Floats:
        """Return the times of the integral's values: the root of a quadratic, in a form without cancellation."""
        slope = self.start_per_s + np.sqrt(np.maximum(self.start_per_s**2 + 2 * self._growth() * arrivals, 0))
        return np.divide(2 * arrivals, slope, out=np.zeros_like(arrivals), where=slope > 0)

    def _growth(self) -> float:
        rise = self.end_per_s - self.start_per_s
        return rise / self.duration_s if rise else 0.0


@dataclass(frozen=True, slots=True)
class Sine:
    """A rate that varies around a mean as a sine, which starts at the mean and rises."""

    duration_s: float
    mean_per_s: float
    amplitude_per_s: float
    period_s: float

    @property
    def rates_per_s(self) -> tuple[float, float]:
        """The rate at its beginning, and the highest one."""
        return self.mean_per_s, self.mean_per_s + self.amplitude_per_s

    def arrivals(self, until_s: float) -> float:
        """Return the rate's integral from the stage's start."""
        return float(self._integral(np.array(until_s)))

    def when(self, arrivals: Floats) -> Floats:
        """Return the times of the integral's values, by bisection: the integral never decreases."""
        early, late = np.zeros_like(arrivals), np.full_like(arrivals, self.duration_s)
        for _ in range(_HALVINGS):
            middle = (early + late) / 2
            is_late = self._integral(middle) > arrivals
            early, late = np.where(is_late, early, middle), np.where(is_late, middle, late)
        return early

    def _integral(self, until_s: Floats) -> Floats:
        turns_per_s = 2 * math.pi / self.period_s
        varying = self.amplitude_per_s / turns_per_s * (1 - np.cos(turns_per_s * until_s))
        return np.asarray(self.mean_per_s * until_s + varying)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The stages of the arrival rate, and whether arrivals at a given rate are evenly spaced or a Poisson process."""

    stages: tuple[Stage, ...]
    is_poisson: bool = False

    @property
    def duration_s(self) -> float:
        """The total length of the stages in seconds; may be infinite."""
        return sum(stage.duration_s for stage in self.stages)

    @property
    def is_rising(self) -> bool:
        """Whether the rate rises within a stage, or from one stage to the next.

        >>> [Schedule(parse_stages(it)).is_rising for it in ("2m@500", "1m=100,1m=200", "2m=500,10s@0")]
        [True, True, False]
        """
        bounds = [it.rates_per_s for it in self.stages]
        return any(low < high for low, high in bounds) or any(end < low for (_, end), (low, _) in pairwise(bounds))

    def arrivals(self, until_s: float) -> float:
        """Return the expected number of arrivals of all workers until a time."""
        due = 0.0
        for stage in self.stages:
            within_s = min(max(until_s, 0.0), stage.duration_s)
            due += stage.arrivals(within_s)
            until_s -= within_s
        return due

    def times_ns(self, seed: int, shard: int = 0, shards: int = 1, after_s: float = 0.0) -> Iterator[int]:
        """Yield the start times of one worker's journeys, in ns from the schedule's start, ascending.

        >>> schedule = Schedule(parse_stages("2s=2"))
        >>> [at / 1e9 for at in schedule.times_ns(seed=1)]
        [0.0, 0.5, 1.0, 1.5]
        """
        points = self._draw if self.is_poisson else self._count
        for block in points(self.arrivals(after_s), seed, shard, shards):
            times = self._when(block)
            yield from (times * _NS_PER_S).astype(np.int64).tolist()
            if len(times) < len(block):
                return

    def count(self, until_s: float, seed: int, shard: int = 0, shards: int = 1) -> int:
        """Return the number of one worker's journeys that are due until a time.

        >>> Schedule(parse_stages("2s=2")).count(1.0, seed=1)
        3
        """
        until_ns, due = until_s * _NS_PER_S, 0
        for block in (self._draw if self.is_poisson else self._count)(0.0, seed, shard, shards):
            times_ns = (self._when(block) * _NS_PER_S).astype(np.int64)
            due += int(np.count_nonzero(times_ns <= until_ns))
            if len(times_ns) < len(block) or times_ns[-1] > until_ns:
                break
        return due

    def _count(self, first: float, seed: int, shard: int, shards: int) -> Iterator[Floats]:
        start = shard + shards * max(0, math.ceil((first - shard) / shards))
        for block in count(start, _BLOCK * shards):
            yield np.arange(block, block + _BLOCK * shards, shards, dtype=np.float64)

    def _draw(self, first: float, seed: int, shard: int, shards: int) -> Iterator[Floats]:
        draw, at = np.random.default_rng([seed, shard, shards]), 0.0
        while True:
            block = at + np.cumsum(draw.exponential(shards, _BLOCK))
            at = float(block[-1])
            if at >= first:  # the successor of a lost worker goes on with its points
                yield block[block >= first]

    def _when(self, points: Floats) -> Floats:
        """Return the times of points, in seconds, without the points that the integral never reaches."""
        starts_s = np.cumsum([0.0, *(stage.duration_s for stage in self.stages)])
        bounds = np.cumsum([0.0, *(stage.arrivals(stage.duration_s) for stage in self.stages)])
        found = [
            start_s + stage.when(points[(points >= low) & (points < high)] - low)
            for stage, start_s, (low, high) in zip(self.stages, starts_s[:-1], pairwise(bounds), strict=True)
        ]
        return np.concatenate(found)


@dataclass(frozen=True, slots=True)
class Share:
    """The arrivals of one worker.

    Args:
        schedule: The schedule of all workers.
        seed: Seed of a Poisson process.
        shard: Number of the shard, from 0.
        shards: Number of shards, one for each worker.
        after_s: Time since the schedule's start at which the worker joins.
        orphaned_s: Time before that in which no worker served the shard, because its worker was lost.
    """

    schedule: Schedule
    seed: int
    shard: int = 0
    shards: int = 1
    after_s: float = 0.0
    orphaned_s: float = 0.0

    @property
    def duration_s(self) -> float:
        """The length of the schedule in seconds; may be infinite."""
        return self.schedule.duration_s

    def times_ns(self) -> Iterator[int]:
        """Yield the start times of this worker's journeys, in ns from the schedule's start, ascending."""
        return self.schedule.times_ns(self.seed, self.shard, self.shards, self.after_s)

    def due(self, until_s: float) -> float:
        """Return the expected number of this worker's arrivals until a time."""
        return (self.schedule.arrivals(until_s) - self.schedule.arrivals(self.after_s)) / self.shards

    def orphaned(self) -> float:
        """Return the expected number of arrivals while no worker served the shard."""
        return -self.due(self.after_s - self.orphaned_s)


@dataclass(slots=True)
class ArrivalCounts:
    """Counts of the arrivals in an open model; all 0 in a closed one.

    Args:
        due: Arrivals whose time has come.
        late: Arrivals that began late because the load generator was busy.
        queued: Arrivals that waited for a connection.
        dropped: Arrivals that never began, or not yet while the test runs.
        orphaned: Arrivals that never began because their worker was lost and no other had taken over.
    """

    due: int = 0
    late: int = 0
    queued: int = 0
    dropped: int = 0
    orphaned: int = 0

    def grow(self, more: ArrivalCounts) -> None:
        """Add the counts of another object."""
        for name, number in asdict(more).items():
            setattr(self, name, getattr(self, name) + number)

    def __add__(self, other: ArrivalCounts) -> ArrivalCounts:
        return ArrivalCounts(*map(add, asdict(self).values(), asdict(other).values()))

    def __sub__(self, other: ArrivalCounts) -> ArrivalCounts:
        return ArrivalCounts(*map(sub, asdict(self).values(), asdict(other).values()))


def steady(rate_per_s: float, duration_s: float = math.inf) -> tuple[Stage, ...]:
    """Return the stages of a constant rate; raise InputError if the rate is not a positive number."""
    if not 0 < rate_per_s < math.inf:
        raise InputError(f"invalid rate {rate_per_s:g}: expected a number of journeys per second above 0, e.g. 50")
    return (Ramp(duration_s, rate_per_s, rate_per_s),)


def parse_stages(text: str) -> tuple[Stage, ...]:
    """Parse stages; raise InputError if the text is invalid or the stages have no arrival."""
    stages: list[Stage] = []
    rate_per_s = 0.0
    for word in text.split(","):
        stage, rate_per_s = _read_stage(word.strip(), rate_per_s)
        stages.append(stage)
    if not Schedule(tuple(stages)).arrivals(math.inf):
        raise InputError(f"invalid stages {text!r}: the rate is 0 throughout; expected e.g. 30s@500")
    return tuple(stages)


_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_STAGE = re.compile(rf"({durations.PATTERN})(?:([@=]){_NUMBER}|~{_NUMBER}\+-{_NUMBER}/({durations.PATTERN}))")


def _read_stage(word: str, from_per_s: float) -> tuple[Stage, float]:
    """Parse a stage that starts at a rate; return it and the rate at its end."""
    match = _STAGE.fullmatch(word)
    if not match:
        raise InputError(f"invalid stage {word!r}: expected 30s@500 (ramp), 1m=500 (hold) or 10m~500+-300/2m (sine)")
    duration, how, rate, mean, swing, period = match.groups()
    duration_s = parse_duration(duration, allow_zero=True)
    if how:
        to_per_s = float(rate)
        return Ramp(duration_s, from_per_s if how == "@" and duration_s else to_per_s, to_per_s), to_per_s
    sine = Sine(duration_s, float(mean), float(swing), parse_duration(period, allow_zero=True))
    if not 0 < sine.amplitude_per_s <= sine.mean_per_s or not sine.period_s:
        raise InputError(f"invalid stage {word!r}: expected an amplitude up to the mean rate and a period above 0")
    return sine, sine.mean_per_s
