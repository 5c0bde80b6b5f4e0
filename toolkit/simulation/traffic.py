"""Generate the calls of a plan, day by day.

A day is generated in this order, all steps on whole arrays:

    start times of sessions     daily_pattern
    sends, with failures        people, attacks, failures
    decisions of rate limits    send_limits
    latencies and msg_ids       latencies, msg_ids
    verifies of messages        verify_attempts, attacks
    rows of call records        this module

A session that begins before midnight may go on after it. Three things are therefore carried over to the next day: its
sends that start later, its calls that start later, and accepted sends of sessions that are still going on, because
people type the code of the last message only. How many sessions give the wanted number of calls is found by a pilot day
without incidents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from toolkit.simulation import apps, attacks, call_outcomes, incidents, msg_ids
from toolkit.simulation.call_arrays import CALL, NO_PREFIX, NO_SESSION, SEND, Rows
from toolkit.simulation.daily_pattern import minute_loads, sample_times
from toolkit.simulation.failures import FailureModel
from toolkit.simulation.incidents import Incident
from toolkit.simulation.latencies import sample_latencies_ns
from toolkit.simulation.people import Population, generate_sends, mix
from toolkit.simulation.plan import DAY_NS, NS_PER_S, IncidentKind, SimulationPlan, random_stream
from toolkit.simulation.prefixes import Prefixes
from toolkit.simulation.send_limits import NO_SENDS, AcceptedSends, SendLimit, are_accepted
from toolkit.simulation.verify_attempts import Attempts, generate_attempts

_MOBILES = 10**11
_PILOT_SESSIONS = 60_000
_SEND, _VERIFY = 0, 1


@dataclass(frozen=True, slots=True)
class DayTraffic:
    """The traffic of a day: SEND rows with their outcomes, and CALL rows of all calls, both in the order of time."""

    day_number: int
    sends: Rows
    calls: Rows


def generate_days(plan: SimulationPlan, schedule: tuple[Incident, ...], prefixes: Prefixes) -> Iterator[DayTraffic]:
    """Yield the traffic of each day of a plan.

    Args:
        plan: The plan.
        schedule: Its incidents.
        prefixes: The prefixes of the mobiles.
    """
    key = _random_key(plan, "population")
    pilot_plan = replace(plan, days=1, incidents=())
    pilot = _DayGenerator(pilot_plan, (), Population(_PILOT_SESSIONS, prefixes, key))
    pilot_calls = len(pilot.generate(0, _PILOT_SESSIONS).calls) + len(pilot.later_calls)
    sessions = max(0, plan.calls - _attack_calls(plan, schedule)) / (pilot_calls / _PILOT_SESSIONS)
    loads = np.array([minute_loads(plan, schedule, number).sum() for number in range(plan.days)])
    begun = np.rint(sessions * np.concatenate([[0.0], loads.cumsum() / loads.sum()])).astype(np.int64)
    population = Population(max(1, round(sessions / plan.days)), prefixes, key)
    generator = _DayGenerator(plan, schedule, population)
    for number, sessions_of_day in enumerate(np.diff(begun).tolist()):
        yield generator.generate(number, sessions_of_day)


def _attack_calls(plan: SimulationPlan, schedule: Sequence[Incident]) -> int:
    """Return the approximate number of calls of attackers."""
    duration_s = incidents.DURATION_MINUTES[IncidentKind.BRUTE_FORCE] * 60
    allowed = [rule.count for rule in plan.rules if rule.window_s >= duration_s]
    guesses = incidents.GUESSES_PER_MESSAGE * min([attacks.SENDS_PER_VICTIM, *allowed])
    calls = {
        IncidentKind.PUMPING: incidents.pumped_messages(plan),
        IncidentKind.BRUTE_FORCE: incidents.victims(plan) * (attacks.SENDS_PER_VICTIM + guesses),
    }
    return sum(calls.get(incident.kind, 0) for incident in schedule)


def _random_key(plan: SimulationPlan, purpose: str) -> int:
    return int(random_stream(plan, purpose).integers(1 << 62))


class _DayGenerator:
    """Generates days in their order.

    Attributes:
        later_calls: CALL rows that start after the last day.
    """

    def __init__(self, plan: SimulationPlan, schedule: tuple[Incident, ...], population: Population) -> None:
        self.later_calls = np.zeros(0, CALL)
        self._later_sends = np.zeros(0, SEND)  # sends that start after the last day, without rate limits applied
        self._open_messages = np.zeros(0, SEND)  # accepted sends of sessions that are going on
        self._plan = plan
        self._schedule = schedule
        self._population = population
        self._limits = _limits(plan, schedule)
        self._accepted = NO_SENDS
        self._sessions = 0
        self._app_secrets = [_random_key(plan, f"secret-{app.app_key}") for app in apps.APPS]

    def generate(self, day_number: int, sessions: int) -> DayTraffic:
        """Generate the next day, in which a number of sessions begin."""
        day_ns = self._plan.start_ns + day_number * DAY_NS
        end_ns = day_ns + DAY_NS
        rng = random_stream(self._plan, "day", day_number)
        active = tuple(it for it in self._schedule if it.started_ns < end_ns + DAY_NS and it.ended_ns > day_ns)
        failures = FailureModel.for_day(self._plan, active, day_number, day_ns)
        sends = self._generate_sends(rng, failures, day_number, sessions)
        self._later_sends = sends[sends["started_ns"] >= end_ns]
        sends = _sorted_by_time(sends[sends["started_ns"] < end_ns])
        self._apply_limits(rng, sends, active, end_ns)
        messages = self._messages_of_ended_sessions(sends, end_ns)
        guessed = sends[sends["guessed"] & (sends["outcome"] == call_outcomes.SUCCESS)]
        typed = _verify_calls(rng, active, messages, generate_attempts(rng, failures, messages))
        guesses = _verify_calls(rng, active, guessed, attacks.generate_guesses(rng, failures, guessed))
        calls = np.concatenate([self.later_calls, self._send_calls(rng, sends), typed, guesses])
        self.later_calls = calls[calls["started_ns"] >= end_ns]
        calls = calls[calls["started_ns"] < end_ns]
        if skew := incidents.find(active, IncidentKind.CLOCK_SKEW):
            affected = (calls["host"] == incidents.SKEWED_HOST) & skew.contains(calls["started_ns"])
            calls["started_ns"][affected] += incidents.SKEW_S * NS_PER_S
        return DayTraffic(day_number, sends, _sorted_by_time(calls))

    def _generate_sends(self, rng: np.random.Generator, failures: FailureModel, day_number: int, sessions: int) -> Rows:
        """Return the sends of the day's sessions and attacks, and those carried over from the day before."""
        plan, population = self._plan, self._population
        times_ns = sample_times(plan, self._schedule, day_number, sessions)
        of_people = generate_sends(rng, population, failures, times_ns, self._sessions, self._schedule)
        sends = [self._later_sends, of_people]
        self._sessions += sessions
        day_ns = plan.start_ns + day_number * DAY_NS
        for incident in self._schedule:
            if not day_ns <= incident.started_ns < day_ns + DAY_NS:
                continue
            if incident.kind is IncidentKind.PUMPING:
                sends.append(attacks.generate_pumping(rng, plan, population, failures, incident))
            elif incident.kind is IncidentKind.BOMBING:
                sends.append(attacks.generate_bombing(rng, population, failures, incident))
            elif incident.kind is IncidentKind.BRUTE_FORCE:
                sends.append(attacks.generate_sends_to_victims(rng, plan, population, failures, incident))
        return np.concatenate(sends)

    def _apply_limits(self, rng: np.random.Generator, sends: Rows, active: tuple[Incident, ...], end_ns: int) -> None:
        """Set the final outcome and the latency of every send, and the msg_id of accepted ones."""
        candidates = np.flatnonzero(sends["outcome"] == call_outcomes.SUCCESS)
        keys = (sends["app"].astype(np.int64) * _MOBILES + sends["number"])[candidates]
        times_ns = sends["started_ns"][candidates]
        is_accepted = are_accepted(self._limits, self._accepted, keys, times_ns)
        sends["outcome"][candidates[~is_accepted]] = call_outcomes.OUT_OF_FREQ
        self._accepted = AcceptedSends(
            np.concatenate([self._accepted.keys, keys[is_accepted]]),
            np.concatenate([self._accepted.times_ns, times_ns[is_accepted]]),
        ).within(self._limits, end_ns)
        sends["latency_ns"] = sample_latencies_ns(rng, active, _SEND, sends["started_ns"], sends["outcome"])
        accepted = candidates[is_accepted]
        high, low = msg_ids.generate(rng, len(accepted))
        sends["msg_high"][accepted], sends["msg_low"][accepted] = high, low
        sends["msg_key"][accepted] = msg_ids.hash64(high, low)

    def _messages_of_ended_sessions(self, sends: Rows, end_ns: int) -> Rows:
        """Return the last accepted send of every session that has ended; carry over those of the others."""
        accepted = (sends["outcome"] == call_outcomes.SUCCESS) & (sends["session"] != NO_SESSION)
        messages = np.concatenate([self._open_messages, sends[accepted]])
        messages = messages[np.argsort(messages["session"], kind="stable")]
        is_last = np.ones(len(messages), np.bool_)
        is_last[:-1] = messages["session"][1:] != messages["session"][:-1]
        messages = messages[is_last]
        is_open = messages["session_ends_ns"] >= end_ns
        self._open_messages = messages[is_open]
        return messages[~is_open]

    def _send_calls(self, rng: np.random.Generator, sends: Rows) -> Rows:
        """Return the CALL rows of sends."""
        calls = _calls(rng, sends, sends["started_ns"], sends["outcome"])
        outcomes = sends["outcome"]
        is_invalid, is_missing = outcomes == call_outcomes.INVALID_MOBILE, outcomes == call_outcomes.MISSING_MOBILE
        # The mobile as the caller passed it: an invalid one lacks its last digit.
        passed = np.where(is_missing, 0, np.where(is_invalid, sends["number"] // 10, sends["number"]))
        for app, secret in enumerate(self._app_secrets):
            of_app = sends["app"] == app
            calls["mobile_key"][of_app] = mix(passed[of_app], secret).view(np.int64)
        calls["latency_ns"] = sends["latency_ns"]
        calls["prefix"] = np.where(is_invalid | is_missing, NO_PREFIX, sends["prefix"])
        temp_ids = apps.TEMP_IDS[sends["template"]]
        calls["temp_id"] = np.where(outcomes == call_outcomes.INVALID_TEMP_ID, apps.UNKNOWN_TEMP_ID, temp_ids)
        calls["segments"] = np.where(outcomes == call_outcomes.SUCCESS, apps.SEGMENTS[sends["template"]], 0)
        return calls


def _limits(plan: SimulationPlan, schedule: tuple[Incident, ...]) -> tuple[SendLimit, ...]:
    limits = [SendLimit.from_rule(rule) for rule in plan.rules]
    incident, lowered = incidents.find(schedule, IncidentKind.LIMIT_LOWERED), incidents.lowered_limit(plan)
    if incident and lowered:
        index, count = lowered
        limits[index] = replace(limits[index], lowered_count=count, lowered_ns=incident.started_ns)
    return tuple(limits)


def _sorted_by_time(rows: Rows) -> Rows:
    return rows[np.argsort(rows["started_ns"], kind="stable")]


def _verify_calls(rng: np.random.Generator, active: tuple[Incident, ...], messages: Rows, attempts: Attempts) -> Rows:
    """Return the CALL rows of verifies."""
    calls = _calls(rng, messages[attempts.messages], attempts.times_ns, attempts.outcomes)
    calls["is_verify"], calls["prefix"] = True, NO_PREFIX
    calls["latency_ns"] = sample_latencies_ns(rng, active, _VERIFY, attempts.times_ns, attempts.outcomes)
    return calls


def _calls(rng: np.random.Generator, sends: Rows, times_ns: NDArray[np.int64], outcomes: NDArray[np.uint8]) -> Rows:
    """Return CALL rows with the columns that a send and its verifies have in common."""
    calls = np.zeros(len(sends), CALL)
    for name in ("app", "msg_high", "msg_low", "msg_key"):
        calls[name] = sends[name]
    calls["started_ns"], calls["outcome"] = times_ns, outcomes
    host_counts = apps.HOST_COUNTS[sends["app"]]
    calls["host"] = apps.FIRST_HOSTS[sends["app"]] + (rng.random(len(sends)) * host_counts).astype(np.int64)
    return calls
