import base64
import contextlib
import gzip
import json
import string
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.api import wire
from toolkit.api.basic_auth import Credentials
from toolkit.api.errors import InputError, ProtocolError
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import ApiResponse, Endpoint, Refusal, SendFields

CREDENTIALS = Credentials("key", "the-master-secret")
UNICODE = st.text(st.characters(exclude_categories=["Cs"]))


def token(text: bytes) -> bytes:
    return b"Basic " + base64.b64encode(text)


def read(endpoint: Endpoint, fields: Any, http_status: int = 200, **headers: str) -> ApiResponse:
    return wire.parse_response(endpoint, http_status, headers, json.dumps(fields).encode())


# A call there.


@given(mobile=UNICODE | st.integers(), temp_id=UNICODE | st.integers())
def test_a_send_arrives_as_it_was_built(mobile: str | int, temp_id: str | int) -> None:
    request = wire.build_send(CREDENTIALS, mobile, temp_id)
    assert wire.read_path(request.path.encode()) == (Endpoint.SEND, "")
    assert wire.read_body(request.body) == {"mobile": mobile, "temp_id": temp_id}
    assert request.endpoint is Endpoint.SEND


@given(msg_id=UNICODE.filter(lambda text: text not in ("", ".", "..")), code=UNICODE)
def test_a_verify_arrives_as_it_was_built(msg_id: str, code: str) -> None:
    request = wire.build_verify(CREDENTIALS, msg_id, code)
    assert wire.read_path(request.path.encode("ascii")) == (Endpoint.VERIFY, msg_id)
    assert wire.read_body(request.body) == {"code": code}
    assert request.endpoint is Endpoint.VERIFY


@given(app_key=UNICODE.filter(lambda text: text and ":" not in text), secret=UNICODE)
def test_credentials_arrive_as_they_were_given(app_key: str, secret: str) -> None:
    sent = Credentials(app_key, secret)
    assert wire.read_authorization(sent.authorization.encode()) == sent


def test_a_request_names_the_app_and_json() -> None:
    headers = wire.build_send(CREDENTIALS, "13800138000", 1).headers
    assert wire.read_authorization(headers["Authorization"].encode()) == CREDENTIALS
    assert headers["Content-Type"] == headers["Accept"] == "application/json"


@pytest.mark.parametrize("msg_id", ["", ".", ".."])
def test_a_msg_id_that_cannot_be_in_a_path_is_refused(msg_id: str) -> None:
    with pytest.raises(InputError, match="msg_id"):
        wire.build_verify(CREDENTIALS, msg_id, "123456")


def test_a_msg_id_longer_than_any_is_refused() -> None:
    assert wire.build_verify(CREDENTIALS, "x" * wire.MAX_MSG_ID_CHARS, "123456")
    with pytest.raises(InputError, match="msg_id of 1001 characters"):
        wire.build_verify(CREDENTIALS, "x" * (wire.MAX_MSG_ID_CHARS + 1), "123456")


@pytest.mark.parametrize("sign", ["", "-"])
def test_an_integer_of_any_length_is_read_and_is_no_mobile(sign: str) -> None:
    fields = wire.read_body(b'{"mobile": %b%b, "temp_id": 1}' % (sign.encode(), b"1" * 5000))
    assert not isinstance(fields, Refusal)
    assert wire.read_send(fields) == Refusal(ReturnCode.INVALID_MOBILE)
    assert fields["temp_id"] == 1
    assert isinstance(fields["temp_id"], int)


@pytest.mark.parametrize("app_key", ["", "a:b", ":"])
def test_an_app_key_that_basic_authentication_cannot_encode_is_refused(app_key: str) -> None:
    with pytest.raises(InputError, match="app key"):
        Credentials(app_key, "secret")


