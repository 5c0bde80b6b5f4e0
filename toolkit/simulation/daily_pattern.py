"""Rhythm: when people call. Days in China with two peaks and a deep night, weeks with calmer ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toolkit.simulation.plan import DAY_NS, MINUTE_NS, Plan, dice

MINUTES = 1440
_WEEK = 7 * MINUTES
_CHINA_MINUTES = 8 * 60
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday
_NIGHT = 0.06
_PEAKS = ((10.9, 1.9, 0.85), (15.2, 2.6, 0.45), (20.5, 1.9, 1.0))  # hour of the day in China, width in hours, height
_WEEKDAYS = (1.02, 1.0, 1.0, 1.01, 1.05, 0.93, 0.9)  # Monday first
_DAY_NOISE = 0.015
_MINUTE_NOISE, _MINUTE_MEMORY = 0.04, 15.0


def _week() -> NDArray[np.float64]:
    hours = np.arange(MINUTES) / 60
    day = np.full(MINUTES, _NIGHT)
    for at, width, height in _PEAKS:
        apart = np.minimum(abs(hours - at), 24 - abs(hours - at))  # the evening's peak reaches beyond midnight
        day += height * np.exp(-((apart / width) ** 2) / 2)
    week: NDArray[np.float64] = np.outer(_WEEKDAYS, day).ravel()
    return week / float(week.mean())


WEEK = _week()  # calls in each minute of a week in China, from Monday 00:00, relative to the mean


def level(times_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how much is called at each time, relative to the mean of a week."""
    minutes = times_ns // MINUTE_NS + _CHINA_MINUTES + _EPOCH_WEEKDAY * MINUTES
    return WEEK[minutes % _WEEK]


def minute_weights(plan: Plan, number: int) -> NDArray[np.float64]:
    """Return how much is called in each minute of a UTC day, with the noise of days and minutes."""
    minutes = plan.start_ns + number * DAY_NS + np.arange(MINUTES) * MINUTE_NS
    rng = dice(plan, "rhythm", number)
    noise = float(np.exp(rng.normal(0, _DAY_NOISE)))
    return level(minutes) * noise * drift(rng, MINUTES, _MINUTE_NOISE, _MINUTE_MEMORY)


def draw_times(plan: Plan, number: int, count: int) -> NDArray[np.int64]:
    """Draw so many times of a day, in ns since 1970, in ascending order of minutes."""
    weights = minute_weights(plan, number)
    rng = dice(plan, "times", number)
    minutes = np.repeat(np.arange(MINUTES), rng.multinomial(count, weights / weights.sum()))
    return plan.start_ns + number * DAY_NS + minutes * MINUTE_NS + rng.integers(0, MINUTE_NS, count)


def drift(rng: np.random.Generator, count: int, spread: float, memory: float) -> NDArray[np.float64]:
    """Draw positive factors with mean 1 that wander: log-normal, each remembering the one before (AR(1)).

    spread: of their logarithms. memory: after how many steps they have forgotten all but 1/e.
    """
    keep = np.exp(-1 / memory)
    steps = rng.normal(0, np.sqrt(1 - keep**2), count)
    steps[0] = rng.normal()
    kept = 0.0
    walk = np.array([kept := keep * kept + step for step in steps.tolist()])
    return np.exp(spread * walk - spread**2 / 2)
