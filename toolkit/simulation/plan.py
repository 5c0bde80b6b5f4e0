"""Plan: what is simulated. The same plan gives the same records, to the byte."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

import numpy as np

from toolkit.api.errors import InputError
from toolkit.api.rate_rules import DEFAULT_RULES, Rule

REVISION = 1  # of what a plan gives: another one's days don't go with this one's
DAY_NS = 86_400_000_000_000
MINUTE_NS = 60_000_000_000
_LEAST_CALLS = 1_000  # of a day: fewer show no rhythm, and an attack would outnumber them
_MOST_DAYS, _MOST_CALLS, _MOST_SEED = 3_660, 10**11, 1 << 63
_CALLS = re.compile(r"([0-9]{1,3}(?:[_,][0-9]{3})+|[0-9]{1,12}(?:\.[0-9]{1,3})?)\s*([kKmMgG]?)")
_TIMES = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


class IncidentKind(StrEnum):
    """What can happen beside the everyday."""

    OUTAGE = "outage"  # most calls fail, for 25 minutes
    SLOW_DATABASE = "slow_database"  # six times the latency, for two hours
    PUMPING = "pumping"  # sends to the numbers of one rare prefix, one after another, and none is verified
    BRUTE_FORCE = "brute_force"  # codes of a few mobiles are guessed, for an hour
    LIMIT_LOWERED = "limit_lowered"  # from a day on a frequency rule allows less
    KEY_ROTATED_BADLY = "key_rotated_badly"  # one app calls with a secret that no longer holds, for 40 minutes
    PRICE_CHANGE = "price_change"  # from a day on a message costs more
    WRONG_STATEMENT = "wrong_statement"  # lines of the provider's statements are not what the records say


ALL = tuple(IncidentKind)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate.

    days: how many UTC days from ``start`` on. calls: how many records in all; it comes within 2 % of that, where there
    are 100,000 or more. rules: sends that the service allows to a mobile of an app. incidents: what happens; each but
    WRONG_STATEMENT takes a day of its own, so of many in few days only the first happen.
    """

    days: int = 30
    calls: int = 10_000_000
    seed: int = 1
    start: date = date(2026, 11, 1)
    rules: tuple[Rule, ...] = DEFAULT_RULES
    incidents: tuple[IncidentKind, ...] = ALL

    def __post_init__(self) -> None:
        object.__setattr__(self, "incidents", tuple(kind for kind in ALL if kind in self.incidents))
        if not 1 <= self.days <= _MOST_DAYS:
            raise InputError(f"days {self.days}: simulate 1 to {_MOST_DAYS:,}")
        if not self.days * _LEAST_CALLS <= self.calls <= _MOST_CALLS:
            raise InputError(f"calls {self.calls}: simulate at least {_LEAST_CALLS:,} a day, at most {_MOST_CALLS:,}")
        if not 0 <= self.seed < _MOST_SEED:
            raise InputError(f"seed {self.seed}: give a whole number from 0 on, below 2^63")
        if not 1970 <= self.start.year <= 2200:
            raise InputError(f"start {self.start}: give a day of the years 1970 to 2200")

    @property
    def start_ns(self) -> int:
        """The first instant, in ns since 1970."""
        return int(datetime(self.start.year, self.start.month, self.start.day, tzinfo=UTC).timestamp()) * 10**9

    def day(self, number: int) -> date:
        """Return the date of a day, counted from 0."""
        return self.start + timedelta(number)

    def settings(self) -> dict[str, object]:
        """Return it as JSON keeps it."""
        return {
            "days": self.days,
            "calls": self.calls,
            "seed": self.seed,
            "start": self.start.isoformat(),
            "rules": [str(rule) for rule in self.rules],
            "incidents": [kind.value for kind in self.incidents],
            "revision": REVISION,
        }


def parse_calls(text: str) -> int:
    """Read a number of calls such as 10M, 500k, 1.5M or 2_000_000; raise InputError for others."""
    match = _CALLS.fullmatch(text.strip())
    if not match:
        raise InputError(f"calls {text!r}: write a number, such as 10M, 500k or 2_000_000")
    whole, _, part = match[1].replace("_", "").replace(",", "").partition(".")
    thousandths = int(whole) * 1000 + int(part.ljust(3, "0"))
    return thousandths * _TIMES[match[2].lower()] // 1000


def parse_start(text: str) -> date:
    """Read a day such as 2026-11-01; raise InputError for others."""
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"start {text!r}: write a day, such as 2026-11-01") from None


def parse_incidents(text: str) -> tuple[IncidentKind, ...]:
    """Read ``all``, ``none``, or kinds with commas between; raise InputError for others."""
    if text.strip() in ("all", "none"):
        return ALL if text.strip() == "all" else ()
    known = {kind.value: kind for kind in IncidentKind}
    names = text.replace(",", " ").split()
    for name in names:
        if name not in known:
            raise InputError(f"incident {name!r}: there are {', '.join(known)}; or write all, or none")
    if not names:
        raise InputError("no incidents: write none")
    return tuple(known[name] for name in names)


def dice(plan: Plan, purpose: str, number: int = 0) -> np.random.Generator:
    """Return the random stream of a purpose, one of its own for each number (of a day)."""
    return np.random.default_rng([plan.seed, number, *purpose.encode("ascii")])
