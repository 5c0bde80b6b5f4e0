"""The parts that both clients share, without I/O: build requests, classify failures, make results and records.

``ClientCore`` holds the settings of one client, ``Call`` the state of one call. ``sync`` and ``aio`` only move the
bytes in between. Nothing is sent twice: a call that failed may have cost money, so retrying is the caller's decision.
Redirects aren't followed, cookies aren't stored, and proxy settings in the environment are ignored, so a call goes to
the base URL and nowhere else.
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import httpx

from toolkit.api import wire
from toolkit.api.basic_auth import Credentials
from toolkit.api.errors import InputError, NotConnectedError, ProtocolError, ReturnCodeError, TransportError
from toolkit.api.extra_headers import add_headers, parse_header
from toolkit.api.return_codes import Kind
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.records.call_record import CallRecord, Failure, RecordBuilder

log = logging.getLogger(__name__)

Verify = bool | ssl.SSLContext | str | Path
OnCall = Callable[[CallRecord], object]

MAX_CONNECTIONS = 100
KEEPALIVE_S = 4.0  # below the 5 s of uvicorn and Node.js, so that the client closes an idle connection, not the server
MAX_RESPONSE_BYTES = 1 << 20
_MAX_TIMEOUT_S = 86_400.0
_NO_COMPRESSION = (b"Accept-Encoding", b"identity")
_UNKNOWN = {
    Endpoint.SEND: "whether the message was sent is not known",
    Endpoint.VERIFY: "whether the code was used up is not known",
}


@dataclass(frozen=True, slots=True)
class Timeout:
    """How long a call may take, in seconds.

    Attributes:
        connect_s: time to get a connection: waiting for a free one (see ``max_connections``), resolving the host name,
            TCP and TLS. The blocking client can't interrupt resolving a name.
        total_s: time until the response is complete.

    >>> Timeout(connect_s=2, total_s=3)
    Timeout(connect_s=2, total_s=3)
    """

    connect_s: float = 5.0
    total_s: float = 10.0

    def __post_init__(self) -> None:
        if not (0 < self.connect_s <= _MAX_TIMEOUT_S and 0 < self.total_s <= _MAX_TIMEOUT_S):
            raise InputError(f"{self}: expected timeouts above 0 s, at most {_MAX_TIMEOUT_S:g} s, e.g. Timeout(5, 10)")

    @classmethod
    def of(cls, value: Timeout | float) -> Timeout:
        """Return a Timeout as it is, or make one from the seconds that a whole call may take.

        >>> Timeout.of(3)
        Timeout(connect_s=3, total_s=3)
        """
        if isinstance(value, Timeout):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"timeout={value!r}: expected a Timeout or seconds, e.g. timeout=5; every call has a limit")
        return cls(min(value, DEFAULT_TIMEOUT.connect_s), value)

    def durations(self) -> dict[str, float]:
        """Return the limits of a call's operations in the form of httpx."""
        return {"connect": self.connect_s, "pool": self.connect_s, "read": self.total_s, "write": self.total_s}


DEFAULT_TIMEOUT = Timeout()


@dataclass(frozen=True, slots=True)
class Sent:
    """An accepted send. Pass its ``msg_id`` to ``verify_code``."""

    msg_id: str

    @classmethod
    def of(cls, response: ApiResponse) -> Self:
        """Return the result of a send; raise ReturnCodeError if the API refused it."""
        if response.msg_id is None:
            raise _refusal(response)
        return cls(response.msg_id)


@dataclass(frozen=True, slots=True)
class Verification:
    """The API's verdict on a typed code.

    ``return_code`` is SUCCESS, or why the code is not valid; a ``ReturnCode`` if version 1 of the API has it.
    ``message`` is the API's wording.
    """

    is_valid: bool
    return_code: int
    message: str

    def __bool__(self) -> bool:
        return self.is_valid

    @classmethod
    def of(cls, response: ApiResponse) -> Self:
        """Return the result of a verify; raise ReturnCodeError if the API refused to judge the code."""
        if (kind := response.kind) in (Kind.OK, Kind.VERDICT):
            return cls(kind is Kind.OK, response.return_code, response.message)
        raise _refusal(response)


def _refusal(response: ApiResponse) -> ReturnCodeError:
    return ReturnCodeError(
        response.return_code, response.http_status, response.message, response.retry_after_s, response.request_id
    )


