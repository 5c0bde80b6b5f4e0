"""Texts out by HTTP: one signed POST each, as docs/webhook.md describes it to who receives them."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import ClassVar
from urllib.parse import urlsplit

import aiohttp

from toolkit.api.errors import SettingsError
from toolkit.service.core.messages import Delivery, State
from toolkit.service.delivery.base import DeliveryError, Receive, Text

CONNECT_S, TOTAL_S = 5, 10
MAX_RETRY_AFTER_S = 60
_AGAIN = frozenset({408, 425, 429})  # and 5xx: RFC 9110 section 15, RFC 8470, RFC 6585


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to post, and the secret that signs it. ``now_s``: seconds since 1970."""

    url: str
    secret: str = field(repr=False)
    now_s: Callable[[], float] = time.time

    name: ClassVar[str] = "webhook"

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise SettingsError("the webhook url can't be used: write https://host/path")

    @asynccontextmanager
    async def open(self, receive: Receive) -> AsyncIterator[_Poster]:
        """Keep connections open for as long as the block lasts. A webhook sends no receipts."""
        timeout = aiohttp.ClientTimeout(total=TOTAL_S, connect=CONNECT_S)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
            yield _Poster(self, session)


@dataclass(frozen=True, slots=True)
class _Poster:
    """Posts texts over a session."""

    webhook: Webhook
    session: aiohttp.ClientSession

    async def deliver(self, text: Text) -> Delivery:
        """Post a text; 2xx is delivered, 408, 425, 429, 5xx and no answer are worth another try, others failed."""
        body = build_body(text)
        headers = build_headers(text.msg_id, body, self.webhook.secret, int(self.webhook.now_s()))
        try:
            async with self.session.post(self.webhook.url, data=body, headers=headers, allow_redirects=False) as answer:
                return self._judge(answer.status, answer.headers)
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            raise DeliveryError(type(problem).__name__) from None

    def _judge(self, status: int, headers: Mapping[str, str]) -> Delivery:
        if status in _AGAIN or status >= 500:
            raise DeliveryError(str(status), read_retry_after(headers.get("Retry-After", ""), self.webhook.now_s()))
        return Delivery(State.DELIVERED if 200 <= status < 300 else State.FAILED, str(status))


def build_body(text: Text) -> bytes:
    """Return the JSON that is posted."""
    return json.dumps({"msg_id": text.msg_id, "mobile": text.mobile, "text": text.text}).encode()


def build_headers(msg_id: str, body: bytes, secret: str, timestamp_s: int) -> dict[str, str]:
    """Return the headers that are posted: what the body is, that it is ours, and which message it is of."""
    signed = b"%d.%b" % (timestamp_s, body)
    return {
        "Content-Type": "application/json; charset=utf-8",
        "Idempotency-Key": msg_id,
        "X-Smscode-Timestamp": str(timestamp_s),
        "X-Smscode-Signature": f"v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}",
    }


def read_retry_after(value: str, now_s: float) -> float:
    """Return how many seconds a Retry-After header (RFC 9110, 10.2.3) asks to wait, at most a minute; else 0."""
    try:
        wait_s = float(value) if value.isdecimal() else parsedate_to_datetime(value).timestamp() - now_s
    except (ValueError, OverflowError):
        return 0
    return min(max(wait_s, 0), MAX_RETRY_AFTER_S)
