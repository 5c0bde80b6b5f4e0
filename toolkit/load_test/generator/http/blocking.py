"""A keep-alive HTTP/1.1 connection for one greenlet, which waits for each response.

A request is never sent twice, as a send may cost money. A connection that the server has closed is replaced before a
request, never after its first byte.
"""

from __future__ import annotations

import select
import socket
from contextlib import closing
from typing import Any

import gevent
from gevent.monkey import get_original
from gevent.socket import wait_read, wait_write

from toolkit.api.errors import NotConnectedError, TransportError
from toolkit.load_test.generator.http.connection import Connection
from toolkit.load_test.generator.http.response_parser import HttpResponse, Origin
from toolkit.load_test.plan.http_options import DEFAULT_HTTP, HttpOptions

_READ, _WRITE = 1, 2  # libev's constants

_poll = get_original("select", "poll")  # gevent's own is slow, and select fails above file descriptor 1023


class BlockingConnection:
    """One connection to a target, used by one greenlet."""

    def __init__(self, base_url: str, http: HttpOptions = DEFAULT_HTTP) -> None:
        self.origin = Origin.of(base_url)
        self._http = http
        self._hub = gevent.get_hub()
        self._connection: Connection | None = None
        self._poll_idle: Any = None  # returns at once whether there is something to read
        self._waiting: Any = None  # the greenlet, while it waits for its response

    def connect(self) -> None:
        """Open the connection unless it is open and usable; raise NotConnectedError."""
        if self._connection is not None:
            if not self._poll_idle.poll(0) or self._connection.is_quiet():
                return
            self.close()
        try:
            connection = self._open()
        except (OSError, UnicodeError) as error:
            raise NotConnectedError(f"no connection to the target: {type(error).__name__}") from error
        self._poll_idle = _poll()
        self._poll_idle.register(connection.fileno(), select.POLLIN)
        # Both live as long as the connection: gevent's own waits would make a system call at the end of each.
        self._readable = self._hub.loop.io(connection.fileno(), _READ)
        self._timer = self._hub.loop.timer(self._http.timeout_s, self._http.timeout_s)
        self._connection = connection

    def exchange(self, request: bytes) -> HttpResponse:
        """Send an encoded request on the connection that ``connect`` opened, and return the response.

        Raises TransportError if no complete response arrived.
        """
        connection = self._connection
        assert connection is not None
        try:
            response = self._exchange(connection, request)
        except (OSError, ValueError) as error:
            self.close()
            raise TransportError(f"no complete response: {type(error).__name__}") from error
        except BaseException:  # the greenlet is killed; a late response must not be taken for the next request's
            self.close()
            raise
        if not connection.keeps:
            self.close()
        return response

    def close(self) -> None:
        """Close the connection. ``connect`` opens another."""
        if self._connection is not None:
            self._readable.close()
            self._timer.close()
            self._connection.close()
            self._connection = None

    def _exchange(self, connection: Connection, request: bytes) -> HttpResponse:
        self._timer.again(self._expire)
        if not self._readable.active:
            self._readable.start(self._wake)
        if connection.start(request):
            self._wait()
        while (response := connection.advance()) is None:
            if connection.wants_write():
                with closing(self._hub.loop.io(connection.fileno(), _WRITE)) as writable:
                    writable.start(self._wake)
                    self._wait()
            else:
                self._wait()
        return response

    def _wait(self) -> None:
        """Wait until there is something to read; raise TimeoutError if the call takes too long."""
        self._waiting = gevent.getcurrent()
        try:
            self._hub.switch()
        finally:
            self._waiting = None

    def _wake(self) -> None:
        if self._waiting is None:
            self._readable.stop()  # the connection is idle: ``connect`` looks at what has arrived
        else:
            self._waiting.switch()

    def _expire(self) -> None:
        if self._waiting is not None:
            self._waiting.throw(TimeoutError("the call took too long"))

    def _open(self) -> Connection:
        """Open a connection to the first of the target's addresses that accepts one; raise OSError, UnicodeError."""
        failure = OSError("the target's name has no address")
        for family, _, _, _, address in socket.getaddrinfo(self.origin.host, self.origin.port, type=socket.SOCK_STREAM):
            connection = Connection(family, address, self.origin.host if self.origin.tls else None, self._http)
            try:
                with gevent.Timeout(self._http.connect_timeout_s, TimeoutError("the connection took too long")):
                    while True:
                        (wait_write if connection.wants_write() else wait_read)(connection.fileno())
                        if connection.open():
                            return connection
            except BaseException as error:
                connection.close()
                if not isinstance(error, OSError):
                    raise
                failure = error
        raise failure
