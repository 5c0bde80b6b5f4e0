"""Attacks: sends that nobody reads, and codes that are guessed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from toolkit.api.defaults import FAILURES_PER_HOUR, TRIES, TTL_S
from toolkit.simulation import call_outcomes, incidents
from toolkit.simulation.day_columns import NO_SESSION, SEND, Rows, empty
from toolkit.simulation.failures import Faults
from toolkit.simulation.incidents import Incident
from toolkit.simulation.people import Population
from toolkit.simulation.plan import IncidentKind, Plan
from toolkit.simulation.verify_attempts import Attempts

_S = 1_000_000_000
_HOUR_NS = 3600 * _S
_VICTIMS_FROM = 1 << 40  # their places in the population, where nobody else is
_BURST_S = np.arange(8) * 64  # when there are sends to a victim at first
_LATER_EVERY_S = 600
_GUESS_S = (2.0, 8.0)
_LAST_S = incidents.LASTS_MINUTES[IncidentKind.BRUTE_FORCE] * 60 - TTL_S
_OFFSETS_S = np.concatenate([_BURST_S, np.arange(_BURST_S[-1] + _LATER_EVERY_S, _LAST_S, _LATER_EVERY_S)])
SENDS_TO_A_VICTIM = len(_OFFSETS_S)


def draw_pumping(rng: np.random.Generator, plan: Plan, population: Population, faults: Faults, it: Incident) -> Rows:
    """Draw the sends of a pumping attack: one number of the rare prefix after another, as steady as a program."""
    count = incidents.pumped_messages(plan)
    sends = empty(SEND, count)
    lasts_ns = it.ended_ns - it.started_ns
    sends["started_ns"] = it.started_ns + ((np.arange(count) + rng.random(count)) * (lasts_ns / count)).astype(np.int64)
    first = int(rng.integers(10_000))
    rare = population.prefixes.rare
    sends["number"] = population.prefixes.numbers[rare] * 10_000 + (first + np.arange(count)) % 10_000
    sends["prefix"] = rare
    return _finish(rng, faults, sends, incidents.PUMPED_APP, incidents.PUMPED_TEMPLATE)


def draw_sends_to_victims(
    rng: np.random.Generator, plan: Plan, population: Population, faults: Faults, it: Incident
) -> Rows:
    """Draw the sends of a brute force: to each victim some as soon as they may be accepted, then one now and then."""
    count = incidents.victims(plan)
    sends = empty(SEND, count * SENDS_TO_A_VICTIM)
    starts_s = np.repeat(rng.uniform(0, 100, count), SENDS_TO_A_VICTIM)
    took_s = starts_s + np.tile(_OFFSETS_S, count) + rng.uniform(0, 3, len(sends))
    sends["started_ns"] = it.started_ns + (took_s * _S).astype(np.int64)
    people = np.repeat(_VICTIMS_FROM + np.arange(count), SENDS_TO_A_VICTIM)
    sends["number"], sends["prefix"] = population.numbers(people)
    sends["guessed"] = True
    return _finish(rng, faults, sends, incidents.GUESSED_APP, incidents.GUESSED_TEMPLATE)


def _finish(rng: np.random.Generator, faults: Faults, sends: Rows, app: int, template: int) -> Rows:
    sends["session"], sends["app"], sends["template"] = NO_SESSION, app, template
    sends["ends_ns"] = sends["started_ns"]
    sends["outcome"] = faults.of_sends(rng, sends["started_ns"], sends["app"])
    return sends


def draw_guesses(rng: np.random.Generator, faults: Faults, messages: Rows) -> Attempts:
    """Draw the guesses for messages, SEND rows that were accepted; none is right."""
    shape = len(messages), incidents.GUESSES_A_MESSAGE
    waits_s = rng.uniform(*_GUESS_S, shape).cumsum(axis=1)
    times_ns = ((messages["started_ns"] + messages["latency_ns"])[:, None] + (waits_s * _S).astype(np.int64)).ravel()
    which = np.repeat(np.arange(len(messages)), incidents.GUESSES_A_MESSAGE)
    order = np.argsort(times_ns, kind="stable")
    which, times_ns = which[order], times_ns[order]
    hit = faults.of_verifies(rng, times_ns, messages["app"][which])
    return Attempts(which, times_ns, np.fromiter(_judge(messages, which, times_ns, hit), np.uint8, len(which)))


def _judge(
    messages: Rows, which: NDArray[np.int64], times_ns: NDArray[np.int64], hit: NDArray[np.uint8]
) -> Iterator[int]:
    """Judge wrong codes in the order of time: by the mobile's failed tries, then the message's life and its own."""
    failures: dict[int, deque[int]] = {}
    tries = [0] * len(messages)
    numbers, started_ns = messages["number"].tolist(), messages["started_ns"].tolist()
    for message, now_ns, fault in zip(which.tolist(), times_ns.tolist(), hit.tolist(), strict=True):
        recent = failures.setdefault(numbers[message], deque(maxlen=FAILURES_PER_HOUR))
        if fault != call_outcomes.SUCCESS:
            yield fault
        elif len(recent) == FAILURES_PER_HOUR and recent[0] + _HOUR_NS > now_ns:
            yield call_outcomes.OUT_OF_FREQ
        elif now_ns >= started_ns[message] + TTL_S * _S or tries[message] >= TRIES:
            yield call_outcomes.EXPIRED_CODE
        else:
            tries[message] += 1
            recent.append(now_ns)
            yield call_outcomes.INVALID_CODE
