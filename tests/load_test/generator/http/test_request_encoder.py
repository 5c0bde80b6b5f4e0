from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.api.basic_auth import Credentials
from toolkit.api.errors import InputError
from toolkit.api.wire import Request, build_send, build_verify
from toolkit.load_test.generator.http.request_encoder import RequestEncoder
from toolkit.load_test.generator.http.response_parser import Origin
from toolkit.load_test.generator.steps import Peek, Send, Verify

CREDENTIALS = Credentials("key", "secret")
ORIGIN = Origin.of("http://api.example:8018/v1/codes/0/base/")
ENCODER = RequestEncoder(ORIGIN, CREDENTIALS, 7)

mobiles = st.text(max_size=20) | st.from_regex("[0-9]{11}", fullmatch=True) | st.text(min_size=11, max_size=11)
codes = st.text(max_size=8) | st.from_regex("[0-9]{6}", fullmatch=True) | st.text(min_size=6, max_size=6)
msg_ids = st.text(min_size=3, max_size=20) | st.uuids().map(str)


def fresh(request: Request) -> bytes:
    return ORIGIN.encode("POST", request.path, request.headers, request.body)


def body(written: bytes) -> object:
    return json.loads(written.partition(b"\r\n\r\n")[2])


@given(mobiles | st.integers(), st.none() | st.integers() | st.text(max_size=5))
def test_a_send_is_written_as_wire_builds_it(mobile: str, temp_id: int | None) -> None:
    written = ENCODER.encode(Send(mobile, temp_id))
    expected = 7 if temp_id is None else temp_id
    assert written == fresh(build_send(CREDENTIALS, mobile, expected))
    assert body(written) == {"mobile": mobile, "temp_id": expected}


@given(msg_ids, codes)
def test_a_verify_is_written_as_wire_builds_it(msg_id: str, code: str) -> None:
    written = ENCODER.encode(Verify(msg_id, code))
    assert written == fresh(build_verify(CREDENTIALS, msg_id, code))
    assert body(written) == {"code": code}


@pytest.mark.parametrize("msg_id", ["", "..", "x" * 1001])
def test_a_msg_id_that_can_stand_in_no_path_is_refused(msg_id: str) -> None:
    with pytest.raises(InputError, match="msg_id"):
        ENCODER.encode(Verify(msg_id, "123456"))


def test_a_value_that_is_no_step_is_refused_with_the_steps() -> None:
    with pytest.raises(InputError, match="yielded 'pause': expected Send, Verify, Peek or Pause"):
        ENCODER.encode("pause")  # type: ignore[arg-type]


def test_a_peek_has_no_body() -> None:
    head, _, body = ENCODER.encode(Peek("m 1")).partition(b"\r\n\r\n")
    assert head.startswith(b"GET /v1/codes/0/base/sandbox/messages/m%201 HTTP/1.1\r\n")
    assert b"Authorization: Basic" in head
    assert body == b""
