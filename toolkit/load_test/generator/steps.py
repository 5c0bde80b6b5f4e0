"""The steps that a journey yields, and the outcome of a call.

A journey is a generator function such as::

    def sign_in(context: LoadContext) -> Journey:
        sent = yield Send(context.next_mobile())
        if sent.msg_id:
            yield Verify(sent.msg_id, "123456")

It does no I/O. A locust user plays one journey at a time over its own connection; the open-loop engine plays thousands
at once. Both send the outcome of a step back into the generator.
"""

from __future__ import annotations

from collections.abc import Collection, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from msgspec import Struct

from toolkit.api.errors import CallError, ReturnCodeError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.trace_context import TraceContext
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.load_test.generator.utc_clock import UTC_CLOCK
from toolkit.records.call_record import is_failed

# A load test makes thousands of these a second. A dataclass takes twice as long to make.


class Send(Struct):
    """Send a code to a mobile. Yielding it returns an ``Outcome``.

    Attributes:
        mobile: the number that the code goes to.
        temp_id: the message template; None stands for the target's.
        expected: the return code that a correct service gives; None if the journey doesn't know it. Checks compare it.
    """

    mobile: str
    temp_id: int | None = None
    expected: ReturnCode | None = None


class Verify(Struct):
    """Verify a typed code. Yielding it returns an ``Outcome``.

    Attributes:
        msg_id: the message that the code came with.
        code: the typed code.
        expected: the return code that a correct service gives; None if the journey doesn't know it. Checks compare it.
    """

    msg_id: str
    code: str
    expected: ReturnCode | None = None


@dataclass(frozen=True, slots=True)
class Peek:
    """Read a message's code from the sandbox. Yielding it returns the code, or None if it can't be read.

    A peek is not a call of the API: it is neither recorded nor counted.
    """

    msg_id: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait, as a person does to read and type. Yielding it returns None."""

    duration_s: float


def pause_until(at_ns: int) -> Pause:
    """Return the pause from now until a time in ns since 1970; an empty one if the time has passed."""
    return Pause(max(0, at_ns - UTC_CLOCK.now_ns()) / 1e9)


Call: TypeAlias = Send | Verify
Request: TypeAlias = Call | Peek
Step: TypeAlias = Request | Pause
Journey: TypeAlias = Generator[Step, Any, None]


class Outcome(Struct):
    """The outcome of one call: the API's response, or the error that kept it from being read, never both.

    Attributes:
        endpoint: the API's endpoint that was called.
        started_ns: when the first byte left, in ns since 1970, UTC.
        latency_ns: time from the first byte out to the complete response, or to the failure.
        response: the response, if one was read.
        error: the reason why no response was read.
        body_bytes: size of the response's body.
        wait_ns: time from the intended start to the first byte out; 0 in a closed loop.
        trace: the trace of the call; None if it was not sampled.
    """

    endpoint: Endpoint
    started_ns: int
    latency_ns: int
    response: ApiResponse | None = None
    error: CallError | None = None
    body_bytes: int = 0
    wait_ns: int = 0
    trace: TraceContext | None = None

    @property
    def msg_id(self) -> str | None:
        """The id of the message, if a send was accepted."""
        response = self.response
        return None if response is None else response.msg_id

    @property
    def return_code(self) -> int | None:
        """The API's return code, if it answered."""
        response = self.response
        return None if response is None else response.return_code

    def failure(self, expected: Collection[int | str] = ()) -> CallError | None:
        """Return the failure of the call, or None if it didn't fail; see ``call_record.is_failed``."""
        response = self.response
        if response is None:
            return self.error
        if not is_failed(response.return_code, response.kind, None, expected):
            return None
        return ReturnCodeError(
            response.return_code, response.http_status, response.message, response.retry_after_s, response.request_id
        )


CallResult: TypeAlias = tuple[Call, Outcome]
"""A call and its outcome."""
