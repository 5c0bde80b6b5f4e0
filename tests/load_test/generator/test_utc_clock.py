from __future__ import annotations

import time

import pytest

from toolkit.load_test.generator.utc_clock import UtcClock


def test_a_step_of_the_systems_clock_moves_the_clock_only_when_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, system_ns = UtcClock(), time.time_ns
    for step_ns in (3600 * 10**9, -3600 * 10**9):
        monkeypatch.setattr(time, "time_ns", lambda step_ns=step_ns: system_ns() + step_ns)
        assert abs(clock.now_ns() - system_ns()) < 600 * 10**9
        other = UtcClock()
        assert abs(other.now_ns() - time.time_ns()) < 600 * 10**9
