"""Refusals of credentials that fail often are given out late, and right credentials are never delayed."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from support.bench import Bench
from support.edge import run

from toolkit.service.core.accounts import App
from toolkit.service.http.auth_throttle import FAILURES_A_MINUTE, AuthThrottle
from toolkit.service.http.handler import Api, RequestHandler
from toolkit.service.http.request_parser import Request
from toolkit.service.metrics.counters import Counters

PEER = "192.0.2.1"


def header(app_key: str, secret: str = "wrong") -> bytes:
    return b"Basic " + base64.b64encode(f"{app_key}:{secret}".encode())


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> AuthThrottle:
    return AuthThrottle(clock)


@pytest.mark.parametrize("authorization", [header("key"), b"Bearer x", None])
def test_a_peer_may_fail_a_number_of_times_a_minute(
    authorization: bytes | None, throttle: AuthThrottle, clock: Clock
) -> None:
    for minute in range(2):
        clock.now_s = 60.0 * minute
        exceeded = [throttle.exceeds(PEER, authorization) for _ in range(FAILURES_A_MINUTE + 2)]
        assert exceeded == [False] * FAILURES_A_MINUTE + [True] * 2


def test_a_peer_that_changes_its_keys_and_a_key_from_many_peers_are_found(throttle: AuthThrottle) -> None:
    by_peer = [throttle.exceeds(PEER, header(f"key{it}")) for it in range(FAILURES_A_MINUTE + 1)]
    by_key = [throttle.exceeds(f"198.51.100.{it}", header("the key")) for it in range(FAILURES_A_MINUTE + 1)]
    assert by_peer[-1]
    assert by_key[-1]


def test_any_number_of_names_takes_a_bounded_memory(throttle: AuthThrottle) -> None:
    for it in range(10_000):
        throttle.exceeds(f"peer {it}", header(f"key{it}"))
    assert len(throttle._counts) <= 1024


def post(authorization: bytes, peer: str = PEER) -> Request:
    headers = {b"authorization": authorization, b"content-length": b"0"}
    return Request(b"POST", b"/v1/codes/1/valid", headers, b'{"code":"000000"}', peer)


def test_only_the_refusal_waits_and_the_owner_of_the_key_is_answered_at_once(bench: Bench) -> None:
    async def claim() -> None:
        api, held = Api(await bench.open()), list[Callable[[], None]]()
        handler = RequestHandler(
            api.answer, Counters(), auth_throttle=AuthThrottle(), call_later=lambda wait_s, step: held.append(step)
        )
        refused = [handler(post(header("key"))) for _ in range(FAILURES_A_MINUTE + 3)]
        assert [it.settled for it in refused] == [True] * FAILURES_A_MINUTE + [False] * 3
        reply = await handler(post(header("key", "secret")))
        assert reply
        assert reply.http_status == 403  # the code is wrong, the credentials are right
        assert handler.counters.in_flight == 0
        assert len(held) == 3
        for give_out in held:
            give_out()
        assert {it.value.http_status for it in refused if it.value} == {401}
        await bench.store.close()

    run(claim())


def test_a_claimed_key_does_not_count_as_a_second_app_that_calls(bench: Bench) -> None:
    async def claim() -> None:
        api = Api(await bench.open())
        await bench.store.put(app=App(2, "quiet", bench.store.digests.secret("its secret")))
        handler = RequestHandler(api.answer, Counters())
        for app_key, secret in (("key", "secret"), ("quiet", "wrong"), ("key", "secret"), ("quiet", "wrong")):
            await handler(post(header(app_key, secret)))
        assert handler._admission._contended_until_s == float("-inf")
        await handler(post(header("quiet", "its secret")))
        assert handler._admission._contended_until_s > 0
        await bench.store.close()

    run(claim())
