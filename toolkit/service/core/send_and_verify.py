"""Send a code and verify a code: the checks of each call that depend on the account, in their order.

``send`` checks, in this order: the sandbox's magic mobile, the app's permission, the template, and then in the store,
in one atomic step, the rate limits and the balance. ``verify`` leaves everything to the store; see ``ServiceState``.
HTTP and the database are not known here.
"""

from __future__ import annotations

import hmac
import logging
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, cast

from toolkit.api.basic_auth import Credentials
from toolkit.api.defaults import CODE_DIGITS, CODES
from toolkit.api.errors import StoreError
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Refusal, SendFields
from toolkit.service.core.accounts import App, Template
from toolkit.service.core.clock import Clock
from toolkit.service.core.deferred import Deferred
from toolkit.service.core.digests import Digests
from toolkit.service.core.messages import Decision, NewMessage
from toolkit.service.metrics.counters import Counters

log = logging.getLogger(__name__)

_UNKNOWN_APP_DIGEST = b"\0" * 32


class VerificationStore(Protocol):
    """The part of a store that sending and verifying need; see ``toolkit.service.stores.base.Store`` for the rest."""

    @property
    def digests(self) -> Digests:
        """The digests that the store keeps in place of codes and secrets."""

    @property
    def clock(self) -> Clock:
        """The clock of every time in the store."""

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
    numbers = struct.Struct("<256I")
    beyond = 2**32 - 2**32 % CODES  # from here on, the small codes would be drawn more often
    while True:
        for number in numbers.unpack(os.urandom(numbers.size)):
            if number < beyond:
                yield f"{number % CODES:0{CODE_DIGITS}d}"


@dataclass(frozen=True, slots=True)
class VerificationService:
    """Answers the API's two calls from a store.

    Args:
        digits: returns a new code.
        magic_return_code: returns the return code that a sandbox's magic mobile asks for, or None. In production no
            mobile is magic.
    """

    store: VerificationStore
    digits: Callable[[], str] = field(default_factory=lambda: draw_codes().__next__)
    magic_return_code: Callable[[str], ReturnCode | None] = field(default=lambda mobile: None)
    counters: Counters = field(default_factory=Counters)

    def authenticate(self, credentials: Credentials) -> App | Refusal:
        """Return the app of credentials. An unknown key takes the same steps as a wrong secret, and the same time."""
        app = self.store.app(credentials.app_key)
        digest = self.store.digests.secret(credentials.master_secret)
        right = hmac.compare_digest(digest, app.secret_digest if app else _UNKNOWN_APP_DIGEST)
        return app if app and right and not app.suspended else Refusal(ReturnCode.AUTH_FAILED)

    def send(self, app: App, fields: SendFields) -> Deferred[str | Refusal]:
        """Send a code; return the msg_id of the accepted message, or the refusal."""
        magic = self.magic_return_code(fields.mobile)
        if magic and magic.kind not in (Kind.OK, Kind.VERDICT):
            return Deferred(Refusal(magic, retry_after_s=1 if magic is ReturnCode.OUT_OF_FREQ else None))
        if not app.permitted:
            return Deferred(Refusal(ReturnCode.NO_SMS_CODE_AUTH))
        template = None if fields.temp_id is None else self.store.template(fields.temp_id)
        if template is None or not template.enabled or template.app_id != app.app_id:
            return Deferred(Refusal(ReturnCode.INVALID_TEMP_ID))
        message = NewMessage(
            app_id=app.app_id,
            mobile=int(fields.mobile),
            temp_id=template.temp_id,
            code=self.digits(),
            ttl_ms=template.ttl_s * 1000,
            segments=template.segments,
            forced=magic if magic and magic.kind is Kind.VERDICT else None,
            rate_limited=magic is not ReturnCode.SUCCESS,
        )
        self.counters.waiting += 1
        return self.store.send(message).then(self._read_send)

    def verify(self, app: App, msg_id: str, code: str) -> Deferred[Refusal | None]:
        """Verify a typed code; None if it is right, which is the answer only once."""
        self.counters.waiting += 1
        return self.store.verify(app.app_id, msg_id, code).then(self._read_verify)

    def _read_send(self, decision: Decision | StoreError) -> str | Refusal:
        refusal = self._read_verify(decision)
        return refusal or cast("Decision", decision).msg_id

    def _read_verify(self, decision: Decision | StoreError) -> Refusal | None:
        """Return the refusal of a decision, if it is one. A failure of the store is a refusal: SERVER_ERROR."""
        self.counters.waiting -= 1
        if isinstance(decision, StoreError):
            log.error("store: %s", decision)
            return Refusal(ReturnCode.SERVER_ERROR)
        if decision.return_code is ReturnCode.SUCCESS:
            return None
        if decision.wait_ms > 0:
            return Refusal(decision.return_code, self.store.clock.real_seconds(decision.wait_ms))
        return Refusal(decision.return_code)
