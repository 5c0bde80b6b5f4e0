"""Serve one HTTP connection whose caller may be hostile: bound its time and memory, and answer its requests in order.

A connection hands each whole request to the application and writes the response. That is all that requests of a few
hundred bytes need; a general ASGI server takes twice as long for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Protocol

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import REQUEST_ID, ServerResponse
from toolkit.service.core.deferred import Deferred
from toolkit.service.http.request_parser import Request, RequestParser

KEEP_ALIVE_S = 75  # longer than clients keep an idle connection, so that they close it and never meet a closed one
REQUEST_S = 10  # as long as clients commonly wait: a request that takes longer to arrive has lost its caller
LINGER_BYTES = 1024 * 1024  # discarded after the last response, so that a caller who still sends reads it, not a reset
PIECE_BYTES = 2 * 1024  # parsed at once: 256 KiB, which can arrive at once, hold 14,000 requests

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE, _KEEP_ALIVE = (b"connection", b"close"), (b"connection", b"keep-alive")
_REQUEST_ID = REQUEST_ID.encode()
_STATUS_LINES = {it.value: f"HTTP/1.1 {it.value} {it.phrase}\r\n".encode() for it in HTTPStatus}


class Application(Protocol):
    """The interface of the object that answers requests, such as ``RequestHandler``."""

    def __call__(self, request: Request) -> Deferred[ServerResponse | None]:
        """Answer a request; None closes its connection without a response."""

    def refuse(self, return_code: ReturnCode, peer: str) -> ServerResponse:
        """Return the response to bytes that are not a valid request."""


class Connection(asyncio.Protocol):
    """A connection that uvicorn's server starts and ends."""

    def __init__(self, config: Any, server_state: Any, app_state: object, _loop: object = None) -> None:
        self._app: Application = config.loaded_app
        self._server = server_state
        self._busy = False  # while a response is due
        self._answering = False  # while the application owes the answer to ``_request``
        self._request: Request | None = None  # the last one that was given to the application
        self._keep_alive = False  # whether the connection is kept after it
        self._ending = False  # after the responses that are due, the connection closes
        self._at_eof = False  # the caller sends no more
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._default_lines = b""
        self.held = memoryview(b"")  # bytes that arrived while a response was due
        self._parsing_held = False
        self._discarded_bytes = 0
        self.write_paused = False
        self._awaited: object = self  # the action of the caller that the last sweep found awaited
        self._awaited_since_s = 0.0

    # Events of the loop and the server.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the connection."""
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self.transport = transport
        self.parser = RequestParser(self._peer)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the connection. A request under way is carried out to its end."""
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Parse the bytes that arrived; in pieces, if they are many or a response is due first."""
        if self._busy or self.held or len(data) > PIECE_BYTES:
            self.held = memoryview(b"".join((self.held, data)))
            self.transport.pause_reading()
            self._parse_held()
        else:
            self._parse(data)

    def eof_received(self) -> bool:
        """Answer the whole requests of a caller that sends no more, and close."""
        self._ending = self._at_eof = True
        return self._busy

    def pause_writing(self) -> None:
        """Answer nothing more until the caller has read the responses."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Answer again."""
        self.write_paused = False
        if self._busy and not self._answering:
            self._answer_next()

    def shutdown(self) -> None:
        """Answer the requests that have begun, and close."""
        self._ending = True
        if not self.parser.unfinished:
            self._close_if_idle()

    # Reading.

    def _parse_held(self) -> None:
        self._parsing_held = True
        while self.held and not self._busy:
            piece, self.held = bytes(self.held[:PIECE_BYTES]), self.held[PIECE_BYTES:]
            self._parse(piece)
        self._parsing_held = False
        if not (self.held or self.transport.is_closing()):
            self.transport.resume_reading()
        if self._ending:
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        """Close an ending connection, unless a response is due or the rest of a body is still to come."""
        if not (self._busy or self.held) and (self._at_eof or not self.parser.in_body):
            self.transport.close()

    def _parse(self, data: bytes) -> None:
        if self.parser.ended:
            return self._discard(len(data))
        self.parser.feed(data)
        if self.parser.parsed:
            self._busy = True
            self._answer_next()
        elif self.parser.expects_continue():
            self.transport.write(_CONTINUE)
        return None

    def _discard(self, count: int) -> None:
        self._discarded_bytes += count
        if self._discarded_bytes > LINGER_BYTES:
            self.transport.abort()

    # Answering.

    def _answer_next(self) -> None:
        """Answer the parsed requests in their order while the caller reads the responses; then continue reading."""
        parsed = self.parser.parsed
        while parsed and not self.write_paused:
            request, keep_alive = parsed.popleft()
            if not isinstance(request, Request):
                self._write(self._app.refuse(request, self._peer), keep_alive=False)
                continue
            self._request, self._keep_alive = request, keep_alive
            answering = self._app(request)
            if not answering.settled:
                self._answering = True
                answering.then(self._respond_later)
                return
            self._respond(answering.value)
            if self.transport.is_closing():
                return
        if not self.write_paused:
            self._busy = False
            self._continue_reading()

    def _respond_later(self, reply: ServerResponse | None) -> None:
        self._answering = False
        self._respond(reply)
        if not self.transport.is_closing():
            self._answer_next()

    def _respond(self, reply: ServerResponse | None) -> None:
        if reply is None:
            self.transport.abort()
        elif not self.transport.is_closing():
            is_last = self._ending and not (self.parser.parsed or self.held)
            head_only = self._request is not None and self._request.method == b"HEAD"
            self._write(reply, self._keep_alive and not is_last, head_only)

    def _write(self, reply: ServerResponse, keep_alive: bool, head_only: bool = False) -> None:
        """Write head and body in one system call and one packet."""
        http_status, headers, body, request_id = reply
        if self._server.default_headers is not self._default_headers:  # a new list each second, with the date
            self._default_headers = self._server.default_headers
            self._default_lines = _encode_lines(self._default_headers)
        head = _encode_head(http_status, headers, keep_alive)
        id_line = b"%b: %b\r\n" % (_REQUEST_ID, request_id) if request_id else b""
        self.transport.write(b"%b%b%b\r\n%b" % (head, self._default_lines, id_line, b"" if head_only else body))

    def _continue_reading(self) -> None:
        """Close the connection, or read on, when no response is due."""
        if self._ending and not self.held:
            self._close_if_idle()
        elif self.parser.ended:
            # Closing at once would reset the connection of a caller that still sends, before it reads the response.
            if not self.transport.is_closing():
                self.transport.write_eof()
                self._discard(len(self.held))
                self.held = memoryview(b"")
                self.transport.resume_reading()
        elif self.held:
            if not self._parsing_held:  # else that loop goes on by itself
                self._parse_held()
        elif self.parser.unfinished and self.parser.expects_continue():
            self.transport.write(_CONTINUE)

    # Timeouts.

    def check_timeout(self, now_s: float) -> None:
        """Abort the connection if its caller has been awaited for too long; ``now_s`` is a monotonic time."""
        awaited, limit_s = self._await()
        if awaited is None or awaited is not self._awaited:
            self._awaited, self._awaited_since_s = awaited, now_s
        elif now_s - self._awaited_since_s >= limit_s:
            self.transport.abort()

    def _await(self) -> tuple[object, float]:
        """Return the action that the caller owes (None while the service owes one), and its time limit in seconds."""
        if self.write_paused:
            return "read", REQUEST_S
        if self._busy or self.held:
            return None, 0
        if self.parser.ended:
            return "hang up", REQUEST_S
        if self.parser.unfinished:
            return self.parser.headers, REQUEST_S
        return self._request or "send", KEEP_ALIVE_S


@lru_cache(1024)
def _encode_head(http_status: int, headers: tuple[tuple[bytes, bytes], ...], keep_alive: bool) -> bytes:
    """Return the status line and the headers that responses have in common."""
    return _STATUS_LINES[http_status] + _encode_lines((*headers, _KEEP_ALIVE if keep_alive else _CLOSE))


def _encode_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)


def sweep(connections: Iterable[Connection], now_s: float) -> None:
    """Abort the connections that time out; ``now_s`` is a monotonic time."""
    for connection in list(connections):
        connection.check_timeout(now_s)
