"""A keep-alive HTTP/1.1 connection that never blocks: its owner polls it and calls it when it can continue.

A request is never sent twice. The sockets are the operating system's, not gevent's.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Any

from gevent.monkey import get_original

from toolkit.load_test.generator.http.response_parser import HttpResponse, ResponseReader, parse_plain
from toolkit.load_test.plan.http_options import DEFAULT_HTTP, HttpOptions, tls_context

_RECV_BYTES = 16 * 1024
_Socket = get_original("socket", "socket")
_IN_PROGRESS = (0, errno.EINPROGRESS)


class Connection:
    """A connection that is open or being opened. Any method may raise OSError or ValueError, which end it.

    Attributes:
        is_open: True once a request can be sent.
        keeps: True while it can be used again after the response.
        journey: the owner's journey that uses it; None while it is idle.
        attempt: the number of the target's address that it goes to.
    """

    __slots__ = (
        *("_is_connected", "_reader", "_recv", "_refusal", "_send", "_socket", "_tls", "_unsent"),
        *("attempt", "is_open", "journey", "keeps"),
    )

    def __init__(
        self, family: int, address: Any, tls_host: str | None = None, http: HttpOptions = DEFAULT_HTTP
    ) -> None:
        self._socket: socket.socket = _Socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._recv, self._send = self._socket.recv, self._socket.send
        self._tls = Tls(tls_host, http) if tls_host else None
        self._reader: ResponseReader | None = None
        self._unsent = b""
        self._is_connected = self.is_open = False
        self.keeps = True
        self.journey: Any = None
        self.attempt = 0
        self._refusal = self._socket.connect_ex(address)

    def fileno(self) -> int:
        """Return the file descriptor to poll."""
        return self._socket.fileno()

    def wants_write(self) -> bool:
        """Return whether it waits to be connected or to send more."""
        return not self._is_connected or bool(self._unsent)

    def open(self) -> bool:
        """Continue to open it and return whether it is open now."""
        if not self._is_connected:
            code = self._refusal
            if code in _IN_PROGRESS:
                code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            if self._socket.getsockname() == self._socket.getpeername():
                # Nothing listens, and the system chose the same port for this side (TCP's simultaneous open).
                raise ConnectionRefusedError(errno.ECONNREFUSED, "the connection leads back to itself")
            self._is_connected = True
            self.is_open = self._tls is None
            if self._tls:
                self._write(self._tls.handshake(b""))
        elif self._tls:
            self._flush()
            self._write(self._tls.handshake(self._receive()))
            self.is_open = self._tls.is_open and not self._unsent
        return self.is_open

    def start(self, request: bytes) -> bool:
        """Send a request and return whether it was sent completely. The connection must be open and idle."""
        if self._tls:
            request = self._tls.encrypt(request)
        try:
            sent = self._send(request)
        except BlockingIOError:
            sent = 0
        if sent == len(request):
            return True
        self._unsent = request[sent:]
        return False

    def advance(self) -> HttpResponse | None:
        """Send the rest of the request, read bytes that have arrived, and return the response once it is complete."""
        if self._unsent:
            self._flush()
        try:
            data = self._recv(_RECV_BYTES)
            if self._tls is not None and data:
                data = self._tls.decrypt(data)
                if not data:
                    return None
        except BlockingIOError:
            return None
        except ConnectionAbortedError:
            data = b""
        if not data:
            self.keeps = False
            return (self._reader or ResponseReader()).end()
        if self._reader is None:
            if (response := parse_plain(data)) is not None:
                return response
            self._reader = ResponseReader()
        response = self._reader.feed(data)
        if response is not None:
            self.keeps, self._reader = self._reader.keeps, None
        return response

    def is_quiet(self) -> bool:
        """Return whether an idle connection that is readable can still be used, as after a TLS session ticket."""
        try:
            return not self._receive()
        except OSError:
            return False

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _receive(self) -> bytes:
        """Return the bytes that have arrived, maybe none; raise ConnectionAbortedError at the end of the stream."""
        try:
            data = self._recv(_RECV_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            raise ConnectionAbortedError("the connection ended")
        return self._tls.decrypt(data) if self._tls and self.is_open else data

    def _write(self, data: bytes) -> None:
        self._unsent += data
        self._flush()

    def _flush(self) -> None:
        try:
            self._unsent = self._unsent[self._send(self._unsent) :] if self._unsent else b""
        except BlockingIOError:
            return


class Tls:
    """The client's side of TLS, from bytes to bytes. Certificates are verified."""

    def __init__(self, host: str, http: HttpOptions) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._channel = tls_context(http).wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.is_open = False

    def handshake(self, data: bytes) -> bytes:
        """Process the server's bytes of the handshake and return the bytes to send."""
        self._incoming.write(data)
        try:
            self._channel.do_handshake()
            self.is_open = True
        except ssl.SSLWantReadError:
            pass
        return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        """Return the bytes to send."""
        self._channel.write(data)
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """Return the complete records of the data; raise ConnectionAbortedError if the server has ended the stream."""
        self._incoming.write(data)
        found = b""
        try:
            while piece := self._channel.read(_RECV_BYTES):
                found += piece
                if not (self._incoming.pending or self._channel.pending()):
                    return found  # raising the error for an empty buffer would take as long as all the rest
        except ssl.SSLWantReadError:
            return found
        if not found:
            raise ConnectionAbortedError("the connection ended")
        return found