def test_no_value_shows_a_secret_a_mobile_or_a_code() -> None:
    shown = repr(
        [CREDENTIALS, wire.build_send(CREDENTIALS, "13800138000", 1), wire.build_verify(CREDENTIALS, "7", "935617")]
    )
    secrets = ("the-master-secret", CREDENTIALS.authorization, "13800138000", "935617")
    assert not [secret for secret in secrets if secret in shown]


@pytest.mark.parametrize(
    ("text", "base_url"),
    [
        ("http://h", "http://h"),
        ("https://api.sms.jpush.cn/", "https://api.sms.jpush.cn"),
        ("HTTP://127.0.0.1:8018/a/b/", "HTTP://127.0.0.1:8018/a/b"),
        ("http://[::1]:8018", "http://[::1]:8018"),
        ("http://h:65535//", "http://h:65535"),
    ],
)
def test_a_base_url_is_taken_without_the_slash_at_its_end(text: str, base_url: str) -> None:
    assert wire.parse_base_url(text) == base_url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h",
        "h:80",
        "ftp://h",
        "http://",
        "http:///p",
        "http://a:secret@h",
        "http://h:65536",
        "http://h:",
        "http://h?a",
        "http://h#a",
        "http://h/a b",
        " http://h",
        "http://h\n",
        "http://a..b",
        f"http://{'a' * 64}",
        "http://é",
        "http://[h",
    ],
)
def test_an_invalid_base_url_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InputError, match="invalid base_url: expected") as caught:
        wire.parse_base_url(text)
    assert "secret" not in str(caught.value)


# The answer back.


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(list(ReturnCode))
KEYS = st.sampled_from(["error", "code", "message", "msg_id", "is_valid"])
JSON = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5))


@given(
    endpoint=st.sampled_from(Endpoint),
    http_status=st.integers() | st.just(200),
    headers=st.dictionaries(st.just("retry-after"), st.text(string.printable)),
    body=st.binary() | JSON.map(lambda value: json.dumps(value).encode()),
)
def test_parsing_a_response_raises_only_protocol_errors(
    endpoint: Endpoint, http_status: int, headers: dict[str, str], body: bytes
) -> None:
    with contextlib.suppress(ProtocolError):
        answer = wire.parse_response(endpoint, http_status, headers, body)
        succeeded = answer.msg_id is not None or answer.is_valid is True
        assert succeeded == (answer.return_code == ReturnCode.SUCCESS)


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"a":' * 100_000, b'{"error": {"code": %s}}' % (b"9" * 5000), b'{"msg_id": NaN}', b"\xff", b"7"],
)
def test_absurd_bodies_are_protocol_errors(body: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"not a JSON object|no code of a refusal"):
        wire.parse_response(Endpoint.SEND, 200, {}, body)


@given(msg_id=UNICODE.filter(bool))
def test_an_accepted_send_comes_back_as_its_msg_id(msg_id: str) -> None:
    reply = wire.success_response({"msg_id": msg_id})
    answer = wire.parse_response(Endpoint.SEND, reply.http_status, {}, reply.body)
    assert answer == ApiResponse(200, ReturnCode.SUCCESS, "success", msg_id=msg_id)
    assert answer.kind is Kind.OK


def test_a_numeric_msg_id_becomes_text() -> None:
    assert read(Endpoint.SEND, {"msg_id": 288193860302}).msg_id == "288193860302"


@pytest.mark.parametrize("msg_id", ["", None, True, 1.5, [], {}])
def test_a_success_without_a_msg_id_is_a_protocol_error(msg_id: object) -> None:
    with pytest.raises(ProtocolError, match="no msg_id"):
        read(Endpoint.SEND, {"msg_id": msg_id})


def test_a_right_code_comes_back_as_valid() -> None:
    reply = wire.verified_response()
    answer = wire.parse_response(Endpoint.VERIFY, reply.http_status, {}, reply.body)
    assert answer == ApiResponse(200, ReturnCode.SUCCESS, "success", is_valid=True)


