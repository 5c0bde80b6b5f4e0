"""The use cases: send a code, verify a code. In which order things are judged, and what one atomic step is.

Knows no HTTP and no database: a call comes in as values, the store decides and keeps, a refusal or a result goes out.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from toolkit.api.defaults import CODE_DIGITS, CODES
from toolkit.api.errors import StoreError
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Credentials, Refusal, SendFields
from toolkit.service.core.accounts import App, Template
from toolkit.service.core.clock import Clock
from toolkit.service.core.digests import Digests
from toolkit.service.core.messages import Decision, NewMessage
from toolkit.service.metrics.counters import Counters

log = logging.getLogger(__name__)

_NOBODY = b"\0" * 32


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
    """Draw a code, uniformly at random."""
    return f"{secrets.randbelow(CODES):0{CODE_DIGITS}d}"


def never(mobile: str) -> ReturnCode | None:
    """Tell that no mobile is magic, as in production."""
    return None


@dataclass(frozen=True, slots=True)
class VerificationService:
    """Answers the API's two calls over a store.

    ``on_demand`` tells which return code a mobile asks for (the sandbox's magic numbers).
    """

    store: VerificationStore
    digits: Callable[[], str] = draw_code
    on_demand: Callable[[str], ReturnCode | None] = field(default=never)
    counters: Counters = field(default_factory=Counters)

    def authenticate(self, credentials: Credentials) -> App | Refusal:
        """Find the app whose key and secret these are; the same work is done for an unknown key."""
        app = self.store.app(credentials.app_key)
        digest = self.store.digests.secret(credentials.master_secret)
        right = hmac.compare_digest(digest, app.secret_digest if app else _NOBODY)
        return app if app and right and not app.suspended else Refusal(ReturnCode.AUTH_FAILED)

    async def send(self, app: App, fields: SendFields) -> str | Refusal:
        """Send a code: return the msg_id of the accepted message, or why not."""
        demanded = self.on_demand(fields.mobile)
        if demanded and demanded.kind not in (Kind.OK, Kind.VERDICT):
            return Refusal(demanded, retry_after_s=1 if demanded is ReturnCode.OUT_OF_FREQ else None)
        if not app.permitted:
            return Refusal(ReturnCode.NO_SMS_CODE_AUTH)
        template = None if fields.temp_id is None else self.store.template(fields.temp_id)
        if template is None or not template.enabled or template.app_id != app.app_id:
            return Refusal(ReturnCode.INVALID_TEMP_ID)
        decision = await self._decide(self.store.send(self._order(app, template, int(fields.mobile), demanded)))
        return self._refusal(decision) or decision.msg_id

    def _order(self, app: App, template: Template, mobile: int, demanded: ReturnCode | None) -> NewMessage:
        return NewMessage(
            app_id=app.app_id,
            mobile=mobile,
            temp_id=template.temp_id,
            code=self.digits(),
            ttl_ms=template.ttl_s * 1000,
            segments=template.segments,
            forced=demanded if demanded and demanded.kind is Kind.VERDICT else None,
            ruled=demanded is not ReturnCode.SUCCESS,
        )

    async def verify(self, app: App, msg_id: str, code: str) -> Refusal | None:
        """Verify a typed code: None when it is right, which it is once."""
        return self._refusal(await self._decide(self.store.verify(app.app_id, msg_id, code)))

    async def _decide(self, deciding: Awaitable[Decision]) -> Decision:
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
