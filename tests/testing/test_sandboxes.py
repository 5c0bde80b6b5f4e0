"""A sandbox in the process of a test: real calls by real clients, in both twins."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest

from toolkit import AsyncClient, Client, InputError, ReturnCode, ReturnCodeError, SettingsError, TransportError
from toolkit.api.errors import RunError
from toolkit.testing import Sandbox, async_sandbox, sandbox

MOBILE, OTHER = "13800138000", "13800138001"
SLOW_S = 240


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with sandbox() as sms:
        yield sms


@pytest.fixture
def sms(running: Sandbox) -> Sandbox:
    running.reset()
    return running


@pytest.fixture
def client(sms: Sandbox) -> Iterator[Client]:
    with sms.client() as client:
        yield client


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def refusal(client: Client, mobile: str = MOBILE) -> ReturnCode | int:
    with pytest.raises(ReturnCodeError) as caught:
        client.send_code(mobile, temp_id=1)
    return caught.value.return_code


def test_a_message_is_listed_with_its_code_and_text(sms: Sandbox, client: Client) -> None:
    sent = client.send_code(MOBILE, sms.temp_id)
    client.send_code(OTHER, sms.temp_id)
    (message,) = sms.messages("+8613800138000")
    assert (message.msg_id, message.mobile, message.temp_id) == (sent.msg_id, MOBILE, 1)
    assert message.code in message.text
    assert message.sent_at.utcoffset() == timedelta(0)
    assert [it.mobile for it in sms.messages()] == [MOBILE, OTHER]


def test_more_messages_than_one_answer_holds_are_listed() -> None:
    with sandbox(rules=()) as sms, sms.client() as client:
        for _ in range(1001):
            client.send_code(MOBILE, 1)
        found = sms.messages(MOBILE)
        assert len({it.msg_id for it in found}) == 1001
        assert sms.wait_for_code(MOBILE) == found[-1].code


def test_a_code_that_is_waited_for_is_the_newest_and_each_message_counts_once(sms: Sandbox, client: Client) -> None:
    first = client.send_code(MOBILE, 1)
    assert client.verify_code(first, sms.wait_for_code(MOBILE))
    with pytest.raises(TimeoutError, match=f"no newer message to {MOBILE} within 0 s; 0 other mobiles have messages"):
        sms.wait_for_code(MOBILE, timeout_s=0)
    for _ in range(2):
        sms.advance(61)
        newest = client.send_code(MOBILE, 1)
    assert client.verify_code(newest, sms.wait_for_code(MOBILE))


def test_a_code_can_be_waited_for_before_it_is_sent(sms: Sandbox, client: Client) -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(sms.wait_for_code, MOBILE, SLOW_S)
        sent = client.send_code(MOBILE, 1)
        assert client.verify_code(sent, waiting.result())


def test_a_wait_that_ends_says_who_got_messages(sms: Sandbox, client: Client) -> None:
    client.send_code(OTHER, 1)
    with pytest.raises(TimeoutError, match=f"no message to {MOBILE} within 0 s; 1 other mobiles have messages"):
        sms.wait_for_code(MOBILE, timeout_s=0)


def test_a_chosen_code_and_a_refusal_of_one_mobile_go_together(sms: Sandbox, client: Client) -> None:
    sms.set_code(MOBILE, "123456")
    sms.refuse(MOBILE, 50014, times=1)
    sms.refuse(MOBILE, ReturnCode.EXPIRED_CODE, times=1)
    assert refusal(client) is ReturnCode.NO_MONEY
    sent = client.send_code(MOBILE, 1)
    results = [client.verify_code(sent, "123456") for _ in range(2)]
    assert [it.return_code for it in results] == [ReturnCode.EXPIRED_CODE, ReturnCode.SUCCESS]
    assert client.send_code(OTHER, 1)


def test_without_a_number_of_times_every_call_is_refused_until_a_reset(sms: Sandbox, client: Client) -> None:
    sms.refuse(MOBILE, 50014)
    assert {refusal(client) for _ in range(3)} == {ReturnCode.NO_MONEY}
    sms.reset()
    assert client.send_code(MOBILE, 1)


def test_the_clock_ends_rate_limits_and_codes(sms: Sandbox, client: Client) -> None:
    sent = client.send_code(MOBILE, 1)
    assert refusal(client) is ReturnCode.OUT_OF_FREQ
    sms.advance(301)
    assert client.verify_code(sent, sms.wait_for_code(MOBILE)).return_code is ReturnCode.EXPIRED_CODE
    assert client.send_code(MOBILE, 1)


def test_faults_begin_and_end(sms: Sandbox, client: Client) -> None:
    sms.fail()
    assert refusal(client) is ReturnCode.SERVER_ERROR
    sms.fail(0, drop_share=1)
    with pytest.raises(TransportError):
        client.send_code(MOBILE, 1)
    sms.fail(0, latency="1ms")
    assert client.send_code(OTHER, 1)
    sms.fail(share=0.5)
    sms.reset()
    assert len(sms.messages()) == 0
    assert client.send_code(MOBILE, 1)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("messages", ["110"], "invalid mobile '110': expected 11 digits"),
        ("wait_for_code", ["110"], "invalid mobile"),
        ("set_code", [MOBILE, "12345"], "invalid code '12345': expected text of 6 digits"),
        ("set_code", [MOBILE, 123456], "invalid code 123456: expected text of 6 digits"),
        ("refuse", [MOBILE, 50000], "invalid return code 50000: expected one of a refusal"),
        ("refuse", [MOBILE, 1], "invalid return code 1"),
        ("refuse", [MOBILE, 50003.0], "invalid return code 50003.0: expected one of a refusal"),
        ("refuse", [MOBILE, "50014"], "invalid return code '50014'"),
        ("refuse", [MOBILE, 50014, 1.5], "invalid times 1.5: expected 1 to"),
        ("refuse", [MOBILE, 50014, True], "invalid times True: expected 1 to"),
        ("refuse", [MOBILE, 50014, 0], "invalid times 0: expected 1 to"),
        ("advance", [-1], "invalid seconds -1: expected 0 to"),
        ("advance", ["1"], "invalid seconds '1': expected 0 to"),
        ("fail", [2], "invalid share 2: expected a share from 0 to 1"),
        ("fail", ["0.5"], "invalid share '0.5': expected a share from 0 to 1"),
    ],
)
def test_an_invalid_argument_is_refused(sms: Sandbox, method: str, arguments: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        getattr(sms, method)(*arguments)


def test_an_invalid_latency_is_refused(sms: Sandbox) -> None:
    with pytest.raises(InputError, match="invalid latency 'x': expected a duration"):
        sms.fail(latency="x")


def test_invalid_options_and_a_taken_port_are_refused(sms: Sandbox) -> None:
    for options, error in [({"rules": ["often"]}, InputError), ({"ttl_s": 0}, SettingsError)]:
        with pytest.raises(error), sandbox(**options):  # type: ignore[arg-type]
            pass
    with pytest.raises(RunError, match="can't listen"), sandbox(port=int(sms.url.rpartition(":")[2])):
        pass


def test_its_options_set_the_rules_and_the_lifetime() -> None:
    with sandbox(rules=["2/60s"], ttl_s=1000) as sms, sms.client() as client:
        sent = [client.send_code(MOBILE, 1) for _ in range(2)][-1]
        assert refusal(client) is ReturnCode.OUT_OF_FREQ
        sms.advance(999)
        assert client.verify_code(sent, sms.wait_for_code(MOBILE))


def test_it_ends_without_a_trace() -> None:
    handlers = [signal.getsignal(it) for it in (signal.SIGINT, signal.SIGTERM)]
    log = logging.getLogger()
    before = set(threading.enumerate()), log.handlers[:], log.level
    with warnings.catch_warnings(action="error"), sandbox() as sms, sms.client() as client:
        client.send_code(MOBILE, 1)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(sms.wait_for_code, OTHER, SLOW_S)
            client.send_code(OTHER, 1)
            assert len(waiting.result()) == 6
    assert (set(threading.enumerate()), log.handlers, log.level) == before
    assert [signal.getsignal(it) for it in (signal.SIGINT, signal.SIGTERM)] == handlers
    with pytest.raises(InputError, match="the sandbox is stopped"):
        sms.reset()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(sms.url.rpartition(":")[2]))) != 0


def test_two_run_beside_each_other(sms: Sandbox, client: Client) -> None:
    with sandbox() as second:
        client.send_code(MOBILE, 1)
        assert second.url != sms.url
        assert second.messages() == []
        with second.client() as other:
            assert other.send_code(MOBILE, 1)


def test_its_credentials_suit_another_http_client(sms: Sandbox) -> None:
    fields = {"mobile": MOBILE, "temp_id": sms.temp_id}
    answer = httpx.post(f"{sms.url}/v1/codes", auth=sms.credentials, json=fields)
    assert answer.json() == {"msg_id": sms.messages()[0].msg_id}


def test_the_async_twin_has_the_same_methods() -> None:
    def names(kind: type) -> set[str]:
        return {it for it in dir(kind) if not it.startswith("_")}

    from toolkit.testing import AsyncSandbox

    assert names(AsyncSandbox) == names(Sandbox) - {"to_async"}


@pytest.mark.anyio
async def test_the_async_twin_works_while_the_loop_goes_on() -> None:
    async with async_sandbox(rules=["1/60s"]) as sms, sms.client() as client:
        assert isinstance(client, AsyncClient)
        waiting = asyncio.create_task(sms.wait_for_code(MOBILE, SLOW_S))
        await asyncio.sleep(0)
        sent = await client.send_code(MOBILE, sms.temp_id)
        assert await client.verify_code(sent, await waiting)
        with pytest.raises(TimeoutError, match="no newer message"):
            await sms.wait_for_code(MOBILE, timeout_s=0)
        await sms.advance(61)
        await sms.set_code(MOBILE, "123456")
        await sms.refuse(MOBILE, 50014, times=1)
        with pytest.raises(ReturnCodeError):
            await client.send_code(MOBILE, sms.temp_id)
        await client.send_code(MOBILE, sms.temp_id)
        assert [it.code for it in await sms.messages(MOBILE)][1:] == ["123456"]
        await sms.fail()
        with pytest.raises(ReturnCodeError):
            await client.send_code(OTHER, sms.temp_id)
        await sms.reset()
        assert await sms.messages() == []


@pytest.mark.anyio
async def test_a_wait_of_the_async_twin_can_be_cancelled() -> None:
    async with async_sandbox() as sms:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await sms.wait_for_code(MOBILE, SLOW_S)
        assert await sms.messages() == []


@pytest.mark.anyio
async def test_a_wait_that_is_open_at_the_end_says_that_the_sandbox_was_stopped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with async_sandbox() as sms:
        waits = [asyncio.create_task(sms.wait_for_code(it, SLOW_S)) for it in (MOBILE, OTHER)]
        await asyncio.sleep(0)
    for wait in waits:
        with pytest.raises(InputError, match="the sandbox was stopped while a code was waited for"):
            await wait
    assert not caplog.records


@pytest.mark.anyio
async def test_an_error_of_the_async_start_is_raised() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(RunError, match="can't listen"):
            async with async_sandbox(port=taken.getsockname()[1]):
                pass
