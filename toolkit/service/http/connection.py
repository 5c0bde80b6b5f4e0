"""One connection of a caller who may be hostile: who speaks when, how long is waited, how much is kept meanwhile.

A connection hands over whole requests, one after the other, and gets a reply for each: no more is needed for calls of a
few hundred bytes, and a server for any application spends twice as long on them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from http import HTTPStatus
from typing import Any, Protocol

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Reply
from toolkit.service.http.request_parser import Request, RequestParser

KEEP_ALIVE_S = 75  # longer than callers keep an idle connection, so that it is they who close it
REQUEST_S = 10  # the longest that callers commonly wait: what takes longer to arrive has nobody waiting for its answer
LINGER_BYTES = 1024 * 1024  # read and thrown away so that a caller who sends first sees its answer, not a reset
PIECE_BYTES = 2 * 1024  # read at once: in 256 KiB, which can come at once, there fit 14,000 requests

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE, _KEEP_ALIVE = (b"connection", b"close"), (b"connection", b"keep-alive")
_STATUS_LINES = {it.value: f"HTTP/1.1 {it.value} {it.phrase}\r\n".encode() for it in HTTPStatus}


class Application(Protocol):
    """What answers requests."""

    def __call__(self, request: Request) -> Coroutine[Any, Any, Reply | None]:
        """Answer a request; None: drop its connection without a word."""

    def refuse(self, return_code: ReturnCode, peer: str) -> Reply:
        """Return the answer to what is no request."""


class Connection(asyncio.Protocol):
    """One connection, as uvicorn's server starts and ends it."""

    def __init__(self, config: Any, server_state: Any, app_state: object, _loop: object = None) -> None:
        self._app: Application = config.loaded_app
        self._server = server_state
        self._loop = asyncio.get_running_loop()
        self._answering: asyncio.Task[None] | None = None
        self._busy = False  # as long as an answer is due
        self._ending = False  # what is due is answered, and no more
        self.held = memoryview(b"")  # what came ahead of its turn
        self._thrown_bytes = 0
        self.write_paused = False
        self._awaited: object = self  # what the caller was to do when the connection was last looked at
        self._awaited_since_s = 0.0

    # What the event loop and the server tell.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self.transport = transport
        self.reader = RequestParser(self._peer)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End it; a call that is being judged is judged to its end."""
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Take in what came; what came ahead of its turn, or much at once, goes piece by piece."""
        if self._busy or self.held or len(data) > PIECE_BYTES:
            self.held = memoryview(b"".join((self.held, data)))
            self.transport.pause_reading()
            self._read_held()
        else:
            self._read(data)

    def eof_received(self) -> bool:
        """Answer what is whole, to a caller who says no more."""
        self._ending = True
        return self._busy

    def pause_writing(self) -> None:
        """Answer nothing more until the caller has read."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self.write_paused = False
        if self._busy and (self._answering is None or self._answering.done()):
            self._go_on()

    def shutdown(self) -> None:
        """Answer what has been begun, and close."""
        self._ending = True
        if not (self._busy or self.reader.in_body):
            self.transport.close()

    # Reading.

    def _read_held(self) -> None:
        while self.held and not self._busy:
            piece, self.held = bytes(self.held[:PIECE_BYTES]), self.held[PIECE_BYTES:]
            self._read(piece)
        if not (self.held or self.transport.is_closing()):
            self.transport.resume_reading()

    def _read(self, data: bytes) -> None:
        if self.reader.ended:
            return self._throw_away(len(data))
        self.reader.feed(data)
        if self.reader.found:
            self._busy = True
            self._go_on()
        elif self.reader.asks_to_continue():
            self.transport.write(_CONTINUE)
        return None

    def _throw_away(self, count: int) -> None:
        self._thrown_bytes += count
        if self._thrown_bytes > LINGER_BYTES:
            self.transport.abort()

    # Answering.

    def _go_on(self) -> None:
        """Answer what was read, one after the other, as far as the caller reads the answers; then read on."""
        found = self.reader.found
        while found and not self.write_paused:
            request, keeps = found.popleft()
            if isinstance(request, Request):
                return self._begin(request, keeps)
            self._write(self._app.refuse(request, self._peer), keeps=False)
        if not self.write_paused:
            self._busy = False
            self._rest()
        return None

    def _begin(self, request: Request, keeps: bool) -> None:
        task = self._answering = self._loop.create_task(self._answer(request, keeps))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    async def _answer(self, request: Request, keeps: bool) -> None:
        reply = await self._app(request)
        if reply is None:
            self.transport.abort()
        elif not self.transport.is_closing():
            is_last = self._ending and not self.reader.found
            self._write(reply, keeps and not is_last, bare=request.method == b"HEAD")
            self._go_on()

    def _write(self, reply: Reply, keeps: bool, bare: bool = False) -> None:
        """Write head and body at once: one system call and one packet. ``bare``: the head alone."""
        headers = (*self._server.default_headers, *reply.headers, _KEEP_ALIVE if keeps else _CLOSE)
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(b"".join((_STATUS_LINES[reply.http_status], *lines, b"\r\n", b"" if bare else reply.body)))

    def _rest(self) -> None:
        """Do what is to be done when no answer is due."""
        if self._ending and not self.reader.in_body:
            self.transport.close()
        elif self.reader.ended:
            self._hang_up()
        elif self.held:
            self._read_held()
        elif self.reader.asks_to_continue():
            self.transport.write(_CONTINUE)

    def _hang_up(self) -> None:
        """Say nothing more. Closing at once would reset a caller who still sends before it reads."""
        if not self.transport.is_closing():
            self.transport.write_eof()
            self._throw_away(len(self.held))
            self.held = memoryview(b"")
            self.transport.resume_reading()

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
        if self.write_paused:
            return "read", REQUEST_S
        if self._busy or self.held:
            return None, 0
        if self.reader.ended:
            return "hang up", REQUEST_S
        if self.reader.unfinished:
            return self.reader.headers, REQUEST_S
        return self._answering or "speak", KEEP_ALIVE_S


def sweep(connections: Iterable[Connection], now_s: float) -> None:
    """Cut off who has kept the service waiting for too long; ``now_s`` is a monotonic clock's time."""
    for connection in list(connections):
        connection.look(now_s)
