"""Axes: the measures along which rules can draw their line, each with what was accepted and what was refused on it.

A rule allows so many sends in a window. Where the window slides, its axis is the age of the count-th last accepted
send, and the line is the window's length. Where it is fixed, the axis is how many were accepted in it before, as a
number below 0, and the line is what the count allows. What lies below the line is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from toolkit.analysis.rate_limits.fixed_windows import Windows, by_clock, from_first_send
from toolkit.analysis.rate_limits.send_attempts import Attempts, Bools, Floats, Ints

LEAST_ROWS = 2  # of refusals that a rule alone has to explain
_MOST_COUNT = 1000  # of sends in a window that slides
_FIXED_S = (60, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400)
DAY_S, CHINAS_DAY_S = 86_400, 57_600  # which begins at 16:00 UTC


class Shape(StrEnum):
    """How a rule's windows lie."""

    SLIDING = "sliding"
    CLOCK = "clock"  # from each multiple of their length on
    FIRST_SEND = "first send"  # from a send that no window holds


@dataclass(frozen=True, slots=True)
class Measure:
    """What an axis measures. count: of rules with windows that slide, else 0; window_s, offset_s: of the others."""

    shape: Shape
    count: int = 0
    window_s: int = 0
    offset_s: int = 0

    def windows(self, attempts: Attempts) -> Windows:
        """Return the windows, where they are fixed."""
        if self.shape is Shape.CLOCK:
            return by_clock(attempts, self.window_s, self.offset_s)
        return from_first_send(attempts, self.window_s)


@dataclass(frozen=True, slots=True)
class View:
    """A part of the attempts: which accepted sends bound rules, and which refusals, by their places, are explained."""

    attempts: Attempts
    bounds: Bools
    refusals: Ints

    def of(self, mobiles: Bools) -> View:
        """Return what there is of some of the mobiles, chosen by their numbers."""
        it = self.attempts
        is_explained = np.zeros(len(it.refused), np.bool_)
        is_explained[self.refusals] = True
        bounds, refusals = self.bounds[mobiles[it.accepted.mobile]], is_explained[mobiles[it.refused.mobile]]
        return View(it.of(mobiles), bounds, np.flatnonzero(refusals))


@dataclass(frozen=True, slots=True)
class Axis:
    """A measure of a view. accepted: where accepted sends lie; which: their places among the attempts; refused: where
    each refusal lies; bounded: how many accepted sends lie on it.
    """

    measure: Measure
    accepted: Floats
    which: Ints
    refused: Floats
    bounded: int


def sliding(view: View) -> Iterator[Measure]:
    """Yield the measures of windows that slide and that may explain a view's refusals."""
    it = view.attempts.refused
    rows = np.bincount(it.rank[view.refusals], it.rows[view.refusals], 1)[::-1].cumsum()[::-1]
    for count in range(1, min(int((rows >= LEAST_ROWS).sum()), _MOST_COUNT + 1)):
        yield Measure(Shape.SLIDING, count)


def fixed() -> Iterator[Measure]:
    """Yield the measures of fixed windows."""
    for window_s in _FIXED_S:
        yield Measure(Shape.CLOCK, 0, window_s)
    yield Measure(Shape.CLOCK, 0, DAY_S, CHINAS_DAY_S)
    for window_s in _FIXED_S:
        yield Measure(Shape.FIRST_SEND, 0, window_s)


def lay(view: View, measure: Measure, most: int | None = None) -> Axis:
    """Lay a view along a measure: all of it, or with so many of its lowest accepted sends, ascending."""
    attempts = view.attempts
    if measure.shape is Shape.SLIDING:
        which = np.flatnonzero(view.bounds & (attempts.accepted.rank >= measure.count))
        accepted, refused = attempts.ages_s(measure.count, which), attempts.refused_ages_s(measure.count, view.refusals)
    else:
        windows = measure.windows(attempts)
        chosen = view.bounds[windows.among]
        which, accepted = windows.among[chosen], -windows.before_accepted()[chosen].astype(np.float64)
        refused = -windows.before_refused(view.refusals).astype(np.float64)
    bounded = len(which)
    if most is not None:
        lowest = _lowest(accepted, most)
        which, accepted = which[lowest], accepted[lowest]
    return Axis(measure, accepted, which, refused, bounded)


def _lowest(values: Floats, most: int) -> Ints:
    """Return the places of so many of the lowest values, ascending."""
    places = np.argpartition(values, most)[:most] if most < len(values) else np.arange(len(values))
    found: Ints = places[np.argsort(values[places])]
    return found
