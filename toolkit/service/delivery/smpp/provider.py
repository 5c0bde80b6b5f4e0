"""Submit messages to a carrier's SMSC over SMPP 3.4, and bind again whenever the session ends.

aiosmpplib supplies the PDUs and the GSM alphabet. Its own session is not used for three reasons: a caller can't await a
message's result, its parts are too long if letters of the extension table take two octets, and a status of a vendor's
own ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar, Self
from urllib.parse import unquote, urlsplit

from aiosmpplib.protocol import SubmitSm
from aiosmpplib.state import NPI, TON, PhoneNumber, SmppCommandStatus

from toolkit.api.errors import InputError, RunError, SettingsError, StoreError
from toolkit.service.core.messages import Delivery, DeliveryState
from toolkit.service.delivery.base import DeliveryError, OutgoingMessage, ReceiptHandler, backoff_s
from toolkit.service.delivery.smpp.receipts import normalize_id, read_receipt
from toolkit.service.delivery.smpp.segmentation import Part, split
from toolkit.service.delivery.smpp.session import (
    BindRefusedError,
    Pdu,
    Session,
    SmppAccount,
    open_session,
    status_name,
)
from toolkit.service.metrics.call_log import LOG_FIELDS

log = logging.getLogger(__name__)

DEFAULT_PORT = 2775
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.5, 30
_COUNTRY_CODE = "86"
_RETRYABLE = frozenset(
    {
        SmppCommandStatus.ESME_RTHROTTLED,
        SmppCommandStatus.ESME_RMSGQFUL,
        SmppCommandStatus.ESME_RSYSERR,
        SmppCommandStatus.ESME_RX_T_APPN,
    }
)
_UDH_INDICATOR = 0x40  # esm_class, SMPP 3.4 section 5.2.12: the message begins with a user data header


@dataclass(frozen=True, slots=True)
class SmppFactory:
    """An account at an SMSC. ``source`` is the sender that phones show: a number or at most 11 letters."""

    account: SmppAccount
    source: str = ""

    name: ClassVar[str] = "smpp"
    plain_text_host: ClassVar[str] = ""  # SMPP 3.4 has no TLS

    @classmethod
    def parse(cls, url: str, password: str, source: str = "") -> Self:
        """Read ``smpp://system_id@host:port``; raise SettingsError for values that SMPP 3.4 can't carry.

        >>> SmppFactory.parse("smpp://me@smsc.example.org", "s3cret").account.port
        2775
        """
        host, port, system_id = _read_url(url)
        if not (system_id.isascii() and 1 <= len(system_id) <= 15):
            raise SettingsError("invalid smpp_url: the system id may have at most 15 ASCII characters (SMPP 3.4)")
        if not (password.isascii() and len(password) <= 8):
            raise SettingsError("invalid smpp_password: it may have at most 8 ASCII characters (SMPP 3.4)")
        if not (source.isascii() and len(source) <= (20 if source.lstrip("+").isdecimal() else 11)):
            raise SettingsError("invalid smpp_source: expected a number, or at most 11 ASCII letters")
        return cls(SmppAccount(host, port, system_id, password), source)

    @asynccontextmanager
    async def open(self, handle_receipt: ReceiptHandler) -> AsyncIterator[SmppProvider]:
        """Stay bound until the block ends. The block begins after the first attempt to bind.

        Raise RunError if the SMSC refuses that attempt. An SMSC that can't be reached is tried again.
        """
        provider = SmppProvider(self, handle_receipt)
        first_attempt = asyncio.get_running_loop().create_future()
        binding = asyncio.create_task(provider.stay_bound(first_attempt))
        try:
            await first_attempt
            yield provider
        finally:
            binding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await binding


class SmppProvider:
    """Submits messages while it is bound."""

    def __init__(self, settings: SmppFactory, handle_receipt: ReceiptHandler) -> None:
        self._account, self._handle_receipt = settings.account, handle_receipt
        self._source = _read_source(settings.source)
        self._session: Session | None = None
        self._refusal = ""  # the status by which the SMSC refused the last bind
        self._rng = random.Random()

    async def deliver(self, message: OutgoingMessage) -> Delivery:
        """Submit a message's parts in order; the result is SENT once the SMSC has accepted them all.

        Only the last part asks for a receipt, so ``carrier_id`` is that part's.
        """
        try:
            # The reference is the same at every attempt, so a phone that gets a part twice still shows one text.
            parts = split(message.text, zlib.crc32(message.msg_id.encode()) & 0xFF)
        except InputError:
            return Delivery(DeliveryState.FAILED, status_name(SmppCommandStatus.ESME_RINVMSGLEN))
        carrier_id = ""
        for part in parts:
            submit = self._build(message.mobile, part, with_receipt=part is parts[-1])
            if self._session is None:
                raise DeliveryError(self._refusal or "not bound", misconfigured=bool(self._refusal))
            try:
                response = await self._session.request(submit)
            except OSError as error:
                raise DeliveryError(type(error).__name__) from None
            if response.status in _RETRYABLE:
                raise DeliveryError(status_name(response.status))
            if response.status:
                return Delivery(DeliveryState.FAILED, status_name(response.status))
            carrier_id = normalize_id(response.octets[16:].split(b"\0")[0].decode("latin-1"))
        return Delivery(DeliveryState.SENT, carrier_id=carrier_id)

    def _build(self, mobile: str, part: Part, with_receipt: bool) -> SubmitSm:
        pdu = SubmitSm(
            short_message="(encoded)",
            source=self._source,
            destination=PhoneNumber(_COUNTRY_CODE + mobile, TON.INTERNATIONAL, NPI.ISDN),
            esm_class=_UDH_INDICATOR if part.has_header else 0,
            registered_delivery=int(with_receipt),
            encoding=part.alphabet.codec,
        )
        pdu.set_encoded_message(part.octets)
        return pdu

    async def stay_bound(self, first_attempt: asyncio.Future[None]) -> None:
        """Bind, and bind again after each session. ``first_attempt`` gets RunError if the SMSC refuses at first."""
        account, failures = self._account, 0
        while True:
            try:
                await self._hold_session(first_attempt)
                failures = 0
            except BindRefusedError as refusal:
                self._refusal = str(refusal)
                problem = f"the SMSC {account.host}:{account.port} refused to bind {account.system_id}: {refusal}"
                if first_attempt.done():
                    log.error("smpp: %s", problem)
                else:
                    first_attempt.set_exception(RunError(f"{problem}; check smpp_url and SMSCODE_SMPP_PASSWORD"))
            except OSError as error:
                log.warning("smpp: no session with %s: %s", account.host, type(error).__name__)
            if not first_attempt.done():
                first_attempt.set_result(None)
            await asyncio.sleep(backoff_s(self._rng, failures, FIRST_BACKOFF_S, MAX_BACKOFF_S))
            failures += 1

    async def _hold_session(self, first_attempt: asyncio.Future[None]) -> None:
        """Bind and stay bound until the session ends."""
        async with open_session(self._account, self._handle_deliver) as self._session:
            self._refusal = ""
            try:
                if not first_attempt.done():
                    first_attempt.set_result(None)
                await self._session.closed.wait()
                log.warning("smpp: the session with %s ended", self._account.host)
            finally:
                self._session = None

    async def _handle_deliver(self, pdu: Pdu) -> int:
        """Record a receipt and return the response's status; after an error the carrier repeats the receipt."""
        receipt = read_receipt(pdu.octets)
        try:
            if receipt and not await self._handle_receipt(receipt):
                log.info(
                    "smpp: no message awaits the receipt that arrived",
                    extra={LOG_FIELDS: {"carrier_id": receipt.carrier_id}},
                )
        except StoreError as error:
            log.error("smpp: could not record a receipt: %s", error)
            return int(SmppCommandStatus.ESME_RX_T_APPN)
        return int(SmppCommandStatus.ESME_ROK)


def _read_url(url: str) -> tuple[str, int, str]:
    """Return host, port and system id. The error doesn't repeat the URL, because it may contain a password."""
    try:
        parts = urlsplit(url)
        host, port, system_id = parts.hostname, parts.port or DEFAULT_PORT, unquote(parts.username or "")
    except ValueError:
        host = None
    if not host or parts.scheme != "smpp" or parts.password or not system_id:
        raise SettingsError("invalid smpp_url: expected smpp://system_id@host:port, without a password")
    return host, port, system_id


def _read_source(source: str) -> PhoneNumber:
    """Return a sender's address: ``+number`` is international, other digits are the carrier's own, else letters."""
    if source.startswith("+"):
        return PhoneNumber(source[1:], TON.INTERNATIONAL, NPI.ISDN)
    if not source or source.isdecimal():
        return PhoneNumber(source)
    return PhoneNumber(source, TON.ALPHANUMERIC, NPI.UNKNOWN)
