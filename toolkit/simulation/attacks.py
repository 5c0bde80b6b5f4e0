"""Generate the calls of attackers: SMS pumping, bombing, and brute force on codes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from toolkit.api.defaults import FAILURES_PER_HOUR, TRIES, TTL_S
from toolkit.simulation import apps, call_outcomes, incidents
from toolkit.simulation.call_arrays import NO_SESSION, SEND, Rows
from toolkit.simulation.deliveries import sample_deliveries
from toolkit.simulation.failures import FailureModel
from toolkit.simulation.incidents import Incident
from toolkit.simulation.people import Population
from toolkit.simulation.plan import IncidentKind, SimulationPlan
from toolkit.simulation.verify_attempts import Attempts

_S = 1_000_000_000
_HOUR_NS = 3600 * _S
_FIRST_VICTIM, _BOMBED_PERSON = 1 << 40, 1 << 41  # indexes that no person of the population has
# The sends to a victim: a burst at first, then one every ten minutes.
_BURST_S = np.arange(8) * 64
_LATER_EVERY_S = 600
_LAST_SEND_S = incidents.DURATION_MINUTES[IncidentKind.BRUTE_FORCE] * 60 - TTL_S
_OFFSETS_S = np.concatenate([_BURST_S, np.arange(_BURST_S[-1] + _LATER_EVERY_S, _LAST_SEND_S, _LATER_EVERY_S)])
SENDS_PER_VICTIM = len(_OFFSETS_S)
_GUESS_INTERVAL_S = (2.0, 8.0)


def generate_pumping(
    rng: np.random.Generator, plan: SimulationPlan, population: Population, failures: FailureModel, incident: Incident
) -> Rows:
    """Return the sends of a pumping attack: consecutive numbers of the rare prefix at a steady rate."""
    count = incidents.pumped_messages(plan)
    sends = np.zeros(count, SEND)
    interval_ns = (incident.ended_ns - incident.started_ns) / count
    sends["started_ns"] = incident.started_ns + ((np.arange(count) + rng.random(count)) * interval_ns).astype(np.int64)
    first = int(rng.integers(10_000))
    rare = population.prefixes.rare
    sends["number"] = population.prefixes.numbers[rare] * 10_000 + (first + np.arange(count)) % 10_000
    sends["prefix"] = rare
    sends["template"] = incidents.PUMPED_TEMPLATE
    return _with_outcomes(rng, population, failures, sends)


def generate_sends_to_victims(
    rng: np.random.Generator, plan: SimulationPlan, population: Population, failures: FailureModel, incident: Incident
) -> Rows:
    """Return the sends of a brute force attack: to each victim a burst, then one send every ten minutes."""
    count = incidents.victims(plan)
    sends = np.zeros(count * SENDS_PER_VICTIM, SEND)
    first_s = np.repeat(rng.uniform(0, 100, count), SENDS_PER_VICTIM)
    offsets_s = first_s + np.tile(_OFFSETS_S, count) + rng.uniform(0, 3, len(sends))
    sends["started_ns"] = incident.started_ns + (offsets_s * _S).astype(np.int64)
    people = np.repeat(_FIRST_VICTIM + np.arange(count), SENDS_PER_VICTIM)
    sends["number"], sends["prefix"] = population.numbers(people)
    sends["guessed"] = True
    sends["template"] = incidents.GUESSED_TEMPLATE
    return _with_outcomes(rng, population, failures, sends)


def generate_bombing(
    rng: np.random.Generator, population: Population, failures: FailureModel, incident: Incident
) -> Rows:
    """Return the sends of a bombing: one mobile gets messages through every app, as often as its limits allow."""
    templates = [index for index, it in enumerate(apps.TEMPLATES) if it.typed_ratio]
    per_app = int((incident.ended_ns - incident.started_ns) / _S / incidents.BOMBING_INTERVAL_S)
    sends = np.zeros(per_app * len(templates), SEND)
    offsets_s = np.tile(np.arange(per_app) * incidents.BOMBING_INTERVAL_S, len(templates))
    sends["started_ns"] = incident.started_ns + ((offsets_s + rng.uniform(0, 1, len(sends))) * _S).astype(np.int64)
    sends["number"], sends["prefix"] = population.numbers(np.full(len(sends), _BOMBED_PERSON))
    sends["template"] = np.repeat(templates, per_app)
    return _with_outcomes(rng, population, failures, sends)


def _with_outcomes(rng: np.random.Generator, population: Population, failures: FailureModel, sends: Rows) -> Rows:
    """Return an attacker's sends with app, outcome and delivery."""
    sends["session"], sends["app"] = NO_SESSION, apps.TEMPLATE_APPS[sends["template"]]
    sends["session_ends_ns"] = sends["started_ns"]
    sends["outcome"] = failures.sample_for_sends(rng, sends["started_ns"], sends["app"])
    carriers = population.prefixes.carriers[sends["prefix"]]
    sends["carrier_code"], sends["delay_ns"] = sample_deliveries(
        rng, failures.active, carriers, sends["started_ns"], sends["carrier_code"]
    )
    return sends


def generate_guesses(rng: np.random.Generator, failures: FailureModel, messages: Rows) -> Attempts:
    """Return wrong guesses at the codes of messages (accepted SEND rows)."""
    intervals_s = rng.uniform(*_GUESS_INTERVAL_S, (len(messages), incidents.GUESSES_PER_MESSAGE))
    answered_ns = (messages["started_ns"] + messages["latency_ns"])[:, None]
    times_ns = (answered_ns + (intervals_s.cumsum(axis=1) * _S).astype(np.int64)).ravel()
    indexes = np.repeat(np.arange(len(messages)), incidents.GUESSES_PER_MESSAGE)
    order = np.argsort(times_ns, kind="stable")
    indexes, times_ns = indexes[order], times_ns[order]
    failed = failures.sample_for_verifies(rng, times_ns, messages["app"][indexes])
    outcomes = np.fromiter(_verify_wrong_codes(messages, indexes, times_ns, failed), np.uint8, len(indexes))
    return Attempts(indexes, times_ns, outcomes)


def _verify_wrong_codes(
    messages: Rows, indexes: NDArray[np.int64], times_ns: NDArray[np.int64], failed: NDArray[np.uint8]
) -> Iterator[int]:
    """Yield the outcome of each wrong code in the order of time, by the rules of the service.

    They apply in this order: the mobile's failed verifies of the last hour, the message's age, its own tries.
    """
    failures: dict[int, deque[int]] = {}
    tries = [0] * len(messages)
    numbers, started_ns = messages["number"].tolist(), messages["started_ns"].tolist()
    for message, now_ns, failure in zip(indexes.tolist(), times_ns.tolist(), failed.tolist(), strict=True):
        recent = failures.setdefault(numbers[message], deque(maxlen=FAILURES_PER_HOUR))
        if failure != call_outcomes.SUCCESS:
            yield failure
        elif len(recent) == FAILURES_PER_HOUR and recent[0] + _HOUR_NS > now_ns:
            yield call_outcomes.OUT_OF_FREQ
        elif now_ns >= started_ns[message] + TTL_S * _S or tries[message] >= TRIES:
            yield call_outcomes.EXPIRED_CODE
        else:
            tries[message] += 1
            recent.append(now_ns)
            yield call_outcomes.INVALID_CODE
