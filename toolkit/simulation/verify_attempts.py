"""Generate the verifies of people, with mistyped, late and repeated codes, and their outcomes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from toolkit.api.defaults import TRIES, TTL_S
from toolkit.simulation import apps, call_outcomes
from toolkit.simulation.call_arrays import Rows
from toolkit.simulation.daily_pattern import hours_in_china
from toolkit.simulation.deliveries import NEVER_NS
from toolkit.simulation.failures import FailureModel

_S, _MINUTE_NS = 1_000_000_000, 60_000_000_000
_MAX_ATTEMPTS = 9

# Of the messages that arrive in time, the ratio whose code is typed, relative to that by day; by hour in China.
_HOUR_FACTORS = np.array([0.96, 0.93, 0.90, 0.88, 0.88, 0.90, 0.94, 0.97, 0.99, *[1.0] * 13, 0.99, 0.98])
_TYPED_AFTER_A_MINUTE_RATIO = 0.6  # of the same, if the message arrives after a minute or more
_LATE_RATIO = 0.012
_RIGHT_RATIO, _RIGHT_AGAIN_RATIO = 0.955, 0.88
# The probability of another attempt, by the outcome of the last one; 0.72 is that of failures.
_AGAIN_RATIOS = np.full(len(call_outcomes.TABLE), 0.72)
_AGAIN_RATIOS[call_outcomes.SUCCESS] = 0.006  # a second tap
_AGAIN_RATIOS[call_outcomes.INVALID_CODE] = 0.93
_AGAIN_RATIOS[call_outcomes.EXPIRED_CODE] = 0.1
_AGAIN_RATIOS[call_outcomes.VERIFIED_CODE] = 0.0


@dataclass(slots=True)
class _MessageStates:
    """The states of messages while their codes are typed; arrays of equal length.

    Attributes:
        expires_ns: The time from which on a code is too late.
        tries: The number of wrong codes so far.
        verified: Whether the right code was accepted.
    """

    expires_ns: NDArray[np.int64]
    tries: NDArray[np.int64] = field(init=False)
    verified: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.tries = np.zeros(len(self.expires_ns), np.int64)
        self.verified = np.zeros(len(self.expires_ns), np.bool_)

    def verify(
        self,
        indexes: NDArray[np.int64],
        times_ns: NDArray[np.int64],
        right: NDArray[np.bool_],
        failed: NDArray[np.uint8],
    ) -> NDArray[np.uint8]:
        """Update the states by one code for each of some messages, and return the outcomes.

        Args:
            indexes: The messages.
            times_ns: The times of the verifies.
            right: Whether each code is right.
            failed: The outcome of each verify that fails whatever its code is; SUCCESS for the others.
        """
        expired = (times_ns >= self.expires_ns[indexes]) | (self.tries[indexes] >= TRIES)
        outcomes = np.where(right, call_outcomes.SUCCESS, call_outcomes.INVALID_CODE)
        outcomes = np.where(expired, call_outcomes.EXPIRED_CODE, outcomes)
        outcomes = np.where(self.verified[indexes], call_outcomes.VERIFIED_CODE, outcomes)
        outcomes = np.where(failed != call_outcomes.SUCCESS, failed, outcomes).astype(np.uint8)
        self.verified[indexes] |= outcomes == call_outcomes.SUCCESS
        self.tries[indexes] += outcomes == call_outcomes.INVALID_CODE
        return outcomes


@dataclass(frozen=True, slots=True)
class Attempts:
    """Verifies: the index of each one's message, its start and its outcome."""

    messages: NDArray[np.int64]
    times_ns: NDArray[np.int64]
    outcomes: NDArray[np.uint8]


def generate_attempts(rng: np.random.Generator, failures: FailureModel, messages: Rows) -> Attempts:
    """Return the verifies of people for the last message of each session (accepted SEND rows)."""
    states = _MessageStates(messages["started_ns"] + TTL_S * _S)
    indexes = np.flatnonzero(rng.random(len(messages)) < _typed_ratios(messages))
    arrived_ns = (messages["started_ns"] + messages["latency_ns"] + messages["delay_ns"])[indexes]
    times_ns = np.maximum(arrived_ns, messages["session_ends_ns"][indexes]) + _sample_typing_ns(rng, indexes)
    right_ratio, rounds = _RIGHT_RATIO, []
    for _ in range(_MAX_ATTEMPTS):
        right = states.verified[indexes] | (rng.random(len(indexes)) < right_ratio)
        failed = failures.sample_for_verifies(rng, times_ns, messages["app"][indexes])
        outcomes = states.verify(indexes, times_ns, right, failed)
        rounds.append(Attempts(indexes, times_ns, outcomes))
        again = rng.random(len(indexes)) < _AGAIN_RATIOS[outcomes]
        times_ns = (times_ns + _sample_pauses_ns(rng, outcomes))[again]
        indexes, right_ratio = indexes[again], _RIGHT_AGAIN_RATIO
    return Attempts(*(np.concatenate([getattr(it, name) for it in rounds]) for name in Attempts.__slots__))


def _typed_ratios(messages: Rows) -> NDArray[np.float64]:
    """Return for each message the probability that its code is typed."""
    ratios: NDArray[np.float64] = (
        apps.TYPED_RATIOS[messages["template"]] * _HOUR_FACTORS[hours_in_china(messages["started_ns"])]
    )
    ratios[messages["delay_ns"] > _MINUTE_NS] *= _TYPED_AFTER_A_MINUTE_RATIO
    ratios[messages["delay_ns"] == NEVER_NS] = 0.0
    return ratios


def _sample_typing_ns(rng: np.random.Generator, indexes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sample the times from the arrival of a message to the first verify, ns; a few come after it has expired."""
    times_s = rng.lognormal(np.log(10.0), 0.55, len(indexes))
    late = rng.random(len(indexes)) < _LATE_RATIO
    times_s[late] = TTL_S + rng.lognormal(np.log(90.0), 0.9, int(late.sum()))
    return (times_s * _S).astype(np.int64)


def _sample_pauses_ns(rng: np.random.Generator, outcomes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Sample the times from one attempt to the next, ns; a second tap after a success follows within a second or so."""
    pauses_s = rng.lognormal(np.log(7.0), 0.5, len(outcomes))
    taps = outcomes == call_outcomes.SUCCESS
    pauses_s[taps] = rng.lognormal(np.log(0.8), 0.6, int(taps.sum()))
    return (pauses_s * _S).astype(np.int64)
