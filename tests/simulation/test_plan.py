"""What can be planned, and how it is written."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from toolkit.api.errors import InputError
from toolkit.api.rate_rules import DEFAULT_RULES
from toolkit.simulation import ALL_INCIDENTS, IncidentKind, SimulationPlan
from toolkit.simulation.plan import parse_calls, parse_incidents, parse_start, random_stream


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("10M", 10_000_000),
        ("500k", 500_000),
        ("2_000_000", 2_000_000),
        ("2,000,000", 2_000_000),
        ("1.5m", 1_500_000),
        ("0.25 G", 250_000_000),
        ("12345", 12_345),
    ],
)
def test_a_number_of_calls_may_have_a_suffix(text: str, calls: int) -> None:
    assert parse_calls(text) == calls


@pytest.mark.parametrize("text", ["", "ten", "-5", "1e6", "10MM", "1__000", "1,00", "10 000 000", "١٠", "nan"])
def test_invalid_numbers_of_calls_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected a number"):
        parse_calls(text)


@pytest.mark.parametrize("text", ["", "2026-13-01", "yesterday", "2026-11"])
def test_a_start_is_a_date(text: str) -> None:
    assert parse_start("2026-11-01") == date(2026, 11, 1)
    with pytest.raises(InputError, match="expected a date"):
        parse_start(text)


def test_incidents_are_all_none_or_a_list() -> None:
    assert (parse_incidents("all"), parse_incidents("none")) == (ALL_INCIDENTS, ())
    assert parse_incidents("pumping, outage") == (IncidentKind.PUMPING, IncidentKind.OUTAGE)


@pytest.mark.parametrize("text", ["", ",", "fire", "outage,none"])
def test_unknown_incidents_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="none"):
        parse_incidents(text)


@pytest.mark.parametrize(
    "given",
    [
        {"days": 0},
        {"days": 10_000, "calls": 10**10},
        {"calls": 29_999},
        {"calls": 10**12},
        {"seed": -1},
        {"seed": 1 << 63},
        {"start": date(1969, 12, 31)},
        {"start": date(9999, 1, 1)},
        {"growth_per_day": 0.06},
        {"growth_per_day": float("nan")},
    ],
)
def test_a_plan_out_of_range_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        SimulationPlan(**given)


def test_incidents_have_a_fixed_order() -> None:
    plan = SimulationPlan(incidents=(IncidentKind.PRICE_CHANGE, IncidentKind.OUTAGE, IncidentKind.OUTAGE))
    assert plan.incidents == (IncidentKind.OUTAGE, IncidentKind.PRICE_CHANGE)


def test_the_settings_contain_every_field_of_a_plan() -> None:
    said = SimulationPlan().settings()
    assert set(said) == {*SimulationPlan.__dataclass_fields__, "revision"}
    assert said["rules"] == [str(rule) for rule in DEFAULT_RULES]


def test_each_purpose_and_each_day_has_its_own_random_stream() -> None:
    plan = SimulationPlan()
    drawn = [random_stream(plan, *of).integers(1 << 62) for of in (("day", 0), ("day", 1), ("times", 0))]
    assert len(set(drawn)) == 3
    assert random_stream(plan, "day", 0).integers(1 << 62) == drawn[0]
