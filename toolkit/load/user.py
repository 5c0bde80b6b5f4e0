"""SmsCodeUser: a locust user that speaks the API. Our reader decides what failed, by kind, never the HTTP status."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import gevent
from locust import User
from locust.env import Environment
from locust.exception import StopTest

from toolkit.codes import Kind
from toolkit.errors import CallError, ProtocolError, ReturnCodeError, ToolkitError, TransportError
from toolkit.load.transport import Transport, classify
from toolkit.load.worker import worker_of
from toolkit.wire import Answer, Endpoint, Request, build_send, build_verify, read_answer


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one call: an answer of the API, or the error that kept one from being read; never both.

    ``started_ns``: first byte out, UTC since 1970. ``latency_ns``: from then to the whole answer, or to the failure.
    """

    endpoint: Endpoint
    started_ns: int
    latency_ns: int
    answer: Answer | None = None
    error: CallError | None = None
    body_bytes: int = 0

    @property
    def msg_id(self) -> str | None:
        """The message's, where a send was accepted."""
        return self.answer.msg_id if self.answer else None

    @property
    def return_code(self) -> int | None:
        """The API's, where it answered."""
        return self.answer.return_code if self.answer else None

    def failure(self, expected: Collection[int] = ()) -> CallError | None:
        """Return what failed: anything but a success, a verdict on the code, and the return codes ``expected``."""
        answer = self.answer
        if answer is None or answer.kind in (Kind.OK, Kind.VERDICT) or answer.return_code in expected:
            return self.error
        return ReturnCodeError(answer.return_code, answer.http_status, answer.message, answer.retry_after_s)


class SmsCodeUser(User):
    """A user with one connection of its own and the API's two calls in ``self.sms``.

    ``expected``: return codes that are no failure for this user, such as ``{ReturnCode.OUT_OF_FREQ}``.
    """

    abstract = True
    expected: Collection[int] = ()

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        try:
            self.worker = worker_of(environment)
            self.sms = Calls(self)
        except ToolkitError as error:  # no user could be made: locust ends the run, and says this
            environment.process_exit_code = 1
            raise StopTest(str(error)) from error

    def on_stop(self) -> None:
        """Close the connection."""
        self.sms.transport.close()


class Calls:
    """The API's two calls, made by one user. Refusals and failures are outcomes: nothing is raised for them."""

    def __init__(self, user: SmsCodeUser) -> None:
        self._user = user
        self._worker = user.worker
        self.transport = Transport(user.worker.target.base_url)

    def send_code(self, mobile: str, temp_id: int | None = None, *, expected: Collection[int] = ()) -> Outcome:
        """Send a code, with the target's template unless another is given."""
        temp_id = self._worker.target.temp_id if temp_id is None else temp_id
        request = build_send(self._worker.credentials, mobile, temp_id)
        return self._call(request, expected, mobile=mobile, temp_id=temp_id)

    def verify_code(self, msg_id: str, code: str, *, expected: Collection[int] = ()) -> Outcome:
        """Verify a typed code."""
        return self._call(build_verify(self._worker.credentials, msg_id, code), expected, msg_id=msg_id)

    def _call(self, request: Request, expected: Collection[int], **about: Any) -> Outcome:
        outcome = self._move(request, about)
        self._record(outcome, about)
        failure = outcome.failure({*expected, *self._user.expected})
        self._report(outcome, failure)
        self._worker.judge(outcome.endpoint, failure)
        return outcome

    def _move(self, request: Request, about: dict[str, Any]) -> Outcome:
        gevent.sleep(0)  # locust may have ended this user while it waited: let that come before a byte leaves
        watch = _Watch(request.endpoint)
        try:
            self.transport.connect()
            watch = _Watch(request.endpoint)
            http_status, headers, body = self.transport.call(request)
            answer = read_answer(request.endpoint, http_status, headers, body)
            return watch.stop(answer=answer, body_bytes=len(body))
        except CallError as error:
            return watch.stop(error=error)
        except BaseException as ending:  # the run ends in the middle of a call; a send may cost money all the same
            cut_off = TransportError("the run ended first")
            cut_off.__cause__ = ending
            self._record(watch.stop(error=cut_off), about)
            raise

    def _record(self, outcome: Outcome, about: dict[str, Any]) -> None:
        error = outcome.error
        call = self._worker.scribe.record(
            outcome.endpoint,
            outcome.started_ns,
            outcome.latency_ns,
            answer=outcome.answer,
            http_status=error.http_status if isinstance(error, ProtocolError) else None,
            error=classify(error) if error else None,
            **about,
        )
        self._worker.record(call)

    def _report(self, outcome: Outcome, failure: CallError | None) -> None:
        self._user.environment.events.request.fire(
            request_type="POST",
            name=outcome.endpoint.value,
            response_time=outcome.latency_ns / 1e6,
            response_length=outcome.body_bytes,
            exception=failure,
            context={**self._user.context(), "return_code": outcome.return_code},
        )


class _Watch:
    """Times one call."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._started_ns, self._clock_ns = time.time_ns(), time.perf_counter_ns()

    def stop(self, **came: Any) -> Outcome:
        return Outcome(self._endpoint, self._started_ns, time.perf_counter_ns() - self._clock_ns, **came)
