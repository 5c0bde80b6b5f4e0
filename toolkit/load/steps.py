"""Steps: what a journey asks for, one at a time, and what came of each.

A journey is a generator, ``outcome = yield Send(mobile)``, and doesn't know who makes its calls: a locust user with a
connection of its own, or the engine, for thousands of journeys at once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Generator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from toolkit.codes import Kind, ReturnCode
from toolkit.errors import CallError, ProtocolError, ReturnCodeError
from toolkit.load.http1 import CallWriter, Received
from toolkit.wire import Answer, Endpoint, read_answer


class Send(NamedTuple):
    """Send a code. ``temp_id`` None: the target's template. ``expected``: return codes that are no failure.

    ``due``: the only right answer, where the journey knows it.
    """

    mobile: str
    temp_id: int | None = None
    expected: Collection[int] = ()
    due: ReturnCode | None = None


class Verify(NamedTuple):
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


Asked: TypeAlias = Send | Verify | Peek
Step: TypeAlias = Asked | Pause
Journey: TypeAlias = Generator[Step, Any, None]


class Call(NamedTuple):
    """One call of the API that is about to be made, with what its record tells about it."""

    endpoint: Endpoint
    written: bytes
    expected: Collection[int]
    mobile: str | None = None
    temp_id: int | None = None
    msg_id: str | None = None
    due: ReturnCode | None = None


class Outcome(NamedTuple):
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
        return self.answer.msg_id if self.answer else None

    @property
    def return_code(self) -> int | None:
        """The API's, where it answered."""
        return self.answer.return_code if self.answer else None

    def failure(self, expected: Collection[int] = ()) -> CallError | None:
        """Return what failed: anything but a success, a verdict on the code, and the return codes ``expected``."""
        answer = self.answer
        if answer is None or answer.kind in _NO_FAILURE or answer.return_code in expected:
            return self.error
        return ReturnCodeError(answer.return_code, answer.http_status, answer.message, answer.retry_after_s)


_NO_FAILURE = (Kind.OK, Kind.VERDICT)


def write_call(step: Send | Verify, writer: CallWriter, temp_id: int) -> Call:
    """Write the call that a step asks for; ``temp_id`` is the target's."""
    if isinstance(step, Verify):
        return Call(
            Endpoint.VERIFY, writer.verify(step.msg_id, step.code), step.expected, None, None, step.msg_id, step.due
        )
    temp_id = temp_id if step.temp_id is None else step.temp_id
    return Call(Endpoint.SEND, writer.send(step.mobile, temp_id), step.expected, step.mobile, temp_id, None, step.due)


def read_outcome(endpoint: Endpoint, received: Received, started_ns: int, latency_ns: int, wait_ns: int = 0) -> Outcome:
    """Read what was received as a call's outcome."""
    http_status, headers, body = received
    try:
        answer = read_answer(endpoint, http_status, headers, body)
    except ProtocolError as error:
        return Outcome(endpoint, started_ns, latency_ns, None, error, len(body), wait_ns)
    return Outcome(endpoint, started_ns, latency_ns, answer, None, len(body), wait_ns)


def read_code(received: Received) -> str | None:
    """Read a message's code from what the sandbox gave; None where that is none."""
    try:
        return str(json.loads(received.body)["code"]) if received.http_status == 200 else None
    except (ValueError, LookupError, TypeError):
        return None