@pytest.mark.parametrize("body", [b'{"is_valid":true}', b'{ "is_valid" : true }\n', b'{"is_valid":true,"more":1}'])
def test_a_success_is_read_however_its_json_is_written(body: bytes) -> None:
    answer = wire.parse_response(Endpoint.VERIFY, 200, {}, body)
    assert (answer.return_code, answer.is_valid) == (ReturnCode.SUCCESS, True)


@pytest.mark.parametrize("fields", [{}, {"is_valid": False}, {"is_valid": 1}, {"msg_id": "7"}])
def test_a_success_that_confirms_nothing_is_a_protocol_error(fields: dict[str, object]) -> None:
    with pytest.raises(ProtocolError, match="neither confirms"):
        read(Endpoint.VERIFY, fields)


@pytest.mark.parametrize("http_status", [199, 201, 202, 204, 206, 302, 404, 500])
def test_a_success_with_another_status_is_a_protocol_error(http_status: int) -> None:
    with pytest.raises(ProtocolError, match="the status is not 200"):
        read(Endpoint.SEND, {"msg_id": "7"}, http_status)


@pytest.mark.parametrize("endpoint", Endpoint)
@pytest.mark.parametrize("code", [code for code in ReturnCode if code.kind is not Kind.OK])
@pytest.mark.parametrize("retry_after_s", [None, 0, 59])
def test_a_refusal_comes_back_as_its_row(endpoint: Endpoint, code: ReturnCode, retry_after_s: int | None) -> None:
    reply = wire.refusal_response(Refusal(code, retry_after_s))
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    answer = wire.parse_response(endpoint, reply.http_status, headers, reply.body)
    is_valid = False if code.kind is Kind.VERDICT else None
    assert answer == ApiResponse(code.http_status, code, code.message, None, is_valid, retry_after_s)
    assert answer.return_code is code


def test_a_code_that_the_table_lacks_is_data() -> None:
    answer = read(Endpoint.SEND, {"error": {"code": "59101", "message": "blocked"}}, 403)
    assert (answer.return_code, answer.message, answer.kind) == (59101, "blocked", None)


def test_a_refusal_without_a_message_has_the_tables_message() -> None:
    assert read(Endpoint.SEND, {"error": {"code": 50009}}, 403).message == "out of freq"
    assert read(Endpoint.SEND, {"error": {"code": 59101, "message": 7}}, 403).message == ""
    assert read(Endpoint.SEND, {"error": {"code": 50036}}, 403).message == "app in black"


@pytest.mark.parametrize(
    ("http_status", "body", "kind"),
    [
        (403, {"error": {"code": 50026}}, Kind.REQUEST),
        (403, {"is_valid": False, "error": {"code": 50026}}, Kind.VERDICT),
        (403, {"is_valid": False, "error": {"code": 59026}}, Kind.VERDICT),
        (500, {"is_valid": False, "error": {"code": 50010}}, Kind.SERVER),
        (503, {"error": {"code": 50009}}, Kind.SERVER),
        (503, {"error": {"code": 59009}}, Kind.SERVER),
    ],
)
def test_the_kind_of_a_response_follows_from_its_status_and_verdict_too(
    http_status: int, body: dict[str, object], kind: Kind
) -> None:
    assert read(Endpoint.VERIFY, body, http_status).kind is kind


@pytest.mark.parametrize("error", ["no", [], {}, {"code": None}, {"code": 1.5}, {"code": True}, {"code": 50000}])
def test_an_error_without_the_number_of_a_refusal_is_a_protocol_error(error: object) -> None:
    with pytest.raises(ProtocolError, match="no code of a refusal"):
        read(Endpoint.SEND, {"error": error}, 403)


