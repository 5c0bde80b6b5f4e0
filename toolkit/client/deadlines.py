"""An httpx transport whose timeouts are deadlines.

httpx restarts a read timeout with each byte that arrives, so a server that sends one byte a second can hold a call
forever. Here the "timeouts" of a request are moments on the monotonic clock. The stream subtracts the current time
before each operation, so that all operations of a call share its total time.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

from toolkit.client.core import KEEPALIVE_S, Timeout

NOT_CONNECTED = (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.ProxyError)


def deadlines(timeout: Timeout) -> dict[str, float]:
    """Return the deadlines of a call that starts now; the pool's alone is a duration in seconds."""
    now = time.monotonic()
    end = now + timeout.total_s
    pool_s = min(timeout.connect_s, timeout.total_s)
    return {"pool": pool_s, "connect": now + pool_s, "write": end, "read": end}


class DeadlineTransport(httpx.HTTPTransport):
    """An ``httpx.HTTPTransport`` over connections that keep to deadlines."""

    def __init__(self, ssl_context: ssl.SSLContext | None, max_connections: int, proxy: httpx.Proxy | None) -> None:
        options: dict[str, Any] = {
            "ssl_context": ssl_context,
            "max_connections": max_connections,
            "max_keepalive_connections": max_connections,
            "keepalive_expiry": KEEPALIVE_S,
            "network_backend": _DeadlineBackend(),
        }
        self._pool: httpcore.ConnectionPool = (
            httpcore.ConnectionPool(**options)
            if proxy is None
            else httpcore.HTTPProxy(
                str(proxy.url), proxy.raw_auth, proxy.headers.raw, proxy_ssl_context=proxy.ssl_context, **options
            )
        )


class _DeadlineBackend(httpcore.NetworkBackend):
    """Opens connections. The parameters that httpcore names ``timeout`` are deadlines here."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first of a host's addresses that accepts; each gets an equal share of the time left."""
        try:
            addresses = [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                share_s = _left_s(timeout, httpcore.ConnectTimeout) / left
                stream = httpcore.SyncBackend().connect_tcp(address, port, share_s, local_address, socket_options)
                return _DeadlineStream(stream)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if left == 1:
                    raise
        raise httpcore.ConnectError(f"{host} has no address")


class _DeadlineStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left_s(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left_s(timeout, httpcore.WriteTimeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = _left_s(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, left_s))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def close(self) -> None:
        self._stream.close()


def _left_s(deadline: float | None, error: type[httpcore.TimeoutException]) -> float:
    """Return the seconds left until a deadline; raise the error if it has passed."""
    assert deadline is not None
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise error
    return left_s
