"""Verdicts: when people type the codes they got, what they mistype, and what the service says to each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from toolkit.api.defaults import TRIES, TTL_S
from toolkit.simulation import call_outcomes
from toolkit.simulation.day_columns import Rows
from toolkit.simulation.failures import Faults

_S = 1_000_000_000
_MOST_ATTEMPTS = 9

_TYPES_RATIO = 0.87  # of those who got a code
_LATE_RATIO = 0.012
_RIGHT_RATIO, _RIGHT_AGAIN_RATIO = 0.955, 0.88
_AGAIN_RATIOS = np.full(len(call_outcomes.TABLE), 0.72)  # by how the last attempt ended; what isn't named failed
_AGAIN_RATIOS[call_outcomes.SUCCESS] = 0.006  # a second tap
_AGAIN_RATIOS[call_outcomes.INVALID_CODE] = 0.93
_AGAIN_RATIOS[call_outcomes.EXPIRED_CODE] = 0.1
_AGAIN_RATIOS[call_outcomes.VERIFIED_CODE] = 0.0


@dataclass(slots=True)
class Message:
    """Messages while their codes are typed: arrays of the same length.

    expires_ns: from when on a code comes too late. tries: wrong codes so far.
    """

    expires_ns: NDArray[np.int64]
    tries: NDArray[np.int64] = field(init=False)
    verified: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.tries = np.zeros(len(self.expires_ns), np.int64)
        self.verified = np.zeros(len(self.expires_ns), np.bool_)

    def judge(
        self,
        which: NDArray[np.int64],
        times_ns: NDArray[np.int64],
        right: NDArray[np.bool_],
        faults: NDArray[np.uint8],
    ) -> NDArray[np.uint8]:
        """Judge a typed code for each of some messages, unless it meets a fault; keep what that changes."""
        used_up = (times_ns >= self.expires_ns[which]) | (self.tries[which] >= TRIES)
        judged = np.where(right, call_outcomes.SUCCESS, call_outcomes.INVALID_CODE)
        judged = np.where(used_up, call_outcomes.EXPIRED_CODE, judged)
        judged = np.where(self.verified[which], call_outcomes.VERIFIED_CODE, judged)
        ends = np.where(faults != call_outcomes.SUCCESS, faults, judged).astype(np.uint8)
        self.verified[which] |= ends == call_outcomes.SUCCESS
        self.tries[which] += ends == call_outcomes.INVALID_CODE
        return ends


@dataclass(frozen=True, slots=True)
class Attempts:
    """Typed codes: of which message each is (its place), when it was sent, how it ended."""

    messages: NDArray[np.int64]
    times_ns: NDArray[np.int64]
    ends: NDArray[np.uint8]


def draw_attempts(rng: np.random.Generator, faults: Faults, messages: Rows) -> Attempts:
    """Draw the codes that people type for the messages they got last: SEND rows, accepted, one a session."""
    state = Message(messages["started_ns"] + TTL_S * _S)
    which = np.flatnonzero(rng.random(len(messages)) < _TYPES_RATIO)
    times_ns = messages["ends_ns"][which] + messages["latency_ns"][which] + _first_ns(rng, len(which))
    ratio, rounds = _RIGHT_RATIO, []
    for _ in range(_MOST_ATTEMPTS):
        right = state.verified[which] | (rng.random(len(which)) < ratio)
        hit = faults.of_verifies(rng, times_ns, messages["app"][which])
        ends = state.judge(which, times_ns, right, hit)
        rounds.append(Attempts(which, times_ns, ends))
        again = rng.random(len(which)) < _AGAIN_RATIOS[ends]
        times_ns = (times_ns + _next_ns(rng, ends))[again]
        which, ratio = which[again], _RIGHT_AGAIN_RATIO
    return Attempts(*(np.concatenate([getattr(it, name) for it in rounds]) for name in Attempts.__slots__))


def _first_ns(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Draw how long people take from the answer on: the message arrives, they read and type it, some much later."""
    took_s = rng.lognormal(np.log(4.0), 0.6, count) + rng.lognormal(np.log(10.0), 0.55, count)
    late = rng.random(count) < _LATE_RATIO
    took_s[late] = TTL_S + rng.lognormal(np.log(90.0), 0.9, int(late.sum()))
    return (took_s * _S).astype(np.int64)


def _next_ns(rng: np.random.Generator, ends: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Draw how long they take from one attempt to the next; a second tap comes at once."""
    took_s = rng.lognormal(np.log(7.0), 0.5, len(ends))
    taps = ends == call_outcomes.SUCCESS
    took_s[taps] = rng.lognormal(np.log(0.8), 0.6, int(taps.sum()))
    return (took_s * _S).astype(np.int64)
