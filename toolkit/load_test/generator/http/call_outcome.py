"""Read the outcome of a step from an HTTP response."""

from __future__ import annotations

import json

from toolkit.api.errors import CallError, NotConnectedError, ProtocolError
from toolkit.api.wire import Endpoint, parse_response
from toolkit.load_test.generator.http.response_parser import HttpResponse
from toolkit.load_test.generator.steps import Call, Outcome, Send
from toolkit.records.call_record import Failure

_SEND, _VERIFY = Endpoint.SEND, Endpoint.VERIFY  # looking up an enum's attribute runs Python code


def read_outcome(call: Call, received: HttpResponse, started_ns: int, latency_ns: int, wait_ns: int = 0) -> Outcome:
    """Read the outcome of a call from its response. A response that isn't the API's becomes the outcome's error."""
    endpoint, body = _SEND if isinstance(call, Send) else _VERIFY, received.body
    response = failure = None
    try:
        response = parse_response(endpoint, received.http_status, received.headers, body)
    except ProtocolError as error:
        failure = error
    return Outcome(endpoint, started_ns, latency_ns, response, failure, len(body), wait_ns)


def read_code(response: HttpResponse) -> str | None:
    """Read a message's code from the sandbox's response, or None if it holds no code."""
    try:
        return str(json.loads(response.body)["code"]) if response.http_status == 200 else None
    except (ValueError, LookupError, TypeError):
        return None


def classify(error: CallError) -> Failure:
    """Return the kind of failure that kept a response from being read."""
    cause = error.__cause__ or error
    if isinstance(error, NotConnectedError):
        return Failure.CONNECT
    if isinstance(cause, TimeoutError):
        return Failure.TIMEOUT
    if isinstance(cause, OSError):
        return Failure.RESET
    return Failure.PROTOCOL if isinstance(cause, Exception) else Failure.CANCELLED
