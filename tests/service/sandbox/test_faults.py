"""Test the faults that a sandbox injects."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.api.errors import InputError
from toolkit.service.sandbox.faults import Faults, Latency, Stall


@given(st.floats(0, 1e6))
def test_a_stall_lasts_for_its_length(now_s: float) -> None:
    stall = Stall.parse("200ms/2s")
    remaining_s = stall.remaining_s(now_s)
    assert 0 <= remaining_s <= 0.2
    assert (remaining_s > 0) == (now_s % 2 < 0.2)


def test_log_normal_latency_has_its_median() -> None:
    rng, latency = random.Random(1), Latency.parse("20ms~0.5")
    drawn = sorted(latency.draw(rng) for _ in range(4001))
    assert drawn[2000] == pytest.approx(0.020, rel=0.05)
    assert drawn[3000] / drawn[2000] == pytest.approx(1.401, rel=0.08)
    assert Latency.parse("20ms").draw(rng) == 0.020


@pytest.mark.parametrize(
    "text", ["", "20", "ms", "-5ms", "20ms~x", "1d", "20ms~nan", "20ms~inf", "20ms~-1", "20ms~800"]
)
def test_an_invalid_latency_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"expected a duration, e\.g\. 20ms"):
        Latency.parse(text)


@pytest.mark.parametrize("text", ["", "200ms", "2s/200ms", "2s/2s", "x/y"])
def test_an_invalid_stall_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="invalid stall"):
        Stall.parse(text)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_from_0_to_1(share: float) -> None:
    with pytest.raises(InputError, match="expected a share from 0 to 1"):
        Faults(error_share=share)
