"""Send and verify as a sandbox does: magic mobiles and the rules of numbers come before the service's own checks."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any

from toolkit.api.errors import StoreError
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Refusal, SendFields
from toolkit.service.core.accounts import App
from toolkit.service.core.deferred import Deferred, run
from toolkit.service.core.send_and_verify import VerificationService
from toolkit.service.sandbox.numbers import MAGIC_PREFIX, Numbers, is_refused, magic_return_code
from toolkit.service.stores.base import Store

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Arrivals:
    """Wakes the callers that wait for a message."""

    waiting: int = 0
    _event: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self, timeout_s: float) -> bool:
        """Return True when this process has accepted a message, False after a time."""
        self.waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                return await self._event.wait()
        except TimeoutError:
            return False
        finally:
            self.waiting -= 1

    def notify(self) -> None:
        """Wake all that wait."""
        if self.waiting:
            self._event.set()
            self._event.clear()


@dataclass(slots=True)
class SandboxVerification:
    """The two calls of a sandbox, around those of the service. ``tasks`` holds the calls that wait for the store."""

    service: VerificationService
    store: Store
    numbers: Numbers
    tasks: set[asyncio.Task[Any]]

    def send(self, app: App, fields: SendFields) -> Deferred[str | Refusal]:
        """Send a code. A number's own outcome goes before that of a magic mobile."""
        if not self.numbers and not fields.mobile.startswith(MAGIC_PREFIX):
            return self.service.send(app, fields)
        magic = magic_return_code(fields.mobile)
        refusal = self.numbers.take_send(app.app_id, fields.mobile) or (magic and is_refused(magic) and magic)
        if refusal:
            return Deferred(_refusal(refusal))
        return self.service.send(
            app,
            fields,
            code=self.numbers.code(app.app_id, fields.mobile),
            forced=magic if magic and magic.kind is Kind.VERDICT else None,
            rate_limited=magic is not ReturnCode.SUCCESS,
        )

    def verify(self, app: App, msg_id: str, code: str) -> Deferred[Refusal | None]:
        """Verify a typed code, unless the number of the message has an outcome."""
        if not self.numbers:
            return self.service.verify(app, msg_id, code)
        return run(self._verify(app, msg_id, code), self.tasks, refuse)

    async def _verify(self, app: App, msg_id: str, code: str) -> Refusal | None:
        message = await self.store.message(msg_id)
        if message and message.app_id == app.app_id:
            return_code = self.numbers.take_verify(app.app_id, str(message.mobile))
            if return_code:
                return _refusal(return_code)
        return await self.service.verify(app, msg_id, code)


def refuse(problem: BaseException) -> Refusal:
    """Return the refusal for an error of the store, of the service, or for a service that is shutting down."""
    if isinstance(problem, StoreError):
        log.error("store: %s", problem)
    elif not isinstance(problem, asyncio.CancelledError):
        log.error("the service failed on a request", exc_info=problem)
    return Refusal(ReturnCode.SERVER_ERROR)


def _refusal(return_code: ReturnCode) -> Refusal:
    return Refusal(return_code, retry_after_s=1 if return_code is ReturnCode.OUT_OF_FREQ else None)
