"""Parse HTTP/1.1 requests, without I/O. The caller may be hostile, so the memory of each request is bounded.

Bytes go in; whole requests come out, or the return code for bytes that are not a valid request.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping

from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserInvalidURLError,
    HttpParserUpgrade,
    HttpRequestParser,
)
from msgspec import Struct

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import MAX_BODY_BYTES

MAX_HEAD_BYTES = 16 * 1024  # of request line and headers; a head of this size is always read, one of three times is not
MAX_MESSAGE_BYTES = 8 * MAX_BODY_BYTES  # of body and framing: a chunk of one byte has five bytes of framing

_PATH = re.compile(rb"/[!\"$->@-~]*")  # without a query: in one pass, whatever the caller sends
_TARGET = re.compile(rb"[!-~]+")
_SCHEMES = (b"http://", b"https://")
_POST_LINE = re.compile(rb"POST (/[!\"$->@-~]*) HTTP/1\.1")
_NO_HEAD: tuple[Mapping[bytes, bytes], int] = {}, -1
_KNOWN_HEADS, _KNOWN_HEAD_BYTES = 4, 1024  # a caller of both calls repeats two, of some hundred bytes
_TOO_LARGE = bytes(MAX_BODY_BYTES + 1)  # replaces every body that is too large, whatever has arrived of it
_UNPARSED: dict[type[HttpParserError], ReturnCode] = {
    HttpParserInvalidMethodError: ReturnCode.METHOD_NOT_SUPPORT,
    HttpParserInvalidURLError: ReturnCode.API_NOT_FOUND,
}


class Request(Struct):
    """A request as it arrived: ``path`` and ``query`` are still quoted.

    ``headers`` holds the first value of each header, by its name in lower case, and every value of Authorization. A
    ``body`` of more than MAX_BODY_BYTES is replaced by MAX_BODY_BYTES + 1 zeros.
    """

    method: bytes
    path: bytes
    headers: Mapping[bytes, bytes]
    body: bytes
    peer: str
    query: bytes = b""


class RequestParser:
    """Parses the requests of one connection. The caller of ``feed`` takes them from ``parsed``.

    Attributes:
        parsed: each request, or the return code for an invalid one, and whether the connection is kept after it.
        ended: whether nothing more is parsed, because the last of ``parsed`` ends the connection.
        unfinished: whether a request has begun and not ended.
        headers: of the request that is being parsed.
    """

    def __init__(self, peer: str) -> None:
        self.parsed: deque[tuple[Request | ReturnCode, bool]] = deque()
        self.ended = False
        self.unfinished = False
        self.headers: list[tuple[bytes, bytes]] = []
        self._fields: dict[bytes, bytes] = {}
        self._peer = peer
        self._parser = HttpRequestParser(self)
        self._known_heads: dict[bytes, tuple[Mapping[bytes, bytes], int]] = {}  # with the length of the body
        self._target = self._body = b""
        self._head_ended = self._expects = False
        self._after_first_piece = False  # whether the piece in which the request began has ended
        self._bytes = 0  # of the request, without that first piece

    def feed(self, data: bytes) -> None:
        """Parse the next bytes of the connection."""
        if self.ended or self._feed_repeated(data):
            return
        is_first = not (self.unfinished or self.parsed)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            if not self.ended:
                self._decline_upgrade(data[upgrade.args[0] :])
        except HttpParserError as problem:
            if not self.ended:  # bytes after the last request are ignored
                self._end(_UNPARSED.get(type(problem), ReturnCode.INVALID_BODY))
        else:
            if self.unfinished and not self.ended:
                self._bound_size(len(data))
            elif is_first and len(self.parsed) == 1:
                self._remember_head(data)

    def _feed_repeated(self, data: bytes) -> bool:
        """Parse a whole POST whose headers are the very bytes of an earlier request; return False for any other.

        Most callers repeat their headers in each request on a connection. Their parser takes ten times as long.
        """
        if self.unfinished:
            return False
        line, _, rest = data.partition(b"\r\n")
        head, _, body = rest.partition(b"\r\n\r\n")
        fields, length = self._known_heads.get(head, _NO_HEAD)
        target = _POST_LINE.fullmatch(line) if length == len(body) else None
        if target is None:
            return False
        self.parsed.append((Request(b"POST", target[1], fields, body, self._peer), True))
        return True

    def _remember_head(self, data: bytes) -> None:
        """Store the headers of the request in ``data``, if the same bytes need not be parsed in a later request."""
        request, keep_alive = self.parsed[0]
        line, _, rest = data.partition(b"\r\n")
        head, _, body = rest.partition(b"\r\n\r\n")
        if not (isinstance(request, Request) and keep_alive and len(head) <= _KNOWN_HEAD_BYTES):
            return
        fields = request.headers
        is_whole = fields.get(b"content-length") == b"%d" % len(body) and request.body == body
        if is_whole and b"expect" not in fields and _POST_LINE.fullmatch(line):
            if len(self._known_heads) == _KNOWN_HEADS:
                self._known_heads.clear()
            self._known_heads[head] = fields, len(body)

    @property
    def in_body(self) -> bool:
        """Whether a part of a body is still to come."""
        return self.unfinished and self._head_ended

    def expects_continue(self) -> bool:
        """Return, once a request, whether the caller waits for "100 Continue" before it sends the body."""
        expects, self._expects = self._expects and self.in_body, False
        return expects

    def _bound_size(self, count: int) -> None:
        """Count the bytes of a request after the piece in which it began, and refuse it if they are too many."""
        self._bytes += count if self._after_first_piece else 0
        self._after_first_piece = True
        if not self._head_ended:
            if self._bytes > MAX_HEAD_BYTES:
                self._end(ReturnCode.INVALID_BODY)
        elif self._bytes > MAX_MESSAGE_BYTES or len(self._body) > MAX_BODY_BYTES:
            self._end(self._request(_TOO_LARGE))

    def _decline_upgrade(self, rest: bytes) -> None:
        """Parse a request again without its Upgrade header: with it, the parser would not read the body."""
        method, version = self._parser.get_method(), self._parser.get_http_version().encode()
        if method == b"CONNECT":
            return self._end(ReturnCode.API_NOT_FOUND)
        headers = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        head = b"\r\n".join([b"%b %b HTTP/%b" % (method, self._target, version), *headers, b"", b""])
        self._parser = HttpRequestParser(self)
        return self.feed(head + rest)

    def _end(self, last: Request | ReturnCode) -> None:
        """Parse nothing more: ``last`` is the last request that is answered, unless that is known already."""
        if self.ended:
            return
        self.ended = True
        self.parsed.append((last, False))

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        """Start a request."""
        self.unfinished = True
        self.headers, self._fields = [], {}
        self._target = self._body = b""
        self._head_ended = self._expects = self._after_first_piece = False
        self._bytes = 0

    def on_url(self, url: bytes) -> None:
        """Add a piece of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; trailers, which follow the body, are ignored."""
        if not self._head_ended:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """End the head."""
        self._head_ended = True
        fields = self._fields = dict(reversed(self.headers))
        if len(fields) < len(self.headers):
            self._read_repeated()
        if b"host" not in fields and self._parser.get_http_version() != "1.0":
            self._end(ReturnCode.INVALID_BODY)
        if b"expect" in fields:
            self._expects = fields[b"expect"].lower() == b"100-continue"
        if int(fields.get(b"content-length", 0)) > MAX_BODY_BYTES:
            self._body = _TOO_LARGE

    def _read_repeated(self) -> None:
        """Refuse a second Host, and join a second Authorization to the first, which makes credentials of neither."""
        hosts = [value for name, value in self.headers if name == b"host"]
        credentials = [value for name, value in self.headers if name == b"authorization"]
        if len(hosts) > 1:
            self._end(ReturnCode.INVALID_BODY)
        if len(credentials) > 1:  # RFC 9110, section 5.3
            self._fields[b"authorization"] = b", ".join(credentials)

    def on_body(self, data: bytes) -> None:
        """Add a piece of the body; of one that is too large, no more than proves it."""
        if len(self._body) <= MAX_BODY_BYTES:
            self._body += data

    def on_message_complete(self) -> None:
        """Add the request to ``parsed``, unless it offered an upgrade: ``_decline_upgrade`` parses it again."""
        if self.ended or self._parser.should_upgrade():
            return
        self.unfinished = False
        keep_alive = self._parser.should_keep_alive()
        self.ended = not keep_alive
        self.parsed.append((self._request(self._body), keep_alive))

    def _request(self, body: bytes) -> Request:
        path, query = (self._target, b"") if _PATH.fullmatch(self._target) else _split_target(self._target)
        return Request(self._parser.get_method(), path, self._fields, body, self._peer, query)


def _split_target(target: bytes) -> tuple[bytes, bytes]:
    """Return path and query of a request target or an absolute URL; "/", no path of the API, if it has no path."""
    if not _TARGET.fullmatch(target):
        return b"/", b""
    start = 0
    if target.lower().startswith(_SCHEMES):
        host = target.index(b"://") + len(b"://")
        start = target.find(b"/", host + 1)  # a host has at least one character
    if start < 0 or target[start : start + 1] != b"/":
        return b"/", b""
    path, _, query = target[start:].partition(b"#")[0].partition(b"?")
    return path, query
