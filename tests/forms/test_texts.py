"""Advice on responses is complete, and its colours have enough contrast."""

from __future__ import annotations

import itertools

import pytest

from toolkit.api.return_codes import ReturnCode
from toolkit.forms.parts.advice import FAILURE_HINTS, HINTS
from toolkit.forms.parts.call_attempt import curl_send, curl_verify
from toolkit.forms.widgets.colour_pairs import colours_by_outcome, colours_of
from toolkit.outcome_colours import outcome_name
from toolkit.records.call_record import Failure
from toolkit.settings import Target

TARGET = Target("https://api.example.com", "key", "the-master-secret", 1)
CARD = {"light": "#ffffff", "dark": "#1c1e25"}


def test_each_code_and_each_failure_has_its_own_advice() -> None:
    assert set(HINTS) == set(ReturnCode)
    assert set(FAILURE_HINTS) == set(Failure)
    hints = [*HINTS.values(), *FAILURE_HINTS.values()]
    assert len(set(hints)) == len(hints)


def test_the_curl_command_has_no_secret_no_whole_mobile_and_no_code() -> None:
    line = curl_send(TARGET, "13800138000", 1) + curl_verify(TARGET, "0689")
    assert "the-master-secret" not in line
    assert "13800138000" not in line
    assert "https://api.example.com/v1/codes/0689/valid" in line
    assert "$SMSCODE_MASTER_SECRET" in line


def luminance(colour: str) -> float:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [it / 12.92 if it <= 0.04045 else ((it + 0.055) / 1.055) ** 2.4 for it in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("outcome", [*ReturnCode, "timeout", 59105])
def test_outcomes_have_contrast_on_a_dark_background(outcome: int | str) -> None:
    assert contrast(colours_of(outcome).dark, CARD["dark"]) >= 3


def test_outcomes_in_one_chart_have_distinct_names_and_colours() -> None:
    outcomes = [*map(int, ReturnCode), "reset", "timeout"]
    looks = colours_by_outcome(outcomes)
    assert list(looks) == outcomes
    assert len({outcome_name(it) for it in outcomes}) == len(outcomes)
    for one, other in itertools.combinations(looks.values(), 2):
        assert one.light != other.light
        assert one.dark != other.dark
