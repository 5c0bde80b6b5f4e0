"""The clients: send a code, verify a code, in blocking code and in asyncio. Decides what the end of a call means.

`_Core` and `_Call` know all of it without touching a socket; `Client` and `AsyncClient` only move their bytes. Nothing
is sent twice: a call that failed may have cost money, and repeating it is the caller's decision. Redirects aren't
followed, cookies aren't kept, and proxies named in the environment aren't used: a call goes where the base URL says.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import aclosing, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import httpcore
import httpx

from toolkit.api import wire
from toolkit.api.errors import InputError, NotConnectedError, ProtocolError, ReturnCodeError, TransportError
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Answer, Credentials, Endpoint
from toolkit.records.call_record import CallRecord, Failure, RecordBuilder

Verify = bool | ssl.SSLContext | str | Path
OnCall = Callable[[CallRecord], object]

_CONNECTIONS = 100
_IDLE_S = 4.0  # shorter than the 5 s of uvicorn and Node.js, so that it is the caller who closes an idle connection
_MAX_ANSWER_BYTES = 1 << 20
_MAX_TIMEOUT_S = 86_400.0
_HEADERS = ((b"User-Agent", b"sms-code-toolkit"), (b"Accept-Encoding", b"identity"))  # so that what comes is the body


# What goes in and what comes out.


@dataclass(frozen=True, slots=True)
class Timeout:
    """How long a call may take, in seconds.

    connect_s: until a connection is there, be it for want of a free one (at most 100 are open), of a name's address, of
    TCP or of TLS; only the blocking client's name look-up can't be cut short. total_s: until the whole answer is there.
    """

    connect_s: float = 5.0
    total_s: float = 10.0

    def __post_init__(self) -> None:
        if not (0 < self.connect_s <= _MAX_TIMEOUT_S and 0 < self.total_s <= _MAX_TIMEOUT_S):
            raise InputError(f"{self}: a timeout is above 0 s and at most {_MAX_TIMEOUT_S:g} s")


@dataclass(frozen=True, slots=True)
class Sent:
    """An accepted send: its ``msg_id`` verifies the code."""

    msg_id: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What the API said of a typed code: SUCCESS where it is right, else which verdict."""

    is_valid: bool
    return_code: ReturnCode


# The core: no I/O.


_UNKNOWN = {
    Endpoint.SEND: "whether the message was sent is not known",
    Endpoint.VERIFY: "whether the code was used up is not known",
}
_FAILURES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Failure], ...] = (
    (ProtocolError, Failure.PROTOCOL),
    (httpx.ConnectTimeout, Failure.RESET),  # httpx-aiohttp 0.2 calls every connection so that broke
    ((httpx.TimeoutException, TimeoutError), Failure.TIMEOUT),
    ((httpx.NetworkError, OSError), Failure.RESET),
    (Exception, Failure.PROTOCOL),
    (BaseException, Failure.CANCELLED),
)


def _classify(error: BaseException, unconnected: tuple[type[Exception], ...]) -> Failure:
    if isinstance(error.__cause__, unconnected):
        return Failure.CONNECT
    if isinstance(error, httpx.RemoteProtocolError) and ("closed" in str(error) or "disconnected" in str(error)):
        return Failure.RESET  # httpx has one class for an answer that broke off and one that isn't HTTP
    return next(failure for kinds, failure in _FAILURES if isinstance(error, kinds))


