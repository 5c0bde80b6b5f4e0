"""HTTP/1.1 towards callers who may be hostile: how much is read, how long it is waited for, what the unreadable gets.

uvicorn's protocol, with bounds on what one connection can make the service keep, and without a timer a request. What it
can't read as HTTP is answered by a row of the table, as everything is.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, cast

from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserInvalidURLError,
    HttpParserUpgrade,
    HttpRequestParser,
)
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from toolkit.codes import ReturnCode
from toolkit.wire import MAX_BODY_BYTES

KEEP_ALIVE_S = 75  # longer than callers keep an idle connection, so that it is they who close it
REQUEST_S = 10  # the longest that callers commonly wait: what takes longer to arrive has nobody waiting for its answer
MAX_HEAD_BYTES = 16 * 1024  # of request line and headers; so much is always read, never three times as much
MAX_MESSAGE_BYTES = 8 * MAX_BODY_BYTES  # of body and framing: chunks of one byte are framed by five more
LINGER_BYTES = 1024 * 1024  # read and thrown away so that a caller who sends first sees its answer, not a reset
PIECE_BYTES = 2 * 1024  # parsed at once: in 256 KiB, which one read can bring, there fit 14,000 requests

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TARGET = re.compile(rb"https?://[!-~]+?/[!-~]*", re.IGNORECASE)
_UNPARSED: dict[type[HttpParserError], ReturnCode] = {
    HttpParserInvalidMethodError: ReturnCode.METHOD_NOT_SUPPORT,
    HttpParserInvalidURLError: ReturnCode.API_NOT_FOUND,
}


class Protocol(HttpToolsProtocol):
    """One connection. It lets the sandbox drop it, by ``scope["state"]["drop"]``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._heard: Any = None  # the scope of the last request that is whole
        self._measured: Any = None  # the scope of the request whose bytes are counted
        self._bytes = 0
        self._deaf = False  # what still comes is thrown away
        self._awaited: object = self  # what the caller was to do when the connection was last looked at
        self._awaited_since_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(transport)
        self.flow = self._flow = _Flow(transport)
        self.app_state = {**self.app_state, "drop": transport.abort}

    def data_received(self, data: bytes) -> None:
        """Take in what came; what came ahead of its turn, or much at once, goes piece by piece."""
        if self.pipeline or self._flow.held or len(data) > PIECE_BYTES:
            self._flow.hold(data)
            self._feed_held()
        else:
            self._feed(data)

    def _feed_held(self) -> None:
        while self._flow.held and not self.pipeline:
            self._feed(self._flow.take(PIECE_BYTES))
        self._flow.resume_reading()

    def _feed(self, data: bytes) -> None:
        if self._deaf:
            return self._throw_away(data)
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except HttpParserError as problem:
            self._refuse(_UNPARSED.get(type(problem), ReturnCode.INVALID_BODY))
        if self.scope is not self._heard:
            self._measure(len(data))
        return None

    # What the parser tells.

    def _should_upgrade(self) -> bool:
        """Tell that no request is to be started for a head that offers an upgrade: ``_decline`` brings it again."""
        return True

    def on_headers_complete(self) -> None:
        """Start a request."""
        # A target without a path, or beyond ASCII, is none of the API's; uvicorn fails on it.
        if not (self.url.startswith(b"/") and self.url.isascii()) and not _TARGET.fullmatch(self.url):
            self.url = b"/"
        earlier = self.cycle
        super().on_headers_complete()
        if self.cycle is not earlier and self.scope["method"] != "HEAD":  # whose answer is a head alone
            self.cycle.transport = cast(asyncio.Transport, _Joined(self.transport))

    def on_message_complete(self) -> None:
        """Tell the request that it is whole."""
        self._heard = self.scope
        cycle = self.cycle
        if cycle and not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Go on with what waits for its turn. The sweep ends who stays silent: a timer a request costs more."""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._flow.held:
            self._feed_held()
        if self.scope is not self._heard and self.cycle.response_complete and self._is_rest_long():
            self._hang_up()

    def _is_rest_long(self) -> bool:
        """Tell whether of the request that was answered before it was whole too much may come to wait for the next."""
        if self.cycle.scope is not self.scope:
            return False
        length = next((value for name, value in self.headers if name == b"content-length"), None)
        return self._deaf or self.expect_100_continue or length is None or int(length) > MAX_BODY_BYTES

    # What is not served.

    def _decline(self, rest: bytes) -> None:
        """Serve a request as if it offered no upgrade; the parser would take its body for the other protocol."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            return self._refuse(ReturnCode.API_NOT_FOUND)
        kept = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = HttpRequestParser(self)
        self._feed(b"\r\n".join([b"%s %s HTTP/%s" % (method, self.url, version), *kept, b"", b""]))
        return self._feed(rest) if rest else None

    def _measure(self, count: int) -> None:
        """Count what came of a request after the piece that it began in, and end what is too large."""
        if self._measured is not self.scope:
            self._measured, self._bytes = self.scope, 0
            return
        self._bytes += count
        if self.cycle is None or self.cycle.scope is not self.scope:
            if self._bytes > MAX_HEAD_BYTES:
                self._refuse(ReturnCode.INVALID_BODY)
        elif self._bytes > MAX_MESSAGE_BYTES:
            self._deaf = True
            self.on_body(bytes(MAX_BODY_BYTES + 1))  # framing that outgrows any body is judged as a body too large

    def _refuse(self, code: ReturnCode) -> None:
        """Answer what is no request with a row of the table, after the answers that are due, and hang up."""
        self._deaf = True
        cycle = self.cycle
        if cycle and not cycle.response_complete:
            if cycle.scope is self._heard:
                cycle.keep_alive = False  # an earlier request's answer is due: it shall be the last
                return
            cycle.disconnected = cycle.response_complete = True
            cycle.message_event.set()
        reply = self.app.refuse(code, self.client[0] if self.client else "")
        head = [f"HTTP/1.1 {reply.http_status} {HTTPStatus(reply.http_status).phrase}".encode()]
        head += [name + b": " + value for name, value in (*reply.headers, (b"connection", b"close"))]
        self.transport.write(b"\r\n".join([*head, b"", reply.body]))
        self._hang_up()

    def _hang_up(self) -> None:
        """Say and hear nothing more. Closing at once would reset a caller who still sends before it reads."""
        self._deaf = True
        self._bytes = 0
        if not self.transport.is_closing():
            self.transport.write_eof()

    def _throw_away(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes > LINGER_BYTES:
            self.transport.abort()

    # Who keeps the service waiting.

    def look(self, now_s: float) -> None:
        """Cut the connection off where its caller has been awaited for too long."""
        awaited, limit_s = self._await()
        if awaited is None or awaited is not self._awaited:
            self._awaited, self._awaited_since_s = awaited, now_s
        elif now_s - self._awaited_since_s >= limit_s:
            self.transport.abort()

    def _await(self) -> tuple[object, float]:
        """Tell what the caller is to do, None where it is the service's turn, and for how many seconds it may."""
        if self._deaf:
            return "hang up", REQUEST_S
        if self.flow.write_paused:
            return "read", REQUEST_S
        if self._flow.held:
            return None, 0
        if self.scope is not self._heard:
            return self.scope, REQUEST_S
        if self.cycle is None or self.cycle.response_complete:
            return self.cycle or "speak", KEEP_ALIVE_S
        return None, 0


class _Joined:
    """A transport for one answer, whose head leaves with its body: one system call and one packet, not two."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        """Write what is written before the answer and after its head; keep its head."""
        if self._head is None and data != _CONTINUE:
            self._head = data
        else:
            self._transport.write((self._head or b"") + data)
            self._head = b"" if self._head is not None else None

    def close(self) -> None:
        """Write what was kept, and close."""
        if self._head:
            self._transport.write(self._head)
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is closed, or about to be."""
        return self._transport.is_closing()


class _Flow(FlowControl):
    """uvicorn's flow control, which keeps what came ahead of its turn, and reads no more until that is taken.

    A running request asks for more (of its own body) whatever else has come: it could be made to read without end.
    """

    held = memoryview(b"")

    def hold(self, data: bytes) -> None:
        """Keep data for later."""
        self.held = memoryview(b"".join((self.held, data)))
        self.pause_reading()

    def take(self, count: int) -> bytes:
        """Return the next bytes of what is kept."""
        taken, self.held = bytes(self.held[:count]), self.held[count:]
        return taken

    def resume_reading(self) -> None:
        if not self.held:
            super().resume_reading()


def sweep(connections: Iterable[Protocol], now_s: float) -> None:
    """Cut off who has kept the service waiting for too long; ``now_s`` is a monotonic clock's time."""
    for connection in list(connections):
        connection.look(now_s)