class ClientCore:
    """The settings of one client: an app, its target, timeouts and records.

    ``not_connected``: exceptions that are the cause of a transport's exception if no connection was made.
    """

    def __init__(
        self,
        base_url: str,
        app_key: str,
        master_secret: str,
        timeout: Timeout | float,
        on_call: OnCall | None,
        run: str,
        source: str | None,
        not_connected: tuple[type[Exception], ...],
        max_connections: int,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if isinstance(max_connections, bool) or not isinstance(max_connections, int) or max_connections < 1:
            raise InputError(f"invalid max_connections {max_connections!r}: expected a whole number above 0, e.g. 100")
        self.base_url = wire.parse_base_url(base_url)
        self.credentials = Credentials(app_key, master_secret)
        self.timeout = Timeout.of(timeout)
        self.max_connections = max_connections
        self.on_call = on_call
        self.records = RecordBuilder.of(run, source or socket.gethostname(), app_key, master_secret)
        self.not_connected = not_connected
        more = dict(parse_header(f"{name}: {value}") for name, value in (headers or {}).items())
        own = {"User-Agent": f"sms-code-toolkit/{version('sms-code-toolkit')}"}
        self.headers = [(name.encode(), value.encode()) for name, value in add_headers(own, more).items()]
        self.is_closed = False
        try:
            self._send_url = httpx.URL(self.base_url + wire.CODES_PATH)
        except httpx.InvalidURL as error:  # e.g. an IP address with a part above 255
            raise InputError(f"invalid base_url: {error}; expected a host, e.g. https://api.sms.jpush.cn") from None
        self.host = self._send_url.netloc

    def send(self, mobile: str | int, temp_id: int | str) -> Call:
        """Prepare a call that sends a code."""
        request = wire.build_send(self.credentials, mobile, temp_id)
        return Call(self, request, self._send_url, {"mobile": mobile, "temp_id": temp_id})

    def verify(self, msg_id: str | int | Sent, code: str) -> Call:
        """Prepare a call that verifies a code."""
        if isinstance(msg_id, Sent):
            msg_id = msg_id.msg_id
        elif isinstance(msg_id, int) and not isinstance(msg_id, bool):
            msg_id = str(msg_id)
        if not isinstance(msg_id, str):
            raise TypeError(f"msg_id={msg_id!r}: expected text, e.g. the msg_id of what send_code returned")
        if not isinstance(code, str):
            raise TypeError(f"the code is a {type(code).__name__}: expected text, because a number loses leading zeros")
        request = wire.build_verify(self.credentials, msg_id, code)
        return Call(self, request, httpx.URL(self.base_url + request.path), {"msg_id": msg_id})

    def classify(self, error: BaseException) -> Failure:
        """Return the kind of failure of a transport's exception."""
        if isinstance(error, httpx.PoolTimeout):
            return Failure.CANCELLED  # by the client itself: it is not a failure of the target
        if isinstance(error.__cause__, self.not_connected) or isinstance(error, httpx.ConnectError):
            return Failure.CONNECT
        if isinstance(error, httpx.RemoteProtocolError) and ("closed" in str(error) or "disconnected" in str(error)):
            return Failure.RESET  # httpx uses one class for a response cut short and one that isn't HTTP
        return next(failure for types, failure in _FAILURES if isinstance(error, types))

    def explain(self, failure: Failure, error: BaseException, endpoint: Endpoint) -> TransportError | None:
        """Return the error to raise for a failure, with whether anything was sent; None if the caller cancelled."""
        host = self.host.decode("ascii")
        if isinstance(error, httpx.PoolTimeout):
            return NotConnectedError(
                f"all {self.max_connections} connections of this client were busy for {self.timeout.connect_s:g} s;"
                " nothing was sent; raise max_connections, or make fewer calls at once"
            )
        if failure is Failure.CANCELLED:
            return None
        if failure is Failure.CONNECT:
            while error.__cause__:
                error = error.__cause__
            reason = str(error) or f"none within {self.timeout.connect_s:g} s"
            return NotConnectedError(f"no connection to {host}: {reason}; nothing was sent")
        reasons = {
            Failure.TIMEOUT: f"no response within {self.timeout.total_s:g} s",
            Failure.RESET: "the connection closed before the response was complete",
        }
        return TransportError(f"{host}: {reasons.get(failure, 'the response is not HTTP')}; {_UNKNOWN[endpoint]}")

    def __repr__(self) -> str:
        return f"({self.base_url!r}, {self.credentials.app_key!r})"


_FAILURES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Failure], ...] = (
    (ProtocolError, Failure.PROTOCOL),
    (httpx.ConnectTimeout, Failure.RESET),  # httpx-aiohttp 0.2 raises this for any connection that broke
    ((httpx.TimeoutException, TimeoutError), Failure.TIMEOUT),
    ((httpx.NetworkError, OSError), Failure.RESET),
    (Exception, Failure.PROTOCOL),
    (BaseException, Failure.CANCELLED),
)


