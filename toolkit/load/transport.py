"""Transport: one keep-alive HTTP/1.1 connection. It never sends a request twice: a send may cost money.

A connection that the server has closed is replaced before a request, never after its first byte. The sockets are the
standard library's: locust has made them cooperative by the time one is opened.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from gevent.monkey import get_original
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError, HTTPSocketResponse

from toolkit.errors import CallError, NotConnectedError, TransportError
from toolkit.records import Failure
from toolkit.wire import Request, parse_base_url

CONNECT_TIMEOUT_S = 5.0
NETWORK_TIMEOUT_S = 10.0
_CUT_SHORT = ("EOF", "Incomplete", "closed")  # the parser has one class for half an answer and for one that isn't HTTP

Received = tuple[int, dict[str, str], bytes]
"""HTTP status, headers by lower-case name, body."""


class Transport:
    """One connection to a target. TLS certificates are verified."""

    def __init__(self, base_url: str) -> None:
        url = urlsplit(parse_base_url(base_url))
        self._tls = _tls() if url.scheme == "https" else None
        self._address = url.hostname, url.port or (443 if self._tls else 80)
        self._host = url.netloc
        self._prefix = url.path
        self._socket: socket.socket | None = None
        self._idle: Any = None

    def connect(self) -> socket.socket:
        """Open the connection, unless an open one is usable; raise NotConnectedError."""
        if self._socket is not None:
            if not self._idle.poll(0):  # an idle connection with something to read was closed by the server
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
        connection = self.connect()
        try:
            connection.sendall(self._head(method, path, headers, len(body)) + body)
            response = HTTPSocketResponse(connection, method=method)
            content = response.read()
        except (OSError, HTTPParseError) as error:
            self.close()
            raise TransportError(f"no whole answer: {type(error).__name__}") from error
        except BaseException:  # a killed user; whatever still comes belongs to this request
            self.close()
            raise
        if response.should_close():
            self.close()
        return response.get_code(), {name.lower(): value for name, value in response.items()}, content

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> socket.socket:
        connection = socket.create_connection(self._address, CONNECT_TIMEOUT_S)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_hostname=self._address[0])
            connection.settimeout(NETWORK_TIMEOUT_S)
        except BaseException:
            connection.close()
            raise
        return connection

    def _head(self, method: str, path: str, headers: Mapping[str, str], length: int) -> bytes:
        fields = {"Host": self._host, "User-Agent": "sms-code-toolkit", **headers, "Content-Length": str(length)}
        lines = [f"{method} {self._prefix}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def classify(error: CallError) -> Failure:
    """Tell what kept an answer from being read."""
    cause = error.__cause__ or error
    if isinstance(error, NotConnectedError):
        return Failure.CONNECT
    if isinstance(cause, TimeoutError):
        return Failure.TIMEOUT
    if isinstance(cause, OSError | HTTPConnectionClosed) or any(sign in str(cause) for sign in _CUT_SHORT):
        return Failure.RESET
    return Failure.PROTOCOL if isinstance(cause, Exception) else Failure.CANCELLED


@cache
def _tls() -> ssl.SSLContext:
    """Return one context for all connections: loading the certificates takes milliseconds and megabytes."""
    return ssl.create_default_context()
