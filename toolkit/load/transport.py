"""Transport: one keep-alive HTTP/1.1 connection. It never sends a request twice: a send may cost money.

A connection that the server has closed is replaced before a request, never after its first byte. The sockets are the
standard library's: locust has made them cooperative by the time one is opened.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from gevent.monkey import get_original

from toolkit.errors import CallError, NotConnectedError, TransportError
from toolkit.load.http1 import AnswerReader, Origin, Received, cut_plain
from toolkit.records import Failure
from toolkit.wire import Request

CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 10.0  # for a whole call, however slowly its answer drips
RECV_BYTES = 64 * 1024


class Transport:
    """One connection to a target. TLS certificates are verified."""

    def __init__(self, base_url: str, timeout_s: float = CALL_TIMEOUT_S) -> None:
        self.origin = Origin.of(base_url)
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._idle: Any = None

    def connect(self) -> socket.socket:
        """Open the connection, unless an open one is usable; raise NotConnectedError."""
        if self._socket is not None:
            if not self._idle.poll(0) or self._is_quiet(self._socket):
                return self._socket
            self.close()
        try:
            self._socket = self._open()
        except (OSError, UnicodeError) as error:
            raise NotConnectedError(f"no connection to the target: {type(error).__name__}") from error
        # gevent's own poll is slow, and select fails above file descriptor 1023: then 1,000 users reconnect each call.
        self._idle = get_original("select", "poll")()
        self._idle.register(self._socket.fileno(), select.POLLIN)
        return self._socket

    def call(self, request: Request) -> Received:
        """Move one of the API's requests; raise TransportError where no answer came."""
        return self.exchange("POST", request.path, request.headers, request.body)

    def exchange(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Received:
        """Move any request; raise TransportError where no whole answer came."""
        self.connect()
        return self.move(self.origin.write(method, path, headers, body))

    def move(self, written: bytes) -> Received:
        """Move a request that is written already, on the connection that ``connect`` made sure of."""
        connection = self._socket
        assert connection is not None
        try:
            return self._move(connection, written)
        except (OSError, ValueError) as error:
            self.close()
            raise TransportError(f"no whole answer: {type(error).__name__}") from error
        except BaseException:  # a killed user; whatever still comes belongs to this request
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _move(self, connection: socket.socket, written: bytes) -> Received:
        until_s = time.monotonic() + self._timeout_s
        sent = connection.send(written)  # sendall asks the kernel for the socket's type each time
        if sent < len(written):
            _set_deadline(connection, until_s)
            connection.sendall(written[sent:])
        data = connection.recv(RECV_BYTES)
        return cut_plain(data) or self._read(connection, data, until_s)

    def _read(self, connection: socket.socket, data: bytes, until_s: float) -> Received:
        reader, answer = AnswerReader(), None
        while data and (answer := reader.feed(data)) is None:
            _set_deadline(connection, until_s)
            data = connection.recv(RECV_BYTES)
        if answer is None:
            answer = reader.end()
        if reader.keeps:
            connection.settimeout(self._timeout_s)
        else:
            self.close()
        return answer

    def _is_quiet(self, connection: socket.socket) -> bool:
        """Tell whether an idle connection that is readable is open all the same, as with TLS's tickets for later."""
        connection.settimeout(0)
        try:
            connection.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            connection.settimeout(self._timeout_s)
            return True
        except OSError:
            pass
        return False  # it ended, or said what nobody asked for

    def _open(self) -> socket.socket:
        connection = socket.create_connection((self.origin.host, self.origin.port), CONNECT_TIMEOUT_S)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.origin.tls:
                connection = tls_context().wrap_socket(connection, server_hostname=self.origin.host)
            connection.settimeout(self._timeout_s)
        except BaseException:
            connection.close()
            raise
        return connection


def _set_deadline(connection: socket.socket, until_s: float) -> None:
    """Let the connection's next wait end by then; raise TimeoutError where it is past."""
    left_s = until_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("the call took too long")
    connection.settimeout(left_s)


def classify(error: CallError) -> Failure:
    """Tell what kept an answer from being read."""
    cause = error.__cause__ or error
    if isinstance(error, NotConnectedError):
        return Failure.CONNECT
    if isinstance(cause, TimeoutError):
        return Failure.TIMEOUT
    if isinstance(cause, OSError):
        return Failure.RESET
    return Failure.PROTOCOL if isinstance(cause, Exception) else Failure.CANCELLED


@cache
def tls_context() -> ssl.SSLContext:
    """Return one context for all connections: loading the certificates takes milliseconds and megabytes."""
    return ssl.create_default_context()
