"""Encode requests for a target, and open connections to it.

Nearly all requests of a load test differ only in a mobile, or in a msg_id and a code. Those are written by putting
these values between parts that were encoded once.
"""

from __future__ import annotations

import socket

from toolkit.api import wire
from toolkit.api.basic_auth import Credentials
from toolkit.api.errors import InputError, NotConnectedError
from toolkit.load_test.generator.http.connection import Connection
from toolkit.load_test.generator.http.response_parser import Origin
from toolkit.load_test.generator.steps import Peek, Request, Send
from toolkit.load_test.plan.http_options import DEFAULT_HTTP, HttpOptions
from toolkit.settings import Target

_MOBILE, _CODE, _MSG_ID = "0" * 11, "0" * 6, "0"  # placeholders in the templates
_is_plain_id = wire.PLAIN_ID.fullmatch


class RequestEncoder:
    """Encodes steps as HTTP/1.1 requests of one app to one target.

    Args:
        origin: address and base path of the target.
        credentials: key and secret of the app.
        temp_id: the template of a send that names none.
        http: the further headers.
    """

    def __init__(
        self, origin: Origin, credentials: Credentials, temp_id: int, http: HttpOptions = DEFAULT_HTTP
    ) -> None:
        self._origin, self._temp_id = origin, temp_id
        more = dict(http.headers)
        self._peek_headers = {"Authorization": credentials.authorization, **more}
        head = origin.encode("POST", "", wire.call_headers(credentials) | more).decode()
        self._start, self._fields = head.removesuffix("0\r\n\r\n").split(" HTTP/1.1", 1)

        body = wire.send_body(_MOBILE, temp_id)
        before, behind = body.decode().split(_MOBILE, 1)
        self._send = f"{self._start}{wire.CODES_PATH}{self._end_head(body)}{before}", behind

        path, body = wire.verify_path(_MSG_ID), wire.verify_body(_CODE)
        path_before, path_behind = path.split(_MSG_ID)
        before, behind = body.decode().split(_CODE)
        self._verify = f"{self._start}{path_before}", f"{path_behind}{self._end_head(body)}{before}", behind

    def encode(self, step: Request) -> bytes:
        """Encode the request of a step; raise InputError for another value, or a msg_id that can't stand in a path."""
        if isinstance(step, Send):
            mobile, temp_id = step.mobile, step.temp_id
            if temp_id is None and type(mobile) is str and len(mobile) == 11 and mobile.isascii() and mobile.isalnum():
                before, behind = self._send
                return f"{before}{mobile}{behind}".encode()
            return self._encode(wire.CODES_PATH, wire.send_body(mobile, self._temp_id if temp_id is None else temp_id))
        if isinstance(step, Peek):
            return self._origin.encode("GET", wire.message_path(step.msg_id), self._peek_headers)
        try:
            msg_id, code = step.msg_id, step.code
        except AttributeError:
            raise InputError(f"a journey yielded {step!r}: expected Send, Verify, Peek or Pause") from None
        if len(code) == 6 and code.isascii() and code.isalnum() and _is_plain_id(msg_id):
            before, between, behind = self._verify
            return f"{before}{msg_id}{between}{code}{behind}".encode()
        return self._encode(wire.verify_path(msg_id), wire.verify_body(code))

    def _encode(self, path: str, body: bytes) -> bytes:
        return f"{self._start}{path}{self._end_head(body)}".encode() + body

    def _end_head(self, body: bytes) -> str:
        """Return the head from behind the path to its end."""
        return f" HTTP/1.1{self._fields}{len(body)}\r\n\r\n"


class Connector:
    """Resolves a target once, opens connections to it, and encodes its requests.

    Attributes:
        addresses: the addresses of the target's name, each as a socket family and an address to connect to.
        encode: the ``encode`` of a ``RequestEncoder`` for the target.

    Raises NotConnectedError if the name has no address.
    """

    def __init__(self, target: Target, http: HttpOptions = DEFAULT_HTTP) -> None:
        origin, self._http = Origin.of(target.base_url), http
        credentials = Credentials(target.app_key, target.master_secret)
        self.encode = RequestEncoder(origin, credentials, target.temp_id, http).encode
        self._tls_host = origin.host if origin.tls else None
        try:
            found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise NotConnectedError(f"{origin.host} has no address: {type(error).__name__}") from error
        self.addresses = [(family, address) for family, _, _, _, address in found]

    def connect(self, attempt: int) -> Connection:
        """Start a connection to the address with the number ``attempt``, from 0; raise OSError."""
        return Connection(*self.addresses[attempt], self._tls_host, self._http)
