"""Schedule the incidents of a plan, and hold every number that describes their effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.simulation.plan import DAY_NS, MINUTE_NS, IncidentKind, SimulationPlan, random_stream

DURATION_MINUTES = {
    IncidentKind.OUTAGE: 25,
    IncidentKind.SLOW_DATABASE: 120,
    IncidentKind.PUMPING: 180,
    IncidentKind.BRUTE_FORCE: 60,
    IncidentKind.KEY_ROTATED_BADLY: 40,
}
_PERMANENT = (IncidentKind.LIMIT_LOWERED, IncidentKind.PRICE_CHANGE)  # from a UTC midnight to the end
_BUSY_HOURS = (2, 13)  # of a UTC day: 10:00 to 21:00 in China

OUTAGE_RATIOS = {"server_error": 0.55, "timeout": 0.20, "connect": 0.10, "reset": 0.05}  # of all calls
SLOW_FACTOR = 6.0
ROTATED_APP = 1
PUMPED_APP, PUMPED_TEMPLATE = 0, 0
_PUMPED_RATIO, _MIN_PUMPED, _MAX_PUMPED = 0.02, 60, 30_000  # messages, relative to the calls of a day
GUESSED_APP, GUESSED_TEMPLATE = 2, 3
_CALLS_PER_VICTIM, _MIN_VICTIMS, _MAX_VICTIMS = 8_000, 3, 60  # calls of a day
GUESSES_PER_MESSAGE = 24
_LOWERED_RATIO = 0.4


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident and its time: it starts at ``started_ns`` and is over at ``ended_ns``, in ns since 1970."""

    kind: IncidentKind
    started_ns: int
    ended_ns: int

    def contains(self, times_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each time whether the incident is going on."""
        return (times_ns >= self.started_ns) & (times_ns < self.ended_ns)


def schedule(plan: SimulationPlan) -> tuple[Incident, ...]:
    """Return the incidents of a plan in the order of time.

    Each has a separate day, which is neither the first nor the last day of three or more. A lowered limit comes last,
    because it lasts to the end. If days run out, the remaining incidents are left out.
    """
    days = range(1, plan.days - 1) if plan.days > 2 else range(plan.days - 1, plan.days)
    impossible = {IncidentKind.WRONG_STATEMENT} | ({IncidentKind.LIMIT_LOWERED} if not lowered_limit(plan) else set())
    kinds = [kind for kind in plan.incidents if kind not in impossible][: len(days)]
    rng = random_stream(plan, "incidents")
    order = [kinds[index] for index in rng.permutation(len(kinds))]
    order.sort(key=lambda kind: kind is IncidentKind.LIMIT_LOWERED)
    incidents = []
    for index, kind in enumerate(order):
        possible = days[len(days) * index // len(order) : len(days) * (index + 1) // len(order)]
        day = possible[int(rng.integers(len(possible)))]
        incidents.append(_incident(plan, kind, day, float(rng.random())))
    return tuple(incidents)


def _incident(plan: SimulationPlan, kind: IncidentKind, day: int, position: float) -> Incident:
    """Return an incident on a day; ``position``, 0..1, chooses the time within the busy hours."""
    day_ns = plan.start_ns + day * DAY_NS
    if kind in _PERMANENT:
        return Incident(kind, day_ns, plan.start_ns + plan.days * DAY_NS)
    duration = DURATION_MINUTES[kind]
    earliest, latest = (hour * 60 for hour in _BUSY_HOURS)
    started_ns = day_ns + (earliest + int(position * (latest - earliest - duration + 1))) * MINUTE_NS
    return Incident(kind, started_ns, started_ns + duration * MINUTE_NS)


def find(incidents: tuple[Incident, ...], kind: IncidentKind) -> Incident | None:
    """Return the incident of a kind, or None."""
    return next((it for it in incidents if it.kind is kind), None)


def lowered_limit(plan: SimulationPlan) -> tuple[int, int] | None:
    """Return the index of the rule to lower and the count that it then allows.

    It is the rule of the shortest window that allows more than one send. None if no rule does.
    """
    candidates = [index for index, rule in enumerate(plan.rules) if rule.count > 1]
    if not candidates:
        return None
    index = min(candidates, key=lambda it: plan.rules[it].window_s)
    return index, max(1, int(plan.rules[index].count * _LOWERED_RATIO))


def pumped_messages(plan: SimulationPlan) -> int:
    """Return the number of messages that a pumping attack asks for."""
    return min(max(round(_PUMPED_RATIO * plan.calls / plan.days), _MIN_PUMPED), _MAX_PUMPED)


def victims(plan: SimulationPlan) -> int:
    """Return the number of mobiles whose codes a brute force attack guesses."""
    return min(max(round(plan.calls / plan.days / _CALLS_PER_VICTIM), _MIN_VICTIMS), _MAX_VICTIMS)
