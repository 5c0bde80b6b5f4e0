"""The time of an answer tells nothing about keys and secrets."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.bench import Bench
from support.service import basic

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Refusal, read_request
from toolkit.service.core.send_and_verify import VerificationService
from toolkit.service.http.handler import Api, RequestContext
from toolkit.service.http.request_parser import Request

WRONG = [("key", "wrong!"), ("kez", "secret"), ("kez", "wrong!")]
FAILED = Refusal(ReturnCode.AUTH_FAILED)


@pytest.fixture
def verification(bench: Bench) -> Any:
    verification = asyncio.run(bench.open())
    yield verification
    asyncio.run(bench.store.close())


def attempt(verification: VerificationService, app_key: str, secret: str) -> Callable[[], object]:
    headers = {b"authorization": basic(app_key, secret)["Authorization"].encode()}

    def read() -> Refusal | None:
        return read_request(b"POST", b"/v1/codes", headers, b"", verification.authenticate).refusal

    return read


def steps(call: Callable[[], object]) -> list[str]:
    """Return every function that a call enters, those written in C too."""
    entered: list[str] = []

    def note(frame: Any, event: str, arg: Any) -> None:
        if event in ("call", "c_call"):
            entered.append(frame.f_code.co_qualname if event == "call" else arg.__qualname__)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return entered


def test_an_unknown_key_takes_the_same_steps_as_a_wrong_secret(verification: VerificationService) -> None:
    assert attempt(verification, "key", "secret")() != FAILED
    calls = [attempt(verification, *wrong) for wrong in WRONG]
    assert [call() for call in calls] == [FAILED] * 3
    taken = [steps(call) for call in calls]
    assert taken[0] == taken[1] == taken[2]
    assert "compare_digest" in taken[0]


def test_refused_credentials_are_logged_and_counted_by_the_app_that_they_claim(bench: Bench) -> None:
    async def test() -> list[str | None]:
        api, claimed = Api(await bench.open()), []
        for app_key, secret in [*WRONG, ("s3cret", "key")]:
            headers = {b"authorization": basic(app_key, secret)["Authorization"].encode()}
            context = RequestContext(b"id", "peer", 0.0)
            await api.answer(context, Request(b"POST", b"/v1/codes", headers, b"{}", "peer"))
            claimed.append(context.app_key)
        assert api.service.counters.failed_auths == {"key": 1, "unknown": 3}
        await bench.store.close()
        return claimed

    assert asyncio.run(test()) == ["key", None, None, None]


def test_an_unknown_key_takes_the_same_time_as_a_wrong_secret(verification: VerificationService) -> None:
    calls = [attempt(verification, *wrong) for wrong in WRONG]
    spent: list[list[int]] = [[] for _ in calls]
    for turn in range(3000):
        for index in (turn % 3, (turn + 1) % 3, (turn + 2) % 3):
            begun_ns = time.perf_counter_ns()
            calls[index]()
            spent[index].append(time.perf_counter_ns() - begun_ns)
    medians = [statistics.median(each) for each in spent]
    assert max(medians) < 1.25 * min(medians)  # it is 1.4 where an unknown key gets no digest
