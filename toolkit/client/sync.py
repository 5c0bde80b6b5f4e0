"""The client for blocking code."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Self, cast

import httpx

from toolkit.api.wire import ApiResponse
from toolkit.client.core import (
    DEFAULT_TIMEOUT,
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
from toolkit.client.deadlines import NOT_CONNECTED, DeadlineTransport, deadlines


class Client:
    """Calls the API from blocking code. Threads may share a client.

    Args:
        base_url: the API's URL, e.g. "https://api.sms.jpush.cn".
        app_key: the app's key.
        master_secret: the app's master secret.
        timeout: how long a call may take: a ``Timeout``, or the seconds in all.
        verify: an ``ssl.SSLContext`` or the path of CA certificates, if the default ones don't fit.
        on_call: called with the CallRecord of each call, successful or not.
        run: name of the run in the records.
        source: name of the source in the records; default: the host's name.
        max_connections: how many connections are open at most; further calls wait for a free one.
        proxy: URL of an HTTP proxy, e.g. "http://user:password@proxy:3128". The environment's is not used.
        headers: further headers of each call, e.g. {"X-Environment": "staging"}. They can't replace those of the API.
        transport: an httpx transport to use in place of sockets, e.g. ``httpx.MockTransport`` in a test. It keeps the
            time limits of each operation, not of the call as a whole.

    Raises:
        InputError: an argument can't be used.

    >>> with Client("https://api.sms.jpush.cn", "app-key", "master-secret") as client:  # doctest: +SKIP
    ...     sent = client.send_code("13800138000", temp_id=1)
    ...     client.verify_code(sent.msg_id, "123456").is_valid
    True

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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._core = ClientCore(
            base_url, app_key, master_secret, timeout, on_call, run, source, NOT_CONNECTED, max_connections, headers
        )
        context, hop = tls_context(self._core.base_url, verify), parse_proxy(proxy)
        self._has_deadlines = transport is None
        self._transport = transport or DeadlineTransport(context, max_connections, hop)

    def send_code(self, mobile: str | int, temp_id: int | str) -> Sent:
        """Send a code to a mobile. Nothing is retried, because a send that timed out may have been charged.

        Raises:
            ReturnCodeError: the API refused the send.
            ProtocolError: the response isn't the API's.
            NotConnectedError: no connection was made, so nothing was sent.
            TransportError: no response arrived, so it isn't known whether the message was sent.

        """
        return Sent.of(self._perform(self._core.send(mobile, temp_id)))

    def verify_code(self, msg_id: str | int | Sent, code: str) -> Verification:
        """Verify the code that a person typed, for a msg_id or for what ``send_code`` returned.

        A wrong, expired or used code is a result, not an exception, and false in a condition. Raises the same errors
        as ``send_code``.
        """
        return Verification.of(self._perform(self._core.verify(msg_id, code)))

    def _perform(self, call: Call) -> ApiResponse:
        with call:
            timeout = self._core.timeout
            limits = deadlines(timeout) if self._has_deadlines else timeout.durations()
            response = self._transport.handle_request(call.build(limits))
            with closing(response):
                body = b""
                for chunk in cast(httpx.SyncByteStream, response.stream):
                    body += chunk
                    if len(body) > MAX_RESPONSE_BYTES:
                        break
            call.read(response, body)
        return call.response

    def close(self) -> None:
        """Close the connections."""
        self._core.is_closed = True
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client{self._core!r}"
