"""Submit messages to a real SMSC."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.smsc import PASSWORD, Smsc, smsc

from toolkit.api.errors import RunError, SettingsError, StoreError
from toolkit.service.core.messages import Delivery, DeliveryState
from toolkit.service.delivery.base import DeliveryError, OutgoingMessage, Provider, Receipt
from toolkit.service.delivery.smpp.provider import SmppFactory
from toolkit.service.delivery.smpp.session import status_name

MSG_ID = "06890980-6789-4054-bba9-90fb66ab2fce"
MOBILE = "13800138000"
THROTTLED, QUEUE_FULL, BAD_ADDRESS, VENDORS_OWN = 0x58, 0x14, 0x0B, 0x427
RECEIPT = 4  # esm_class


@dataclass
class Wire:
    """A provider that is bound to an SMSC, and the receipts that came."""

    smsc: Smsc
    provider: Provider
    receipts: asyncio.Queue[Receipt]

    async def deliver(self, text: str) -> Delivery:
        return await self.provider.deliver(OutgoingMessage(MSG_ID, MOBILE, text))

    async def deliver_when_bound(self, text: str) -> Delivery:
        while True:
            try:
                return await self.deliver(text)
            except DeliveryError:
                await asyncio.sleep(0.01)


def account(port: int, password: str = PASSWORD, **times_s: float) -> SmppFactory:
    smpp = SmppFactory.parse(f"smpp://toolkit@127.0.0.1:{port}", password, "Sign")
    return replace(smpp, account=replace(smpp.account, **times_s))


@asynccontextmanager
async def wired(smpp_modules: Path, known: bool | StoreError = True, **times_s: float) -> AsyncIterator[Wire]:
    receipts: asyncio.Queue[Receipt] = asyncio.Queue()

    async def receive(receipt: Receipt) -> bool:
        await receipts.put(receipt)
        if isinstance(known, StoreError):
            raise known
        return known

    async with smsc(smpp_modules) as peer, account(peer.port, **times_s).open(receive) as provider:
        yield Wire(peer, provider, receipts)


def run(claim: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(240):
            await claim()

    asyncio.run(bounded())


def test_the_provider_binds_as_a_transceiver_and_unbinds(smpp_modules: Path) -> None:
    async def claim() -> None:
        async with smsc(smpp_modules) as peer:
            async with account(peer.port).open(no_receipts):
                assert await peer.expect("bound") == {"system_id": "toolkit", "version": 0x34}
            await peer.expect("unbound")

    run(claim)


async def no_receipts(receipt: Receipt) -> bool:
    raise AssertionError("no receipt is due")


@pytest.mark.parametrize(
    ("text", "coding", "parts"),
    [
        ("Your code: 123456", 0, 1),
        ("£1 = €1.20 {[~]} \\ ^|@_ ÄÖÜ ñ Ω", 0, 1),
        ("【签名】您的验证码是 123456", 8, 1),
        ("€" * 80, 0, 1),
        ("a code of 123456, with more words. " * 12 + "€{}" * 40, 0, 5),
        ("验证码 123456 😀。" * 20, 8, 5),
    ],
)
def test_a_text_arrives_unchanged(smpp_modules: Path, text: str, coding: int, parts: int) -> None:
    async def claim() -> None:
        async with wired(smpp_modules) as wire:
            sent = await wire.deliver(text)
            told = [await wire.smsc.expect("part") for _ in range(parts)]
            got = await wire.smsc.expect("text")
            assert (got["text"], got["coding"], got["id"]) == (text, coding, sent.carrier_id)
            assert (got["mobile"], got["ton"], got["source"], got["source_ton"]) == ("86" + MOBILE, 1, "Sign", 5)
            assert sent == Delivery(DeliveryState.SENT, carrier_id=f"m{parts}")
            assert [it["place"] for it in told] == list(range(1, parts + 1))
            assert [it["receipt"] for it in told] == [0] * (parts - 1) + [1]

    run(claim)


@pytest.mark.parametrize(
    ("source", "address", "ton"),
    [("Sign", "Sign", 5), ("+8610690000", "8610690000", 1), ("10690000", "10690000", 0), ("", "", 0)],
)
def test_a_sender_is_alphanumeric_international_or_the_carriers_own(
    smpp_modules: Path, source: str, address: str, ton: int
) -> None:
    async def claim() -> None:
        async with smsc(smpp_modules) as peer:
            smpp = replace(account(peer.port), source=source)
            async with smpp.open(no_receipts) as provider:
                await provider.deliver(OutgoingMessage(MSG_ID, MOBILE, "code"))
                got = await peer.expect("text")
                assert (got["source"], got["source_ton"]) == (address, ton)

    run(claim)


def test_a_text_that_is_submitted_again_has_the_same_reference(smpp_modules: Path) -> None:
    async def claim() -> None:
        async with wired(smpp_modules) as wire:
            await wire.smsc.tell(answer=[0, THROTTLED])
            with pytest.raises(DeliveryError):
                await wire.deliver("x" * 200)
            first = await wire.smsc.expect("part")
            await wire.deliver("x" * 200)
            assert (await wire.smsc.expect("part"))["reference"] == first["reference"]
            assert (await wire.smsc.expect("text"))["text"] == "x" * 200

    run(claim)


@pytest.mark.parametrize("status", [THROTTLED, QUEUE_FULL, 0x08, 0x64])
def test_a_temporary_error_raises_delivery_error(smpp_modules: Path, status: int) -> None:
    async def claim() -> None:
        async with wired(smpp_modules) as wire:
            await wire.smsc.tell(answer=[status])
            with pytest.raises(DeliveryError) as problem:
                await wire.deliver("code")
            assert problem.value.carrier_code == status_name(status)
            assert (await wire.deliver("code")).state is DeliveryState.SENT

    run(claim)


@pytest.mark.parametrize(("status", "name"), [(BAD_ADDRESS, "ESME_RINVDSTADR"), (VENDORS_OWN, "0x00000427")])
def test_a_refusal_is_final_and_has_the_carriers_code(smpp_modules: Path, status: int, name: str) -> None:
    async def claim() -> None:
        async with wired(smpp_modules) as wire:
            await wire.smsc.tell(answer=[status])
            assert await wire.deliver("code") == Delivery(DeliveryState.FAILED, name)
            assert (await wire.deliver("code")).state is DeliveryState.SENT

    run(claim)


def test_a_text_of_too_many_parts_is_refused_and_nothing_submitted(smpp_modules: Path) -> None:
    async def claim() -> None:
        async with wired(smpp_modules) as wire:
            assert await wire.deliver("信" * 67 * 256) == Delivery(DeliveryState.FAILED, "ESME_RINVMSGLEN")
            assert (await wire.deliver("code")).carrier_id == "m1"

    run(claim)


def receipt(stat: str, err: str = "000", carrier_id: str = "m1") -> dict[str, object]:
    dates = "submit date:2311142213 done date:231114221500"
    text = f"id:{carrier_id} sub:001 dlvrd:001 {dates} stat:{stat} err:{err} text:Your code"
    return {"esm_class": RECEIPT, "short_message": text}


@pytest.mark.parametrize(
    ("fields", "delivery"),
    [
        (receipt("DELIVRD"), Delivery(DeliveryState.DELIVERED, "DELIVRD", "m1")),
        (receipt("UNDELIV", "069"), Delivery(DeliveryState.FAILED, "UNDELIV 069", "m1")),
        (receipt("REJECTD", "A1F"), Delivery(DeliveryState.FAILED, "REJECTD A1F", "m1")),
        (receipt("EXPIRED"), Delivery(DeliveryState.FAILED, "EXPIRED", "m1")),
        (
            {"esm_class": RECEIPT, "short_message": "", "receipted_message_id": "m_1", "message_state": 5},
            Delivery(DeliveryState.FAILED, "UNDELIV", "m_1"),
        ),
        (receipt("DELIVRD", carrier_id="a_b@c"), Delivery(DeliveryState.DELIVERED, "DELIVRD", "a_b@c")),
    ],
)
def test_a_receipt_gives_the_final_state(smpp_modules: Path, fields: dict[str, object], delivery: Delivery) -> None:
    async def claim() -> None:
        async with wired(smpp_modules) as wire:
            await wire.smsc.tell(deliver=fields)
            assert (await wire.receipts.get())[:2] == (delivery.carrier_id, delivery)
            assert await wire.smsc.expect("response") == {"status": 0}

    run(claim)


@pytest.mark.parametrize(
    "fields",
    [
        receipt("ENROUTE"),
        receipt("ACCEPTD"),
        {"esm_class": RECEIPT, "short_message": "no receipt at all"},
        {"short_message": "STOP", "source_addr": MOBILE},
        {"short_message": "id:m1 stat:DELIVRD", "source_addr": MOBILE},
    ],
)
def test_other_deliver_sm_pdus_are_answered_and_ignored(smpp_modules: Path, fields: dict[str, object]) -> None:
    async def claim() -> None:
        async with wired(smpp_modules) as wire:
            await wire.smsc.tell(deliver=fields)
            assert await wire.smsc.expect("response") == {"status": 0}
            assert wire.receipts.empty()

    run(claim)


@pytest.mark.parametrize(("known", "status"), [(False, 0), (StoreError("too slow"), 0x64)])
def test_the_smsc_is_asked_to_repeat_a_receipt_that_cannot_be_recorded(
    smpp_modules: Path, known: bool | StoreError, status: int
) -> None:
    async def claim() -> None:
        async with wired(smpp_modules, known=known) as wire:
            await wire.smsc.tell(deliver=receipt("DELIVRD"))
            assert await wire.smsc.expect("response") == {"status": status}

    run(claim)


def test_the_provider_binds_again_after_the_smsc_restarts(smpp_modules: Path) -> None:
    async def claim() -> None:
        async with wired(smpp_modules) as wire:
            wire.smsc.process.kill()
            await wire.smsc.process.wait()
            with pytest.raises(DeliveryError):
                await wire.deliver("code")
            async with smsc(smpp_modules, wire.smsc.port) as again:
                await again.expect("bound")
                assert (await wire.deliver_when_bound("code")).state is DeliveryState.SENT
                await again.expect("text")

    run(claim)


def test_the_provider_binds_again_after_a_lost_connection_or_an_unbind(smpp_modules: Path) -> None:
    async def claim() -> None:
        async with wired(smpp_modules) as wire:
            await wire.smsc.expect("bound")
            await wire.smsc.tell(drop=True)
            await wire.smsc.expect("bound")
            await wire.smsc.tell(ask="unbind")
            assert await wire.smsc.expect("response") == {"command": "unbind_resp", "status": 0}
            await wire.smsc.expect("bound")
            assert (await wire.deliver_when_bound("code")).state is DeliveryState.SENT

    run(claim)


def test_a_broken_connection_during_a_submit_raises_delivery_error(smpp_modules: Path) -> None:
    async def claim() -> None:
        async with wired(smpp_modules) as wire:
            await wire.smsc.tell(silent=True)
            asked = asyncio.create_task(wire.deliver("code"))
            await wire.smsc.expect("unanswered")
            await wire.smsc.tell(drop=True)
            with pytest.raises(DeliveryError):
                await asked

    run(claim)


def test_the_provider_binds_later_if_the_smsc_is_down_at_the_start(smpp_modules: Path) -> None:
    async def claim() -> None:
        async with smsc(smpp_modules) as peer:
            port = peer.port
        async with account(port).open(no_receipts) as provider:
            with pytest.raises(DeliveryError, match="not bound"):
                await provider.deliver(OutgoingMessage(MSG_ID, MOBILE, "code"))
            async with smsc(smpp_modules, port) as peer:
                await peer.expect("bound")

    run(claim)


def test_a_wrong_password_is_named_and_not_shown(smpp_modules: Path) -> None:
    async def claim() -> None:
        async with smsc(smpp_modules) as peer:
            with pytest.raises(RunError, match="ESME_RINVPASWD; check smpp_url and SMSCODE_SMPP_PASSWORD") as problem:
                async with account(peer.port, "wrong").open(no_receipts):
                    pass
            assert "wrong" not in str(problem.value)

    run(claim)


def test_a_bind_refused_later_is_logged_and_retried(smpp_modules: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def claim() -> None:
        async with smsc(smpp_modules) as peer:
            port = peer.port
        async with account(port, "wrong").open(no_receipts), smsc(smpp_modules, port):
            while caplog.text.count("ESME_RINVPASWD") < 2:
                await asyncio.sleep(0.01)

    with caplog.at_level(logging.ERROR):
        run(claim)


def test_a_message_is_refused_as_misconfigured_while_the_smsc_refuses_to_bind(smpp_modules: Path) -> None:
    async def claim() -> None:
        async with smsc(smpp_modules) as peer:
            port = peer.port
        async with account(port, "wrong").open(no_receipts) as provider, smsc(smpp_modules, port):
            problem = DeliveryError("")
            while not problem.misconfigured:
                with pytest.raises(DeliveryError) as raised:
                    await provider.deliver(OutgoingMessage(MSG_ID, MOBILE, "code"))
                problem = raised.value
                await asyncio.sleep(0.01)
            assert problem.carrier_code == "ESME_RINVPASWD"

    run(claim)


def test_the_session_sends_enquire_link(smpp_modules: Path) -> None:
    async def claim() -> None:
        async with wired(smpp_modules, enquire_interval_s=0.05) as wire:
            for _ in range(3):
                await wire.smsc.expect("enquire_link")
            assert (await wire.deliver("code")).state is DeliveryState.SENT

    run(claim)


def test_a_silent_smsc_is_disconnected_and_bound_again(smpp_modules: Path) -> None:
    async def claim() -> None:
        async with wired(smpp_modules, enquire_interval_s=0.05, response_timeout_s=0.5) as wire:
            await wire.smsc.expect("bound")
            await wire.smsc.tell(silent=True)
            await wire.smsc.expect("bound")
            await wire.smsc.tell(silent=False)
            assert (await wire.deliver_when_bound("code")).state is DeliveryState.SENT

    run(claim)


def test_a_submit_without_a_timely_response_raises_delivery_error(smpp_modules: Path) -> None:
    async def claim() -> None:
        async with wired(smpp_modules, response_timeout_s=0.3) as wire:
            await wire.smsc.tell(silent=True)
            with pytest.raises(DeliveryError, match="Timeout"):
                await wire.deliver("code")
            await wire.smsc.tell(silent=False)
            assert (await wire.deliver_when_bound("code")).state is DeliveryState.SENT

    run(claim)


def test_the_session_answers_enquire_link(smpp_modules: Path) -> None:
    async def claim() -> None:
        async with wired(smpp_modules) as wire:
            await wire.smsc.tell(ask="enquire_link")
            assert await wire.smsc.expect("response") == {"command": "enquire_link_resp", "status": 0}

    run(claim)


def test_an_unknown_request_gets_a_generic_nack(smpp_modules: Path) -> None:
    async def claim() -> None:
        async with wired(smpp_modules) as wire:
            await wire.smsc.tell(ask="data_sm")
            assert await wire.smsc.expect("response") == {"command": "generic_nack", "status": 3}

    run(claim)


def test_the_window_limits_unanswered_requests(smpp_modules: Path) -> None:
    async def claim() -> None:
        async with wired(smpp_modules) as wire:
            await wire.smsc.tell(silent=True)
            asked = [asyncio.create_task(wire.deliver("code")) for _ in range(20)]
            for _ in range(16):
                await wire.smsc.expect("unanswered")
            await wire.smsc.tell(silent=False, drop=True)
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            assert [it for it in outcomes if not isinstance(it, DeliveryError)] == []

    run(claim)


def test_a_peer_that_does_not_speak_smpp_is_disconnected() -> None:
    async def claim() -> None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example.org ESMTP\r\n" * 3)
            await reader.read()
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        async with server, account(server.sockets[0].getsockname()[1]).open(no_receipts) as provider:
            with pytest.raises(DeliveryError, match="not bound"):
                await provider.deliver(OutgoingMessage(MSG_ID, MOBILE, "code"))

    run(claim)


@pytest.mark.parametrize(
    ("url", "password", "source", "reason"),
    [
        ("smsc.example.org:2775", "secret", "", "expected smpp://"),
        ("smpp://smsc.example.org", "secret", "", "expected smpp://"),
        ("smpp://me:secret@smsc.example.org", "secret", "", "expected smpp://"),
        ("smpp://me@smsc.example.org:port", "secret", "", "expected smpp://"),
        ("smpp://me@[::1", "secret", "", "expected smpp://"),
        ("smpp://a-system-id-too-long@smsc.example.org", "secret", "", "15 ASCII"),
        ("smpp://m%C3%A9@smsc.example.org", "secret", "", "15 ASCII"),
        ("smpp://me@smsc.example.org", "longsecret", "", "8 ASCII"),
        ("smpp://me@smsc.example.org", "sécret", "", "8 ASCII"),
        ("smpp://me@smsc.example.org", "secret", "a sender too long", "11 ASCII"),
        ("smpp://me@smsc.example.org", "secret", "签名", "11 ASCII"),
    ],
)
def test_invalid_account_settings_are_refused(url: str, password: str, source: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as problem:
        SmppFactory.parse(url, password, source)
    assert "secret" not in str(problem.value)


def test_an_account_shows_no_password() -> None:
    smpp = SmppFactory.parse("smpp://me@smsc.example.org", "hidden")
    assert "hidden" not in repr(smpp)
    assert smpp.account.port == 2775