class _Core:
    """One app at one target: builds calls, and tells what became of them.

    ``unconnected``: what the transport's errors have as their cause where the connection was never made.
    """

    def __init__(
        self,
        base_url: str,
        app_key: str,
        master_secret: str,
        timeout: Timeout,
        on_call: OnCall | None,
        run: str,
        source: str | None,
        unconnected: tuple[type[Exception], ...],
    ) -> None:
        self.base_url = wire.parse_base_url(base_url)
        self.credentials = Credentials(app_key, master_secret)
        self.timeout = timeout
        self.on_call = on_call
        self.builder = RecordBuilder.of(run, source or socket.gethostname(), app_key, master_secret)
        self.unconnected = unconnected
        self.is_closed = False
        self._send_url = _parse_url(self.base_url + wire.CODES_PATH)
        self.host = self._send_url.netloc

    def send(self, mobile: str | int, temp_id: int | str) -> _Call:
        request = wire.build_send(self.credentials, mobile, temp_id)
        return _Call(self, request, self._send_url, {"mobile": mobile, "temp_id": temp_id})

    def verify(self, msg_id: str, code: str) -> _Call:
        request = wire.build_verify(self.credentials, msg_id, code)
        return _Call(self, request, httpx.URL(self.base_url + request.path), {"msg_id": msg_id})

    def explain(self, failure: Failure, error: BaseException, endpoint: Endpoint) -> TransportError:
        """Say in our words why no answer came."""
        host = self.host.decode("ascii")
        if failure is Failure.CONNECT:
            reason = str(_root(error)) or f"none within {self.timeout.connect_s:g} s"
            return NotConnectedError(f"no connection to {host}: {reason}; nothing was sent")
        reasons = {
            Failure.TIMEOUT: f"no answer within {self.timeout.total_s:g} s",
            Failure.RESET: "the connection ended before the answer did",
        }
        return TransportError(f"{host}: {reasons.get(failure, 'what came is not HTTP')}; {_UNKNOWN[endpoint]}")

    def __repr__(self) -> str:
        return f"({self.base_url!r}, {self.credentials.app_key!r})"


def _parse_url(text: str) -> httpx.URL:
    try:
        return httpx.URL(text)
    except httpx.InvalidURL as error:  # such as an address with a part above 255
        raise InputError(f"the base URL can't be used: {error}") from None


def _root(error: BaseException) -> BaseException:
    return _root(error.__cause__) if error.__cause__ else error


class _Call:
    """One call, as the context in which its bytes are moved: it says what became of them, and records it."""

    __slots__ = ("_about", "_clock_ns", "_core", "_request", "_started_ns", "_url", "answer")

    def __init__(self, core: _Core, request: wire.Request, url: httpx.URL, about: dict[str, Any]) -> None:
        self._core = core
        self._request = request
        self._url = url
        self._about = about
        self.answer: Answer

    def __enter__(self) -> Self:
        if self._core.is_closed:
            raise InputError("the client is closed: make another")
        if self._core.on_call:
            self._started_ns, self._clock_ns = time.time_ns(), time.perf_counter_ns()
        return self

    def build(self, timeouts: dict[str, float]) -> httpx.Request:
        """Build the HTTP request; ``timeouts`` are as the transport wants them."""
        body = self._request.body
        headers = [
            (b"Host", self._core.host),
            *_HEADERS,
            *((name.encode(), value.encode()) for name, value in self._request.headers.items()),
            (b"Content-Length", b"%d" % len(body)),
        ]
        # Given content and no stream, httpx would work out these headers itself, in three times the time.
        request = httpx.Request(
            "POST", self._url, headers=headers, stream=httpx.ByteStream(body), extensions={"timeout": timeouts}
        )
        request.read()
        return request

    def read(self, response: httpx.Response, body: bytes) -> None:
        """Read the answer; raise ProtocolError where it isn't the API's."""
        self.answer = wire.read_answer(self._request.endpoint, response.status_code, response.headers, body)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        failure = _classify(error, self._core.unconnected) if error else None
        if self._core.on_call:
            self._core.on_call(self._record(failure, error))
        if error and failure and failure is not Failure.CANCELLED and not isinstance(error, ProtocolError):
            # aiohttp's own exceptions hold the request's headers: only httpx's may be shown as the cause.
            cause = error if isinstance(error, httpx.HTTPError) else None
            raise self._core.explain(failure, error, self._request.endpoint) from cause

    def _record(self, failure: Failure | None, error: BaseException | None) -> CallRecord:
        return self._core.builder.build(
            self._request.endpoint,
            self._started_ns,
            time.perf_counter_ns() - self._clock_ns,
            answer=None if failure else self.answer,
            http_status=error.http_status if isinstance(error, ProtocolError) else None,
            error=failure,
            **self._about,
        )


