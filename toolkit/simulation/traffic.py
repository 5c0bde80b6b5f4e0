"""Traffic: a plan's calls, day by day. What reaches from one day into the next is kept in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.simulation import apps, attacks, call_durations, call_outcomes, incidents, msg_ids, verify_attempts
from toolkit.simulation.daily_pattern import draw_times, minute_weights
from toolkit.simulation.day_columns import CALL, NO_PREFIX, NO_SESSION, SEND, Rows, empty
from toolkit.simulation.failures import Faults
from toolkit.simulation.incidents import Incident
from toolkit.simulation.people import Population, draw_sends, mix
from toolkit.simulation.plan import DAY_NS, IncidentKind, Plan, dice
from toolkit.simulation.prefixes import Prefixes
from toolkit.simulation.send_limits import NOTHING, Accepted, Limit, admit
from toolkit.simulation.verify_attempts import Attempts

_MOBILES = 10**11
_PILOT_SESSIONS = 60_000
_SEND, _VERIFY = 0, 1


@dataclass(frozen=True, slots=True)
class Day:
    """What was called in a day: SEND rows that were decided, CALL rows of everything, both in the order of time."""

    number: int
    sends: Rows
    calls: Rows


def draw_days(plan: Plan, happening: tuple[Incident, ...], prefixes: Prefixes) -> Iterator[Day]:
    """Yield a plan's days, one after the other."""
    weights = np.array([minute_weights(plan, number).sum() for number in range(plan.days)])
    total = max(0, plan.calls - _calls_of_attacks(plan, happening)) / _calls_per_session(plan, prefixes)
    begun = np.rint(total * np.concatenate([[0.0], weights.cumsum() / weights.sum()])).astype(np.int64)
    population = Population(max(1, round(total / plan.days)), prefixes, _key(plan, "population"))
    making = _Making(plan, happening, population)
    for number, sessions in enumerate(np.diff(begun).tolist()):
        yield making.make(number, sessions)


def _calls_per_session(plan: Plan, prefixes: Prefixes) -> float:
    """Make a day without incidents, and tell how many calls its sessions led to."""
    quiet = replace(plan, days=1, incidents=())
    making = _Making(quiet, (), Population(_PILOT_SESSIONS, prefixes, _key(plan, "population")))
    day = making.make(0, _PILOT_SESSIONS)
    return (len(day.calls) + len(making.later)) / _PILOT_SESSIONS


def _calls_of_attacks(plan: Plan, happening: Sequence[Incident]) -> int:
    """Return about how many calls attackers make."""
    calls = {
        IncidentKind.PUMPING: incidents.pumped_messages(plan),
        IncidentKind.BRUTE_FORCE: incidents.victims(plan) * (attacks.SENDS_TO_A_VICTIM + _guesses(plan)),
    }
    return sum(calls.get(it.kind, 0) for it in happening)


def _guesses(plan: Plan) -> int:
    """Return about how many codes are guessed of a victim: as many messages as the rules allow in that hour."""
    within = incidents.LASTS_MINUTES[IncidentKind.BRUTE_FORCE] * 60
    allowed = [rule.count for rule in plan.rules if rule.window_s >= within]
    return incidents.GUESSES_A_MESSAGE * min([attacks.SENDS_TO_A_VICTIM, *allowed])


def _key(plan: Plan, purpose: str) -> int:
    return int(dice(plan, purpose).integers(1 << 62))


