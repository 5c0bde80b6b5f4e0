"""Transport: one keep-alive HTTP/1.1 connection whose greenlet waits. It never sends a request twice.

A send may cost money: a connection that the server has closed is replaced before a request, never after its first byte.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import gevent
from gevent.monkey import get_original
from gevent.socket import wait_read, wait_write

from toolkit.api.errors import CallError, NotConnectedError, TransportError
from toolkit.api.wire import Request
from toolkit.load_test.generator.http.connection import Connection
from toolkit.load_test.generator.http.http1 import Origin, Received
from toolkit.records.call_record import Failure

CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 10.0  # for a whole call, however slowly its answer drips
_READ, _WRITE = 1, 2  # as libev has them

_poll = get_original("select", "poll")  # gevent's own is slow, and select fails above file descriptor 1023


class Transport:
    """One connection to a target, for one greenlet."""

    def __init__(self, base_url: str, timeout_s: float = CALL_TIMEOUT_S) -> None:
        self.origin = Origin.of(base_url)
        self._timeout_s = timeout_s
        self._hub = gevent.get_hub()
        self._connection: Connection | None = None
        self._idle: Any = None  # tells at once whether there is something to read
        self._waiting: Any = None  # the greenlet, while it waits for its answer

    def connect(self) -> Connection:
        """Open the connection, unless an open one is usable; raise NotConnectedError."""
        if self._connection is not None:
            if not self._idle.poll(0) or self._connection.is_quiet():
                return self._connection
            self.close()
        try:
            connection = self._open()
        except (OSError, UnicodeError) as error:
            raise NotConnectedError(f"no connection to the target: {type(error).__name__}") from error
        self._idle = _poll()
        self._idle.register(connection.fileno(), select.POLLIN)
        # Both stay as long as the connection: gevent's own waits would tell the kernel and libev of each one's end.
        self._readable = self._hub.loop.io(connection.fileno(), _READ)
        self._timer = self._hub.loop.timer(self._timeout_s, self._timeout_s)
        self._connection = connection
        return connection

    def call(self, request: Request) -> Received:
        """Move one of the API's requests; raise TransportError where no answer came."""
        return self.exchange("POST", request.path, request.headers, request.body)

    def exchange(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Received:
        """Move any request; raise TransportError where no whole answer came."""
        self.connect()
        return self.move(self.origin.write(method, path, headers, body))

    def move(self, written: bytes) -> Received:
        """Move a request that is written already, on the connection that ``connect`` made sure of."""
        connection = self._connection
        assert connection is not None
        try:
            received = self._move(connection, written)
        except (OSError, ValueError) as error:
            self.close()
            raise TransportError(f"no whole answer: {type(error).__name__}") from error
        except BaseException:  # a killed user; whatever still comes belongs to this request
            self.close()
            raise
        if not connection.keeps:
            self.close()
        return received

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._readable.close()
            self._timer.close()
            self._connection.close()
            self._connection = None

    def _move(self, connection: Connection, written: bytes) -> Received:
        self._timer.again(self._expire)
        if not self._readable.active:
            self._readable.start(self._wake)
        if connection.start(written):
            self._wait()
        while (received := connection.go_on()) is None:
            if connection.wants_write():
                self._wait_to_write(connection)
            else:
                self._wait()
        return received

    def _wait(self) -> None:
        """Let others run until there is something to read; raise TimeoutError where the call takes too long."""
        self._waiting = gevent.getcurrent()
        try:
            self._hub.switch()
        finally:
            self._waiting = None

    def _wait_to_write(self, connection: Connection) -> None:
        with closing(self._hub.loop.io(connection.fileno(), _WRITE)) as writable:
            writable.start(self._wake)
            self._wait()

    def _wake(self) -> None:
        if self._waiting is None:
            self._readable.stop()  # it is idle: what has come is looked at before the next request
        else:
            self._waiting.switch()

    def _expire(self) -> None:
        if self._waiting is not None:
            self._waiting.throw(TimeoutError("the call took too long"))

    def _open(self) -> Connection:
        """Open a connection to the first of the target's addresses that takes one; raise OSError, UnicodeError."""
        failure = OSError("the target's name has no address")
        for family, _, _, _, address in socket.getaddrinfo(self.origin.host, self.origin.port, type=socket.SOCK_STREAM):
            connection = Connection(family, address, self.origin.host if self.origin.tls else None)
            try:
                with gevent.Timeout(CONNECT_TIMEOUT_S, TimeoutError("the connection took too long")):
                    _open(connection)
            except BaseException as error:
                connection.close()
                if not isinstance(error, OSError):
                    raise
                failure = error
            else:
                return connection
        raise failure


def _open(connection: Connection) -> None:
    while True:
        (wait_write if connection.wants_write() else wait_read)(connection.fileno())
        if connection.open():
            return


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