def test_a_retry_after_as_a_time_since_1970_is_compared_with_the_date_of_the_response() -> None:
    headers = {"retry-after": "1793966460", "date": "Fri, 06 Nov 2026 12:00:00 GMT"}
    body = {"error": {"code": 50009}}
    assert read(Endpoint.SEND, body, 403, **headers).retry_after_s == 60
    assert read(Endpoint.SEND, body, 403, **headers | {"date": "yesterday"}).retry_after_s is None
    assert read(Endpoint.SEND, body, 403, **{"retry-after": "1793966460"}).retry_after_s is None


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("fields", [{"msg_id": "7"}, {"msg_id": 7, "error": None}])
@pytest.mark.parametrize("compress", [None, gzip.compress, zlib.compress])
def test_a_success_in_an_unusual_form_is_a_success(
    start: bytes, fields: dict[str, object], compress: Callable[[bytes], bytes] | None
) -> None:
    body, headers = start + json.dumps(fields).encode(), {}
    if compress:
        body, headers = compress(body), {"content-encoding": "gzip" if compress is gzip.compress else "deflate"}
    assert wire.parse_response(Endpoint.SEND, 200, headers, body).msg_id == "7"


def test_a_compressed_body_of_any_size_is_read_in_bounded_memory() -> None:
    with pytest.raises(ProtocolError):
        wire.parse_response(Endpoint.SEND, 200, {"content-encoding": "gzip"}, gzip.compress(bytes(100 * 2**20)))


def test_a_body_that_only_claims_to_be_compressed_is_read_as_it_is() -> None:
    headers = {"content-encoding": "gzip"}
    assert wire.parse_response(Endpoint.SEND, 200, headers, b' {"msg_id":"7"}').msg_id == "7"


