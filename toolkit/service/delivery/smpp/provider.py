"""Texts out by SMPP 3.4: submitted to a carrier's SMSC over one session that is bound again whenever it ends.

aiosmpplib gives the PDUs and the GSM alphabet. Its own session is not used: nobody can wait there for what becomes of a
message, its parts are too long where letters of the extension table take two places, a vendor's own status ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar, Self
from urllib.parse import unquote, urlsplit

from aiosmpplib.protocol import SubmitSm
from aiosmpplib.state import NPI, TON, PhoneNumber, SmppCommandStatus

from toolkit.api.errors import InputError, RunError, SettingsError, StoreError
from toolkit.service.core.messages import Delivery, State
from toolkit.service.delivery.base import DeliveryError, Receive, Text, backoff_s
from toolkit.service.delivery.smpp.receipts import read_receipt
from toolkit.service.delivery.smpp.segmentation import Part, split
from toolkit.service.delivery.smpp.session import Account, Pdu, RefusedError, Session, bind, status_name

log = logging.getLogger(__name__)

DEFAULT_PORT = 2775
FIRST_WAIT_S, MOST_WAIT_S = 0.5, 30
_COUNTRY = "86"
_AGAIN = frozenset(
    {
        SmppCommandStatus.ESME_RTHROTTLED,
        SmppCommandStatus.ESME_RMSGQFUL,
        SmppCommandStatus.ESME_RSYSERR,
        SmppCommandStatus.ESME_RX_T_APPN,
    }
)
_HAS_HEADER = 0x40  # esm_class, SMPP 3.4 section 5.2.12: the message begins with a user data header


@dataclass(frozen=True, slots=True)
class Smpp:
    """An account at an SMSC. ``source``: the sender that phones show, a number or at most 11 letters."""

    account: Account
    source: str = ""

    name: ClassVar[str] = "smpp"

    @classmethod
    def parse(cls, url: str, password: str, source: str = "") -> Self:
        """Read smpp://system_id@host:port; raise SettingsError for what SMPP 3.4 has no room for."""
        host, port, system_id = _read_url(url)
        if not (system_id.isascii() and 1 <= len(system_id) <= 15):
            raise SettingsError("the smpp url can't be used: SMPP 3.4 has room for a system id of 15 ASCII characters")
        if not (password.isascii() and len(password) <= 8):
            raise SettingsError("the smpp password can't be used: SMPP 3.4 has room for 8 ASCII characters")
        if not (source.isascii() and len(source) <= (20 if source.lstrip("+").isdecimal() else 11)):
            raise SettingsError("the smpp source can't be used: write a number, or at most 11 ASCII letters")
        return cls(Account(host, port, system_id, password), source)

    @asynccontextmanager
    async def open(self, receive: Receive) -> AsyncIterator[_Carrier]:
        """Stay bound for as long as the block lasts; begin once the SMSC has answered, or can't be reached."""
        carrier = _Carrier(self, receive)
        tried = asyncio.get_running_loop().create_future()
        staying = asyncio.create_task(carrier.stay_bound(tried))
        try:
            await tried
            yield carrier
        finally:
            staying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await staying


