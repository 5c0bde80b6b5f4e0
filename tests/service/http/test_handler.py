"""Every response has a request id."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.service import Running

from toolkit.service.core.deferred import Deferred
from toolkit.service.http.handler import RequestHandler
from toolkit.service.http.request_parser import Request

SANE = ["a", "7d2f1c9e-trace", "!" * 128, '"quoted"\\{}']
ODD = ["", " ", "two words", "x" * 129, "caf\u00e9", "tab\there"]


def ask(service: Running, request_id: str) -> str:
    got = service.call("POST", "/v1/codes", b"{}", {"X-Request-Id": request_id})
    assert got.code == 50001
    return got.headers["x-request-id"]


@pytest.mark.parametrize("request_id", SANE)
def test_a_valid_request_id_is_echoed(sandbox: Running, request_id: str) -> None:
    assert ask(sandbox, request_id) == request_id


@pytest.mark.parametrize("request_id", ODD)
def test_an_invalid_request_id_is_replaced(sandbox: Running, request_id: str) -> None:
    assert ask(sandbox, request_id) not in ("", request_id, request_id.strip())


def test_answers_without_a_given_request_id_get_unique_ones(sandbox: Running) -> None:
    msg_id = sandbox.send()
    answers = [
        sandbox.call("GET", f"/sandbox/messages/{msg_id}", headers=sandbox.auth),
        sandbox.call("GET", "/sandbox/messages/unknown", headers=sandbox.auth),
        sandbox.verify(msg_id, "wrong"),
        sandbox.post("/v1/codes", {"mobile": "19900050019", "temp_id": 1}),
        sandbox.call("GET", "/"),
        sandbox.call("FETCH", "/v1/codes"),
    ]
    assert [it.code for it in answers] == [50000, 50016, 50010, 50019, 50016, 50018]
    assert len({it.headers["x-request-id"] for it in answers}) == len(answers)


def test_the_refusal_of_invalid_http_has_a_request_id(sandbox: Running) -> None:
    address = urlsplit(sandbox.url)
    with socket.create_connection((address.hostname, address.port), timeout=240) as peer, peer.makefile("rb") as file:
        peer.sendall(b"hello\r\n\r\n")
        assert b"\r\nx-request-id: " in file.read().partition(b"\r\n\r\n")[0]


def test_two_processes_use_different_request_ids(sandbox: Running, start: Callable[..., Running]) -> None:
    processes = [ask(service, "").rpartition("-")[0] for service in (sandbox, start())]
    assert len(set(processes)) == 2


def test_a_call_that_fails_after_its_decision_is_answered_and_no_longer_in_flight() -> None:
    """In place of a fault of the service: it has none that a caller could cause."""
    decided: Deferred[Any] = Deferred()
    handler = RequestHandler(lambda context, request: decided.then(lambda decision: decision["no such field"]))
    answering = handler(Request(b"POST", b"/v1/codes", {}, b"{}", "127.0.0.1"))
    decided.settle({})
    assert answering.value
    assert answering.value.http_status == 500
    assert handler.counters.in_flight == 0
