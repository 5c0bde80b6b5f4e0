"""The client for asyncio.

It drives aiohttp through httpx-aiohttp. httpx's own pool falls from 1,500 calls/s with one task to 500 calls/s with a
hundred (httpx#3215).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import Mapping
from contextlib import aclosing, suppress
from typing import Any, Self, cast
from weakref import WeakSet

import httpx

from toolkit.api.errors import InputError
from toolkit.api.wire import ApiResponse
from toolkit.client.core import (
    DEFAULT_TIMEOUT,
    KEEPALIVE_S,
    MAX_CONNECTIONS,
    MAX_RESPONSE_BYTES,
    Call,
    ClientCore,
    OnCall,
    Sent,
    Timeout,
    Verification,
    Verify,
    parse_proxy,
    tls_context,
)


class AsyncClient:
    """Calls the API from asyncio. Takes the same arguments as ``Client``.

    A client belongs to the event loop of its first call.

    >>> async def send() -> str:
    ...     async with AsyncClient("https://api.sms.jpush.cn", "app-key", "master-secret") as client:
    ...         return (await client.send_code("13800138000", temp_id=1)).msg_id
    """

    def __init__(
        self,
        base_url: str,
        app_key: str,
        master_secret: str,
        *,
        timeout: Timeout | float = DEFAULT_TIMEOUT,
        verify: Verify = True,
        on_call: OnCall | None = None,
        run: str = "",
        source: str | None = None,
        max_connections: int = MAX_CONNECTIONS,
        proxy: str | httpx.Proxy | None = None,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        import aiohttp  # here, so that the blocking client works without aiohttp

        not_connected = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
        self._core = ClientCore(
            base_url, app_key, master_secret, timeout, on_call, run, source, not_connected, max_connections, headers
        )
        context, hop = tls_context(self._core.base_url, verify), parse_proxy(proxy)
        self._timeouts = self._core.timeout.durations()
        if transport is None:
            del self._timeouts["read"], self._timeouts["write"]  # aiohttp would restart them with each byte
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._transport = transport or _build_transport(context, hop, self._sockets)
        self._slots = asyncio.Semaphore(max_connections)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def send_code(self, mobile: str | int, temp_id: int | str) -> Sent:
        """Send a code to a mobile. Raises the same errors as ``Client.send_code``."""
        return Sent.of(await self._perform(self._core.send(mobile, temp_id)))

    async def verify_code(self, msg_id: str | int | Sent, code: str) -> Verification:
        """Verify the code that a person typed. Raises the same errors as ``Client.verify_code``."""
        return Verification.of(await self._perform(self._core.verify(msg_id, code)))

    async def _perform(self, call: Call) -> ApiResponse:
        loop = asyncio.get_running_loop()
        if loop is not (self._loop or loop):
            raise InputError("an AsyncClient belongs to the event loop of its first call; make one for each loop")
        self._loop = loop
        with call:
            end_s = loop.time() + self._core.timeout.total_s
            await self._wait_for_slot()
            try:
                async with asyncio.timeout_at(end_s):
                    response = await self._transport.handle_async_request(call.build(self._timeouts))
                    async with aclosing(response):
                        body = b""
                        async for chunk in cast(httpx.AsyncByteStream, response.stream):
                            body += chunk
                            if len(body) > MAX_RESPONSE_BYTES:
                                break
            finally:
                self._slots.release()
            call.read(response, body)
        return call.response

    async def _wait_for_slot(self) -> None:
        """Wait until fewer calls than ``max_connections`` are on their way; aiohttp's limit has no error of its own."""
        timeout = self._core.timeout
        try:
            async with asyncio.timeout(min(timeout.connect_s, timeout.total_s)):
                await self._slots.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("all connections are busy") from None

    async def aclose(self) -> None:
        """Close the connections."""
        self._core.is_closed = True
        await self._transport.aclose()
        for opened in self._sockets:  # asyncio waits up to 30 s for the end of a TLS connection that was given up
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"AsyncClient{self._core!r}"


def _build_transport(
    ssl_context: ssl.SSLContext | None, proxy: httpx.Proxy | None, sockets: WeakSet[socket.socket]
) -> httpx.AsyncBaseTransport:
    """Return a transport over aiohttp, which adds the sockets that it opens to ``sockets``."""
    import aiohttp
    from aiohttp.connector import NEEDS_CLEANUP_CLOSED
    from httpx_aiohttp import AiohttpTransport

    headers: dict[str, str] = {}  # of every request, which an HTTP proxy reads; through a tunnel it reads its own
    if proxy and proxy.auth:
        token = b64encode(":".join(proxy.auth).encode()).decode()
        authorization = {"Proxy-Authorization": f"Basic {token}"}
        proxy = httpx.Proxy(proxy.url, headers={**proxy.headers, **authorization})
        headers = {} if ssl_context else authorization

    def open_socket(address: tuple[Any, ...]) -> socket.socket:
        opened = socket.socket(*address[:3])
        sockets.add(opened)
        return opened

    def open_session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            socket_factory=open_socket,
            limit=0,  # see ``_wait_for_slot``
            keepalive_timeout=KEEPALIVE_S,
            ssl=ssl_context or True,
            enable_cleanup_closed=NEEDS_CLEANUP_CLOSED,  # otherwise abandoned TLS connections stay open
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers=headers)

    return AiohttpTransport(verify=ssl_context or False, proxy=proxy, client=open_session)
