"""Incidents: when each of a plan's happens. All the figures of what they do are here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.simulation.plan import DAY_NS, MINUTE_NS, IncidentKind, Plan, dice

LASTS_MINUTES = {
    IncidentKind.OUTAGE: 25,
    IncidentKind.SLOW_DATABASE: 120,
    IncidentKind.PUMPING: 180,
    IncidentKind.BRUTE_FORCE: 60,
    IncidentKind.KEY_ROTATED_BADLY: 40,
}
_LEVELS = (IncidentKind.LIMIT_LOWERED, IncidentKind.PRICE_CHANGE)  # last to the end, from a UTC midnight on
_BUSY_HOURS = (2, 13)  # of a UTC day: 10:00 to 21:00 in China

# An outage: which share of all calls ends how.
OUTAGE_RATIOS = {"server_error": 0.55, "timeout": 0.20, "connect": 0.10, "reset": 0.05}
SLOW_FACTOR = 6.0
ROTATED_APP = 1
PUMPED_APP, PUMPED_TEMPLATE = 0, 0
PUMPED_RATIO, PUMPED_LEAST, PUMPED_MOST = 0.02, 60, 30_000  # messages to a day's calls
GUESSED_APP, GUESSED_TEMPLATE = 2, 3
CALLS_A_VICTIM, VICTIMS_LEAST, VICTIMS_MOST = 8_000, 3, 60  # calls of a day
GUESSES_A_MESSAGE = 24
LOWERED_RATIO = 0.4  # of what the rule of the second shortest window allowed


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that happens from one instant to another, in ns since 1970."""

    kind: IncidentKind
    started_ns: int
    ended_ns: int

    def within(self, times_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which times it is going on at."""
        return (times_ns >= self.started_ns) & (times_ns < self.ended_ns)


def place(plan: Plan) -> tuple[Incident, ...]:
    """Place a plan's incidents, in the order of time: one a day, not on the first day or the last of three or more.

    What lasts to the end begins after all that doesn't; incidents for which no day is left don't happen.
    """
    days = range(1, plan.days - 1) if plan.days > 2 else range(plan.days - 1, plan.days)
    asked = [kind for kind in plan.incidents if kind is not IncidentKind.WRONG_STATEMENT and _applies(kind, plan)]
    kinds = asked[: len(days)]
    rng = dice(plan, "incidents")
    order = [kinds[place] for place in rng.permutation(len(kinds))]
    order.sort(key=lambda kind: kind is IncidentKind.LIMIT_LOWERED)
    incidents = []
    for place, kind in enumerate(order):
        among = days[len(days) * place // len(order) : len(days) * (place + 1) // len(order)]
        day = among[int(rng.integers(len(among)))]
        incidents.append(_place(plan, kind, day, float(rng.random())))
    return tuple(incidents)


def _applies(kind: IncidentKind, plan: Plan) -> bool:
    return kind is not IncidentKind.LIMIT_LOWERED or lowered(plan) is not None


def _place(plan: Plan, kind: IncidentKind, day: int, where: float) -> Incident:
    day_ns = plan.start_ns + day * DAY_NS
    if kind in _LEVELS:
        return Incident(kind, day_ns, plan.start_ns + plan.days * DAY_NS)
    lasts = LASTS_MINUTES[kind]
    earliest, latest = (hour * 60 for hour in _BUSY_HOURS)
    started_ns = day_ns + (earliest + int(where * (latest - earliest - lasts + 1))) * MINUTE_NS
    return Incident(kind, started_ns, started_ns + lasts * MINUTE_NS)


def find(incidents: tuple[Incident, ...], kind: IncidentKind) -> Incident | None:
    """Return the incident of a kind, if it happens."""
    return next((it for it in incidents if it.kind is kind), None)


def lowered(plan: Plan) -> tuple[int, int] | None:
    """Return which of the rules is lowered and what it then allows, None where none can be."""
    able = [place for place, rule in enumerate(plan.rules) if rule.count > 1]
    if not able:
        return None
    place = min(able, key=lambda it: plan.rules[it].window_s)
    return place, max(1, int(plan.rules[place].count * LOWERED_RATIO))


def pumped_messages(plan: Plan) -> int:
    """Return how many messages a pumping attack wants."""
    return min(max(round(PUMPED_RATIO * plan.calls / plan.days), PUMPED_LEAST), PUMPED_MOST)


def victims(plan: Plan) -> int:
    """Return how many mobiles a brute force attack is about."""
    return min(max(round(plan.calls / plan.days / CALLS_A_VICTIM), VICTIMS_LEAST), VICTIMS_MOST)
