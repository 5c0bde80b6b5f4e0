"""Any bytes over well-formed HTTP get a return code of the table, and never stop the service."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.service import Running

from toolkit.api.return_codes import ReturnCode
from toolkit.service.http.request_parser import Request, RequestParser

ROWS = {int(row): row for row in ReturnCode}
UNKNOWN = "/v1/codes/06890980-6789-4054-bba9-90fb66ab2fce/valid"

TARGET = st.binary(max_size=40).map(lambda raw: b"/" + bytes(b for b in raw if 0x21 <= b <= 0x7E))
PATHS = st.one_of(TARGET, TARGET.map(lambda it: b"/v1/codes" + it), st.sampled_from([b"/v1/codes", UNKNOWN.encode()]))
METHODS = st.sampled_from(
    [b"POST", b"POST", b"POST", b"GET", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"PROPFIND"]
)
TOKEN = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~", min_size=1, max_size=12
)
VALUE = st.binary(max_size=30).map(lambda raw: bytes(b for b in raw if b == 9 or 0x20 <= b != 0x7F).strip())
FRAMING = ("content-length", "transfer-encoding", "connection", "host", "expect", "upgrade")
HEADERS = st.lists(st.tuples(TOKEN.filter(lambda it: it.lower() not in FRAMING).map(str.encode), VALUE), max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries({}, optional={"mobile": JSON, "temp_id": JSON, "code": JSON, "x": JSON})
BODIES = st.one_of(
    st.binary(max_size=60), FIELDS.map(lambda it: json.dumps(it).encode()), JSON.map(lambda it: json.dumps(it).encode())
)
KNOWN = st.booleans()


def exchange(service: Running, raw: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, and read one answer by its Content-Length."""
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=240) as peer:
        peer.sendall(raw)
        with peer.makefile("rb") as file:
            status = int(file.readline().split()[1])
            if status == 100:
                assert file.readline() == b"\r\n"
                status = int(file.readline().split()[1])
            headers = {}
            while (line := file.readline()) != b"\r\n":
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            return status, headers, file.read(int(headers["content-length"]))


def check(answer: tuple[int, dict[str, str], bytes]) -> ReturnCode:
    """Hold an answer against the table, and tell its row."""
    status, headers, body = answer
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"]
    fields = json.loads(body)
    row = ROWS[fields["error"]["code"]] if "error" in fields else ReturnCode.SUCCESS
    assert status == row.http_status
    assert row is not ReturnCode.SERVER_ERROR
    return row


def request(method: bytes, path: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    head = [method + b" " + path + b" HTTP/1.1", b"Host: test", b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*head, *(name + b": " + value for name, value in headers), b"", body])


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=METHODS, path=PATHS, headers=HEADERS, body=BODIES, known=KNOWN)
def test_any_request_gets_a_return_code_of_the_table(
    sandbox: Running, method: bytes, path: bytes, headers: list[tuple[bytes, bytes]], body: bytes, known: bool
) -> None:
    if known:
        headers = [(b"Authorization", sandbox.auth["Authorization"].encode()), *headers]
    check(exchange(sandbox, request(method, path, headers, body)))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from([b"/v1/codes", UNKNOWN.encode()]), body=BODIES)
def test_any_body_of_a_known_app_gets_a_return_code_of_the_table(sandbox: Running, path: bytes, body: bytes) -> None:
    auth = [(b"Authorization", sandbox.auth["Authorization"].encode())]
    check(exchange(sandbox, request(b"POST", path, auth, body)))


