"""Model the four kinds of rate limiters that accept or refuse a send by the times of earlier accepted sends.

Each model answers one question: given the accepted sends so far, when will the next send be accepted? All parameters of
many rules are arrays, one element per rule, so that thousands of hypotheses are asked at once.

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
    """The kinds of limiters that can be told apart by accepted and refused sends."""

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

    def ready_series(self, accepted_s: Sequence[float] | Floats) -> Floats:
        """Return when each rule accepts a send, before each accepted send and after all of them.

        Args:
            accepted_s: Times of the accepted sends that the rules count, ascending; or a row of times, one per rule,
                for each accepted send.

        Returns:
            An array of one row per accepted send and one more, and one column per rule; minus infinity if a send is
            accepted at any time.
        """
        times = np.asarray(accepted_s, np.float64)
        times = np.broadcast_to(times[:, None], (len(times), len(self))) if times.ndim == 1 else times
        series = np.full((len(times) + 1, len(self)), -np.inf)
        for number, kind in enumerate(KINDS):
            chosen = np.flatnonzero(self.kind == number)
            if len(chosen):
                series[:, chosen] = _READY[kind](
                    self.count[chosen], self.window_s[chosen], self.start_s[chosen], times[:, chosen]
                )
        return series


def _sliding(count: Ints, window_s: Floats, start_s: Floats, accepted_s: Floats) -> Floats:
    last = np.arange(len(accepted_s) + 1)[:, None] - count[None, :]
    if not len(accepted_s):
        return np.full(last.shape, -np.inf)
    return np.where(last >= 0, np.take_along_axis(accepted_s, np.maximum(last, 0), 0) + window_s, -np.inf)


def _clock(count: Ints, window_s: Floats, start_s: Floats, accepted_s: Floats) -> Floats:
    rows = [np.full(len(count), -np.inf)]
    window, sends = np.full(len(count), -np.inf), np.zeros_like(count)
    for time_s in accepted_s:
        # An accepted send is in a new window if the last one is full, even if it seems to come just before its end.
        number = np.maximum(np.floor((time_s - start_s) / window_s), np.where(sends >= count, window + 1, window))
        sends = np.where(number > window, 1, sends + 1)
        window = number
        rows.append(np.where(sends >= count, start_s + (window + 1) * window_s, -np.inf))
    return np.stack(rows)


def _first_send(count: Ints, window_s: Floats, start_s: Floats, accepted_s: Floats) -> Floats:
    rows = [np.full(len(count), -np.inf)]
    opened_s, sends = np.full(len(count), -np.inf), np.zeros_like(count)
    for time_s in accepted_s:
        is_new = (time_s >= opened_s + window_s) | (sends >= count)
        opened_s, sends = np.where(is_new, time_s, opened_s), np.where(is_new, 1, sends + 1)
        rows.append(np.where(sends >= count, opened_s + window_s, -np.inf))
    return np.stack(rows)


def _bucket(count: Ints, window_s: Floats, start_s: Floats, accepted_s: Floats) -> Floats:
    refill_s = window_s / count
    arrival_s = np.full(len(count), -np.inf)
    rows = [arrival_s]
    for time_s in accepted_s:
        arrival_s = np.maximum(arrival_s, time_s) + refill_s
        rows.append(arrival_s - (count - 1) * refill_s)
    return np.stack(rows)


_READY = {Kind.SLIDING: _sliding, Kind.CLOCK: _clock, Kind.FIRST_SEND: _first_send, Kind.BUCKET: _bucket}
