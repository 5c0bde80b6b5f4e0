"""The use cases: send a code, verify a code. In which order things are judged, and what one atomic step is.

Knows no HTTP and no database: a call comes in as values, the store decides and keeps, a refusal or a result goes out.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from toolkit.codes import Kind, ReturnCode
from toolkit.errors import StoreError
from toolkit.service.accounts import App, Seal, Template
from toolkit.service.clock import Clock
from toolkit.service.ledger import Decision, Order
from toolkit.service.policy import draw_code
from toolkit.service.stores import Store
from toolkit.wire import Credentials, Refusal, SendFields

log = logging.getLogger(__name__)

_NOBODY = b"\0" * 32


def never(mobile: str) -> ReturnCode | None:
    """Tell that no mobile is magic, as in production."""
    return None


def new_msg_id() -> str:
    """Draw a random UUID (RFC 9562, version 4); uuid.uuid4 takes four times as long to say the same."""
    drawn = os.urandom(16)
    digits, variant = drawn.hex(), "89ab"[drawn[8] >> 6]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


@dataclass(frozen=True, slots=True)
class Desk:
    """Answers the API's two calls over a store.

    ``on_demand`` tells which return code a mobile asks for (the sandbox's magic numbers).
    """

    store: Store
    seal: Seal
    clock: Clock
    digits: Callable[[], str] = draw_code
    on_demand: Callable[[str], ReturnCode | None] = field(default=never)

    def authenticate(self, credentials: Credentials) -> App | Refusal:
        """Find the app whose key and secret these are; the same work is done for an unknown key."""
        app = self.store.app(credentials.app_key)
        digest = self.seal.secret(credentials.master_secret)
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
        now_ms = self.clock.now_ms()
        order = self._order(app, template, int(fields.mobile), demanded, now_ms)
        refusal = self._refusal(await self._decide(self.store.send(order, now_ms)))
        return refusal or order.msg_id

    def _order(self, app: App, template: Template, mobile: int, demanded: ReturnCode | None, now_ms: int) -> Order:
        msg_id, code = new_msg_id(), self.digits()
        return Order(
            app_id=app.app_id,
            mobile=mobile,
            temp_id=template.temp_id,
            msg_id=msg_id,
            code=code,
            digest=self.seal.code(msg_id, code),
            expires_ms=now_ms + template.ttl_s * 1000,
            segments=template.segments,
            forced=demanded if demanded and demanded.kind is Kind.VERDICT else None,
            ruled=demanded is not ReturnCode.SUCCESS,
        )

    async def verify(self, app: App, msg_id: str, code: str) -> Refusal | None:
        """Verify a typed code: None when it is right, which it is once."""
        digest = self.seal.code(msg_id, code)
        decision = await self._decide(self.store.verify(app.app_id, msg_id, digest, self.clock.now_ms()))
        return self._refusal(decision)

    async def _decide(self, deciding: Awaitable[Decision]) -> Decision:
        try:
            return await deciding
        except StoreError as problem:
            log.error("store: %s", problem)
            return Decision(ReturnCode.SERVER_ERROR)

    def _refusal(self, decision: Decision) -> Refusal | None:
        if decision.return_code is ReturnCode.SUCCESS:
            return None
        if decision.wait_ms > 0:
            return Refusal(decision.return_code, self.clock.real_seconds(decision.wait_ms))
        return Refusal(decision.return_code)
