"""Send a code and verify a code: the checks of each call that depend on the account, in their order.

``send`` checks, in this order: the app's permission, the template, and then in the store, in one atomic step, the rate
limits and the balance. ``verify`` leaves everything to the store; see ``ServiceState``.
This module depends neither on HTTP nor on the database.
"""

from __future__ import annotations

import hmac
import logging
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from toolkit.api.defaults import CODE_DIGITS, CODES
from toolkit.api.errors import StoreError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Refusal, SendFields, read_authorization
from toolkit.service.core.accounts import App, Template
from toolkit.service.core.clock import Clock
from toolkit.service.core.deferred import Deferred
from toolkit.service.core.digests import Digests
from toolkit.service.core.messages import Decision, NewMessage
from toolkit.service.metrics.counters import Counters

log = logging.getLogger(__name__)

_UNKNOWN_APP_DIGEST = b"\0" * 32
_KNOWN_HEADERS = 1000
_SUCCESS = ReturnCode.SUCCESS  # looking up an enum's attribute runs Python code


class VerificationStore(Protocol):
    """The part of a store that sending and verifying need; see ``toolkit.service.stores.base.Store`` for the rest."""

    @property
    def digests(self) -> Digests:
        """The digests that the store keeps in place of codes and secrets."""

    @property
    def clock(self) -> Clock:
        """The clock of every time in the store."""

    @property
    def commit_s(self) -> float:
        """How long the last commit, or batch of calls, took in seconds."""

    def app(self, app_key: str) -> App | None:
        """Return the app of a key."""

    def template(self, temp_id: int) -> Template | None:
        """Return a template."""

    def send(self, message: NewMessage) -> Deferred[Decision | StoreError]:
        """Accept a message, or refuse it for a rate limit or for lack of balance, in one atomic step."""
        ...

    def verify(self, app_id: int, msg_id: str, code: str) -> Deferred[Decision | StoreError]:
        """Judge a typed code in one atomic step. A wrong code uses up a try, the right one the message."""
        ...


def draw_codes() -> Iterator[str]:
    """Yield random codes, each with the same probability. Drawing many at once takes a third of the time."""
    numbers, code = struct.Struct("<256I"), f"%0{CODE_DIGITS}d"  # a third of the time of an f-string with a width
    beyond = 2**32 - 2**32 % CODES  # from here on, the small codes would be drawn more often
    while True:
        for number in numbers.unpack(os.urandom(numbers.size)):
            if number < beyond:
                yield code % (number % CODES)


@dataclass(frozen=True, slots=True)
class VerificationService:
    """Answers the API's two calls from a store.

    Args:
        digits: returns a new code.
        on_accepted: is called when a message was accepted.
    """

    store: VerificationStore
    digits: Callable[[], str] = field(default_factory=lambda: draw_codes().__next__)
    counters: Counters = field(default_factory=Counters)
    on_accepted: Callable[[], object] = lambda: None
    _known_headers: dict[bytes | None, App] = field(default_factory=dict, repr=False)

    def authenticate(self, authorization: bytes | None) -> App | Refusal:
        """Return the app of an Authorization header.

        An unknown key takes the same steps as a wrong secret, and the same time. A header with the right credentials is
        cached until the app changes. A header that resembles a cached one takes no other time, because Python looks it
        up by its keyed hash.
        """
        known = self._known_headers.get(authorization)
        if known:
            current = self.store.app(known.app_key)
            if current is known or current == known:
                return known
        credentials = read_authorization(authorization)
        if isinstance(credentials, Refusal):
            return credentials
        app = self.store.app(credentials.app_key)
        digest = self.store.digests.secret(credentials.master_secret)
        right = hmac.compare_digest(digest, app.secret_digest if app else _UNKNOWN_APP_DIGEST)
        now_ms = self.store.clock.now_ms()
        old_digest = app.old_digest if app and now_ms < app.old_until_ms else _UNKNOWN_APP_DIGEST
        was_right = hmac.compare_digest(digest, old_digest)
        if not app or not (right or was_right) or app.suspended:
            return Refusal(ReturnCode.AUTH_FAILED)
        if not right:  # the header must be checked again at each call, because its time ends
            return app
        if len(self._known_headers) >= _KNOWN_HEADERS:
            self._known_headers.clear()
        self._known_headers[authorization] = app
        return app

    def claimed_app_key(self, authorization: bytes | None) -> str | None:
        """Return the app key of a refused Authorization header; None if no app has it.

        An unknown key is not returned, because it may be a secret in the wrong place.
        """
        credentials = read_authorization(authorization)
        app = None if isinstance(credentials, Refusal) else self.store.app(credentials.app_key)
        return app.app_key if app else None

    def send(
        self, app: App, fields: SendFields, code: str = "", forced: ReturnCode | None = None, rate_limited: bool = True
    ) -> Deferred[str | Refusal]:
        """Send a code; return the msg_id of the accepted message, or the refusal.

        A sandbox gives a ``code``, and the last two fields of ``NewMessage``.
        """
        if not app.permitted:
            return Deferred(Refusal(ReturnCode.NO_SMS_CODE_AUTH))
        template = None if fields.temp_id is None else self.store.template(fields.temp_id)
        if template is None or not template.enabled or template.app_id != app.app_id:
            return Deferred(Refusal(ReturnCode.INVALID_TEMP_ID))
        mobile, ttl_ms = int(fields.mobile), template.ttl_s * 1000
        code = code or self.digits()
        message = NewMessage(
            app.app_id, mobile, template.temp_id, code, ttl_ms, template.segments, forced, rate_limited
        )
        self.counters.waiting += 1
        return self.store.send(message).then(self._read_send)

    def verify(self, app: App, msg_id: str, code: str) -> Deferred[Refusal | None]:
        """Verify a typed code; return None if it is right, which it is only once."""
        self.counters.waiting += 1
        return self.store.verify(app.app_id, msg_id, code).then(self._read_verify)

    def _read_send(self, decision: Decision | StoreError) -> str | Refusal:
        self.counters.waiting -= 1
        if isinstance(decision, Decision) and decision.return_code is _SUCCESS:
            self.on_accepted()
            return decision.msg_id
        return self._refusal(decision)

    def _read_verify(self, decision: Decision | StoreError) -> Refusal | None:
        self.counters.waiting -= 1
        is_right = isinstance(decision, Decision) and decision.return_code is _SUCCESS
        return None if is_right else self._refusal(decision)

    def _refusal(self, decision: Decision | StoreError) -> Refusal:
        """Return the refusal of a decision. A failure of the store is a refusal: SERVER_ERROR."""
        if isinstance(decision, StoreError):
            log.error("store: %s", decision)
            return Refusal(ReturnCode.SERVER_ERROR)
        if decision.wait_ms > 0:
            return Refusal(decision.return_code, self.store.clock.real_seconds(decision.wait_ms))
        return Refusal(decision.return_code)
