"""Read and check the plan of a simulation, and derive its random streams. The same plan gives the same bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

import numpy as np

from toolkit.api.errors import InputError
from toolkit.api.rate_rules import DEFAULT_RULES, Rule

REVISION = 2  # of the simulator: a folder holds the days of one revision only
DAY_NS = 86_400_000_000_000
MINUTE_NS = 60_000_000_000
NS_PER_S = 1_000_000_000
_MIN_CALLS_PER_DAY = 1_000  # with fewer, no daily pattern shows, and an attack makes more calls than people do
_MAX_DAYS, _MAX_CALLS, _MAX_SEED = 3_660, 10**11, 1 << 63
_MAX_GROWTH = 0.05
_CALLS = re.compile(r"([0-9]{1,3}(?:[_,][0-9]{3})+|[0-9]{1,12}(?:\.[0-9]{1,3})?)\s*([kKmMgG]?)")
_FACTORS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


class IncidentKind(StrEnum):
    """An incident that a simulation can contain."""

    OUTAGE = "outage"  # most calls fail, for 25 minutes
    SLOW_DATABASE = "slow_database"  # six times the latency, for two hours
    PUMPING = "pumping"  # SMS pumping: sends to the numbers of one rare prefix, none of them verified
    BRUTE_FORCE = "brute_force"  # codes of a few mobiles are guessed, for an hour
    CARRIER_QUEUE = "carrier_queue"  # a carrier delivers messages late, for three hours
    CARRIER_LOSS = "carrier_loss"  # a carrier loses most messages, for two hours
    BALANCE_EMPTY = "balance_empty"  # one app's balance ends, until it is topped up after 50 minutes
    BOMBING = "bombing"  # one mobile gets messages through all apps, for half an hour
    CLOCK_SKEW = "clock_skew"  # the clock of one host is slow, for 11 hours
    CAMPAIGN = "campaign"  # a burst of people who sign up, for two hours
    LIMIT_LOWERED = "limit_lowered"  # a rate limit allows fewer sends, from one day on
    KEY_ROTATED_BADLY = "key_rotated_badly"  # one app calls with an old secret, for 40 minutes
    PRICE_CHANGE = "price_change"  # messages cost more, from one day on
    FLASH_SALE = "flash_sale"  # a burst at midnight and a busy day, on 11 November
    PUBLIC_HOLIDAY = "public_holiday"  # less traffic, on China's public holidays
    WRONG_STATEMENT = "wrong_statement"  # lines of the provider's statements differ from the records


ALL_INCIDENTS = tuple(IncidentKind)


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """The parameters of a simulation.

    Attributes:
        days: The number of UTC days.
        calls: The number of calls in all. From 100,000 calls on, the result is within 2 % of this number.
        seed: The seed of all random streams.
        start: The first UTC day.
        rules: The rate limits of the service, per app and mobile.
        incidents: The incidents to include. Each but WRONG_STATEMENT takes a separate day; if there are not enough
            days, the first ones of ``ALL_INCIDENTS`` are included. FLASH_SALE and PUBLIC_HOLIDAY have their dates.
        growth_per_day: The relative growth of the load from one day to the next.
        vendor_statement: Write statements as vendors in China do: days, months and prices in Beijing time, the vendor's
            clock, Chinese column names, serial numbers, masked mobiles and states.

    Raises:
        InputError: A value is out of range.

    >>> SimulationPlan(days=1, calls=2_000, incidents=()).day(0)
    datetime.date(2026, 11, 1)
    """

    days: int = 30
    calls: int = 10_000_000
    seed: int = 1
    start: date = date(2026, 11, 1)
    rules: tuple[Rule, ...] = DEFAULT_RULES
    incidents: tuple[IncidentKind, ...] = ALL_INCIDENTS
    growth_per_day: float = 0.001
    vendor_statement: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "incidents", tuple(kind for kind in ALL_INCIDENTS if kind in self.incidents))
        if not 1 <= self.days <= _MAX_DAYS:
            raise InputError(f"invalid days {self.days}: expected 1 to {_MAX_DAYS:,}")
        if not self.days * _MIN_CALLS_PER_DAY <= self.calls <= _MAX_CALLS:
            raise InputError(
                f"invalid calls {self.calls}: expected at least {_MIN_CALLS_PER_DAY:,} a day and at most {_MAX_CALLS:,}"
                " in all"
            )
        if not 0 <= self.seed < _MAX_SEED:
            raise InputError(f"invalid seed {self.seed}: expected a whole number from 0 to 2^63 - 1")
        if not abs(self.growth_per_day) <= _MAX_GROWTH:
            raise InputError(
                f"invalid growth_per_day {self.growth_per_day}: expected -{_MAX_GROWTH} to {_MAX_GROWTH}, e.g. 0.003"
                " for 0.3 %"
            )
        if not 1970 <= self.start.year <= 2200:
            raise InputError(f"invalid start {self.start}: expected a day of the years 1970 to 2200")

    @property
    def start_ns(self) -> int:
        """The start of the first day, in ns since 1970."""
        return int(datetime(self.start.year, self.start.month, self.start.day, tzinfo=UTC).timestamp()) * 10**9

    def day(self, number: int) -> date:
        """Return the date of a day; days are counted from 0."""
        return self.start + timedelta(number)

    def settings(self) -> dict[str, object]:
        """Return the plan as the JSON object that the simulation's files contain."""
        return {
            "days": self.days,
            "calls": self.calls,
            "seed": self.seed,
            "start": self.start.isoformat(),
            "rules": [str(rule) for rule in self.rules],
            "incidents": [kind.value for kind in self.incidents],
            "growth_per_day": self.growth_per_day,
            "vendor_statement": self.vendor_statement,
            "revision": REVISION,
        }


