"""Schedule the incidents of a plan, and hold every number that describes their effects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from toolkit.simulation.plan import DAY_NS, MINUTE_NS, IncidentKind, SimulationPlan, random_stream

DURATION_MINUTES = {
    IncidentKind.OUTAGE: 25,
    IncidentKind.SLOW_DATABASE: 120,
    IncidentKind.PUMPING: 180,
    IncidentKind.BRUTE_FORCE: 60,
    IncidentKind.KEY_ROTATED_BADLY: 40,
    IncidentKind.CARRIER_QUEUE: 180,
    IncidentKind.CARRIER_LOSS: 120,
    IncidentKind.BALANCE_EMPTY: 50,
    IncidentKind.BOMBING: 30,
    IncidentKind.CLOCK_SKEW: 660,
    IncidentKind.CAMPAIGN: 120,
}
CALENDAR_KINDS = (IncidentKind.FLASH_SALE, IncidentKind.PUBLIC_HOLIDAY)
_PERMANENT = (IncidentKind.LIMIT_LOWERED, IncidentKind.PRICE_CHANGE)  # from a UTC midnight to the end
_BUSY_HOURS = (2, 13)  # of a UTC day: 10:00 to 21:00 in China
_CHINA_OFFSET = timedelta(hours=8)
_FLASH_SALE_DAY = (11, 11)
# First and last day, and the load relative to other days. Source: the State Council's notices for 2025 and 2026. In
# other years, only the holidays with fixed dates are known.
_HOLIDAYS = {
    2025: (
        ((1, 1), (1, 1), 0.85),
        ((1, 28), (2, 4), 0.6),
        ((4, 4), (4, 6), 0.85),
        ((5, 1), (5, 5), 0.8),
        ((5, 31), (6, 2), 0.85),
        ((10, 1), (10, 8), 0.75),
    ),
    2026: (
        ((1, 1), (1, 3), 0.85),
        ((2, 15), (2, 23), 0.6),
        ((4, 4), (4, 6), 0.85),
        ((5, 1), (5, 5), 0.8),
        ((6, 19), (6, 21), 0.85),
        ((9, 25), (9, 27), 0.85),
        ((10, 1), (10, 7), 0.75),
    ),
}
_FIXED_HOLIDAYS = (((1, 1), (1, 1), 0.85), ((5, 1), (5, 3), 0.8), ((10, 1), (10, 3), 0.75))

OUTAGE_RATIOS = {"server_error": 0.55, "timeout": 0.20, "connect": 0.10, "reset": 0.05}  # of all calls
SLOW_FACTOR = 6.0
ROTATED_APP = 1
PUMPED_APP, PUMPED_TEMPLATE = 0, 0
_PUMPED_RATIO, _MIN_PUMPED, _MAX_PUMPED = 0.02, 60, 30_000  # messages, relative to the calls of a day
GUESSED_APP, GUESSED_TEMPLATE = 2, 4
_CALLS_PER_VICTIM, _MIN_VICTIMS, _MAX_VICTIMS = 8_000, 3, 60  # calls of a day
GUESSES_PER_MESSAGE = 24
_LOWERED_RATIO = 0.4
CARRIER_INCIDENTS = {IncidentKind.CARRIER_QUEUE: (1, 0.9), IncidentKind.CARRIER_LOSS: (2, 0.8)}
"""The carrier, an index of MARKET_SHARES, and the ratio of its messages that are late or lost."""
EMPTY_APP = 2
SKEWED_HOST, SKEW_S = 2, -45
BOMBING_INTERVAL_S = 61


@dataclass(frozen=True, slots=True)
class Burst:
    """Additional sessions, which request one template; loads are relative to the mean of a week.

    Attributes:
        template: The index of the template.
        peak: The load at the start.
        decay_minutes: The time after which the peak has fallen to 1/e.
        plateau: The load that stays to the end.
    """

    template: int
    peak: float
    decay_minutes: float
    plateau: float


BURSTS = {
    IncidentKind.CAMPAIGN: Burst(template=1, peak=2.5, decay_minutes=35.0, plateau=0.1),
    IncidentKind.FLASH_SALE: Burst(template=0, peak=5.0, decay_minutes=30.0, plateau=0.6),
}


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident and its time: it starts at ``started_ns`` and is over at ``ended_ns``, in ns since 1970.

    ``load_ratio`` is the load relative to other days.
    """

    kind: IncidentKind
    started_ns: int
    ended_ns: int
    load_ratio: float = 1.0

    def contains(self, times_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each time whether the incident is going on."""
        return (times_ns >= self.started_ns) & (times_ns < self.ended_ns)


def schedule(plan: SimulationPlan) -> tuple[Incident, ...]:
    """Return the incidents of a plan in the order of time.

    Each has a separate day, which is neither the first nor the last day of three or more. A lowered limit comes last,
    because it lasts to the end. If days run out, the remaining incidents are left out. Flash sales and public holidays
    have their dates, and may share a day.
    """
    days = range(1, plan.days - 1) if plan.days > 2 else range(plan.days - 1, plan.days)
    impossible = {IncidentKind.WRONG_STATEMENT, *CALENDAR_KINDS} | (
        {IncidentKind.LIMIT_LOWERED} if not lowered_limit(plan) else set()
    )
    kinds = [kind for kind in plan.incidents if kind not in impossible][: len(days)]
    rng = random_stream(plan, "incidents")
    order = [kinds[index] for index in rng.permutation(len(kinds))]
    order.sort(key=lambda kind: kind is IncidentKind.LIMIT_LOWERED)
    incidents = _calendar(plan)
    for index, kind in enumerate(order):
        possible = days[len(days) * index // len(order) : len(days) * (index + 1) // len(order)]
        day = possible[int(rng.integers(len(possible)))]
        incidents.append(_incident(plan, kind, day, float(rng.random())))
    return tuple(sorted(incidents, key=lambda it: it.started_ns))


def _calendar(plan: SimulationPlan) -> list[Incident]:
    """Return the flash sales and the public holidays of a plan."""
    found, ends_ns = [], plan.start_ns + plan.days * DAY_NS
    for year in range(plan.start.year, plan.day(plan.days).year + 1):
        rows = [(IncidentKind.PUBLIC_HOLIDAY, *row) for row in _HOLIDAYS.get(year, _FIXED_HOLIDAYS)]
        for kind, first, last, load_ratio in [*rows, (IncidentKind.FLASH_SALE, _FLASH_SALE_DAY, _FLASH_SALE_DAY, 1.0)]:
            started_ns = _midnight_in_china_ns(date(year, *first))
            ended_ns = min(_midnight_in_china_ns(date(year, *last)) + DAY_NS, ends_ns)
            if kind in plan.incidents and plan.start_ns <= started_ns < ended_ns:
                found.append(Incident(kind, started_ns, ended_ns, load_ratio))
    return found


def _midnight_in_china_ns(day: date) -> int:
    return int((datetime(day.year, day.month, day.day, tzinfo=UTC) - _CHINA_OFFSET).timestamp()) * 10**9


def _incident(plan: SimulationPlan, kind: IncidentKind, day: int, position: float) -> Incident:
    """Return an incident on a day; ``position``, 0..1, chooses the time within the busy hours."""
    day_ns = plan.start_ns + day * DAY_NS
    if kind in _PERMANENT:
        is_in_china = kind is IncidentKind.PRICE_CHANGE and plan.vendor_statement
        started_ns = _midnight_in_china_ns(plan.day(day)) if is_in_china else day_ns
        return Incident(kind, started_ns, plan.start_ns + plan.days * DAY_NS)
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
    """Return the number of messages that a pumping attack requests."""
    return min(max(round(_PUMPED_RATIO * plan.calls / plan.days), _MIN_PUMPED), _MAX_PUMPED)


def victims(plan: SimulationPlan) -> int:
    """Return the number of mobiles whose codes a brute force attack guesses."""
    return min(max(round(plan.calls / plan.days / _CALLS_PER_VICTIM), _MIN_VICTIMS), _MAX_VICTIMS)
