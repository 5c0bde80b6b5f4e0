"""Encode HTTP/1.1 requests and parse responses, without I/O.

Nearly all responses arrive in one piece and state their length. ``parse_plain`` cuts those apart without a parser;
``ResponseReader`` reads all others with llhttp.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from msgspec import Struct

from toolkit.api.extra_headers import add_headers
from toolkit.api.wire import parse_base_url

MAX_HEAD_BYTES = 64 * 1024
MAX_RESPONSE_BYTES = 1024 * 1024
_PLAIN_START = b"HTTP/1.1 "
_LENGTH, _CONNECTION, _KEPT = b"\r\ncontent-length: ", b"\r\nconnection:", b"\r\nconnection: keep-alive\r\n"
_NO_BODY = (204, 304)


@dataclass(frozen=True, slots=True)
class Origin:
    """The scheme, address and base path of a target.

    Attributes:
        tls: True for https.
        host, port: the address to connect to.
        netloc: host and port as they were given, for the Host header.
        prefix: the path of the base URL without a trailing slash.
    """

    tls: bool
    host: str
    port: int
    netloc: str
    prefix: str

    @classmethod
    def of(cls, base_url: str) -> Origin:
        """Parse a base URL; raise InputError if it isn't one.

        >>> Origin.of("https://sms.example/api/").prefix
        '/api'
        """
        url = urlsplit(parse_base_url(base_url))
        tls = url.scheme == "https"
        return cls(tls, url.hostname or "", url.port or (443 if tls else 80), url.netloc, url.path)

    def encode(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
        """Encode a request."""
        fields = {"Host": self.netloc, **add_headers({"User-Agent": "sms-code-toolkit"}, headers)}
        fields["Content-Length"] = str(len(body))
        lines = [f"{method} {self.prefix}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class LazyHeaders(Mapping[str, str]):
    """The headers of a response by lower-case name, parsed at the first lookup. A success needs no lookup."""

    __slots__ = ("_fields", "_head")

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._fields: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._parse()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parse())

    def __len__(self) -> int:
        return len(self._parse())

    def _parse(self) -> dict[str, str]:
        if self._fields is None:
            pairs = (line.partition(":") for line in self._head.decode("latin-1").split("\r\n")[1:])
            self._fields = {name.lower(): value.strip() for name, _, value in pairs}
        return self._fields


class HttpResponse(Struct):
    """A response; ``headers`` are looked up by lower-case name."""

    http_status: int
    headers: Mapping[str, str]
    body: bytes


def parse_plain(data: bytes) -> HttpResponse | None:
    """Parse a response that is complete, keeps the connection open and states its length once; None for any other."""
    head, end, body = data.partition(b"\r\n\r\n")
    plain = _parse_plain_head(head) if end else None
    if plain is None:
        return None
    http_status, headers, length = plain
    return HttpResponse(http_status, headers, body) if len(body) == length else None


@lru_cache(maxsize=256)  # a server's heads differ in their length, and once a second in their date
def _parse_plain_head(head: bytes) -> tuple[int, LazyHeaders, int] | None:
    """Return the status, the headers and the length of the body."""
    lower = head.lower() + b"\r\n"
    at = lower.find(_LENGTH)
    if not head.startswith(_PLAIN_START) or at < 0 or lower.count(_LENGTH[:-1]) > 1 or len(head) > MAX_HEAD_BYTES:
        return None
    if b"\r\ntransfer-encoding" in lower or (_CONNECTION in lower and _KEPT not in lower):
        return None
    length, status = lower[at + len(_LENGTH) : lower.index(b"\r\n", at + 2)], lower[9:12]
    if not (length.isdigit() and status.isdigit()) or int(status) < 200 or int(status) in _NO_BODY:
        return None
    return int(status), LazyHeaders(head), int(length)


class ResponseReader:
    """Reads one response piece by piece. ``keeps``: whether the connection can be used again afterwards."""

    def __init__(self) -> None:
        self.keeps = False
        self._parser = HttpResponseParser(self)
        self._in_head = True
        self._size = 0
        self._fields: dict[str, str] = {}
        self._body: list[bytes] = []
        self._response: HttpResponse | None = None

    def feed(self, data: bytes) -> HttpResponse | None:
        """Add a piece and return the response once it is complete; raise ValueError if it isn't HTTP or too long."""
        self._size += len(data)
        if self._size > (MAX_HEAD_BYTES if self._in_head else MAX_RESPONSE_BYTES):
            raise ValueError("the response is too long")
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.keeps = False
            if self._response is None:
                raise ValueError(f"not HTTP: {type(error).__name__}") from error
        return self._response

    def end(self) -> HttpResponse:
        """Return the response if the end of the connection completes it; else raise ConnectionAbortedError."""
        if self._in_head or "content-length" in self._fields or "chunked" in self._fields.get("transfer-encoding", ""):
            raise ConnectionAbortedError("the connection was closed before the response was complete")
        return HttpResponse(self._parser.get_status_code(), self._fields, b"".join(self._body))

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        """Mark the connection as unusable if a second response begins, for which there is no request."""
        self.keeps = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header; trailers behind the body are ignored."""
        if self._in_head:
            self._fields[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Note the end of the head."""
        self._in_head = False

    def on_body(self, data: bytes) -> None:
        """Store a piece of the body."""
        if self._response is None:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """Store the response, unless it is an interim one (1xx)."""
        if self._parser.get_status_code() < 200:
            self._in_head = True
            self._fields.clear()
        elif self._response is None:
            body = b"".join(self._body)
            self._response = HttpResponse(self._parser.get_status_code(), self._fields, body)
            self.keeps = bool(self._parser.should_keep_alive())
