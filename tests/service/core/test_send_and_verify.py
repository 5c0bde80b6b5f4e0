"""Send and verify follow the contract, over a real store and a clock that the test moves."""

from __future__ import annotations

import asyncio
from itertools import islice

import pytest
from support.bench import Bench

from toolkit.api.basic_auth import Credentials
from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Refusal, SendFields
from toolkit.service.core.accounts import App
from toolkit.service.core.policy import Policy
from toolkit.service.core.send_and_verify import draw_codes


def test_a_right_code_is_right_once(bench: Bench) -> None:
    async def claim() -> None:
        verification = await bench.open()
        msg_id = await bench.send(verification)
        assert await verification.verify(bench.app, msg_id, "123456") is None
        assert await verification.verify(bench.app, msg_id, "123456") == Refusal(ReturnCode.VERIFIED_CODE)
        await bench.store.close()

    asyncio.run(claim())


@pytest.mark.parametrize(("after_ms", "code"), [(299_999, None), (300_000, ReturnCode.EXPIRED_CODE)])
def test_a_code_is_valid_for_exactly_its_ttl(bench: Bench, after_ms: int, code: ReturnCode | None) -> None:
    async def claim() -> None:
        verification = await bench.open()
        msg_id = await bench.send(verification)
        bench.wall.now_ms += after_ms
        assert await verification.verify(bench.app, msg_id, "123456") == (Refusal(code) if code else None)
        await bench.store.close()

    asyncio.run(claim())


def test_an_earlier_code_stays_valid_after_a_later_one(bench: Bench) -> None:
    async def claim() -> None:
        verification = await bench.open()
        first = await bench.send(verification)
        bench.wall.now_ms += 60_000
        second = await bench.send(verification)
        assert [await verification.verify(bench.app, it, "123456") for it in (second, first)] == [None, None]
        await bench.store.close()

    asyncio.run(claim())


def test_the_default_rules_accept_as_many_sends_as_their_windows_allow(bench: Bench) -> None:
    async def claim() -> list[int]:
        verification = await bench.open()
        accepted = []
        for minute in range(26 * 60):
            bench.wall.now_ms += 60_000
            if not isinstance(await verification.send(bench.app, SendFields("13800138000", 1)), Refusal):
                accepted.append(minute)
        await bench.store.close()
        return accepted

    assert asyncio.run(claim()) == [
        0,
        1,
        2,
        3,
        4,
        60,
        61,
        62,
        63,
        64,
        1440,
        1441,
        1442,
        1443,
        1444,
        1500,
        1501,
        1502,
        1503,
        1504,
    ]


def test_retry_after_is_in_real_seconds_when_the_clock_runs_faster(bench: Bench) -> None:
    bench.speed = 60

    async def claim() -> None:
        verification = await bench.open()
        await bench.send(verification)
        refused = await verification.send(bench.app, SendFields("13800138000", 1))
        assert refused == Refusal(ReturnCode.OUT_OF_FREQ, retry_after_s=1)
        bench.wall.now_ms += 1000
        await bench.send(verification)
        await bench.store.close()

    asyncio.run(claim())


def test_failures_of_a_mobile_are_forgotten_after_an_hour(bench: Bench) -> None:
    bench.policy = Policy(rules=(), failures_per_hour=2)

    async def claim() -> None:
        verification = await bench.open()
        msg_id = await bench.send(verification)
        answers = [await verification.verify(bench.app, msg_id, "0") for _ in range(3)]
        assert [it and it.return_code for it in answers] == [50010, 50010, 50009]
        bench.wall.now_ms += 3_600_000
        later = await bench.send(verification)
        assert await verification.verify(bench.app, later, "123456") is None
        await bench.store.close()

    asyncio.run(claim())


def test_an_app_rule_counts_the_apps_sends_to_all_mobiles(bench: Bench) -> None:
    bench.policy = Policy(app_rules=(Rule(2, 1),))

    async def claim() -> None:
        verification = await bench.open()
        for n in range(2):
            await bench.send(verification, f"1380013800{n}")
        refused = await verification.send(bench.app, SendFields("13800138009", 1))
        assert refused == Refusal(ReturnCode.OUT_OF_FREQ, retry_after_s=1)
        await bench.store.close()

    asyncio.run(claim())


def test_a_refused_send_costs_and_counts_nothing(bench: Bench) -> None:
    async def claim() -> None:
        verification = await bench.open(balance=1)
        await bench.send(verification)
        assert bench.balance == 0
        refused = [await verification.send(bench.app, SendFields(f"1390000000{n}", 1)) for n in range(3)]
        assert refused == [Refusal(ReturnCode.NO_MONEY)] * 3
        await bench.store.put(app=bench.app, credit=1)
        await bench.send(verification, "13900000000")
        assert bench.balance == 0
        await bench.store.close()

    asyncio.run(claim())


def test_credentials_authenticate_only_their_own_app(bench: Bench) -> None:
    async def claim() -> None:
        verification = await bench.open()
        assert isinstance(verification.authenticate(Credentials("key", "secret").authorization.encode()), App)
        for key, secret in (("key", "Secret"), ("key", ""), ("other", "secret")):
            assert verification.authenticate(Credentials(key, secret).authorization.encode()) == Refusal(
                ReturnCode.AUTH_FAILED
            )
        await bench.store.close()

    asyncio.run(claim())


def test_a_clock_that_steps_back_opens_no_window(bench: Bench) -> None:
    async def claim() -> None:
        verification = await bench.open()
        await bench.send(verification)
        bench.wall.now_ms -= 3_600_000
        assert isinstance(await verification.send(bench.app, SendFields("13800138000", 1)), Refusal)
        bench.wall.now_ms += 3_600_000 + 60_000
        await bench.send(verification)
        await bench.store.close()

    asyncio.run(claim())


def test_codes_are_six_digits_and_use_all_of_them() -> None:
    codes = list(islice(draw_codes(), 2000))
    assert all(len(code) == 6 and code.isdecimal() for code in codes)
    assert set("".join(codes)) == set("0123456789")
    assert len(set(codes)) > 1900
