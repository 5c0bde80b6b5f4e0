"""Generate the sends of people: frequent and rare users. Some send again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.simulation import apps, call_outcomes
from toolkit.simulation.call_arrays import SEND, Rows
from toolkit.simulation.daily_pattern import burst_loads, usual_load
from toolkit.simulation.deliveries import sample_deliveries
from toolkit.simulation.failures import FailureModel
from toolkit.simulation.incidents import Incident
from toolkit.simulation.prefixes import Prefixes

_S = 1_000_000_000
_MAX_SENDS = 12  # of one session

# Most people come now and then (light), some often (regular), and a few all day long (testers).
_REGULAR_RATIO, _TESTER_RATIO = 0.156, 0.004  # of the sessions
_LIGHT_PER_SESSION, _REGULAR_PER_SESSION, _TESTER_SESSIONS = 8.0, 0.4, 12.0  # mobiles, relative to a day's sessions
_REGULAR_SKEW = 1.5

# An impatient person sends again at once, a patient one after the minute that the page requires: mostly if the message
# hasn't arrived by then, and sometimes although it has, at first and after another send.
_IMPATIENT_RATIO, _MISSED_AGAIN_RATIO, _ARRIVED_AGAIN_RATIOS = 0.035, 0.5, (0.045, 0.25)
_FAILED_AGAIN_RATIO, _MISTYPED_AGAIN_RATIO = 0.45, 0.75

_ACCOUNT_REFUSALS = (call_outcomes.AUTH_FAILED, call_outcomes.NO_MONEY)  # a page can only say that something failed

_MIX_A, _MIX_B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mix(values: NDArray[np.int64], key: int) -> NDArray[np.uint64]:
    """Return a keyed hash of 64 bits for each value: the finalizer of splitmix64, applied twice.

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
    """The population that requests codes; each person has one mobile.

    Attributes:
        sessions: The mean number of sessions a day, to which the number of people is proportional.
        prefixes: The prefixes of their mobiles.
        key: The key of the hash that gives each person a mobile.
    """

    sessions: int
    prefixes: Prefixes
    key: int

    def sample(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Sample the person of each session, as an index of the population."""
        per_session = (_LIGHT_PER_SESSION, _REGULAR_PER_SESSION, _TESTER_RATIO / _TESTER_SESSIONS)
        light, regular, tester = (max(1, round(self.sessions * it)) for it in per_session)
        group, position = rng.random(count), rng.random(count)
        people = (position * light).astype(np.int64)
        is_regular, is_tester = group < _REGULAR_RATIO, group > 1 - _TESTER_RATIO
        people[is_regular] = light + (position[is_regular] ** _REGULAR_SKEW * regular).astype(np.int64)
        people[is_tester] = light + regular + (position[is_tester] * tester).astype(np.int64)
        return people

    def numbers(self, people: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
        """Return the mobiles of people, and the indexes of their prefixes."""
        bits = mix(people, self.key)
        positions = (bits >> np.uint64(11)).astype(np.float64) / (1 << 53)
        prefixes = np.searchsorted(self.prefixes.cumulative, positions, side="right").astype(np.int16)
        last_digits = (mix(people, self.key + 1) % np.uint64(10_000)).astype(np.int64)
        return self.prefixes.numbers[prefixes] * 10_000 + last_digits, prefixes


def generate_sends(
    rng: np.random.Generator,
    population: Population,
    failures: FailureModel,
    times_ns: NDArray[np.int64],
    first_session: int,
    schedule: Sequence[Incident],
) -> Rows:
    """Return the sends of the sessions that begin at some times.

    Returns:
        SEND rows. Sends that don't fail have the outcome SUCCESS; rate limits are not applied yet.
    """
    sessions = np.zeros(len(times_ns), SEND)
    sessions["session"] = first_session + np.arange(len(times_ns))
    sessions["started_ns"] = times_ns
    sessions["template"] = _sample_templates(rng, schedule, times_ns)
    sessions["app"] = apps.TEMPLATE_APPS[sessions["template"]]
    sessions["number"], sessions["prefix"] = population.numbers(population.sample(rng, len(times_ns)))
    sends = _with_resends(rng, failures, population.prefixes.carriers, sessions)
    ends_ns = np.zeros(len(times_ns), np.int64)
    np.maximum.at(ends_ns, sends["session"] - first_session, sends["started_ns"])
    sends["session_ends_ns"] = ends_ns[sends["session"] - first_session]
    return sends


def _sample_templates(
    rng: np.random.Generator, schedule: Sequence[Incident], times_ns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Sample the template of each session: by the usual shares, or that of a burst."""
    templates = np.searchsorted(apps.SHARES.cumsum(), rng.random(len(times_ns)), side="right")
    if bursts := burst_loads(schedule, times_ns):
        usual = usual_load(schedule, times_ns)
        for template, load in bursts.items():
            templates[rng.random(len(times_ns)) < load / (usual + load)] = template
    return templates


def _with_resends(rng: np.random.Generator, failures: FailureModel, carriers: NDArray[np.int8], sends: Rows) -> Rows:
    """Return the first sends of sessions, with outcomes and deliveries, and the sends that follow them."""
    rounds = []
    for _ in range(_MAX_SENDS):
        sends["outcome"] = failures.sample_for_sends(rng, sends["started_ns"], sends["app"])
        sends["carrier_code"], sends["delay_ns"] = sample_deliveries(
            rng, failures.active, carriers[sends["prefix"]], sends["started_ns"], sends["carrier_code"]
        )
        rounds.append(sends)
        sends_again, waits_ns = _sample_resends(rng, sends, is_first=len(rounds) == 1)
        sends = sends[sends_again]
        sends["started_ns"] += waits_ns[sends_again]
    return np.concatenate(rounds)


def _sample_resends(
    rng: np.random.Generator, sends: Rows, is_first: bool
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Sample for each send whether another one follows, and after how many ns."""
    outcomes, count = sends["outcome"], len(sends)
    chance = rng.random(count)
    failed = (outcomes >= call_outcomes.SERVER_ERROR) | np.isin(outcomes, _ACCOUNT_REFUSALS)
    mistyped = (outcomes == call_outcomes.INVALID_MOBILE) | (outcomes == call_outcomes.MISSING_MOBILE)
    hopeless = outcomes == call_outcomes.INVALID_TEMP_ID
    in_error = failed | mistyped
    soon_s = rng.uniform(3, np.where(in_error, 25, 57))
    late_s = 61 + rng.lognormal(np.log(22), 0.8, count)
    impatient = chance < (_IMPATIENT_RATIO if is_first else 0.0)
    arrived_again_ratio = _ARRIVED_AGAIN_RATIOS[0 if is_first else 1]
    again_ratio = np.where(sends["delay_ns"] > late_s * _S, _MISSED_AGAIN_RATIO, arrived_again_ratio)
    again_ratio += _IMPATIENT_RATIO if is_first else 0.0
    again_ratio = np.where(failed, _FAILED_AGAIN_RATIO, np.where(mistyped, _MISTYPED_AGAIN_RATIO, again_ratio))
    waits_s = np.where(in_error | impatient, soon_s, late_s)
    return (chance < again_ratio) & ~hopeless, (waits_s * _S).astype(np.int64)