def test_an_accepted_send_with_a_uuid_comes_back_as_its_msg_id() -> None:
    msg_id = "06890980-6789-4054-bba9-90fb66ab2fce"
    reply = wire.sent_response(msg_id)
    assert dict(reply.headers)[b"content-length"] == b"%d" % len(reply.body)
    assert wire.parse_response(Endpoint.SEND, 200, {}, reply.body).msg_id == msg_id


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("Wed, 21 Oct 2026 07:28:30 GMT", DATE, 30),
        ("Wed, 21 Oct 2026 07:27:00 GMT", DATE, 0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", "", None),
        ("Wed, 21 Oct 2026 07:28:30 -0000", DATE, None),
        ("30", "", 30),
    ],
)
def test_a_retry_after_may_be_a_date(value: str, date: str, seconds: int | None) -> None:
    headers = {"retry-after": value, "date": date}
    refusal = {"error": {"code": 50009}}
    answer = wire.parse_response(Endpoint.SEND, 403, headers, json.dumps(refusal).encode())
    assert answer.retry_after_s == seconds
    with pytest.raises(ProtocolError) as caught:
        wire.parse_response(Endpoint.SEND, 503, headers, b"<html>")
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize("value", ["", "soon", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", "9" * 19])
def test_a_retry_after_that_is_no_number_of_seconds_is_left_out(value: str) -> None:
    assert read(Endpoint.SEND, {"error": {"code": 50009}}, 403, **{"retry-after": value}).retry_after_s is None


# What the service reads and writes.


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/codes/", "/v1/codes/7", "/v1/codes/7/valid/", "/v1/codes//valid", "/V1/codes"]
)
def test_any_other_path_is_not_found(path: str) -> None:
    assert wire.read_path(path.encode()) == Refusal(ReturnCode.API_NOT_FOUND)


@given(msg_id=UNICODE.filter(bool))
def test_a_message_of_the_sandbox_is_found_by_its_path(msg_id: str) -> None:
    assert wire.read_message_path(wire.message_path(msg_id).encode()) == msg_id


def test_any_other_path_names_no_message() -> None:
    assert wire.read_message_path(b"/sandbox/messages/") is None


def test_the_mobile_in_a_path_is_read_as_it_is_quoted() -> None:
    assert wire.read_number_path(b"/sandbox/numbers/%2B8613800138000") == "+8613800138000"
    assert wire.read_number_path(b"/sandbox/numbers/") is None


@pytest.mark.parametrize("value", [None, b""])
def test_no_authorization_is_missing(value: bytes | None) -> None:
    assert wire.read_authorization(value) == Refusal(ReturnCode.MISSING_AUTH)


@pytest.mark.parametrize(
    "value", [b"Basic", b"Basic !", b"Bearer a2V5OnM=", token(b"key"), token(b":s"), token(b"\xff:s"), b"Basic \xff"]
)
def test_an_authorization_that_names_no_app_fails(value: bytes) -> None:
    assert wire.read_authorization(value) == Refusal(ReturnCode.AUTH_FAILED)


def test_the_scheme_may_be_written_in_any_case_and_a_secret_may_hold_colons() -> None:
    assert wire.read_authorization(b"bASIC  " + token(b"key:a:b")[6:]) == Credentials("key", "a:b")


LENIENT = [
    None,
    b"",
    b"application/json",
    b"Application/JSON; charset=utf-8",
    b"text/plain",
    b"application/x-www-form-urlencoded",
]
OTHERS = [b"application/xml", b"multipart/form-data; boundary=x", b"image/png", b"json", b"\xff"]


@pytest.mark.parametrize("value", LENIENT)
def test_the_media_types_of_the_vendors_examples_are_accepted(value: bytes | None) -> None:
    assert wire.check_media_type(value) is None


@pytest.mark.parametrize("value", OTHERS)
def test_another_media_type_is_refused(value: bytes) -> None:
    assert wire.check_media_type(value) == Refusal(ReturnCode.MEDIA_NOT_SUPPORTED)


def test_strict_mode_accepts_only_json() -> None:
    passed = [value for value in LENIENT + OTHERS if wire.check_media_type(value, wire.STRICT_TYPES) is None]
    assert passed == [b"application/json", b"Application/JSON; charset=utf-8"]


def test_an_empty_body_is_missing() -> None:
    assert wire.read_body(b"") == Refusal(ReturnCode.MISSING_BODY)


@pytest.mark.parametrize(
    "body", [b"x", b"[]", b"null", b'"a"', b"\xff", b'{"a": NaN}', b"[" * 10_000, b" " * 16_383 + b"{}"]
)
def test_a_body_that_is_no_json_object_of_16_kib_is_invalid(body: bytes) -> None:
    assert wire.read_body(body) == Refusal(ReturnCode.INVALID_BODY)


def test_a_body_of_just_16_kib_is_read() -> None:
    assert wire.read_body(b" " * 16_382 + b"{}") == {}


@pytest.mark.parametrize("absent", [{}, {"mobile": None}, {"mobile": ""}])
def test_a_missing_mobile_is_reported_first(absent: dict[str, object]) -> None:
    assert wire.read_send(absent) == Refusal(ReturnCode.MISSING_MOBILE)


@pytest.mark.parametrize("absent", [{}, {"temp_id": None}, {"temp_id": ""}])
def test_a_missing_temp_id_is_reported_before_an_invalid_mobile(absent: dict[str, object]) -> None:
    assert wire.read_send({"mobile": "1", **absent}) == Refusal(ReturnCode.MISSING_TEMP_ID)


@pytest.mark.parametrize("mobile", ["13800138000", 13800138000, "+8613800138000", "8613800138000", 8613800138000])
def test_a_mobile_is_read_with_or_without_its_country(mobile: object) -> None:
    assert wire.read_send({"mobile": mobile, "temp_id": 1}) == SendFields("13800138000", 1)


@pytest.mark.parametrize(
    "mobile",
    [
        "1",
        "12800138000",
        "138001380001",
        "1380013800",
        " 13800138000",
        "13800138000\n",
        "+1 13800138000",
        "１３８００１３８０００",
        True,
        1.5,
        [],
        {},
        13800138000.0,
    ],
)
def test_anything_else_is_an_invalid_mobile(mobile: object) -> None:
    assert wire.read_send({"mobile": mobile, "temp_id": 1}) == Refusal(ReturnCode.INVALID_MOBILE)


@pytest.mark.parametrize(
    ("temp_id", "whole"), [(1, 1), ("1", 1), ("x", None), (True, None), (1.0, None), ([], None), (10**18, None)]
)
def test_a_temp_id_is_a_whole_number_or_names_no_template(temp_id: object, whole: int | None) -> None:
    assert wire.read_send({"mobile": "13800138000", "temp_id": temp_id}) == SendFields("13800138000", whole)


@pytest.mark.parametrize("fields", [{}, {"code": None}, {"code": ""}])
def test_a_missing_code_is_reported(fields: dict[str, object]) -> None:
    assert wire.read_verify(fields) == Refusal(ReturnCode.MISSING_CODE)


@pytest.mark.parametrize(("code", "text"), [("012345", "012345"), (123456, "123456"), (["1"], "['1']"), (True, "True")])
def test_a_code_is_read_as_its_digits(code: object, text: str) -> None:
    assert wire.read_verify({"code": code}) == text


@pytest.mark.parametrize("code", [code for code in ReturnCode if code.kind is not Kind.OK])
def test_a_refusal_has_the_documents_form(code: ReturnCode) -> None:
    error = {"error": {"code": int(code), "message": code.message}}
    reply = wire.refusal_response(Refusal(code))
    assert reply.http_status == code.http_status
    assert json.loads(reply.body) == ({"is_valid": False} | error if code.kind is Kind.VERDICT else error)
    assert dict(reply.headers)[b"content-length"] == b"%d" % len(reply.body)


def test_a_refusal_has_headers_that_help_the_caller() -> None:
    def headers(code: ReturnCode, retry_after_s: int | None = None) -> dict[bytes, bytes]:
        return dict(wire.refusal_response(Refusal(code, retry_after_s)).headers)

    assert headers(ReturnCode.METHOD_NOT_SUPPORT)[b"allow"] == b"POST"
    peeking = wire.refusal_response(Refusal(ReturnCode.METHOD_NOT_SUPPORT, allow=b"GET"))
    assert dict(peeking.headers)[b"allow"] == b"GET"
    assert headers(ReturnCode.AUTH_FAILED)[b"www-authenticate"].startswith(b"Basic ")
    assert headers(ReturnCode.OUT_OF_FREQ, 42)[b"retry-after"] == b"42"


def test_the_sandboxs_response_has_the_code_and_the_text() -> None:
    assert json.loads(wire.success_response({"code": "123456", "text": "你好"}).body) == {
        "code": "123456",
        "text": "你好",
    }


@pytest.mark.parametrize(("sent", "kept"), [("r-1", "r-1"), ("", None), ("a b", None), ("x" * 129, None)])
def test_a_refusal_keeps_a_sane_request_id_and_a_success_none(sent: str, kept: str | None) -> None:
    headers, refused = {"x-request-id": sent}, b'{"error":{"code":50009,"message":"out of freq"}}'
    assert wire.parse_response(Endpoint.SEND, 403, headers, refused).request_id == kept
    assert wire.parse_response(Endpoint.SEND, 200, headers, b'{"msg_id":"m"}').request_id is None


def received(
    method: bytes = b"POST",
    path: bytes = b"/v1/codes",
    authorization: bytes = token(b"key:secret"),
    media_type: bytes = b"application/json",
    body: bytes = b'{"mobile":"13800138000","temp_id":1}',
) -> wire.ReceivedRequest[str]:
    """Read a request whose only known app is ``key``."""

    def authenticate(authorization: bytes | None) -> str | Refusal:
        credentials = wire.read_authorization(authorization)
        if isinstance(credentials, Refusal):
            return credentials
        return "app" if credentials.app_key == "key" else Refusal(ReturnCode.AUTH_FAILED)

    headers = {b"authorization": authorization, b"content-type": media_type}
    return wire.read_request(method, path, headers, body, authenticate)


def test_a_send_is_parsed_in_one_call() -> None:
    sent = wire.ReceivedRequest(None, Endpoint.SEND, "app", SendFields("13800138000", 1))
    assert received() == sent


@given(
    mobile=st.sampled_from(
        ['"13800138000"', '"+8613800138000"', "13800138000", '"12800138000"', '"1380013800\\u0030"', "null"]
    ),
    temp_id=st.one_of(st.integers(-2, 2), st.integers(10**17, 10**19), st.sampled_from(["01", '"1"', "1.0", "1e0"])),
    gap=st.sampled_from(["", " ", "  ", "\n"]),
    more=st.sampled_from(["", ',"temp_id":2', ',"x":1', "}"]),
)
def test_a_send_in_the_usual_form_is_parsed_as_json_is(mobile: str, temp_id: object, gap: str, more: str) -> None:
    body = f'{{"mobile":{gap}{mobile},{gap}"temp_id":{gap}{temp_id}{more}}}'.encode()
    fields = wire.read_body(body)
    expected = fields if isinstance(fields, Refusal) else wire.read_send(fields)
    got = received(body=body)
    assert (got.refusal or got.send) == expected


def test_a_verify_is_parsed_in_one_call() -> None:
    verify = received(path=b"/v1/codes/m%2F1/valid", body=b'{"code":"123456"}')
    assert verify == wire.ReceivedRequest(None, Endpoint.VERIFY, "app", None, "m/1", "123456")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"path": b"/v2"}, ReturnCode.API_NOT_FOUND),
        ({"method": b"GET"}, ReturnCode.METHOD_NOT_SUPPORT),
        ({"authorization": b""}, ReturnCode.MISSING_AUTH),
        ({"authorization": token(b"other:secret")}, ReturnCode.AUTH_FAILED),
        ({"media_type": b"image/png"}, ReturnCode.MEDIA_NOT_SUPPORTED),
        ({"body": b"{"}, ReturnCode.INVALID_BODY),
        ({"body": b"{}"}, ReturnCode.MISSING_MOBILE),
        ({"path": b"/v1/codes/m1/valid", "body": b"{}"}, ReturnCode.MISSING_CODE),
    ],
)
def test_a_request_is_refused_for_its_first_fault(fault: dict[str, bytes], code: ReturnCode) -> None:
    assert received(**fault).refusal == Refusal(code)


