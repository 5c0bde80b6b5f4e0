"""Handle one request of the API: give it an id, admit it, answer it, count it and log it.

``RequestHandler`` surrounds every request, ``Api`` answers the two calls. A request is read in one visit to
``toolkit.api.wire``; the sandbox wraps ``Api.answer`` with its own routes and faults.
"""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from toolkit.api import wire
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import (
    LENIENT_TYPES,
    Endpoint,
    Refusal,
    ServerResponse,
    refusal_response,
    sent_response,
    verified_response,
)
from toolkit.service.core.deferred import Deferred
from toolkit.service.core.send_and_verify import VerificationService
from toolkit.service.http.request_parser import Request
from toolkit.service.metrics.call_log import LineWriter, call_line
from toolkit.service.metrics.counters import Counters

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 1000
REQUEST_ID = wire.REQUEST_ID.encode()
PEEK, SANDBOX, OTHER = "peek", "sandbox", "other"
ENDPOINTS = (*Endpoint, PEEK, SANDBOX, OTHER)

_VALID_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
_SERVER_ERROR = Refusal(ReturnCode.SERVER_ERROR)
# One second is the smallest value of Retry-After. A service that is not stuck answers 1000 calls in a tenth of it.
_BUSY = Refusal(ReturnCode.SERVER_ERROR, retry_after_s=1)


@dataclass(slots=True)
class RequestContext:
    """The parts of a request that its log line and metrics show; a part that is not known yet is None.

    ``endpoint`` is one of ENDPOINTS. ``app_key`` is only claimed if the credentials were refused. ``started_s``
    is the time of a monotonic clock.
    """

    request_id: bytes
    peer: str
    started_s: float
    endpoint: str = OTHER
    app_key: str | None = None
    mobile: str | None = None
    msg_id: str | None = None


Answer = ServerResponse | Refusal | None
"""None closes the connection without a response."""


def new_request_ids() -> Iterator[bytes]:
    """Yield unique request ids: a random part for this process and a number."""
    process = secrets.token_hex(5).encode()  # at most ten digits, so that the log never masks an id as a mobile
    return (b"%s-%d" % (process, number) for number in itertools.count(1))


@dataclass(frozen=True, slots=True)
class Api:
    """Answers the API's two calls by a verification service."""

    verification: VerificationService
    media_types: frozenset[str] = LENIENT_TYPES

    def answer(self, context: RequestContext, request: Request) -> Deferred[Answer]:
        """Answer one request, and fill in the parts of ``context`` as they are known."""
        received = wire.read_request(
            request.method,
            request.path,
            request.headers,
            request.body,
            self.verification.authenticate,
            self.media_types,
        )
        if received.endpoint:
            context.endpoint = received.endpoint
        app, send, context.msg_id = received.account, received.send, received.msg_id
        if app:
            context.app_key = app.app_key
        if received.refusal or app is None:
            if received.refusal and received.refusal.return_code is ReturnCode.AUTH_FAILED:
                context.app_key = self.verification.claimed_app_key(request.headers.get(b"authorization"))
                self.verification.counters.failed_auths[context.app_key or "unknown"] += 1
            return Deferred(received.refusal or Refusal(ReturnCode.AUTH_FAILED))
        if send is None:
            verifying = self.verification.verify(app, received.msg_id or "", received.code)
            return verifying.then(lambda refusal: refusal or verified_response())
        context.mobile = send.mobile

        def reply(sent: str | Refusal) -> Answer:
            if isinstance(sent, Refusal):
                return sent
            context.msg_id = sent
            return sent_response(sent)

        return self.verification.send(app, send).then(reply)


@dataclass(frozen=True, slots=True)
class RequestHandler:
    """The application that the HTTP server calls.

    Args:
        answer: answers a request, such as ``Api(...).answer``.
        call_log: gets one line a request; None to log none.
        max_in_flight: requests that are handled at once. Further ones are refused at once: if the store is stuck,
            queueing them would exhaust the memory, and cost every caller the full time limit.
        now_s: a monotonic clock, for latencies.
    """

    answer: Callable[[RequestContext, Request], Deferred[Answer]]
    counters: Counters = field(default_factory=Counters)
    call_log: LineWriter | None = None
    max_in_flight: int = MAX_IN_FLIGHT
    request_ids: Iterator[bytes] = field(default_factory=new_request_ids)
    now_s: Callable[[], float] = time.perf_counter

    def __call__(self, request: Request) -> Deferred[ServerResponse | None]:
        """Answer one request. Every failure becomes a response with a return code; None closes the connection."""
        request_id = request.headers.get(REQUEST_ID)
        if not (request_id and _VALID_REQUEST_ID.fullmatch(request_id)):
            request_id = next(self.request_ids)
        context = RequestContext(request_id, request.peer, self.now_s())
        if self.counters.in_flight >= self.max_in_flight:
            return Deferred(self._finish(context, _BUSY))
        self.counters.in_flight += 1
        try:
            answering = self.answer(context, request)
        except Exception:
            log.exception("the service failed on a request")
            answering = Deferred(_SERVER_ERROR)
        return answering.then(partial(self._end, context), lambda problem: self._end(context, _SERVER_ERROR))

    def _end(self, context: RequestContext, answer: Answer) -> ServerResponse | None:
        self.counters.in_flight -= 1
        if answer is None:
            self.counters.unanswered += 1
            return None
        return self._finish(context, answer)

    def refuse(self, return_code: ReturnCode, peer: str) -> ServerResponse:
        """Count and log a request that is not valid HTTP, and return the response."""
        return self._finish(RequestContext(next(self.request_ids), peer, self.now_s()), Refusal(return_code))

    def _finish(self, context: RequestContext, answer: ServerResponse | Refusal) -> ServerResponse:
        """Count and log an answer, and return it as a response with the request's id."""
        if isinstance(answer, Refusal):
            return_code, reply = answer.return_code, refusal_response(answer)
        else:
            return_code, reply = ReturnCode.SUCCESS, answer
        latency_s = self.now_s() - context.started_s
        self.counters.count(context.endpoint, return_code, latency_s)
        if self.call_log:
            self.call_log.write(call_line(context, return_code, latency_s))
        return ServerResponse(reply.http_status, reply.headers, reply.body, context.request_id)
