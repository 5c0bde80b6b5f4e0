"""Model the four kinds of rate limiters that accept or refuse a send by the times of earlier accepted sends.

Each model keeps a state and returns the time at which the next send will be accepted, given the accepted sends so far.
All parameters of many rules are arrays, one element per rule, so that thousands of hypotheses are evaluated at once.

==================  ==========================================  ================================================
kind                state                                       ready at
==================  ==========================================  ================================================
sliding window      times of the last COUNT sends               the COUNT-th last send + WINDOW
fixed, clock        sends in the window that began by the clock  the window's end, if it has COUNT sends
fixed, first send   sends in the window that the first one began  the window's end, if it has COUNT sends
token bucket        theoretical arrival time (TAT)              TAT - (COUNT - 1) * WINDOW / COUNT
==================  ==========================================  ================================================

A token bucket of COUNT tokens gets one token back each WINDOW / COUNT seconds. The TAT is that of the generic cell rate
algorithm (ITU-T I.371): each send moves it to ``max(TAT, time) + WINDOW / COUNT``. A leaky bucket that is used as a
meter is the same limiter seen from the other side: its level is COUNT minus the tokens, so both accept the same sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Scope(StrEnum):
    """The sends that a rule counts together."""

    MOBILE = "mobile"
    APP = "app"


class Kind(StrEnum):
    """The kinds of limiters that accepted and refused sends can distinguish."""

    SLIDING = "sliding window"
    CLOCK = "fixed window by clock"
    FIRST_SEND = "fixed window from the first send"
    BUCKET = "token bucket"


KINDS, SCOPES = tuple(Kind), tuple(Scope)


@dataclass(frozen=True, slots=True)
class Rules:
    """Many possible rules, one array element each.

    ``kind`` and ``scope`` are indices of ``KINDS`` and ``SCOPES``. ``start_s``: the begin of one window of a clock.
    ``weight``: prior probability, not normalised. ``step``, ``start_step_s``: distance to the next rule of a grid, as
    the logarithm of the windows' ratio and in seconds.
    """

    kind: Ints
    scope: Ints
    count: Ints
    window_s: Floats
    start_s: Floats
    weight: Floats
    step: Floats
    start_step_s: Floats

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def class_codes(self) -> Ints:
        """A number for each rule, the same for all rules of one scope, kind and count."""
        codes: Ints = (self.count * len(SCOPES) + self.scope) * len(KINDS) + self.kind
        return codes

    def select(self, chosen: Bools | Ints) -> Self:
        """Return some of the rules."""
        return type(self)(*(getattr(self, column.name)[chosen] for column in fields(self)))

    @classmethod
    def join(cls, parts: Sequence[Rules]) -> Self:
        """Return the rules of all parts."""
        return cls(*(np.concatenate([getattr(it, column.name) for it in parts]) for column in fields(cls)))

    def ready_series(self, accepted_s: Sequence[float]) -> Floats:
        """Return the times at which each rule accepts a send, before each accepted send and after the last one.

        Args:
            accepted_s: Times of the accepted sends that the rules count, ascending.

        Returns:
            An array of one row per accepted send and one more, and one column per rule; minus infinity if a send is
            accepted at any time.
        """
        state = State(self)
        rows = [state.ready_s()]
        for time_s in accepted_s:
            state.accept(np.full(len(self), time_s))
            rows.append(state.ready_s())
        return np.stack(rows)


class State:
    """The state of many limiters, one array element each."""

    def __init__(self, rules: Rules) -> None:
        self._size = len(rules)
        self._parts = [
            (chosen, _MODELS[kind](rules.count[chosen], rules.window_s[chosen], rules.start_s[chosen]))
            for number, kind in enumerate(KINDS)
            if len(chosen := np.flatnonzero(rules.kind == number))
        ]

    def ready_s(self) -> Floats:
        """Return when each limiter accepts the next send; minus infinity for any time."""
        ready = np.empty(self._size)
        for chosen, model in self._parts:
            ready[chosen] = model.ready_s()
        return ready

    def accept(self, time_s: Floats) -> None:
        """Count a send that each limiter accepted, at a time for each."""
        for chosen, model in self._parts:
            model.accept(time_s[chosen])


class _Sliding:
    def __init__(self, count: Ints, window_s: Floats, start_s: Floats) -> None:
        self.count, self.window_s, self.sends = count, window_s, 0
        self.columns = np.arange(len(count))
        self.last_s = np.full((int(count.max()), len(count)), -np.inf)  # each column is a ring of COUNT times

    def ready_s(self) -> Floats:
        ready: Floats = self.last_s[self.sends % self.count, self.columns] + self.window_s
        return ready

    def accept(self, time_s: Floats) -> None:
        self.last_s[self.sends % self.count, self.columns] = time_s
        self.sends += 1


class _Clock:
    def __init__(self, count: Ints, window_s: Floats, start_s: Floats) -> None:
        self.count, self.window_s, self.start_s = count, window_s, start_s
        self.window, self.sends = np.full(len(count), -np.inf), np.zeros_like(count)

    def ready_s(self) -> Floats:
        ready: Floats = np.where(self.sends >= self.count, self.start_s + (self.window + 1) * self.window_s, -np.inf)
        return ready

    def accept(self, time_s: Floats) -> None:
        # An accepted send is in a new window if the last one is full, even if it seems to come just before its end.
        least = np.where(self.sends >= self.count, self.window + 1, self.window)
        number = np.maximum(np.floor((time_s - self.start_s) / self.window_s), least)
        self.sends = np.where(number > self.window, 1, self.sends + 1)
        self.window = number


class _FirstSend:
    def __init__(self, count: Ints, window_s: Floats, start_s: Floats) -> None:
        self.count, self.window_s = count, window_s
        self.opened_s, self.sends = np.full(len(count), -np.inf), np.zeros_like(count)

    def ready_s(self) -> Floats:
        ready: Floats = np.where(self.sends >= self.count, self.opened_s + self.window_s, -np.inf)
        return ready

    def accept(self, time_s: Floats) -> None:
        is_new = (time_s >= self.opened_s + self.window_s) | (self.sends >= self.count)
        self.opened_s = np.where(is_new, time_s, self.opened_s)
        self.sends = np.where(is_new, 1, self.sends + 1)


class _Bucket:
    def __init__(self, count: Ints, window_s: Floats, start_s: Floats) -> None:
        self.refill_s = window_s / count
        self.burst_s = (count - 1) * self.refill_s
        self.arrival_s = np.full(len(count), -np.inf)

    def ready_s(self) -> Floats:
        ready: Floats = self.arrival_s - self.burst_s
        return ready

    def accept(self, time_s: Floats) -> None:
        self.arrival_s = np.maximum(self.arrival_s, time_s) + self.refill_s


_MODELS: dict[Kind, type[_Sliding | _Clock | _FirstSend | _Bucket]] = {
    Kind.SLIDING: _Sliding,
    Kind.CLOCK: _Clock,
    Kind.FIRST_SEND: _FirstSend,
    Kind.BUCKET: _Bucket,
}
