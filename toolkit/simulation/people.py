"""People: who asks for codes, how often, and what they do when none comes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.simulation import apps, call_outcomes
from toolkit.simulation.day_columns import SEND, Rows, empty
from toolkit.simulation.failures import Faults
from toolkit.simulation.prefixes import Prefixes

_S = 1_000_000_000
_MOST_SENDS = 12  # of one session

# Who: most come now and then, some often, and a few all day long, such as testers.
_REGULAR_RATIO, _TESTER_RATIO = 0.156, 0.004
_LIGHT_PER_SESSION, _REGULAR_PER_SESSION, _TESTER_SESSIONS = 8.0, 0.4, 12.0  # mobiles to a day's sessions
_REGULAR_SKEW = 1.5

# What they do: press again at once, or after the minute that the page asks for, or because the first call failed.
_IMPATIENT_RATIO, _PATIENT_RATIO, _PATIENT_AGAIN_RATIO = 0.035, 0.075, 0.33
_FAILED_AGAIN_RATIO, _MISTYPED_AGAIN_RATIO = 0.45, 0.75

_MIX_A, _MIX_B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mix(values: NDArray[np.int64], key: int) -> NDArray[np.uint64]:
    """Return 64 bits that look like chance and differ for different values: splitmix64's last step, keyed, twice.

    Source: Steele, Lea, Flood, Fast splittable pseudorandom number generators (2014).
    """
    bits = values.astype(np.uint64)
    for _ in range(2):
        bits = bits ^ np.uint64(key)
        bits = (bits ^ (bits >> np.uint64(30))) * _MIX_A
        bits = (bits ^ (bits >> np.uint64(27))) * _MIX_B
        bits = bits ^ (bits >> np.uint64(31))
    return bits


@dataclass(frozen=True, slots=True)
class Population:
    """The people: as many mobiles as ``sessions`` a day need, each with a number of a prefix.

    key: of the numbers they have.
    """

    sessions: int
    prefixes: Prefixes
    key: int

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Draw who comes so many times, by their place in the population."""
        light, regular, tester = (max(1, round(self.sessions * it)) for it in self._sizes())
        which, where = rng.random(count), rng.random(count)
        people = (where * light).astype(np.int64)
        regulars, testers = which < _REGULAR_RATIO, which > 1 - _TESTER_RATIO
        people[regulars] = light + (where[regulars] ** _REGULAR_SKEW * regular).astype(np.int64)
        people[testers] = light + regular + (where[testers] * tester).astype(np.int64)
        return people

    def _sizes(self) -> tuple[float, float, float]:
        return _LIGHT_PER_SESSION, _REGULAR_PER_SESSION, _TESTER_RATIO / _TESTER_SESSIONS

    def numbers(self, people: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
        """Return the mobiles of people, and the places of their prefixes."""
        bits = mix(people, self.key)
        shares = (bits >> np.uint64(11)).astype(np.float64) / (1 << 53)
        places = np.searchsorted(self.prefixes.cumulative, shares, side="right").astype(np.int16)
        ends = (mix(people, self.key + 1) % np.uint64(10_000)).astype(np.int64)
        return self.prefixes.numbers[places] * 10_000 + ends, places


def draw_sends(
    rng: np.random.Generator, population: Population, faults: Faults, times_ns: NDArray[np.int64], first_session: int
) -> Rows:
    """Draw the sends of sessions that begin at these times: SEND rows, what is no fault being SUCCESS so far."""
    sessions = empty(SEND, len(times_ns))
    sessions["session"] = first_session + np.arange(len(times_ns))
    sessions["started_ns"] = times_ns
    sessions["template"] = np.searchsorted(apps.SHARES.cumsum(), rng.random(len(times_ns)), side="right")
    sessions["app"] = apps.APP_OF[sessions["template"]]
    sessions["number"], sessions["prefix"] = population.numbers(population.draw(rng, len(times_ns)))
    sends = _press_again(rng, faults, sessions)
    ends_ns = np.zeros(len(times_ns), np.int64)
    np.maximum.at(ends_ns, sends["session"] - first_session, sends["started_ns"])
    sends["ends_ns"] = ends_ns[sends["session"] - first_session]
    return sends


def _press_again(rng: np.random.Generator, faults: Faults, sends: Rows) -> Rows:
    """Return the sends, and those that follow each while its person goes on."""
    rounds, patient = [], np.zeros(len(sends), np.bool_)
    for _ in range(_MOST_SENDS):
        sends["outcome"] = faults.of_sends(rng, sends["started_ns"], sends["app"])
        rounds.append(sends)
        goes_on, waits_ns, patient = _decide(rng, sends["outcome"], patient, len(rounds) == 1)
        sends, patient = sends[goes_on], patient[goes_on]
        sends["started_ns"] += waits_ns[goes_on]
    return np.concatenate(rounds)


def _decide(
    rng: np.random.Generator, ends: NDArray[np.uint8], patient: NDArray[np.bool_], is_first: bool
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.bool_]]:
    """Decide for each send whether another follows, after how many ns, and whether that was waited for in patience."""
    chance, count = rng.random(len(ends)), len(ends)
    failed = (ends >= call_outcomes.SERVER_ERROR) | (ends == call_outcomes.AUTH_FAILED)
    mistyped = (ends == call_outcomes.INVALID_MOBILE) | (ends == call_outcomes.MISSING_MOBILE)
    lost = ends == call_outcomes.INVALID_TEMP_ID
    soon_s = np.where(failed | mistyped, rng.uniform(3, 25, count), rng.uniform(3, 57, count))
    late_s = 61 + rng.lognormal(np.log(22), 0.8, count)
    hasty = chance < (_IMPATIENT_RATIO if is_first else 0.0)
    ratio = np.where(patient, _PATIENT_AGAIN_RATIO, _PATIENT_RATIO)
    again = ~hasty & (chance < ratio + (_IMPATIENT_RATIO if is_first else 0.0))
    retries = np.where(failed, chance < _FAILED_AGAIN_RATIO, chance < _MISTYPED_AGAIN_RATIO)
    troubled = failed | mistyped
    goes_on = np.where(troubled, retries, hasty | again) & ~lost
    waits_s = np.where(troubled | hasty, soon_s, late_s)
    return goes_on, (waits_s * _S).astype(np.int64), again & ~troubled
