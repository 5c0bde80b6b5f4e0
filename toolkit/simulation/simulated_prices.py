"""The prices of messages by day, template type and carrier, and the price list as TOML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from toolkit.simulation import apps, incidents
from toolkit.simulation.incidents import Incident
from toolkit.simulation.plan import DAY_NS, IncidentKind, SimulationPlan
from toolkit.simulation.prefixes import MARKET_SHARES

CURRENCY = "CNY"
CHANGED_TYPE = "code"  # the template type whose price changes
_PRICE_INCREASE = Decimal("0.004")
_FIRST_PRICES = (
    ("code", "China Mobile", Decimal("0.045")),
    ("code", "China Telecom", Decimal("0.043")),
    ("code", "China Unicom", Decimal("0.044")),
    ("notice", None, Decimal("0.050")),
)


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a segment from a UTC day on, for a template type and a carrier (None: every carrier)."""

    since: date
    per_segment: Decimal
    template_type: str
    carrier: str | None


def prices(plan: SimulationPlan, schedule: tuple[Incident, ...]) -> tuple[Price, ...]:
    """Return the prices of a plan in the order of time; at most one of a day applies to a message."""
    rows = [Price(plan.start, price, template_type, carrier) for template_type, carrier, price in _FIRST_PRICES]
    if change := incidents.find(schedule, IncidentKind.PRICE_CHANGE):
        since = plan.start + timedelta(-(-(change.started_ns - plan.start_ns) // DAY_NS))
        changed = [row for row in rows if row.template_type == CHANGED_TYPE]
        rows += [Price(since, row.per_segment + _PRICE_INCREASE, row.template_type, row.carrier) for row in changed]
    return tuple(rows)


def per_segment_on(rows: Sequence[Price], day: date) -> list[list[Decimal]]:
    """Return the prices of a segment on a day: for each template a list with the price of each carrier."""
    latest = {(row.template_type, row.carrier): row.per_segment for row in rows if row.since <= day}
    return [
        [latest.get((template.type, carrier)) or latest[template.type, None] for carrier in MARKET_SHARES]
        for template in apps.TEMPLATES
    ]


def to_toml(rows: Sequence[Price]) -> str:
    """Return the templates and the prices as TOML, in the format of the settings."""
    tables = [
        f'[[templates]]\ntemp_id = {it.temp_id}\ntype = "{it.type}"\nsegments = {it.segments}\n'
        for it in apps.TEMPLATES
    ]
    for row in rows:
        carrier = f'carrier = "{row.carrier}"\n' if row.carrier else ""
        tables.append(
            f'[[prices]]\nsince = {row.since}\nper_segment = "{row.per_segment}"\ncurrency = "{CURRENCY}"\n'
            f'template_type = "{row.template_type}"\n{carrier}'
        )
    return "\n".join(tables)
