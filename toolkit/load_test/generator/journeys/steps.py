"""Steps: what a journey asks for, one at a time, and what came of each.

A journey is a generator, ``outcome = yield Send(mobile)``, and doesn't know who makes its calls: a locust user with a
connection of its own, or the engine, for thousands of journeys at once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from toolkit.api.errors import CallError, ProtocolError, ReturnCodeError
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Answer, Endpoint, read_answer
from toolkit.load_test.generator.http.http1 import Received

# Not frozen: a load test makes thousands a second, and a frozen one takes three times as long to make.


@dataclass(slots=True)
class Send:
    """Send a code. ``temp_id`` None: the target's template. ``expected``: return codes that are no failure.

    ``due``: the only right answer, where the journey knows it.
    """

    mobile: str
    temp_id: int | None = None
    expected: Collection[int] = ()
    due: ReturnCode | None = None


@dataclass(slots=True)
class Verify:
    """Verify a typed code. ``due``: the only right answer, where the journey knows it."""

    msg_id: str
    code: str
    expected: Collection[int] = ()
    due: ReturnCode | None = None


@dataclass(frozen=True, slots=True)
class Peek:
    """Read a message's code from the sandbox; gives None where there is none. No call of the API: counted nowhere."""

    msg_id: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Let so many seconds pass, as a person who reads and types does."""

    duration_s: float


Call: TypeAlias = Send | Verify
Request: TypeAlias = Call | Peek
Step: TypeAlias = Request | Pause
Journey: TypeAlias = Generator[Step, Any, None]


@dataclass(slots=True)
class Outcome:
    """What came of one call: an answer of the API, or the error that kept one from being read; never both.

    ``started_ns``: first byte out, UTC since 1970. ``latency_ns``: from then to the whole answer, or to the failure.
    ``wait_ns``: from the intended start to the first byte out; 0 in a closed loop.
    """

    endpoint: Endpoint
    started_ns: int
    latency_ns: int
    answer: Answer | None = None
    error: CallError | None = None
    body_bytes: int = 0
    wait_ns: int = 0

    @property
    def msg_id(self) -> str | None:
        """The message's, where a send was accepted."""
        answer = self.answer
        return None if answer is None else answer.msg_id

    @property
    def return_code(self) -> int | None:
        """The API's, where it answered."""
        answer = self.answer
        return None if answer is None else answer.return_code

    def failure(self, expected: Collection[int] = ()) -> CallError | None:
        """Return what failed: anything but a success, a verdict on the code, and the return codes ``expected``."""
        answer = self.answer
        if answer is None or answer.kind in _NO_FAILURE or answer.return_code in expected:
            return self.error
        return ReturnCodeError(
            answer.return_code, answer.http_status, answer.message, answer.retry_after_s, answer.request_id
        )


CallResult: TypeAlias = tuple[Call, Outcome, Collection[int]]
"""A call, what came of it, and the return codes that are no failure of who made it."""

_NO_FAILURE = (Kind.OK, Kind.VERDICT)
_SEND, _VERIFY = Endpoint.SEND, Endpoint.VERIFY


def read_outcome(call: Call, received: Received, started_ns: int, latency_ns: int, wait_ns: int = 0) -> Outcome:
    """Read what was received as a call's outcome."""
    endpoint, body = _SEND if isinstance(call, Send) else _VERIFY, received.body
    answer = failure = None
    try:
        answer = read_answer(endpoint, received.http_status, received.headers, body)
    except ProtocolError as error:
        failure = error
    return Outcome(endpoint, started_ns, latency_ns, answer, failure, len(body), wait_ns)


def read_code(received: Received) -> str | None:
    """Read a message's code from what the sandbox gave; None where that is none."""
    try:
        return str(json.loads(received.body)["code"]) if received.http_status == 200 else None
    except (ValueError, LookupError, TypeError):
        return None
