"""Send a code and verify a code: the checks of each call that depend on the account, in their order.

``send`` checks, in this order: the sandbox's magic mobile, the app's permission, the template, and then in the store,
in one atomic step, the rate limits and the balance. ``verify`` leaves everything to the store; see ``ServiceState``.
HTTP and the database are not known here.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from toolkit.api.basic_auth import Credentials
from toolkit.api.defaults import CODE_DIGITS, CODES
from toolkit.api.errors import StoreError
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Refusal, SendFields
from toolkit.service.core.accounts import App, Template
from toolkit.service.core.clock import Clock
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

    async def send(self, message: NewMessage) -> Decision:
        """Accept a message, or refuse it for a rate limit or for lack of balance, in one atomic step."""
        ...

    async def verify(self, app_id: int, msg_id: str, code: str) -> Decision:
        """Judge a typed code in one atomic step. A wrong code uses up a try, the right one the message."""
        ...


def draw_code() -> str:
    """Return a random code, each with the same probability."""
    return f"{secrets.randbelow(CODES):0{CODE_DIGITS}d}"


@dataclass(frozen=True, slots=True)
class VerificationService:
    """Answers the API's two calls from a store.

    Args:
        digits: returns a new code.
        magic_return_code: returns the return code that a sandbox's magic mobile asks for, or None. In production no
            mobile is magic.
    """

    store: VerificationStore
    digits: Callable[[], str] = draw_code
    magic_return_code: Callable[[str], ReturnCode | None] = field(default=lambda mobile: None)
    counters: Counters = field(default_factory=Counters)

    def authenticate(self, credentials: Credentials) -> App | Refusal:
        """Return the app of credentials. An unknown key takes the same steps as a wrong secret, and the same time."""
        app = self.store.app(credentials.app_key)
        digest = self.store.digests.secret(credentials.master_secret)
        right = hmac.compare_digest(digest, app.secret_digest if app else _UNKNOWN_APP_DIGEST)
        return app if app and right and not app.suspended else Refusal(ReturnCode.AUTH_FAILED)

    async def send(self, app: App, fields: SendFields) -> str | Refusal:
        """Send a code; return the msg_id of the accepted message, or the refusal."""
        magic = self.magic_return_code(fields.mobile)
        if magic and magic.kind not in (Kind.OK, Kind.VERDICT):
            return Refusal(magic, retry_after_s=1 if magic is ReturnCode.OUT_OF_FREQ else None)
        if not app.permitted:
            return Refusal(ReturnCode.NO_SMS_CODE_AUTH)
        template = None if fields.temp_id is None else self.store.template(fields.temp_id)
        if template is None or not template.enabled or template.app_id != app.app_id:
            return Refusal(ReturnCode.INVALID_TEMP_ID)
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
        decision = await self._decide(self.store.send(message))
        return self._refusal(decision) or decision.msg_id

    async def verify(self, app: App, msg_id: str, code: str) -> Refusal | None:
        """Verify a typed code; None if it is right, which is the answer only once."""
        return self._refusal(await self._decide(self.store.verify(app.app_id, msg_id, code)))

    async def _decide(self, deciding: Awaitable[Decision]) -> Decision:
        """Await a decision of the store; a failure of the store becomes SERVER_ERROR."""
        self.counters.waiting += 1
        try:
            return await deciding
        except StoreError as problem:
            log.error("store: %s", problem)
            return Decision(ReturnCode.SERVER_ERROR)
        finally:
            self.counters.waiting -= 1

    def _refusal(self, decision: Decision) -> Refusal | None:
        if decision.return_code is ReturnCode.SUCCESS:
            return None
        if decision.wait_ms > 0:
            return Refusal(decision.return_code, self.store.clock.real_seconds(decision.wait_ms))
        return Refusal(decision.return_code)
