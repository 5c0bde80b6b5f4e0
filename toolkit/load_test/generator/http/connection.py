"""Connection: one keep-alive HTTP/1.1 connection that never waits. Whoever polls it tells it when to go on.

It never sends a request twice. Its sockets are those of the operating system, not gevent's.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from functools import cache
from typing import Any

from gevent.monkey import get_original

from toolkit.load_test.generator.http.http1 import AnswerReader, Received, cut_plain

_RECV_BYTES = 16 * 1024
_Socket = get_original("socket", "socket")
_UNDER_WAY = (0, errno.EINPROGRESS)


class Connection:
    """A connection that is being opened, or open. OSError and ValueError are its end.

    ``is_open``: a request can be sent. ``keeps``: it can be used again after the answer. ``trip``: its caller's, None
    while it is idle. ``attempt``: which of the target's addresses it goes to.
    """

    __slots__ = (
        *("_is_connected", "_reader", "_recv", "_refusal", "_send", "_socket", "_tls", "_unsent"),
        *("attempt", "is_open", "keeps", "trip"),
    )

    def __init__(self, family: int, address: Any, tls_host: str | None = None) -> None:
        self._socket: socket.socket = _Socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._recv, self._send = self._socket.recv, self._socket.send
        self._tls = Tls(tls_host) if tls_host else None
        self._reader: AnswerReader | None = None
        self._unsent = b""
        self._is_connected = self.is_open = False
        self.keeps = True
        self.trip: Any = None
        self.attempt = 0
        self._refusal = self._socket.connect_ex(address)

    def fileno(self) -> int:
        """Return what to poll."""
        return self._socket.fileno()

    def wants_write(self) -> bool:
        """Tell whether it waits to be connected, or to send more."""
        return not self._is_connected or bool(self._unsent)

    def open(self) -> bool:
        """Go on opening it and return whether it is open now."""
        if not self._is_connected:
            self._check_connected()
            self._is_connected = True
            self.is_open = self._tls is None
            if self._tls:
                self._write(self._tls.shake_hands(b""))
        elif self._tls:
            self._flush()
            self._write(self._tls.shake_hands(self._receive()))
            self.is_open = self._tls.is_open and not self._unsent
        return self.is_open

    def start(self, written: bytes) -> bool:
        """Send a request and return whether all of it could be sent; only where the connection is open and idle."""
        if self._tls:
            written = self._tls.encrypt(written)
        try:
            sent = self._send(written)
        except BlockingIOError:
            sent = 0
        if sent == len(written):
            return True
        self._unsent = written[sent:]
        return False

    def go_on(self) -> Received | None:
        """Send what is left of the request and read what came of the answer; return it once it is whole."""
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
            return self._end()
        if self._reader is None:
            if (answer := cut_plain(data)) is not None:
                return answer
            self._reader = AnswerReader()
        return self._read(self._reader, data)

    def is_quiet(self) -> bool:
        """Tell whether an idle connection that is readable can still be used, as with TLS's tickets for later."""
        try:
            return not self._receive()
        except OSError:
            return False

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _check_connected(self) -> None:
        code = self._refusal
        if code in _UNDER_WAY:
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    def _end(self) -> Received:
        self.keeps = False
        return (self._reader or AnswerReader()).end()

    def _read(self, reader: AnswerReader, data: bytes) -> Received | None:
        answer = reader.feed(data)
        if answer is not None:
            self.keeps, self._reader = reader.keeps, None
        return answer

    def _receive(self) -> bytes:
        """Return what came, b"" for nothing; raise ConnectionAbortedError at the end."""
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

    def __init__(self, host: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._channel = tls_context().wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.is_open = False

    def shake_hands(self, data: bytes) -> bytes:
        """Take what came of the handshake, and return what to send."""
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
        """Return what is whole of the data; raise ConnectionAbortedError where the other side has ended it."""
        self._incoming.write(data)
        found = b""
        try:
            while piece := self._channel.read(_RECV_BYTES):
                found += piece
                if not (self._incoming.pending or self._channel.pending()):
                    return found  # the error that says so would take as long as all the rest
        except ssl.SSLWantReadError:
            return found
        if not found:
            raise ConnectionAbortedError("the connection ended")
        return found


@cache
def tls_context() -> ssl.SSLContext:
    """Return one context for all connections: loading the certificates takes milliseconds and megabytes."""
    return ssl.create_default_context()
