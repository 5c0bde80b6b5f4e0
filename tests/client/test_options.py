"""Arguments that people pass, test doubles that they use, and results that they hand on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from typing import Any

import httpx
import pytest
import respx
import stamina
from pytest_httpx import HTTPXMock
from support.api import Api, serving

from toolkit.api.errors import (
    InputError,
    NotConnectedError,
    ReturnCodeError,
    TransportError,
)
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Refusal, refusal_response
from toolkit.client import AsyncClient, Client, Sent, Timeout, Verification
from toolkit.records.call_record import CallRecord, Failure

MOBILE, SECRET, URL = "13812345678", "the-master-secret", "https://api.example.com"


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as server:
        yield server


def refused_send(url: str) -> None:
    with Client(url, "key", SECRET) as client:
        client.send_code(MOBILE, 1)


def test_a_refused_call_in_another_process_raises_its_error_here(api: Api) -> None:
    api.reply = refusal_response(Refusal(ReturnCode.OUT_OF_FREQ, 42))
    with ProcessPoolExecutor(1, get_context("spawn")) as pool, pytest.raises(ReturnCodeError) as caught:
        pool.submit(refused_send, api.target.base_url).result()
    assert (caught.value.return_code, caught.value.retry_after_s) == (ReturnCode.OUT_OF_FREQ, 42)


def test_a_code_that_is_not_valid_is_false() -> None:
    assert Verification(True, 50000, "success")
    assert not Verification(False, 50010, "invalid code")


def test_a_timeout_may_be_a_number_of_seconds() -> None:
    assert Timeout.of(3) == Timeout(3, 3)
    assert Timeout.of(30) == Timeout(5, 30)


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("timeout", [None, "5", True, httpx.Timeout(5)])
def test_a_timeout_of_another_type_is_refused_at_once(client: Any, timeout: Any) -> None:
    with pytest.raises(TypeError, match="expected a Timeout or seconds"):
        client(URL, "key", SECRET, timeout=timeout)


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize(
    "options", [{"max_connections": 0}, {"max_connections": True}, {"proxy": "socks5://h"}, {"proxy": "://"}]
)
def test_an_option_that_cannot_be_used_is_refused_at_once(client: Any, options: Any) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        client(URL, "key", SECRET, **options)


@pytest.mark.parametrize("msg_id", ["7", 7, Sent("7")])
def test_a_msg_id_may_be_text_a_number_or_what_was_sent(api: Api, msg_id: Any) -> None:
    paths: list[str] = []
    transport = httpx.MockTransport(
        lambda request: paths.append(request.url.path) or httpx.Response(200, json={"is_valid": True})  # type: ignore[func-returns-value]
    )
    with Client(URL, "key", SECRET, transport=transport) as client:
        assert client.verify_code(msg_id, "123456")
    assert paths == ["/v1/codes/7/valid"]


@pytest.mark.parametrize(("msg_id", "code"), [(None, "123456"), (True, "123456"), ("7", 123456), ("7", None)])
def test_arguments_of_another_type_are_refused_before_anything_is_sent(msg_id: Any, code: Any) -> None:
    with Client("http://127.0.0.1:9", "key", SECRET) as client, pytest.raises(TypeError, match="expected text"):
        client.verify_code(msg_id, code)


def test_a_full_pool_is_not_blamed_on_the_target(api: Api) -> None:
    records: list[CallRecord] = []
    options: dict[str, Any] = {"timeout": Timeout(0.5, 60), "max_connections": 1, "on_call": records.append}
    with Client(api.target.base_url, "key", SECRET, **options) as client:
        busy = threading.Thread(target=client.send_code, args=(MOBILE, 1))
        with api.stalled():
            busy.start()
            api.wait_for_stalled(1)
            with pytest.raises(NotConnectedError, match="all 1 connections of this client were busy"):
                client.send_code(MOBILE, 1)
            assert [record.error for record in records] == [Failure.CANCELLED]
        busy.join()


def test_a_hook_that_fails_does_not_replace_the_result(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    def fail(record: CallRecord) -> None:
        raise RuntimeError("the disk is full")

    with Client(api.target.base_url, "key", SECRET, on_call=fail) as client:
        assert client.send_code(MOBILE, 1) == Sent("0")
        api.reply = refusal_response(Refusal(ReturnCode.NO_MONEY))
        with pytest.raises(ReturnCodeError, match="50014"):
            client.send_code(MOBILE, 1)
    assert [it.getMessage() for it in caplog.records] == ["on_call failed"] * 2


# Test doubles.


def test_respx_can_answer_in_place_of_the_api() -> None:
    router = respx.MockRouter(assert_all_called=False)
    route = router.post(f"{URL}/v1/codes").respond(json={"msg_id": "7"})
    with Client(URL, "key", SECRET, transport=httpx.MockTransport(router.handler)) as client:
        assert client.send_code(MOBILE, 1) == Sent("7")

    async def send() -> Sent:
        async with AsyncClient(URL, "key", SECRET, transport=httpx.MockTransport(router.async_handler)) as client:
            return await client.send_code(MOBILE, 1)

    assert asyncio.run(send()) == Sent("7")
    assert route.call_count == 2


def test_pytest_httpx_can_answer_in_place_of_the_api(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(json={"msg_id": "7"}, is_reusable=True)
    with Client(URL, "key", SECRET, transport=httpx.HTTPTransport()) as client:
        assert client.send_code(MOBILE, 1) == Sent("7")

    async def send() -> Sent:
        async with AsyncClient(URL, "key", SECRET, transport=httpx.AsyncHTTPTransport()) as client:
            return await client.send_code(MOBILE, 1)

    assert asyncio.run(send()) == Sent("7")


def test_a_failure_of_a_test_double_is_a_transport_error() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    client = Client(URL, "key", SECRET, transport=httpx.MockTransport(fail))
    with client, pytest.raises(NotConnectedError, match="refused; nothing was sent"):
        client.send_code(MOBILE, 1)


# Proxies.


class Forwarder(BaseHTTPRequestHandler):
    """An HTTP proxy that answers for the target and notes the absolute URL that it was asked for."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers.get("Proxy-Authorization")))  # type: ignore[attr-defined]
        body = b'{"msg_id":"7"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Forwarder) as server:
        server.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


def test_a_call_goes_through_the_proxy(proxy: ThreadingHTTPServer) -> None:
    url, address = "http://api.example.com", f"http://me:pass@127.0.0.1:{proxy.server_port}"
    with Client(url, "key", SECRET, proxy=address) as client:
        assert client.send_code(MOBILE, 1) == Sent("7")

    async def send() -> Sent:
        async with AsyncClient(url, "key", SECRET, proxy=address) as client:
            return await client.send_code(MOBILE, 1)

    assert asyncio.run(send()) == Sent("7")
    assert proxy.asked == [(f"{url}/v1/codes", "Basic bWU6cGFzcw==")] * 2  # type: ignore[attr-defined]


# Retrying.


def test_the_recipe_of_the_docs_retries_only_what_was_not_sent() -> None:
    tries: list[int] = []

    def flaky(request: httpx.Request) -> httpx.Response:
        tries.append(1)
        if len(tries) < 3:
            raise httpx.ConnectError("refused")
        raise httpx.ReadTimeout("no response")

    with Client(URL, "key", SECRET, transport=httpx.MockTransport(flaky)) as client:
        send = stamina.retry(on=NotConnectedError, attempts=5, wait_initial=0, wait_max=0)(client.send_code)
        with pytest.raises(TransportError, match="no response within"):
            send(MOBILE, 1)
    assert len(tries) == 3
