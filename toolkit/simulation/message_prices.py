"""Prices: what a message costs from which day on, by template type and carrier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from toolkit.simulation import apps, incidents
from toolkit.simulation.incidents import Incident
from toolkit.simulation.plan import DAY_NS, IncidentKind, Plan
from toolkit.simulation.prefixes import MARKET

CURRENCY = "CNY"
DEARER_TYPE = "code"  # whose price changes
_DEARER_BY = Decimal("0.004")
_AT_FIRST = (
    ("code", "China Mobile", Decimal("0.045")),
    ("code", "China Telecom", Decimal("0.043")),
    ("code", "China Unicom", Decimal("0.044")),
    ("notice", None, Decimal("0.050")),
)


@dataclass(frozen=True, slots=True)
class Price:
    """What a segment costs from a UTC day on, for a template type and a carrier, None for each of them."""

    since: date
    per_segment: Decimal
    template_type: str
    carrier: str | None


def prices(plan: Plan, happening: tuple[Incident, ...]) -> tuple[Price, ...]:
    """Return a plan's prices, in the order of time: no two of one day hold for the same message."""
    rows = [Price(plan.start, price, of_type, of_carrier) for of_type, of_carrier, price in _AT_FIRST]
    if it := incidents.find(happening, IncidentKind.PRICE_CHANGE):
        since = plan.start + timedelta((it.started_ns - plan.start_ns) // DAY_NS)
        dearer = [row for row in rows if row.template_type == DEARER_TYPE]
        rows += [Price(since, row.per_segment + _DEARER_BY, row.template_type, row.carrier) for row in dearer]
    return tuple(rows)


def per_segment(rows: Sequence[Price], day: date) -> list[list[Decimal]]:
    """Return what a segment costs on a day: for each template, for each carrier of the market."""
    return [[_find(rows, day, template.type, carrier) for carrier in MARKET] for template in apps.TEMPLATES]


def _find(rows: Sequence[Price], day: date, template_type: str, carrier: str) -> Decimal:
    held = [
        row
        for row in rows
        if row.since <= day and row.template_type == template_type and row.carrier in (None, carrier)
    ]
    return held[-1].per_segment


def to_toml(rows: Sequence[Price]) -> str:
    """Return the templates and the prices as settings read them."""
    templates = [
        f'[[templates]]\ntemp_id = {it.temp_id}\ntype = "{it.type}"\nsegments = {it.segments}\n'
        for it in apps.TEMPLATES
    ]
    return "\n".join([*templates, *map(_row_to_toml, rows)])


def _row_to_toml(row: Price) -> str:
    carrier = f'carrier = "{row.carrier}"\n' if row.carrier else ""
    return (
        f'[[prices]]\nsince = {row.since}\nper_segment = "{row.per_segment}"\ncurrency = "{CURRENCY}"\n'
        f'template_type = "{row.template_type}"\n{carrier}'
    )
