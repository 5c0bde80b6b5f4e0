from __future__ import annotations

import pytest

from toolkit.load_test.generator.http.response_parser import (
    MAX_HEAD_BYTES,
    MAX_RESPONSE_BYTES,
    HttpResponse,
    ResponseReader,
    parse_plain,
)

PLAIN = b"HTTP/1.1 200 OK\r\nX-Odd: Yes\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nLate: 1\r\n\r\n"
ANNOUNCED = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + PLAIN
BY_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n{}"


def read(answer: bytes, pieces: int) -> tuple[HttpResponse | None, bool]:
    """Read an answer in pieces of so many bytes, then the connection's end where one is needed."""
    reader = ResponseReader()
    for at in range(0, len(answer), pieces):
        if (got := reader.feed(answer[at : at + pieces])) is not None:
            return got, reader.keeps
    return reader.end(), reader.keeps


@pytest.mark.parametrize("pieces", [1, 7, 1000])
@pytest.mark.parametrize(
    ("answer", "http_status", "keeps"),
    [(PLAIN, 200, True), (CHUNKED, 403, True), (ANNOUNCED, 200, True), (BY_CLOSE, 200, False)],
    ids=["plain", "chunked", "announced", "ended by the connection's end"],
)
def test_an_answer_is_read_however_it_is_framed_and_cut(
    answer: bytes, http_status: int, keeps: bool, pieces: int
) -> None:
    got, kept = read(answer, pieces)
    assert got is not None
    assert (got.http_status, got.body, kept) == (http_status, b"{}", keeps)


def test_a_plain_answer_reads_the_same_on_both_ways() -> None:
    whole = HttpResponse(200, {"x-odd": "Yes", "content-length": "2"}, b"{}")
    assert parse_plain(PLAIN) == read(PLAIN, 1000)[0] == whole


@pytest.mark.parametrize(
    "answer",
    [
        PLAIN[:-1],
        PLAIN + b"H",
        CHUNKED,
        ANNOUNCED,
        BY_CLOSE,
        PLAIN.replace(b"1.1", b"1.0"),
        PLAIN.replace(b"X-Odd: Yes", b"Connection: close"),
        PLAIN.replace(b"X-Odd: Yes", b"Content-length:3"),
        PLAIN.replace(b"X-Odd: Yes", b"transfer-encoding: chunked"),
        PLAIN.replace(b"200", b"204"),
        PLAIN.replace(b"th: 2", b"th: -2"),
        b"",
    ],
)
def test_responses_that_are_not_plain_are_left_to_the_parser(answer: bytes) -> None:
    assert parse_plain(answer) is None


@pytest.mark.parametrize("close", [b"Connection: close", b"connection:Close"])
def test_an_answer_that_ends_the_connection_does_not_keep_it(close: bytes) -> None:
    assert read(PLAIN.replace(b"X-Odd: Yes", close), 1000)[1] is False


@pytest.mark.parametrize("more", [PLAIN, b"\0", b"HTTP/1.1 200 OK\r\n"])
def test_a_connection_with_more_than_one_answer_is_not_kept(more: bytes) -> None:
    got, keeps = read(PLAIN + more, 1000)
    assert got is not None
    assert (got.body, keeps) == (b"{}", False)


@pytest.mark.parametrize("answer", [b"", PLAIN[:-1], PLAIN[:30], CHUNKED[:-2], b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_half_a_response_is_incomplete(answer: bytes) -> None:
    with pytest.raises(ConnectionError):
        read(answer, 1000)


@pytest.mark.parametrize("answer", [b"SMTP\r\n", b"HTTP/1.1 101 Other\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"])
def test_bytes_that_are_not_http_are_an_error(answer: bytes) -> None:
    with pytest.raises(ValueError, match="not HTTP"):
        read(answer, 1000)


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD_BYTES, BY_CLOSE + b"x" * MAX_RESPONSE_BYTES]
)
def test_an_endless_answer_is_given_up(start: bytes) -> None:
    with pytest.raises(ValueError, match="too long"):
        read(start, 4096)
