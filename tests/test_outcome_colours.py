"""Outcomes can be told apart by everybody: with any kind of colour vision, and in a print in grey."""

from __future__ import annotations

import itertools

import pytest
from coloraide import Color

from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.outcome_colours import (
    ERROR,
    KIND_COLOURS,
    PATTERNS,
    UNKNOWN,
    Fill,
    colours_by_outcome,
    fills,
    luminance,
    outcome_kind,
    outcome_name,
)
from toolkit.records.call_record import Failure

# How people see colours: without a defect, and without the cones for red, green or blue (Brettel 1997, Machado 2009).
VISIONS = ["normal", "protan", "deutan", "tritan"]
OUTCOMES = [*map(int, ReturnCode), *map(str, Failure)]
COMMON = [50000, 50002, 50004, 50006, 50009, 50010, 50011, 50012, 50014, 50019, "timeout", "reset"]  # 12, as in a chart
JUST_NOTICEABLE = 2.3  # of CIE differences


def difference(one: str, other: str, vision: str) -> float:
    """Return the difference CIEDE2000 of two colours as somebody sees them."""
    pair = [Color(it) if vision == "normal" else Color(it).filter(vision) for it in (one, other)]
    return pair[0].delta_e(pair[1], method="2000")


def contrast(one: str, other: str) -> float:
    return Color(one).contrast(other, method="wcag21")


def drawn(outcomes: list[int | str]) -> dict[str, Fill]:
    return fills({outcome_name(it): KIND_COLOURS[outcome_kind(it)] for it in outcomes})


def test_every_kind_has_a_colour_that_differs_in_grey_too() -> None:
    assert set(KIND_COLOURS) == {*Kind, ERROR, UNKNOWN}
    grey = [Color(KIND_COLOURS[name]).convert("lab-d65")["lightness"] for name in (*Kind, ERROR)]
    assert min(abs(one - other) for one, other in itertools.combinations(grey, 2)) >= 6


@pytest.mark.parametrize("vision", VISIONS)
def test_kinds_differ_in_each_vision(vision: str) -> None:
    least = min(difference(one, other, vision) for one, other in itertools.combinations(KIND_COLOURS.values(), 2))
    assert least >= 4 * JUST_NOTICEABLE


@pytest.mark.parametrize("kind", [*Kind, ERROR])
def test_codes_of_one_kind_differ_in_their_pattern(kind: str) -> None:
    patterns = [fill.pattern for name, fill in drawn(OUTCOMES).items() if outcome_kind(known(name)) == kind]
    assert patterns[0] == "solid"
    assert len(set(patterns)) == min(len(patterns), len(PATTERNS))


@pytest.mark.parametrize("vision", VISIONS)
def test_outcomes_with_the_same_pattern_differ_in_colour_in_each_vision(vision: str) -> None:
    for outcomes, least in ((COMMON, 4 * JUST_NOTICEABLE), (OUTCOMES, 2 * JUST_NOTICEABLE)):
        for (one, first), (other, second) in itertools.combinations(drawn(outcomes).items(), 2):
            if first.pattern == second.pattern:
                assert difference(first.colour, second.colour, vision) >= least, f"{one} and {other}"


def test_a_pattern_is_seen_on_its_colour() -> None:
    on_light, on_dark = drawn(OUTCOMES).values(), colours_by_outcome(OUTCOMES).values()
    for fill in [*on_light, *(Fill(it.dark, it.pattern) for it in on_dark)]:
        assert contrast(fill.colour, fill.ink) >= 3


def test_the_three_answers_to_a_wrong_code_are_no_longer_three_blues() -> None:
    found = drawn([50010, 50011, 50012])
    assert [it.pattern for it in found.values()] == ["solid", "grid", "rising"]
    assert all(contrast(one.colour, other.colour) > 1.4 for one, other in itertools.combinations(found.values(), 2))


def test_outcomes_in_one_chart_have_distinct_names_and_colours() -> None:
    looks = colours_by_outcome(OUTCOMES)
    assert list(looks) == sorted(OUTCOMES, key=lambda it: (isinstance(it, str), str(it)))
    assert len({outcome_name(it) for it in OUTCOMES}) == len(OUTCOMES)
    for one, other in itertools.combinations(looks.values(), 2):
        assert one.light != other.light
        assert one.dark != other.dark


@pytest.mark.parametrize("colour", ["#000000", "#ffffff", "#8fb4dc", "#1d5ea8"])
def test_the_luminance_is_that_of_wcag(colour: str) -> None:
    assert luminance(colour) == pytest.approx(Color(colour).luminance(), abs=1e-3)


def known(name: str) -> int | str:
    return int(name[:5]) if name[:5].isdigit() else name
