"""Line: the way to a target: its addresses, asked for once, and the API's calls in bytes."""

from __future__ import annotations

import socket

from toolkit.api.errors import NotConnectedError
from toolkit.api.wire import Credentials
from toolkit.load_test.generator.http.connection import Connection
from toolkit.load_test.generator.http.encoder import Writer
from toolkit.load_test.generator.http.http1 import Origin
from toolkit.settings import Target


class Line:
    """The way to a target. Raises NotConnectedError where its name has no address.

    ``addresses``: those of its name, each as a family and what its sockets connect to. ``write``: a ``Writer``'s.
    """

    def __init__(self, target: Target) -> None:
        origin = Origin.of(target.base_url)
        self.write = Writer(origin, Credentials(target.app_key, target.master_secret), target.temp_id).write
        self._tls_host = origin.host if origin.tls else None
        try:
            found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise NotConnectedError(f"the target's name has no address: {type(error).__name__}") from error
        self.addresses = [(family, address) for family, _, _, _, address in found]

    @property
    def attempts(self) -> int:
        """How many addresses the target has."""
        return len(self.addresses)

    def dial(self, attempt: int) -> Connection:
        """Begin to open a connection to the target's next address; raise OSError."""
        return Connection(*self.addresses[attempt], self._tls_host)
