"""Post messages to real HTTP receivers, including the one in docs/guides/delivery.md."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from support.receiver import SECRET, documented_receiver

from toolkit.api.errors import SettingsError
from toolkit.service.core.messages import Delivery, DeliveryState
from toolkit.service.delivery.base import DeliveryError, OutgoingMessage, Receipt
from toolkit.service.delivery.webhook import WebhookFactory, build_body, build_headers, read_retry_after

MESSAGE = OutgoingMessage("06890980-6789-4054-bba9-90fb66ab2fce", "13800138000", "【签】Your code: 123456")


@dataclass
class Receiver:
    """An HTTP service that answers as it is told, and keeps what it got."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    got: list[tuple[web.BaseRequest, bytes]] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.got.append((request, await request.read()))
        return web.Response(status=self.status, headers=self.headers, text="said")

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Receiver]:
        runner = web.ServerRunner(web.Server(self.answer))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/texts"
        try:
            yield self
        finally:
            await runner.cleanup()


async def no_receipts(receipt: Receipt) -> bool:
    raise AssertionError("a webhook sends no receipts")


def deliver(receiver: Receiver, times: int = 1) -> Delivery:
    async def claim() -> Delivery:
        async with receiver.listening(), WebhookFactory(receiver.url, SECRET).open(no_receipts) as provider:
            return [await provider.deliver(MESSAGE) for _ in range(times)][-1]

    return asyncio.run(claim())


def deliver_to(url: str, secret: str = SECRET, now_s: float | None = None) -> Delivery:
    async def claim() -> Delivery:
        webhook = WebhookFactory(url, secret) if now_s is None else WebhookFactory(url, secret, lambda: now_s)
        async with webhook.open(no_receipts) as provider:
            return await provider.deliver(MESSAGE)

    return asyncio.run(claim())


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_2xx_response_means_delivered(status: int) -> None:
    assert deliver(Receiver(status)) == Delivery(DeliveryState.DELIVERED, str(status))


@pytest.mark.parametrize("status", [400, 410, 422])
def test_a_refusal_of_a_message_is_final(status: int) -> None:
    receiver = Receiver(status)
    assert deliver(receiver) == Delivery(DeliveryState.FAILED, str(status))
    assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 403, 404, 405])
def test_a_wrong_url_or_secret_is_a_misconfiguration_and_no_redirect_is_followed(status: int) -> None:
    receiver = Receiver(status, {"Location": "/elsewhere"})
    with pytest.raises(DeliveryError) as problem:
        deliver(receiver)
    assert (problem.value.carrier_code, problem.value.misconfigured) == (str(status), True)
    assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_temporary_error_raises_delivery_error(status: int) -> None:
    with pytest.raises(DeliveryError) as problem:
        deliver(Receiver(status, {"Retry-After": "7"}))
    assert (problem.value.carrier_code, problem.value.retry_after_s) == (str(status), 7)
    assert not problem.value.misconfigured


def test_a_refused_connection_raises_delivery_error() -> None:
    async def address() -> str:
        async with Receiver().listening() as gone:
            return gone.url

    with pytest.raises(DeliveryError) as problem:
        deliver_to(asyncio.run(address()))
    assert "Connect" in problem.value.carrier_code


def test_a_closed_connection_raises_delivery_error() -> None:
    async def claim() -> None:
        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            async with WebhookFactory(url, SECRET).open(no_receipts) as provider:
                await provider.deliver(MESSAGE)

    with pytest.raises(DeliveryError):
        asyncio.run(claim())


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("", 0),
        ("0", 0),
        ("12", 12),
        ("86400", 60),
        ("soon", 0),
        ("-5", 0),
        ("²", 0),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10),
        ("Tue, 14 Nov 2023 22:13:10 GMT", 0),
        ("Wed, 15 Nov 2023 22:13:20 GMT", 60),
        ("Wed, 15 Nov 99999999999999999999 22:13:20 GMT", 0),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date_and_bounded(value: str, wait_s: float) -> None:
    assert read_retry_after(value, 1_700_000_000) == wait_s


