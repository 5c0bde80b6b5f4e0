"""Handle one request of the API: give it an id, admit it, answer it, count it and log it.

``RequestHandler`` surrounds every request, ``Api`` answers the two calls. A request is read in one visit to
``toolkit.api.wire``; the sandbox wraps ``Api.answer`` with its own routes and faults.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from msgspec import Struct

from toolkit.api import wire
from toolkit.api.return_codes import ReturnCode
from toolkit.api.trace_context import TRACEPARENT, parse_traceparent
from toolkit.api.wire import (
    LENIENT_TYPES,
    Endpoint,
    Refusal,
    SendFields,
    ServerResponse,
    refusal_response,
    sent_response,
    verified_response,
)
from toolkit.service.core.accounts import App
from toolkit.service.core.deferred import Deferred
from toolkit.service.core.send_and_verify import VerificationService
from toolkit.service.http.admission import Admission
from toolkit.service.http.auth_throttle import AuthThrottle
from toolkit.service.http.request_parser import Request
from toolkit.service.metrics.call_log import LineWriter, call_line
from toolkit.service.metrics.counters import UNKNOWN_APP, Counters

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 1000
HELD_S = 0.5
MAX_HELD = 10_000
REQUEST_ID = wire.REQUEST_ID.encode()
_TRACEPARENT = TRACEPARENT.encode()
PEEK, SANDBOX, OTHER = "peek", "sandbox", "other"
ENDPOINTS = (*Endpoint, PEEK, SANDBOX, OTHER)

_VALID_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
_SUCCESS = ReturnCode.SUCCESS  # looking up an enum's attribute runs Python code
_SERVER_ERROR = Refusal(ReturnCode.SERVER_ERROR)
# One second is the smallest value of Retry-After. A service that is not stuck answers 1000 calls in a tenth of it.
_BUSY = Refusal(ReturnCode.SERVER_ERROR, retry_after_s=1)


class RequestContext(Struct):
    """The parts of a request that its log line and metrics show; a part that is not known yet is None.

    ``endpoint`` is one of ENDPOINTS. ``app_key`` is only claimed if the credentials were refused. ``started_s``
    is the time of a monotonic clock. ``trace_id`` is that of a trace that the caller records.
    """

    request_id: bytes
    peer: str
    started_s: float
    endpoint: str = OTHER
    app_key: str | None = None
    mobile: str | None = None
    msg_id: str | None = None
    trace_id: str | None = None


Result = str | ServerResponse | Refusal | None
"""A text is the msg_id of an accepted message. None closes the connection without a response."""


def new_request_ids() -> Iterator[bytes]:
    """Yield unique request ids: a random part for this process and a number."""
    process = secrets.token_hex(5).encode()  # at most ten digits, so that the log never masks an id as a mobile
    return (b"%s-%d" % (process, number) for number in itertools.count(1))


class Calls(Protocol):
    """The two calls of the API."""

    def send(self, app: App, fields: SendFields, /) -> Deferred[str | Refusal]:
        """Send a code; return the msg_id of the accepted message, or the refusal."""
        ...

    def verify(self, app: App, msg_id: str, code: str, /) -> Deferred[Refusal | None]:
        """Verify a typed code; None if it is right."""
        ...


def note_failed_auth(service: VerificationService, context: RequestContext, request: Request) -> None:
    """Count refused credentials by the app that they claim, and name it in the log line."""
    context.app_key = service.claimed_app_key(request.headers.get(b"authorization"))
    service.counters.failed_auths[context.app_key or UNKNOWN_APP] += 1


@dataclass(frozen=True, slots=True)
class Api:
    """Answers the API's two calls.

    Args:
        service: authenticates the caller, and carries out the calls.
        media_types: the Content-Types that are accepted.
        sandbox: carries out the calls in place of ``service``.
    """

    service: VerificationService
    media_types: frozenset[str] = LENIENT_TYPES
    sandbox: Calls | None = None

    def find_app_key(self, request: Request) -> str | None:
        """Return the app key of a request with the right credentials, else None."""
        app = self.service.authenticate(request.headers.get(b"authorization"))
        return None if isinstance(app, Refusal) else app.app_key

    def answer(self, context: RequestContext, request: Request) -> Deferred[Result]:
        """Answer one request, and fill in the parts of ``context`` as they are known."""
        received = wire.read_request(
            request.method,
            request.path,
            request.headers,
            request.body,
            self.service.authenticate,
            self.media_types,
        )
        if received.endpoint:
            context.endpoint = received.endpoint
        app, send, context.msg_id = received.account, received.send, received.msg_id
        if app:
            context.app_key = app.app_key
        if received.refusal or app is None:
            if received.refusal and received.refusal.return_code is ReturnCode.AUTH_FAILED:
                note_failed_auth(self.service, context, request)
            return Deferred(received.refusal or Refusal(ReturnCode.AUTH_FAILED))
        calls = self.sandbox or self.service
        if send is None:
            verifying = calls.verify(app, received.msg_id or "", received.code)
            return verifying.then(lambda refusal: refusal or verified_response())
        context.mobile = send.mobile
        return calls.send(app, send)  # type: ignore[return-value]  # each of its values is a Result


def _call_soon(step: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_soon(step)


def _call_later(wait_s: float, step: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(wait_s, step)


@dataclass(slots=True)
class RequestHandler:
    """The application that the HTTP server calls.

    **Too many calls.** If the store is stuck, queueing them would exhaust the memory, and cost every caller the full
    time limit. So above ``max_in_flight`` a call is refused, except that apps with few calls may have a quarter
    more. The refusal is held for about HELD_S: otherwise callers that repeat the call at once would take the time of
    the others. A held response is no call in flight. With ``auth_throttle``, refusals of credentials are held too, once
    a peer or a key fails often.

    Args:
        answer: answers a request, such as ``Api(...).answer``.
        call_log: gets one line a request; None to log none.
        max_in_flight: requests that have arrived and are not answered.
        now_s: a monotonic clock, for latencies.
        find_app_key: returns the app key of a request whose credentials are right, else None. Apps take turns.
        commit_s: returns how long the store's last commit took, in seconds.
        auth_throttle: None to answer all refused credentials at once, as a sandbox does.
        call_soon: calls a function in the next turn of the event loop.
        call_later: calls a function after a number of seconds.
    """

    answer: Callable[[RequestContext, Request], Deferred[Result]]
    counters: Counters = field(default_factory=Counters)
    call_log: LineWriter | None = None
    max_in_flight: int = MAX_IN_FLIGHT
    request_ids: Iterator[bytes] = field(default_factory=new_request_ids)
    now_s: Callable[[], float] = time.perf_counter
    find_app_key: Callable[[Request], str | None] = lambda request: None
    commit_s: Callable[[], float] = lambda: 0.0
    auth_throttle: AuthThrottle | None = None
    call_soon: Callable[[Callable[[], None]], object] = _call_soon
    call_later: Callable[[float, Callable[[], None]], object] = _call_later
    _admission: Admission = field(init=False)
    _held: int = 0

    def __post_init__(self) -> None:
        self._admission = Admission(self.counters, self.call_soon, self.commit_s, self.now_s)

    def __call__(self, request: Request) -> Deferred[ServerResponse | None]:
        """Answer one request. Every failure becomes a response with a return code; None closes the connection."""
        counters, arrived_s = self.counters, self.now_s()
        is_full = counters.in_flight >= self.max_in_flight
        if not is_full and self._admission.begins_now():
            counters.in_flight += 1
            return self._begin(request, arrived_s)
        app_key = self.find_app_key(request)
        if is_full and not (app_key and self._may_exceed(app_key)):
            return self._hold(self._finish(self._context(request, arrived_s), _BUSY))
        counters.in_flight += 1
        waiting: Deferred[ServerResponse | None] = Deferred()
        self._admission.put(app_key, lambda: self._begin(request, arrived_s).then(waiting.settle))
        return waiting

    def _may_exceed(self, app_key: str) -> bool:
        """Return whether an app has few calls in the queue; the fewer the more are in flight altogether.

        The sum stays within a quarter above ``max_in_flight``: A. Choudhury and E. Hahne, "Dynamic queue length
        thresholds for shared-memory packet switches", 1998.
        """
        free = self.max_in_flight + self.max_in_flight // 4 - self.counters.in_flight
        return self._admission.queued(app_key) < free

    def _context(self, request: Request, arrived_s: float) -> RequestContext:
        request_id = request.headers.get(REQUEST_ID)
        if not (request_id and _VALID_REQUEST_ID.fullmatch(request_id)):
            request_id = next(self.request_ids)
        context = RequestContext(request_id, request.peer, arrived_s)
        if (traceparent := request.headers.get(_TRACEPARENT)) and (trace := parse_traceparent(traceparent)):
            context.trace_id = trace.trace_id if trace.is_sampled else None
        return context

    def _begin(self, request: Request, arrived_s: float) -> Deferred[ServerResponse | None]:
        context = self._context(request, arrived_s)
        try:
            pending = self.answer(context, request)
        except Exception:
            log.exception("the service failed on a request")
            pending = Deferred(_SERVER_ERROR)
        is_late = pending.settled and self._is_held(request, pending.value)
        end = partial(self._end, context)
        ending = pending.then(end, end)
        return self._hold(ending.value) if is_late else ending

    def _is_held(self, request: Request, result: Result) -> bool:
        """Return whether a result refuses credentials of a peer or a key that fails often."""
        is_refused = isinstance(result, Refusal) and result.return_code is ReturnCode.AUTH_FAILED
        if not (is_refused and self.auth_throttle):
            return False
        return self.auth_throttle.exceeds(request.peer, request.headers.get(b"authorization"))

    def _end(self, context: RequestContext, result: Result | Exception) -> ServerResponse | None:
        if isinstance(result, Exception):
            result = _SERVER_ERROR
        self.counters.in_flight -= 1
        is_unknown = isinstance(result, Refusal) and result.return_code is ReturnCode.AUTH_FAILED
        self._admission.end(None if is_unknown else context.app_key)  # a key that is only claimed is not another app
        if result is None:
            self.counters.unanswered += 1
            return None
        return self._finish(context, result)

    def _hold(self, response: ServerResponse | None) -> Deferred[ServerResponse | None]:
        """Delay a refusal, unless too many are delayed already."""
        if self._held >= MAX_HELD:
            return Deferred(response)
        self._held += 1
        held: Deferred[ServerResponse | None] = Deferred()

        def give_out() -> None:
            self._held -= 1
            held.settle(response)

        # Callers that were refused together are answered one by one, so that they do not call together again.
        self.call_later(HELD_S * random.uniform(0.5, 1.5), give_out)
        return held

    def refuse(self, return_code: ReturnCode, peer: str) -> ServerResponse:
        """Count and log a request that is not valid HTTP, and return the response."""
        return self._finish(RequestContext(next(self.request_ids), peer, self.now_s()), Refusal(return_code))

    def _finish(self, context: RequestContext, result: str | ServerResponse | Refusal) -> ServerResponse:
        """Count and log a result, and return it as a response with the request's id."""
        return_code = _SUCCESS
        if isinstance(result, str):
            context.msg_id, response = result, sent_response(result, context.request_id)
        else:
            if isinstance(result, Refusal):
                return_code, result = result.return_code, refusal_response(result)
            response = ServerResponse(result.http_status, result.headers, result.body, context.request_id)
        latency_s = self.now_s() - context.started_s
        self.counters.count(context.endpoint, return_code, latency_s)
        if self.call_log:
            self.call_log.write(call_line(context, return_code, latency_s))
        return response
