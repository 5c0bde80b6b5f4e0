"""Advice on responses is complete, and its colours have enough contrast."""

from __future__ import annotations

import pytest

from toolkit.api.return_codes import ReturnCode
from toolkit.forms.parts.advice import FAILURE_HINTS, HINTS
from toolkit.forms.parts.call_attempt import curl_send, curl_verify
from toolkit.outcome_colours import colours_of, luminance
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


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("outcome", [*ReturnCode, "timeout", 59105])
def test_outcomes_have_contrast_on_a_dark_background(outcome: int | str) -> None:
    assert contrast(colours_of(outcome).dark, CARD["dark"]) >= 3