def _read_sent(answer: Answer) -> Sent:
    if answer.msg_id is None:
        raise _refusal(answer)
    return Sent(answer.msg_id)


def _read_verification(answer: Answer) -> Verification:
    code = answer.return_code
    if isinstance(code, ReturnCode) and code.kind in (Kind.OK, Kind.VERDICT):
        return Verification(code.kind is Kind.OK, code)
    raise _refusal(answer)


def _refusal(answer: Answer) -> ReturnCodeError:
    return ReturnCodeError(
        answer.return_code, answer.http_status, answer.message, answer.retry_after_s, answer.request_id
    )


# Blocking.


_UNCONNECTED = (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout)


class Client:
    """Calls the API, in blocking code; threads may share one.

    Give ``verify`` an SSL context or a path to CA certificates where the usual ones don't do. ``on_call`` is called
    with a record of every call, whatever its outcome; ``run`` and ``source`` (by default the host's name) go into it.
    Raises InputError for arguments that can't be used.
    """

    def __init__(
        self,
        base_url: str,
        app_key: str,
        master_secret: str,
        *,
        timeout: Timeout = Timeout(),
        verify: Verify = True,
        on_call: OnCall | None = None,
        run: str = "",
        source: str | None = None,
    ) -> None:
        self._core = _Core(base_url, app_key, master_secret, timeout, on_call, run, source, _UNCONNECTED)
        self._transport = _DeadlineTransport(_trust(self._core.base_url, verify))

    def send_code(self, mobile: str | int, temp_id: int | str) -> Sent:
        """Send a code to a mobile.

        Raises ReturnCodeError where the API refuses, ProtocolError where the answer isn't the API's, NotConnectedError
        where nothing was sent, and another TransportError where it isn't known whether the message was.
        """
        return _read_sent(self._move(self._core.send(mobile, temp_id)))

    def verify_code(self, msg_id: str, code: str) -> Verification:
        """Verify the code a person typed; a wrong, expired or used one is a value. Raises as ``send_code`` does."""
        return _read_verification(self._move(self._core.verify(msg_id, code)))

    def _move(self, call: _Call) -> Answer:
        with call:
            response = self._transport.handle_request(call.build(_deadlines(self._core.timeout)))
            with closing(response):
                body = b""
                for chunk in cast(httpx.SyncByteStream, response.stream):
                    body += chunk
                    if len(body) > _MAX_ANSWER_BYTES:
                        break
            call.read(response, body)
        return call.answer

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


def _trust(base_url: str, verify: Verify) -> ssl.SSLContext | None:
    """Return the TLS context of a target, None where it has no TLS; raise InputError for an unusable ``verify``."""
    if isinstance(verify, ssl.SSLContext):
        return verify
    if verify is False:
        raise InputError("verify can't be False: give an ssl.SSLContext that trusts what you trust")
    if not base_url.lower().startswith("https:"):
        return None
    try:
        return httpx.create_ssl_context() if verify is True else _trust_path(Path(verify))
    except OSError as error:
        raise InputError(f"the CA certificates can't be loaded: {error}") from error


def _trust_path(path: Path) -> ssl.SSLContext:
    if path.is_dir():
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


class _DeadlineTransport(httpx.HTTPTransport):
    """httpx's transport, with deadlines where it has timeouts: those start anew with every byte that arrives."""

    def __init__(self, ssl_context: ssl.SSLContext | None) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl_context,
            max_connections=_CONNECTIONS,
            max_keepalive_connections=_CONNECTIONS,
            keepalive_expiry=_IDLE_S,
            network_backend=_DeadlineBackend(),
        )