def test_a_message_is_posted_as_json_with_its_msg_id_as_idempotency_key() -> None:
    receiver = Receiver()
    deliver(receiver, times=2)
    keys = {request.headers["Idempotency-Key"] for request, _ in receiver.got}
    bodies = [json.loads(body) for _, body in receiver.got]
    assert keys == {MESSAGE.msg_id}
    assert bodies == [{"msg_id": MESSAGE.msg_id, "mobile": MESSAGE.mobile, "text": MESSAGE.text}] * 2


def test_the_documented_request_is_signed_as_the_service_signs_it() -> None:
    page = (Path(__file__).parents[3] / "docs/guides/delivery.md").read_text(encoding="utf-8")
    shown = re.search(r"```http\nPOST .*\n((?:.+\n)+)\n(.+)\n```", page)
    secret = re.search(r"with the secret `(\w+)`", page)
    assert shown
    assert secret
    message = OutgoingMessage("06890980-6789-4054-bba9-90fb66ab2fce", "13800138000", json.loads(shown[2])["text"])
    headers = build_headers(message.msg_id, shown[2].encode(), secret[1], 1795424400)
    assert build_body(message).decode() == shown[2]
    assert dict(line.split(": ", 1) for line in shown[1].splitlines()) == headers


def test_connections_are_reused() -> None:
    receiver = Receiver()
    deliver(receiver, times=3)
    assert len({id(request.transport) for request, _ in receiver.got}) == 1


@pytest.mark.parametrize(
    "url", ["", "sms.example.org", "ftp://sms.example.org/", "https:///texts", "https://[::1", "https://h:port/"]
)
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"invalid webhook_url: .* https://host/path"):
        WebhookFactory(url, SECRET)


def test_no_repr_shows_the_secret_the_mobile_or_the_text() -> None:
    shown = repr(WebhookFactory("https://sms.example.org/", SECRET)) + repr(MESSAGE)
    assert [word for word in (SECRET, MESSAGE.mobile, "123456") if word in shown] == []


def test_the_documented_receiver_accepts_a_message_once(tmp_path: Path) -> None:
    with documented_receiver(tmp_path) as (url, process):
        assert [deliver_to(url) for _ in range(2)] == [Delivery(DeliveryState.DELIVERED, "204")] * 2
        process.terminate()
        assert process.stdout
        assert process.stdout.read() == f"sent {MESSAGE.msg_id}\n"


@pytest.mark.parametrize(("secret", "now_s"), [("another secret", None), (SECRET, 1_700_000_000.0)])
def test_the_documented_receiver_refuses_forged_and_old_requests(
    tmp_path: Path, secret: str, now_s: float | None
) -> None:
    with documented_receiver(tmp_path) as (url, process):
        with pytest.raises(DeliveryError, match="401"):
            deliver_to(url, secret, now_s)
        process.terminate()
        assert process.stdout
        assert process.stdout.read() == ""


async def _post(url: str, headers: dict[str, str], body: bytes) -> int:
    async with ClientSession() as session, session.post(url, headers=headers, data=body) as answer:
        return answer.status


def test_the_documented_receiver_refuses_a_changed_body(tmp_path: Path) -> None:
    receiver = Receiver()
    deliver(receiver)
    [(request, body)] = receiver.got
    headers = {name: value for name, value in request.headers.items() if name.startswith(("X-", "Idem", "Content-T"))}
    with documented_receiver(tmp_path) as (url, _):
        assert asyncio.run(_post(url, headers, body)) == 204
        assert asyncio.run(_post(url, headers, body.replace(b"123456", b"654321"))) == 401
        assert asyncio.run(_post(url, headers | {"X-Smscode-Signature": "v1=é"}, body)) == 401
        assert asyncio.run(_post(url, {}, body)) == 401
