"""HTTP/1.1 without I/O: where a target is, what a request looks like in bytes, and an answer read from bytes.

An answer that comes whole in one piece and says its length, as nearly all do, is cut up here; llhttp reads every other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from toolkit.api.wire import parse_base_url

MAX_HEAD_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 1024 * 1024
_PLAIN_START = b"HTTP/1.1 "
_LENGTH, _CONNECTION, _KEPT = b"\r\ncontent-length: ", b"\r\nconnection:", b"\r\nconnection: keep-alive\r\n"
_NO_BODY = (204, 304)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a target is: ``netloc`` as it was given, ``prefix`` the base URL's path without a slash at its end."""

    tls: bool
    host: str
    port: int
    netloc: str
    prefix: str

    @classmethod
    def of(cls, base_url: str) -> Origin:
        """Read a base URL; raise InputError for one that is none."""
        url = urlsplit(parse_base_url(base_url))
        tls = url.scheme == "https"
        return cls(tls, url.hostname or "", url.port or (443 if tls else 80), url.netloc, url.path)

    def write(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
        """Write any request."""
        fields = {"Host": self.netloc, "User-Agent": "sms-code-toolkit", **headers, "Content-Length": str(len(body))}
        lines = [f"{method} {self.prefix}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Fields(Mapping[str, str]):
    """Headers by lower-case name, read from an answer's head when somebody asks: of a success, nobody does."""

    __slots__ = ("_head", "_read")

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._read: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, str]:
        if self._read is None:
            pairs = (line.partition(":") for line in self._head.decode("latin-1").split("\r\n")[1:])
            self._read = {name.lower(): value.strip() for name, _, value in pairs}
        return self._read


@dataclass(slots=True)
class Received:
    """An answer; ``headers`` are looked up by lower-case names."""

    http_status: int
    headers: Mapping[str, str]
    body: bytes


def cut_plain(data: bytes) -> Received | None:
    """Cut up an answer that is whole, leaves the connection open and says its length once; None for any other."""
    head, end, body = data.partition(b"\r\n\r\n")
    plain = _read_plain_head(head) if end else None
    if plain is None:
        return None
    http_status, fields, length = plain
    return Received(http_status, fields, body) if len(body) == length else None


@lru_cache(maxsize=256)  # a server's heads differ in their lengths, and once a second in their date
def _read_plain_head(head: bytes) -> tuple[int, Fields, int] | None:
    """Read the status, the fields and the length of the body."""
    lower = head.lower() + b"\r\n"
    at = lower.find(_LENGTH)
    if not head.startswith(_PLAIN_START) or at < 0 or lower.count(_LENGTH[:-1]) > 1 or len(head) > MAX_HEAD_BYTES:
        return None
    if b"\r\ntransfer-encoding" in lower or (_CONNECTION in lower and _KEPT not in lower):
        return None
    length, status = lower[at + len(_LENGTH) : lower.index(b"\r\n", at + 2)], lower[9:12]
    if not (length.isdigit() and status.isdigit()) or int(status) < 200 or int(status) in _NO_BODY:
        return None
    return int(status), Fields(head), int(length)


class AnswerReader:
    """Reads one answer from pieces. ``keeps``: whether the connection can be used again after it."""

    def __init__(self) -> None:
        self.keeps = False
        self._parser = HttpResponseParser(self)
        self._in_head = True
        self._size = 0
        self._fields: dict[str, str] = {}
        self._body: list[bytes] = []
        self._answer: Received | None = None

    def feed(self, data: bytes) -> Received | None:
        """Take a piece and return the answer once it is whole; raise ValueError for what isn't HTTP, or too long."""
        self._size += len(data)
        if self._size > (MAX_HEAD_BYTES if self._in_head else MAX_ANSWER_BYTES):
            raise ValueError("the answer is too long")
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.keeps = False
            if self._answer is None:
                raise ValueError(f"not HTTP: {type(error).__name__}") from error
        return self._answer

    def end(self) -> Received:
        """Take the connection's end, and return the answer where that is what ends it; else raise ConnectionError."""
        if self._in_head or "content-length" in self._fields or "chunked" in self._fields.get("transfer-encoding", ""):
            raise ConnectionAbortedError("the connection ended before the answer did")
        return self._received()

    def _received(self) -> Received:
        return Received(self._parser.get_status_code(), self._fields, b"".join(self._body))

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Note that an answer begins: behind the whole one, it is one that nobody asked for."""
        self.keeps = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field of the head; those behind the body are of no use to anybody here."""
        if self._in_head:
            self._fields[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Note the head's end."""
        self._in_head = False

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self._answer is None:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """Take the answer, unless it is one that only announces the answer (1xx)."""
        if self._parser.get_status_code() < 200:
            self._in_head = True
            self._fields.clear()
        elif self._answer is None:
            self._answer = self._received()
            self.keeps = bool(self._parser.should_keep_alive())
