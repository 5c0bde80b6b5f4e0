"""Model the load: two peaks a day in China, calmer weekends and holidays, bursts, growth and noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from toolkit.simulation import incidents
from toolkit.simulation.incidents import Incident
from toolkit.simulation.plan import DAY_NS, MINUTE_NS, IncidentKind, SimulationPlan, random_stream

MINUTES_PER_DAY = 1440
_WEEK = 7 * MINUTES_PER_DAY
_CHINA_OFFSET_MINUTES = 8 * 60
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday
_NIGHT_LOAD = 0.06
_PEAKS = ((10.9, 1.9, 0.85), (15.2, 2.6, 0.45), (20.5, 1.9, 1.0))  # hour of the day in China, width in hours, height
_WEEKDAYS = (1.02, 1.0, 1.0, 1.01, 1.05, 0.93, 0.9)  # Monday first
_DAY_NOISE = 0.015
_MINUTE_NOISE, _MINUTE_MEMORY = 0.04, 15.0


def _week() -> NDArray[np.float64]:
    """Return the load of each minute of a week in China, from Monday 00:00, with mean 1."""
    hours = np.arange(MINUTES_PER_DAY) / 60
    day = np.full(MINUTES_PER_DAY, _NIGHT_LOAD)
    for peak, width, height in _PEAKS:
        distance = np.minimum(abs(hours - peak), 24 - abs(hours - peak))  # the evening peak goes on after midnight
        day += height * np.exp(-((distance / width) ** 2) / 2)
    week: NDArray[np.float64] = np.outer(_WEEKDAYS, day).ravel()
    return week / float(week.mean())


_LOAD_OF_WEEK = _week()


def relative_load(times_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the expected load at each time, relative to the mean of a week."""
    minutes = times_ns // MINUTE_NS + _CHINA_OFFSET_MINUTES + _EPOCH_WEEKDAY * MINUTES_PER_DAY
    return _LOAD_OF_WEEK[minutes % _WEEK]


def hours_in_china(times_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the hour of the day in China of each time, 0..23."""
    return (times_ns // MINUTE_NS + _CHINA_OFFSET_MINUTES) % MINUTES_PER_DAY // 60


def burst_loads(schedule: Sequence[Incident], times_ns: NDArray[np.int64]) -> dict[int, NDArray[np.float64]]:
    """Return the additional load of bursts at each time, by the index of their template."""
    loads: dict[int, NDArray[np.float64]] = {}
    for incident in schedule:
        if burst := incidents.BURSTS.get(incident.kind):
            minutes = (times_ns - incident.started_ns) / MINUTE_NS
            load = burst.peak * np.exp(-np.maximum(minutes, 0) / burst.decay_minutes) + burst.plateau
            loads[burst.template] = loads.get(burst.template, 0.0) + load * incident.contains(times_ns)
    return loads


def usual_load(schedule: Sequence[Incident], times_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the expected load at each time without bursts; holidays are calmer."""
    loads = relative_load(times_ns)
    for incident in schedule:
        if incident.kind is IncidentKind.PUBLIC_HOLIDAY:
            loads = np.where(incident.contains(times_ns), loads * incident.load_ratio, loads)
    return loads


def minute_loads(plan: SimulationPlan, schedule: Sequence[Incident], day_number: int) -> NDArray[np.float64]:
    """Return the relative load of each minute of a UTC day, with growth and the noise of the day and its minutes."""
    minutes = plan.start_ns + day_number * DAY_NS + np.arange(MINUTES_PER_DAY) * MINUTE_NS
    loads = sum(burst_loads(schedule, minutes).values(), usual_load(schedule, minutes))
    loads *= (1 + plan.growth_per_day) ** day_number
    rng = random_stream(plan, "rhythm", day_number)
    noise = float(np.exp(rng.normal(0, _DAY_NOISE)))
    return loads * noise * correlated_noise(rng, MINUTES_PER_DAY, _MINUTE_NOISE, _MINUTE_MEMORY)


def sample_times(plan: SimulationPlan, schedule: Sequence[Incident], day_number: int, count: int) -> NDArray[np.int64]:
    """Sample times of a day, in ns since 1970; their minutes ascend, the times within a minute don't."""
    loads = minute_loads(plan, schedule, day_number)
    rng = random_stream(plan, "times", day_number)
    minutes = np.repeat(np.arange(MINUTES_PER_DAY), rng.multinomial(count, loads / loads.sum()))
    return plan.start_ns + day_number * DAY_NS + minutes * MINUTE_NS + rng.integers(0, MINUTE_NS, count)


def correlated_noise(rng: np.random.Generator, count: int, spread: float, memory: float) -> NDArray[np.float64]:
    """Sample log-normal factors with mean 1; their logarithms are an AR(1) process.

    Args:
        rng: The random stream.
        count: The number of factors.
        spread: The standard deviation of the logarithms.
        memory: The number of steps after which the autocorrelation has fallen to 1/e.
    """
    rho = np.exp(-1 / memory)
    steps = rng.normal(0, np.sqrt(1 - rho**2), count)
    steps[0] = rng.normal()
    value = 0.0
    walk = np.array([value := rho * value + step for step in steps.tolist()])
    return np.exp(spread * walk - spread**2 / 2)