class _Carrier:
    """Submits texts while it is bound."""

    def __init__(self, smpp: Smpp, receive: Receive) -> None:
        self._smpp, self._receive = smpp, receive
        self._session: Session | None = None
        self._chance = random.Random()

    async def deliver(self, text: Text) -> Delivery:
        """Submit a text's parts in their order: sent when the SMSC has taken them all."""
        try:
            # The same reference at every try: a phone that gets a part twice still puts one text together.
            parts = split(text.text, zlib.crc32(text.msg_id.encode()) & 0xFF)
        except InputError:
            return Delivery(State.FAILED, status_name(SmppCommandStatus.ESME_RINVMSGLEN))
        return await self._submit(text.mobile, parts)

    async def _submit(self, mobile: str, parts: Sequence[Part]) -> Delivery:
        carrier_id = ""
        for part in parts:
            taken = await self._ask(self._build(mobile, part, with_receipt=part is parts[-1]))
            if taken.status in _AGAIN:
                raise DeliveryError(status_name(taken.status))
            if taken.status:
                return Delivery(State.FAILED, status_name(taken.status))
            carrier_id = taken.octets[16:].split(b"\0")[0].decode("latin-1")
        return Delivery(State.SENT, carrier_id=carrier_id)

    def _build(self, mobile: str, part: Part, with_receipt: bool) -> SubmitSm:
        message = SubmitSm(
            short_message="(encoded)",
            source=_read_source(self._smpp.source),
            destination=PhoneNumber(_COUNTRY + mobile, TON.INTERNATIONAL, NPI.ISDN),
            esm_class=_HAS_HEADER if part.has_header else 0,
            registered_delivery=int(with_receipt),
            encoding=part.alphabet.codec,
        )
        message.set_encoded_message(part.octets)
        return message

    async def _ask(self, message: SubmitSm) -> Pdu:
        if self._session is None:
            raise DeliveryError("not bound")
        try:
            return await self._session.ask(message)
        except OSError as problem:
            raise DeliveryError(type(problem).__name__) from None

    async def stay_bound(self, tried: asyncio.Future[None]) -> None:
        """Bind, and bind again; ``tried`` is done after the first time, with RunError if we were refused."""
        tries = 0
        while True:
            try:
                await self._bound_once(tried)
                tries = 0
            except RefusedError as refusal:
                self._tell_refusal(str(refusal), tried)
            except OSError as problem:
                log.warning("smpp: no session with %s: %s", self._smpp.account.host, type(problem).__name__)
            if not tried.done():
                tried.set_result(None)
            await asyncio.sleep(backoff_s(self._chance, tries, FIRST_WAIT_S, MOST_WAIT_S))
            tries += 1

    async def _bound_once(self, tried: asyncio.Future[None]) -> None:
        async with bind(self._smpp.account, self._answer) as self._session:
            try:
                if not tried.done():
                    tried.set_result(None)
                await self._session.closed.wait()
                log.warning("smpp: the session with %s ended", self._smpp.account.host)
            finally:
                self._session = None

    def _tell_refusal(self, status: str, tried: asyncio.Future[None]) -> None:
        account = self._smpp.account
        said = f"the SMSC {account.host}:{account.port} refused to bind {account.system_id}: {status}"
        if tried.done():
            log.error("smpp: %s", said)
        else:
            tried.set_exception(RunError(f"{said}; check smpp_url and SMSCODE_SMPP_PASSWORD"))

    async def _answer(self, pdu: Pdu) -> int:
        """Take a receipt, and return the status to answer it with; the carrier repeats what couldn't be kept."""
        receipt = read_receipt(pdu.octets)
        try:
            if receipt and not await self._receive(*receipt):
                log.info("smpp: a receipt of no message that waits for one")
        except StoreError as problem:
            log.error("smpp: a receipt: %s", problem)
            return int(SmppCommandStatus.ESME_RX_T_APPN)
        return int(SmppCommandStatus.ESME_ROK)


def _read_url(url: str) -> tuple[str, int, str]:
    """Return host, port and system id; the error doesn't repeat the URL, in which a password may stand."""
    try:
        parts = urlsplit(url)
        host, port, system_id = parts.hostname, parts.port or DEFAULT_PORT, unquote(parts.username or "")
    except ValueError:
        host = None
    if not host or parts.scheme != "smpp" or parts.password or not system_id:
        raise SettingsError("the smpp url can't be used: write smpp://system_id@host:port")
    return host, port, system_id


def _read_source(source: str) -> PhoneNumber:
    """Return a sender's address: +number is international, other digits the carrier's own, else letters."""
    if source.startswith("+"):
        return PhoneNumber(source[1:], TON.INTERNATIONAL, NPI.ISDN)
    if not source or source.isdecimal():
        return PhoneNumber(source)
    return PhoneNumber(source, TON.ALPHANUMERIC, NPI.UNKNOWN)