class _Making:
    """Makes days in their order.

    later: CALL rows that are made after the last day. postponed: SEND rows after it, still to be decided. held: SEND
    rows that were accepted, of sessions that aren't over.
    """

    def __init__(self, plan: Plan, happening: tuple[Incident, ...], population: Population) -> None:
        self.later, self.postponed, self.held = empty(CALL), empty(SEND), empty(SEND)
        self._plan = plan
        self._happening = happening
        self._population = population
        self._limits = _limits(plan, happening)
        self._accepted = NOTHING
        self._sessions = 0
        self._secrets = [_key(plan, f"secret-{app.app_key}") for app in apps.APPS]

    def make(self, number: int, sessions: int) -> Day:
        """Make the next day, in which so many sessions begin."""
        day_ns = self._plan.start_ns + number * DAY_NS
        ends_ns = day_ns + DAY_NS
        rng = dice(self._plan, "day", number)
        happening = tuple(it for it in self._happening if it.started_ns < ends_ns + DAY_NS and it.ended_ns > day_ns)
        faults = Faults.of(self._plan, happening, number, day_ns)
        sends = self._draw(rng, faults, happening, number, sessions)
        self.postponed = sends[sends["started_ns"] >= ends_ns]
        sends = _in_order(sends[sends["started_ns"] < ends_ns])
        self._decide(rng, sends, happening, ends_ns)
        messages, guessed = self._take_over(sends, ends_ns), sends[_is_guessed(sends)]
        typed = _verifies(rng, happening, messages, verify_attempts.draw_attempts(rng, faults, messages))
        guesses = _verifies(rng, happening, guessed, attacks.draw_guesses(rng, faults, guessed))
        calls = np.concatenate([self.later, self._calls(rng, sends), typed, guesses])
        self.later = calls[calls["started_ns"] >= ends_ns]
        return Day(number, sends, _in_order(calls[calls["started_ns"] < ends_ns]))

    def _draw(
        self, rng: np.random.Generator, faults: Faults, happening: Sequence[Incident], number: int, sessions: int
    ) -> Rows:
        """Draw the sends that are to be decided: of the day's sessions and attacks, and what was postponed."""
        times_ns = draw_times(self._plan, number, sessions)
        drawn = [self.postponed, draw_sends(rng, self._population, faults, times_ns, self._sessions)]
        self._sessions += sessions
        day_ns = self._plan.start_ns + number * DAY_NS
        today = [it for it in happening if day_ns <= it.started_ns < day_ns + DAY_NS]
        for it in today:
            if it.kind is IncidentKind.PUMPING:
                drawn.append(attacks.draw_pumping(rng, self._plan, self._population, faults, it))
            elif it.kind is IncidentKind.BRUTE_FORCE:
                drawn.append(attacks.draw_sends_to_victims(rng, self._plan, self._population, faults, it))
        return np.concatenate(drawn)

    def _decide(self, rng: np.random.Generator, sends: Rows, happening: tuple[Incident, ...], ends_ns: int) -> None:
        """Give every send its outcome, its latency and, where it is accepted, its msg_id."""
        asking = np.flatnonzero(sends["outcome"] == call_outcomes.SUCCESS)
        keys = (sends["app"].astype(np.int64) * _MOBILES + sends["number"])[asking]
        times_ns = sends["started_ns"][asking]
        accepted = admit(self._limits, self._accepted, keys, times_ns)
        sends["outcome"][asking[~accepted]] = call_outcomes.OUT_OF_FREQ
        both = (self._accepted.keys, keys[accepted]), (self._accepted.times_ns, times_ns[accepted])
        self._accepted = Accepted(*map(np.concatenate, both)).since(self._limits, ends_ns)
        sends["latency_ns"] = call_durations.draw(rng, happening, _SEND, sends["started_ns"], sends["outcome"])
        _name(rng, sends, asking[accepted])

    def _take_over(self, sends: Rows, ends_ns: int) -> Rows:
        """Return the last accepted send of every session that is over; hold those of the others."""
        people = (sends["outcome"] == call_outcomes.SUCCESS) & (sends["session"] != NO_SESSION)
        messages = np.concatenate([self.held, sends[people]])
        messages = messages[np.argsort(messages["session"], kind="stable")]
        is_last = np.ones(len(messages), np.bool_)
        is_last[:-1] = messages["session"][1:] != messages["session"][:-1]
        messages = messages[is_last]
        open_still = messages["ends_ns"] >= ends_ns
        self.held = messages[open_still]
        return messages[~open_still]

    def _calls(self, rng: np.random.Generator, sends: Rows) -> Rows:
        """Return the CALL rows of sends."""
        calls = _calls(rng, sends, sends["started_ns"], sends["outcome"])
        ends = sends["outcome"]
        for app, secret in enumerate(self._secrets):
            of_app = sends["app"] == app
            calls["mobile_key"][of_app] = mix(_as_given(sends[of_app]), secret).view(np.int64)
        no_mobile = (ends == call_outcomes.MISSING_MOBILE) | (ends == call_outcomes.INVALID_MOBILE)
        calls["latency_ns"] = sends["latency_ns"]
        calls["prefix"] = np.where(no_mobile, NO_PREFIX, sends["prefix"])
        temp_ids = apps.TEMP_ID[sends["template"]]
        calls["temp_id"] = np.where(ends == call_outcomes.INVALID_TEMP_ID, apps.NO_TEMP_ID, temp_ids)
        calls["segments"] = np.where(ends == call_outcomes.SUCCESS, apps.SEGMENTS[sends["template"]], 0)
        return calls