ODD = {
    "a chunked body": (
        b"POST /v1/codes HTTP/1.1\r\nHost: t\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        ReturnCode.MISSING_MOBILE,
    ),
    "an upgrade to h2c": (
        b"POST /v1/codes HTTP/1.1\r\nHost: t\r\n%s\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAA\r\nContent-Length: 2\r\n\r\n{}",
        ReturnCode.MISSING_MOBILE,
    ),
    "a websocket": (
        b"GET /v1/codes HTTP/1.1\r\nHost: t\r\n%s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        ReturnCode.METHOD_NOT_SUPPORT,
    ),
    "bytes beyond ASCII in the path": (
        b"POST /v1/\xff\xfe HTTP/1.1\r\nHost: t\r\n%s\r\n\r\n",
        ReturnCode.API_NOT_FOUND,
    ),
    "a target without a path": (b"OPTIONS * HTTP/1.1\r\nHost: t\r\n%s\r\n\r\n", ReturnCode.API_NOT_FOUND),
    "a tunnel": (b"CONNECT t:80 HTTP/1.1\r\nHost: t\r\n%s\r\n\r\n", ReturnCode.API_NOT_FOUND),
    "an absolute target": (
        b"POST http://other/v1/codes HTTP/1.1\r\nHost: t\r\n%s\r\nContent-Length: 2\r\n\r\n{}",
        ReturnCode.MISSING_MOBILE,
    ),
    "a query": (
        b"POST /v1/codes?x=1 HTTP/1.1\r\nHost: t\r\n%s\r\nContent-Length: 2\r\n\r\n{}",
        ReturnCode.MISSING_MOBILE,
    ),
    "HTTP/1.0": (b"POST /v1/codes HTTP/1.0\r\n%s\r\nContent-Length: 2\r\n\r\n{}", ReturnCode.MISSING_MOBILE),
    "a long header": (
        b"POST /v1/codes HTTP/1.1\r\nHost: t\r\n%s\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        ReturnCode.MISSING_BODY,
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_but_well_formed_requests_get_the_expected_return_code(sandbox: Running, name: str) -> None:
    raw, row = ODD[name]
    auth = b"Authorization: " + sandbox.auth["Authorization"].encode()
    assert check(exchange(sandbox, raw.replace(b"%s", auth))) is row


def test_a_connection_stays_usable_after_refusals_and_a_declined_upgrade(sandbox: Running) -> None:
    auth = [(b"Authorization", sandbox.auth["Authorization"].encode())]
    upgrade = [(b"Connection", b"Upgrade"), (b"Upgrade", b"h2c")]
    address = urlsplit(sandbox.url)
    with socket.create_connection((address.hostname, address.port), timeout=240) as peer, peer.makefile("rb") as file:
        for headers in (auth, auth + upgrade, auth, []):
            peer.sendall(request(b"POST", b"/v1/codes", headers, b"{}"))
            assert file.readline().startswith(b"HTTP/1.1 400")
            length = 0
            while (line := file.readline()) != b"\r\n":
                length = int(line.split()[1]) if line.lower().startswith(b"content-length") else length
            file.read(length)


def test_bytes_that_are_not_http_are_refused_and_the_service_stays_up(sandbox: Running) -> None:
    for raw in (
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"hello\r\n\r\n",
        b"POST /v1/codes HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ):
        check(exchange(sandbox, raw))
    assert sandbox.send()


def path_of(target: bytes) -> bytes:
    parser = RequestParser("peer")
    parser.feed(b"GET " + target + b" HTTP/1.1\r\nHost: t\r\n\r\n")
    [(request, _)] = parser.parsed
    return request.path if isinstance(request, Request) else b""


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/v1/codes", b"/v1/codes"),
        (b"/v1/codes?x=/y#z", b"/v1/codes"),
        (b"/v1/codes#z?x", b"/v1/codes"),
        (b"http://host/v1/codes?x", b"/v1/codes"),
        (b"HTTPS://host:1/v1/codes", b"/v1/codes"),
        (b"http://host", b"/"),
    ],
)
def test_the_path_of_a_target_is_without_host_and_query(target: bytes, path: bytes) -> None:
    assert path_of(target) == path


@pytest.mark.parametrize("piece", [b"/", b"http://", b"?", b"a?", b"/a#", b"http://a/"])
def test_the_path_of_a_hostile_target_takes_linear_time(piece: bytes) -> None:
    # With a cost that grows with the cube of the length, this test would not end.
    target = b"http://" + piece * (60_000 // len(piece))
    for prefix in (b"", b"x"):
        path_of(prefix + target)


USUAL_HEAD = [b"Host: t", b"Content-Length: 2"]
HEADS = st.just(USUAL_HEAD) | st.lists(
    st.sampled_from(
        [
            b"Host: t",
            b"host:t",
            b"Authorization: Basic a2V5OnNlY3JldA==",
            b"Content-Length: 2",
            b"Content-Length: 02",
            b"Content-Length: 0",
            b"Transfer-Encoding: chunked",
            b"Connection: close",
            b"Expect: 100-continue",
            b"Upgrade: h2c",
            b"X: 1",
        ]
    ),
    max_size=4,
)
LINES = st.just(b"POST /a HTTP/1.1") | st.sampled_from(
    [
        b"POST /b?c HTTP/1.1",
        b"POST http://t/ HTTP/1.1",
        b"POST /a HTTP/1.0",
        b"GET /a HTTP/1.1",
        b"",
    ]
)
ENDS = st.just(b"{}") | st.sampled_from(
    [b"", b"{}", b"{}\r\n", b"\r\n\r\n", b"{}POST /a HTTP/1.1\r\n", b"0\r\n\r\n", b"abc"]
)


@settings(max_examples=1500)
@given(heads=st.lists(HEADS, min_size=1, max_size=2), lines=st.lists(LINES, min_size=2, max_size=5), data=st.data())
def test_repeated_headers_are_parsed_as_if_they_were_new(
    heads: list[list[bytes]], lines: list[bytes], data: st.DataObject
) -> None:
    whole, in_bytes = RequestParser("peer"), RequestParser("peer")
    for line in lines:
        head = data.draw(st.sampled_from(heads))
        raw = b"\r\n".join([line, *head, b"", data.draw(ENDS)])
        whole.feed(raw)
        for number in range(len(raw)):
            in_bytes.feed(raw[number : number + 1])
        assert (list(whole.parsed), whole.ended) == (list(in_bytes.parsed), in_bytes.ended)
        if data.draw(st.booleans()):  # the requests were answered
            whole.parsed.clear()
            in_bytes.parsed.clear()


def test_a_request_with_known_headers_is_whole_or_not_parsed() -> None:
    parser = RequestParser("peer")
    raw = request(b"POST", b"/v1/codes", [(b"X", b"1")], b"{}")
    parser.feed(raw)
    for piece in (raw[:-1], raw[-1:], raw + raw, raw[:20], raw[20:]):
        parser.feed(piece)
    assert [it[0] for it in parser.parsed] == [parser.parsed[0][0]] * 5
    assert parser.parsed[0][0] == Request(
        b"POST", b"/v1/codes", {b"host": b"test", b"content-length": b"2", b"x": b"1"}, b"{}", "peer"
    )