def test_the_fields_before_a_fault_are_known() -> None:
    assert (received(method=b"GET").endpoint, received(method=b"GET").account) == (Endpoint.SEND, None)
    assert received(body=b"{").account == "app"
    assert received(path=b"/v1/codes/m1/valid", body=b"{}").msg_id == "m1"


def read_by_the_standard_library(body: bytes) -> object:
    """Return the JSON object of a body as ``json`` reads it, or INVALID_BODY."""

    def refuse(name: str) -> object:
        raise ValueError(name)

    try:
        fields = json.loads(body.decode(), parse_constant=refuse)
    except (ValueError, RecursionError):
        fields = None
    return fields if isinstance(fields, dict) else Refusal(ReturnCode.INVALID_BODY)


PIECES = ["{", "}", "[", "]", ":", ",", '"', '"a"', '{"a":1}', '{"a":', "1", "-0", "01", "1e5", "1e400", "2.50", "NaN"]
PIECES += [
    "9" * 30,
    "\ufeff",
    " ",
    "\t",
    "\0",
    "\x01",
    "\\u0000",
    "\\ud800",
    "\\ud83d\\ude00",
    "\\x",
    "é",
    "true",
    "null",
]


@given(
    st.one_of(
        st.binary(min_size=1),
        st.text(min_size=1).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.lists(st.sampled_from(PIECES), min_size=1).map(lambda pieces: "".join(pieces).encode()),
        st.lists(st.sampled_from(PIECES)).map(lambda pieces: ('{"a":' + "".join(pieces) + "}").encode()),
    )
)
def test_a_body_is_read_as_the_standard_library_reads_it(body: bytes) -> None:
    assert repr(wire.read_body(body)) == repr(read_by_the_standard_library(body))
