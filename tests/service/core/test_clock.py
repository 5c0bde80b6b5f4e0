"""The service clock counts elapsed time, whatever happens to the machine's time of day."""

from __future__ import annotations

import asyncio

import pytest
from support.bench import Bench, Wall

from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Refusal, SendFields
from toolkit.service.core.clock import Anchor, Clock
from toolkit.service.core.policy import Policy

HOUR_MS = 3_600_000


@pytest.mark.parametrize("step_ms", [-24 * HOUR_MS, -1000, 0, 1000, 24 * HOUR_MS])
@pytest.mark.parametrize("speed", [1.0, 60.0])
def test_a_step_of_the_time_of_day_changes_nothing_but_the_disagreement(step_ms: int, speed: float) -> None:
    wall, elapsed = Wall(), Wall(0)
    clock = Clock(speed, None, wall, elapsed)
    start_ms = clock.now_ms()
    elapsed.now_ms += 5000
    wall.now_ms += 5000 + step_ms
    assert clock.now_ms() - start_ms == 5000 * speed
    assert clock.ahead_s() == -step_ms / 1000


def test_a_restart_does_not_turn_a_fast_clock_back() -> None:
    anchor = Anchor(wall_ms=1000, clock_ms=5000, speed=60.0)
    assert Clock(60.0, anchor, wall=lambda: 2000, elapsed=lambda: 7).now_ms() == 65_000


@pytest.mark.parametrize("step_ms", [-24 * HOUR_MS, 24 * HOUR_MS])
@pytest.mark.parametrize("restart", [False, True])
def test_windows_and_lifetimes_keep_their_length_over_a_step(bench: Bench, step_ms: int, restart: bool) -> None:
    bench.elapsed, bench.policy = Wall(0), Policy(rules=(Rule(1, 60),))

    async def claim() -> None:
        verification = await bench.open()
        expired, used = await bench.send(verification), await bench.send(verification, "13800138001")
        bench.wall.now_ms += step_ms
        if restart and step_ms < 0:  # after a step ahead, a restart believes the machine
            await bench.store.close()
            verification = await bench.open()
        refused = await verification.send(bench.app, SendFields("13800138000", 1))
        assert refused == Refusal(ReturnCode.OUT_OF_FREQ, retry_after_s=60)
        assert bench.elapsed
        bench.elapsed.now_ms += 60_000
        await bench.send(verification)
        assert await verification.verify(bench.app, used, "123456") is None
        bench.elapsed.now_ms += 240_000
        assert await verification.verify(bench.app, expired, "123456") == Refusal(ReturnCode.EXPIRED_CODE)
        await bench.store.close()

    asyncio.run(claim())