def parse_calls(text: str) -> int:
    """Parse a number of calls.

    Raises:
        InputError: The text is not a number with an optional suffix k, M or G.

    >>> parse_calls("500k"), parse_calls("1.5M"), parse_calls("2_000_000")
    (500000, 1500000, 2000000)
    """
    match = _CALLS.fullmatch(text.strip())
    if not match:
        raise InputError(f"invalid calls {text!r}: expected a number, such as 10M, 500k or 2_000_000")
    whole, _, fraction = match[1].replace("_", "").replace(",", "").partition(".")
    thousandths = int(whole) * 1000 + int(fraction.ljust(3, "0"))
    return thousandths * _FACTORS[match[2].lower()] // 1000


def parse_start(text: str) -> date:
    """Parse a date such as 2026-11-01; raise InputError for other text."""
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"invalid start {text!r}: expected a date, such as 2026-11-01") from None


def parse_incidents(text: str) -> tuple[IncidentKind, ...]:
    """Parse ``all``, ``none`` or a list of incidents separated by commas.

    Raises:
        InputError: A name is unknown, or the list is empty.

    >>> parse_incidents("outage,pumping")
    (<IncidentKind.OUTAGE: 'outage'>, <IncidentKind.PUMPING: 'pumping'>)
    """
    if text.strip() in ("all", "none"):
        return ALL_INCIDENTS if text.strip() == "all" else ()
    known = {kind.value: kind for kind in IncidentKind}
    names = text.replace(",", " ").split()
    for name in names:
        if name not in known:
            raise InputError(f"unknown incidents {name!r} (choose from {', '.join(known)}, or write all or none)")
    if not names:
        raise InputError(
            "invalid incidents '': expected all, none, or kinds separated by commas, such as outage,pumping"
        )
    return tuple(known[name] for name in names)


def random_stream(plan: SimulationPlan, purpose: str, day_number: int = 0) -> np.random.Generator:
    """Return the random stream for a purpose and a day; it depends on the seed, the purpose and the day alone."""
    return np.random.default_rng([plan.seed, day_number, *purpose.encode("ascii")])