def _limits(plan: Plan, happening: tuple[Incident, ...]) -> tuple[Limit, ...]:
    limits = [Limit.of(rule) for rule in plan.rules]
    it, lowered = incidents.find(happening, IncidentKind.LIMIT_LOWERED), incidents.lowered(plan)
    if it and lowered:
        place, count = lowered
        limits[place] = replace(limits[place], later=count, since_ns=it.started_ns)
    return tuple(limits)


def _in_order(rows: Rows) -> Rows:
    return rows[np.argsort(rows["started_ns"], kind="stable")]


def _is_guessed(sends: Rows) -> NDArray[np.bool_]:
    guessed: NDArray[np.bool_] = sends["guessed"] & (sends["outcome"] == call_outcomes.SUCCESS)
    return guessed


def _as_given(sends: Rows) -> NDArray[np.int64]:
    """Return what each caller gave as the mobile: an invalid one lacks its last digit, a missing one is nothing."""
    ends = sends["outcome"]
    given = np.where(ends == call_outcomes.INVALID_MOBILE, sends["number"] // 10, sends["number"])
    return np.where(ends == call_outcomes.MISSING_MOBILE, 0, given)


def _name(rng: np.random.Generator, sends: Rows, accepted: NDArray[np.int64]) -> None:
    """Give accepted sends their msg_id and its hash."""
    high, low = msg_ids.draw(rng, len(accepted))
    sends["msg_high"][accepted], sends["msg_low"][accepted] = high, low
    sends["msg_key"][accepted] = msg_ids.hash64(high, low)


def _verifies(rng: np.random.Generator, happening: tuple[Incident, ...], messages: Rows, attempts: Attempts) -> Rows:
    """Return the CALL rows of typed codes."""
    calls = _calls(rng, messages[attempts.messages], attempts.times_ns, attempts.ends)
    calls["verifies"], calls["prefix"] = True, NO_PREFIX
    calls["latency_ns"] = call_durations.draw(rng, happening, _VERIFY, attempts.times_ns, attempts.ends)
    return calls


def _calls(rng: np.random.Generator, sends: Rows, times_ns: NDArray[np.int64], ends: NDArray[np.uint8]) -> NDArray[Any]:
    """Return CALL rows, with what a send and its verifies have in common."""
    calls = empty(CALL, len(sends))
    for name in ("app", "msg_high", "msg_low", "msg_key"):
        calls[name] = sends[name]
    calls["started_ns"], calls["outcome"] = times_ns, ends
    hosts = apps.HOST_COUNT[sends["app"]]
    calls["host"] = apps.FIRST_HOST[sends["app"]] + (rng.random(len(sends)) * hosts).astype(np.int64)
    return calls