def _deadlines(timeout: Timeout) -> dict[str, float]:
    """Return what a call's operations get as their timeouts: moments of the monotonic clock, but for the pool's."""
    now = time.monotonic()
    end = now + timeout.total_s
    pool_s = min(timeout.connect_s, timeout.total_s)
    return {"pool": pool_s, "connect": now + pool_s, "write": end, "read": end}


class _DeadlineBackend(httpcore.NetworkBackend):
    """Opens connections. Wherever httpcore says timeout, it is a deadline."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first of a host's addresses that accepts; each gets its share of the time."""
        addresses = _look_up(host, port)
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                share_s = _left_s(timeout, httpcore.ConnectTimeout) / left
                stream = httpcore.SyncBackend().connect_tcp(address, port, share_s, local_address, socket_options)
                return _DeadlineStream(stream)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if left == 1:
                    raise
        raise httpcore.ConnectError(f"{host} has no address")


def _look_up(host: str, port: int) -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error


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
    assert deadline is not None
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise error
    return left_s


# asyncio.


class AsyncClient:
    """Calls the API, in asyncio; takes what ``Client`` takes. It belongs to the event loop of its first call."""

    def __init__(
        self,
        base_url: str,
        app_key: str,
        master_secret: str,
        *,
        timeout: Timeout = Timeout(),
        verify: Verify = True,
        on_call: OnCall | None = None,
        run: str = "",
        source: str | None = None,
    ) -> None:
        self._core = _Core(base_url, app_key, master_secret, timeout, on_call, run, source, _unconnected())
        self._transport = _build_async_transport(_trust(self._core.base_url, verify))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timeouts = {"connect": timeout.connect_s, "pool": timeout.connect_s}

    async def send_code(self, mobile: str | int, temp_id: int | str) -> Sent:
        """Send a code to a mobile. Raises as ``Client.send_code`` does."""
        return _read_sent(await self._move(self._core.send(mobile, temp_id)))

    async def verify_code(self, msg_id: str, code: str) -> Verification:
        """Verify the code a person typed; a wrong, expired or used one is a value. Raises as ``send_code`` does."""
        return _read_verification(await self._move(self._core.verify(msg_id, code)))

    async def _move(self, call: _Call) -> Answer:
        loop = asyncio.get_running_loop()
        if loop is not (self._loop or loop):
            raise InputError("an AsyncClient belongs to the event loop of its first call: make one for each loop")
        self._loop = loop
        with call:
            async with asyncio.timeout(self._core.timeout.total_s):
                response = await self._transport.handle_async_request(call.build(self._timeouts))
                async with aclosing(response):
                    body = b""
                    async for chunk in cast(httpx.AsyncByteStream, response.stream):
                        body += chunk
                        if len(body) > _MAX_ANSWER_BYTES:
                            break
            call.read(response, body)
        return call.answer

    async def aclose(self) -> None:
        """Close the connections."""
        self._core.is_closed = True
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"AsyncClient{self._core!r}"


def _unconnected() -> tuple[type[Exception], ...]:
    import aiohttp

    return aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError


def _build_async_transport(ssl_context: ssl.SSLContext | None) -> httpx.AsyncBaseTransport:
    """Drive aiohttp: httpx's own pool falls from 1,500 calls/s for one task to 500 for a hundred (httpx#3215)."""
    import aiohttp
    from aiohttp.connector import NEEDS_CLEANUP_CLOSED
    from httpx_aiohttp import AiohttpTransport

    def open_session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=_CONNECTIONS,
            keepalive_timeout=_IDLE_S,
            ssl=ssl_context or True,
            enable_cleanup_closed=NEEDS_CLEANUP_CLOSED,  # else TLS connections that were given up stay open
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    return AiohttpTransport(verify=ssl_context or False, client=open_session)