class Call:
    """The state of one call, as a context manager around its I/O.

    On exit it records the call and replaces a transport's exception with one of ours. ``response`` is set by ``read``.
    """

    __slots__ = ("_clock_ns", "_core", "_record_fields", "_request", "_started_ns", "_url", "response")

    def __init__(self, core: ClientCore, request: wire.Request, url: httpx.URL, record_fields: dict[str, Any]) -> None:
        self._core = core
        self._request = request
        self._url = url
        self._record_fields = record_fields
        self.response: ApiResponse

    def __enter__(self) -> Self:
        if self._core.is_closed:
            raise InputError("the client is closed; make a new one")
        if self._core.on_call:
            self._started_ns, self._clock_ns = time.time_ns(), time.perf_counter_ns()
        return self

    def build(self, timeouts: dict[str, float]) -> httpx.Request:
        """Build the HTTP request; ``timeouts`` are in the form that the transport expects."""
        body = self._request.body
        headers = [
            (b"Host", self._core.host),
            *self._core.headers,
            _NO_COMPRESSION,
            *((name.encode(), value.encode()) for name, value in self._request.headers.items()),
            (b"Content-Length", b"%d" % len(body)),
        ]
        # With ``content=`` in place of ``stream=`` httpx would build these headers itself, in three times the time.
        request = httpx.Request(
            "POST", self._url, headers=headers, stream=httpx.ByteStream(body), extensions={"timeout": timeouts}
        )
        request.read()
        return request

    def read(self, received: httpx.Response, body: bytes) -> None:
        """Parse the HTTP response into ``response``; raise ProtocolError if it isn't the API's."""
        self.response = wire.parse_response(self._request.endpoint, received.status_code, received.headers, body)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        failure = self._core.classify(error) if error else None
        if self._core.on_call:
            record = self._core.records.build(
                self._request.endpoint,
                self._started_ns,
                time.perf_counter_ns() - self._clock_ns,
                response=None if failure else self.response,
                http_status=error.http_status if isinstance(error, ProtocolError) else None,
                error=failure,
                **self._record_fields,
            )
            try:
                self._core.on_call(record)
            except Exception:  # the call is done, and may have cost money: its result matters more
                log.exception("on_call failed")
        if error and failure and not isinstance(error, ProtocolError):
            # aiohttp's exceptions hold the request's headers with the secret, so only httpx's are shown as the cause.
            cause = error if isinstance(error, httpx.HTTPError) else None
            if explained := self._core.explain(failure, error, self._request.endpoint):
                raise explained from cause


def parse_proxy(proxy: str | httpx.Proxy | None) -> httpx.Proxy | None:
    """Return a proxy; raise InputError, without a password in its text, if it isn't an HTTP proxy."""
    try:
        found = httpx.Proxy(proxy) if isinstance(proxy, str) else proxy
    except (ValueError, httpx.InvalidURL):
        found = httpx.Proxy("socks5://refused")
    if found and found.url.scheme not in ("http", "https"):
        raise InputError("invalid proxy: expected the URL of an HTTP proxy, e.g. http://proxy:3128") from None
    return found


def tls_context(base_url: str, verify: Verify) -> ssl.SSLContext | None:
    """Return the TLS context for a target, or None for plain http; raise InputError if ``verify`` is unusable."""
    if isinstance(verify, ssl.SSLContext):
        return verify
    if verify is False:
        raise InputError("verify can't be False; pass an ssl.SSLContext or the path of a CA file, e.g. verify='ca.pem'")
    if not base_url.lower().startswith("https:"):
        return None
    try:
        if verify is True:
            return httpx.create_ssl_context()
        if Path(verify).is_dir():
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    except OSError as error:
        raise InputError(f"can't load CA certificates from verify={str(verify)!r}: {error}") from error
