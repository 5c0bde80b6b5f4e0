"""Add the sandbox's own calls to the API, and inject faults into the API's two calls.

Production builds none of this: ``toolkit.service.process.runtime`` puts the sandbox around the API.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import (
    LENIENT_TYPES,
    SANDBOX_STATE_PATH,
    Refusal,
    check_media_type,
    parse_mobile,
    read_body,
    read_message_path,
    read_number_path,
    read_path,
    success_response,
)
from toolkit.service.core.accounts import SANDBOX_BALANCE, App
from toolkit.service.core.deferred import Deferred, run
from toolkit.service.core.messages import SentMessage
from toolkit.service.core.send_and_verify import VerificationService
from toolkit.service.http.handler import OTHER, PEEK, SANDBOX, Api, RequestContext, Result, note_failed_auth
from toolkit.service.http.request_parser import Request
from toolkit.service.sandbox.controls import InboxQuery, read_advance_ms, read_faults, read_number
from toolkit.service.sandbox.faults import NO_FAULTS, Faults
from toolkit.service.sandbox.numbers import Numbers
from toolkit.service.sandbox.page import page_response
from toolkit.service.sandbox.verification import Arrivals, SandboxVerification, refuse
from toolkit.service.stores.base import Store

POLL_S = 0.2  # of the store, for messages that another process accepted, and of the shutdown

_PREFIX = b"/sandbox"
_WITH_BODY = (b"POST", b"PUT")


class _Call(NamedTuple):
    """A call of the sandbox that is authenticated. ``argument`` is from its path, ``fields`` from its body."""

    app: App
    argument: str
    query: bytes
    fields: dict[str, Any]


_Methods = dict[bytes, Callable[[_Call], Awaitable[Result]]]


@dataclass(slots=True)
class Sandbox:
    """Wraps the API with the sandbox's own calls and its faults.

    Args:
        verification: the service's own send and verify.
        media_types: the Content-Types that are accepted.
        tasks: holds the calls that wait for a delay or for the store.
        is_stopping: whether the service is shutting down, so that nobody waits for a message any more.
        has_controls: whether numbers, clock, faults and the state can be changed. They belong to one process.
        is_shared: whether other processes may add messages to the store.
        delivers: whether a provider delivers the messages, so that they reach people and may cost money.
        now_s: a monotonic clock in seconds.
    """

    verification: VerificationService
    store: Store
    media_types: frozenset[str] = LENIENT_TYPES
    faults: Faults = NO_FAULTS
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    is_stopping: Callable[[], bool] = lambda: False
    has_controls: bool = True
    is_shared: bool = False
    delivers: bool = False
    rng: random.Random = field(default_factory=random.Random)
    now_s: Callable[[], float] = time.monotonic
    numbers: Numbers = field(default_factory=Numbers)
    api: Api = field(init=False)
    _inner: SandboxVerification = field(init=False)
    _arrivals: Arrivals = field(default_factory=Arrivals)
    _has_faults: bool = field(init=False)
    _routes: dict[bytes, _Methods] = field(init=False)
    _number_methods: _Methods = field(init=False)
    _controlling: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._set_faults(self.faults)
        self.verification = replace(self.verification, on_accepted=self._arrivals.notify)
        self._inner = SandboxVerification(self.verification, self.store, self.numbers, self.tasks)
        self.api = Api(self.verification, self.media_types, self._inner)
        state: _Methods = {b"GET": self._show_state}
        self._routes = {SANDBOX_STATE_PATH.encode(): state, b"/sandbox/messages": {b"GET": self._list_messages}}
        self._number_methods = {}
        if self.has_controls:
            state[b"DELETE"] = self._empty
            self._routes |= {
                b"/sandbox/clock": {b"POST": self._advance},
                b"/sandbox/faults": {b"PUT": self._put_faults},
            }
            self._number_methods = {b"PUT": self._put_number, b"DELETE": self._lift_number}
        self.store.keep_inbox()

    def answer(self, context: RequestContext, request: Request) -> Deferred[Result]:
        """Answer one request: a call of the sandbox, or one of the API, with faults."""
        if request.path.startswith(_PREFIX):
            if request.path == _PREFIX:
                context.endpoint = SANDBOX
                return Deferred(page_response() if request.method == b"GET" else _refuse_method({b"GET": None}))
            methods, argument = self._find(request.path)
            if methods:
                context.endpoint = SANDBOX
                if argument and methods is not self._number_methods:
                    context.endpoint, context.msg_id = PEEK, argument
                return run(self._carry_out(context, request, methods, argument), self.tasks, refuse)
        if self._has_faults:
            return run(self._answer_with_faults(context, request), self.tasks, refuse)
        return self.api.answer(context, request)

    def find_app_key(self, request: Request) -> str | None:
        """Return the app key of a request with the right credentials, else None."""
        return self.api.find_app_key(request)

    def _find(self, path: bytes) -> tuple[_Methods, str]:
        """Return the methods of a path, none of an unknown one, and the argument in it."""
        if methods := self._routes.get(path):
            return methods, ""
        if (msg_id := read_message_path(path)) is not None:
            return {b"GET": self._peek}, msg_id
        if (mobile := read_number_path(path)) is not None:
            return self._number_methods, mobile
        return {}, ""

    async def _carry_out(self, context: RequestContext, request: Request, methods: _Methods, argument: str) -> Result:
        """Check a call in the order of the API's two calls, and carry it out."""
        method = methods.get(request.method)
        if method is None:
            return _refuse_method(methods)
        app = self.verification.authenticate(request.headers.get(b"authorization"))
        if isinstance(app, Refusal):
            note_failed_auth(self.verification, context, request)
            return app
        context.app_key = app.app_key
        fields: dict[str, Any] = {}
        if request.method in _WITH_BODY:
            if refusal := check_media_type(request.headers.get(b"content-type"), self.media_types):
                return refusal
            body = read_body(request.body)
            if isinstance(body, Refusal):
                return body
            fields = body
        try:
            return await method(_Call(app, argument, request.query, fields))
        except InputError:
            return Refusal(ReturnCode.INVALID_BODY)

    # The inbox.

    async def _peek(self, call: _Call) -> Result:
        job = await self.store.pending_job(call.app.app_id, call.argument)
        template = self.store.template(job.temp_id) if job else None
        if job is None or template is None:
            return Refusal(ReturnCode.API_NOT_FOUND)
        return success_response({"code": job.code, "text": template.render(job.code)})

    async def _list_messages(self, call: _Call) -> Result:
        query = InboxQuery.parse(call.query)
        mobile = int(query.mobile) if query.mobile else None
        until_s, found, is_due = self.now_s() + query.wait_s, list[SentMessage](), True
        while True:
            if is_due:
                found = await self.store.inbox(call.app.app_id, mobile, query.after, query.limit)
            left_s = until_s - self.now_s()
            if found or left_s <= 0 or self.is_stopping():
                return success_response({"messages": [self._show_message(it) for it in found]})
            is_due = await self._arrivals.wait(min(left_s, POLL_S)) or self.is_shared

    def _show_message(self, sent: SentMessage) -> dict[str, object]:
        template = self.store.template(sent.temp_id)
        return {
            "msg_id": sent.msg_id,
            "mobile": str(sent.mobile),
            "temp_id": sent.temp_id,
            "code": sent.code,
            "text": template.render(sent.code) if template else "",
            "sent_at": _show_time(sent.sent_ms),
        }

    # The controls.

    async def _put_number(self, call: _Call) -> Result:
        self.numbers.put(call.app.app_id, _read_mobile(call.argument), read_number(call.fields))
        return success_response({})

    async def _lift_number(self, call: _Call) -> Result:
        self.numbers.lift(call.app.app_id, _read_mobile(call.argument))
        return success_response({})

    async def _advance(self, call: _Call) -> Result:
        by_ms = read_advance_ms(call.fields)
        async with self._controlling:
            await self.store.advance(by_ms)
        return success_response({"now": _show_time(self.store.clock.now_ms())})

    async def _put_faults(self, call: _Call) -> Result:
        self._set_faults(read_faults(call.fields))
        return success_response({})

    async def _show_state(self, _: _Call) -> Result:
        return success_response({"sandbox": not self.delivers})

    async def _empty(self, call: _Call) -> Result:
        """Empty the app's messages, and restore the balance: that of the start for the ready-made app."""
        app = call.app
        self._set_faults(NO_FAULTS)
        self.numbers.lift_all(app.app_id)
        async with self._controlling:
            charged = await self.store.empty(app.app_id)
            if app.app_key == self.store.digests.sandbox_app_key:
                charged = SANDBOX_BALANCE - (await self.store.balances())[app.app_id]
            await self.store.put(app=app, credit=charged)
        return await self._show_state(call)

    # Faults.

    def _set_faults(self, faults: Faults) -> None:
        self.faults, self._has_faults = faults, faults != NO_FAULTS

    async def _answer_with_faults(self, context: RequestContext, request: Request) -> Result:
        faults = self.faults
        delay_s = faults.latency.draw(self.rng) + (faults.stall.remaining_s(self.now_s()) if faults.stall else 0)
        if delay_s:
            await asyncio.sleep(delay_s)
        if self.rng.random() < faults.error_share:
            target = read_path(request.path)
            context.endpoint = OTHER if isinstance(target, Refusal) else target[0]
            return Refusal(ReturnCode.SERVER_ERROR)
        result = await self.api.answer(context, request)
        return None if self.rng.random() < faults.drop_share else result


def _refuse_method(methods: dict[bytes, Any]) -> Refusal:
    return Refusal(ReturnCode.METHOD_NOT_SUPPORT, allow=b", ".join(methods))


def _read_mobile(text: str) -> str:
    mobile = parse_mobile(text)
    if mobile is None:
        raise InputError(f"invalid mobile {text!r}: expected 11 digits, e.g. 13800138000")
    return mobile


def _show_time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
