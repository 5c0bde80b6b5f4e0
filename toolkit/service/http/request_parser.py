"""Reads HTTP/1.1 from callers who may be hostile, without I/O: how much of a request is kept, what the unreadable is.

Bytes go in, whole requests come out. What can't be read as HTTP comes out as a row of the return-code table.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserInvalidURLError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import MAX_BODY_BYTES

MAX_HEAD_BYTES = 16 * 1024  # of request line and headers; so much is always read, never three times as much
MAX_MESSAGE_BYTES = 8 * MAX_BODY_BYTES  # of body and framing: chunks of one byte are framed by five more

_TARGET = re.compile(rb"(?:https?://[!-~]+?)?(/[!-~]*?)(?:[?#][!-~]*)?", re.IGNORECASE)
_TOO_LARGE = bytes(MAX_BODY_BYTES + 1)  # stands for every body that is, however much of it has come
_UNPARSED: dict[type[HttpParserError], ReturnCode] = {
    HttpParserInvalidMethodError: ReturnCode.METHOD_NOT_SUPPORT,
    HttpParserInvalidURLError: ReturnCode.API_NOT_FOUND,
}


class Request(NamedTuple):
    """A request as it arrived: ``path`` is still quoted and without its query, header names are in lower case.

    A ``body`` beyond MAX_BODY_BYTES is replaced by one that is just as long as it takes to refuse it.
    """

    method: bytes
    path: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    peer: str

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of a name, given in lower case."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class RequestParser:
    """Reads the requests of one connection; the caller of ``feed`` takes them from ``found``.

    found: each request, or the row of the table for what is none, and whether the connection is kept after it.
    ended: nothing more is read, as what was found last ends the connection. headers: of the request that is being read.
    """

    def __init__(self, peer: str) -> None:
        self.found: deque[tuple[Request | ReturnCode, bool]] = deque()
        self.ended = False
        self.unfinished = False
        self.headers: list[tuple[bytes, bytes]] = []
        self._peer = peer
        self._parser = HttpRequestParser(self)
        self._target = self._body = b""
        self._head_ended = self._expects = False
        self._begun_before = False  # whether the piece that the request began in is over
        self._bytes = 0  # of the request, without that piece

    def feed(self, data: bytes) -> None:
        """Read a piece."""
        if self.ended:
            return
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except HttpParserError as problem:
            if not self.ended:  # what comes behind the last request is nobody's
                self._end(_UNPARSED.get(type(problem), ReturnCode.INVALID_BODY))
        else:
            if self.unfinished:
                self._measure(len(data))

    @property
    def in_body(self) -> bool:
        """Whether the rest of a body is still to come."""
        return self.unfinished and self._head_ended

    def asks_to_continue(self) -> bool:
        """Tell, once, whether the caller waits to be asked for the body."""
        asks, self._expects = self._expects and self.in_body, False
        return asks

    def _measure(self, count: int) -> None:
        """Count what came of a request after the piece that it began in, and end what is too large."""
        self._bytes += count if self._begun_before else 0
        self._begun_before = True
        if not self._head_ended:
            if self._bytes > MAX_HEAD_BYTES:
                self._end(ReturnCode.INVALID_BODY)
        elif self._bytes > MAX_MESSAGE_BYTES or len(self._body) > MAX_BODY_BYTES:
            self._end(self._request(_TOO_LARGE))

    def _decline(self, rest: bytes) -> None:
        """Read a request as if it offered no upgrade; the parser would take its body for the other protocol."""
        method, version = self._parser.get_method(), self._parser.get_http_version().encode()
        if method == b"CONNECT":
            return self._end(ReturnCode.API_NOT_FOUND)
        kept = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        head = b"\r\n".join([b"%b %b HTTP/%b" % (method, self._target, version), *kept, b"", b""])
        self._parser = HttpRequestParser(self)
        return self.feed(head + rest)

    def _end(self, last: Request | ReturnCode) -> None:
        """Read nothing more, whatever may come; what is given is to be answered as the last."""
        self.ended = True
        self.found.append((last, False))

    # What the parser tells.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self.unfinished = True
        self.headers = []
        self._target = self._body = b""
        self._head_ended = self._expects = self._begun_before = False
        self._bytes = 0

    def on_url(self, url: bytes) -> None:
        """Read a piece of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Read a header; what comes behind the body is of no use to anybody here."""
        if not self._head_ended:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Read the head's end."""
        self._head_ended = True
        for name, value in self.headers:
            if name == b"expect":
                self._expects = value.lower() == b"100-continue"
            elif name == b"content-length" and int(value) > MAX_BODY_BYTES:
                self._body = _TOO_LARGE

    def on_body(self, data: bytes) -> None:
        """Read a piece of the body; of one that is too large, just enough to tell."""
        if len(self._body) <= MAX_BODY_BYTES:
            self._body += data

    def on_message_complete(self) -> None:
        """Give out the request, unless it offered an upgrade: then ``_decline`` brings it again."""
        if self.ended or self._parser.should_upgrade():
            return
        self.unfinished = False
        keeps = self._parser.should_keep_alive()
        self.ended = not keeps
        self.found.append((self._request(self._body), keeps))

    def _request(self, body: bytes) -> Request:
        target = _TARGET.fullmatch(self._target)  # without a path, or beyond ASCII, it is none of the API's
        path = target[1] if target else b"/"
        return Request(self._parser.get_method(), path, self.headers, body, self._peer)
