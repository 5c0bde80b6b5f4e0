"""Deliver each message as one signed HTTP POST. docs/guides/delivery.md describes the request for receivers."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import ClassVar
from urllib.parse import urlsplit

import aiohttp

from toolkit.api.errors import SettingsError
from toolkit.service.core.messages import Delivery, DeliveryState
from toolkit.service.delivery.base import DeliveryError, OutgoingMessage, ReceiptHandler

CONNECT_TIMEOUT_S, TOTAL_TIMEOUT_S = 5, 10
MAX_RETRY_AFTER_S = 60
_MISCONFIGURED = frozenset({401, 403, 404, 405, 407})  # and redirects: the URL or the secret is wrong, not the message
_RETRYABLE = frozenset({408, 425, 429})  # and 5xx: RFC 9110 section 15, RFC 8470, RFC 6585


@dataclass(frozen=True, slots=True)
class WebhookFactory:
    """The URL to post to, and the secret that signs the requests.

    ``now_s`` returns the time in seconds since 1970. Raise SettingsError if the URL isn't one of HTTP.
    """

    url: str
    secret: str = field(repr=False)
    now_s: Callable[[], float] = time.time

    name: ClassVar[str] = "webhook"

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_valid = False
        if not is_valid:  # the URL isn't repeated: it may hold a password
            raise SettingsError("invalid webhook_url: expected an HTTP URL, e.g. https://host/path")

    @property
    def plain_text_host(self) -> str:
        """The webhook's host, if its URL is not https."""
        parts = urlsplit(self.url)
        return (parts.hostname or "") if parts.scheme == "http" else ""

    @asynccontextmanager
    async def open(self, handle_receipt: ReceiptHandler) -> AsyncIterator[WebhookProvider]:
        """Open an HTTP session until the block ends. A webhook sends no receipts."""
        timeout = aiohttp.ClientTimeout(total=TOTAL_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
            yield WebhookProvider(self, session)


@dataclass(frozen=True, slots=True)
class WebhookProvider:
    """Posts messages over an HTTP session."""

    settings: WebhookFactory
    session: aiohttp.ClientSession

    async def deliver(self, message: OutgoingMessage) -> Delivery:
        """Post a message: DELIVERED for 2xx, FAILED for other statuses that are final.

        Raise DeliveryError for 408, 425, 429, 5xx and if no response arrives. It is ``misconfigured`` for redirects and
        statuses that a wrong URL or secret causes.
        """
        settings, body = self.settings, build_body(message)
        headers = build_headers(message.msg_id, body, settings.secret, int(settings.now_s()))
        try:
            async with self.session.post(settings.url, data=body, headers=headers, allow_redirects=False) as response:
                status, retry_after = response.status, response.headers.get("Retry-After", "")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise DeliveryError(type(error).__name__) from None
        if 300 <= status < 400 or status in _MISCONFIGURED:
            raise DeliveryError(str(status), misconfigured=True)
        if status in _RETRYABLE or status >= 500:
            raise DeliveryError(str(status), read_retry_after(retry_after, settings.now_s()))
        return Delivery(DeliveryState.DELIVERED if 200 <= status < 300 else DeliveryState.FAILED, str(status))


def build_body(message: OutgoingMessage) -> bytes:
    """Return the JSON body of a message's request."""
    return json.dumps({"msg_id": message.msg_id, "mobile": message.mobile, "text": message.text}).encode()


def build_headers(msg_id: str, body: bytes, secret: str, timestamp_s: int) -> dict[str, str]:
    """Return a request's headers: media type, idempotency key, timestamp (seconds since 1970) and signature."""
    signed = b"%d.%b" % (timestamp_s, body)
    return {
        "Content-Type": "application/json; charset=utf-8",
        "Idempotency-Key": msg_id,
        "X-Smscode-Timestamp": str(timestamp_s),
        "X-Smscode-Signature": f"v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}",
    }


def read_retry_after(value: str, now_s: float) -> float:
    """Return the wait in seconds that a Retry-After header (RFC 9110, 10.2.3) asks for, between 0 and 60.

    An empty or invalid value gives 0.

    >>> read_retry_after("12", now_s=0)
    12.0
    >>> read_retry_after("Tue, 14 Nov 2023 22:13:30 GMT", now_s=1_700_000_000)
    10.0
    """
    try:
        wait_s = float(value) if value.isdecimal() else parsedate_to_datetime(value).timestamp() - now_s
    except (ValueError, OverflowError):
        return 0
    return min(max(wait_s, 0), MAX_RETRY_AFTER_S)
