"""Writer: the API's calls of one app to one target, in bytes. What is the same in each of them is made once."""

from __future__ import annotations

from toolkit.api import wire
from toolkit.api.wire import Credentials
from toolkit.load_test.generator.http.http1 import Origin
from toolkit.load_test.generator.journeys.steps import Peek, Request, Send

_MOBILE, _CODE, _MSG_ID = "0" * 11, "0" * 6, "0"  # stand where each call has its own
_is_plain_id = wire.PLAIN_ID.fullmatch


class Writer:
    """Writes what steps ask for. ``temp_id``: the template of a send that names none."""

    def __init__(self, origin: Origin, credentials: Credentials, temp_id: int) -> None:
        self._origin, self._credentials, self._temp_id = origin, credentials, temp_id
        written = origin.write("POST", "", wire.call_headers(credentials)).decode()
        self._start, self._fixed = written.removesuffix("0\r\n\r\n").split(" HTTP/1.1", 1)
        self._send, self._verify = self._cut_send(), self._cut_verify()

    def write(self, step: Request) -> bytes:
        """Write what a step asks for; raise InputError for a msg_id that can't stand in a path.

        Most calls are written already, but for a mobile, or a msg_id and a code, that need no quoting.
        """
        if isinstance(step, Send):
            mobile, temp_id = step.mobile, step.temp_id
            if temp_id is None and type(mobile) is str and len(mobile) == 11 and mobile.isascii() and mobile.isalnum():
                before, behind = self._send
                return f"{before}{mobile}{behind}".encode()
            return self._write(wire.CODES_PATH, wire.send_body(mobile, self._temp_id if temp_id is None else temp_id))
        if isinstance(step, Peek):
            headers = {"Authorization": self._credentials.authorization}
            return self._origin.write("GET", wire.message_path(step.msg_id), headers)
        msg_id, code = step.msg_id, step.code
        if len(code) == 6 and code.isascii() and code.isalnum() and _is_plain_id(msg_id):
            before, between, behind = self._verify
            return f"{before}{msg_id}{between}{code}{behind}".encode()
        return self._write(wire.verify_path(msg_id), wire.verify_body(code))

    def _write(self, path: str, body: bytes) -> bytes:
        return f"{self._start}{path}{self._rest(body)}".encode() + body

    def _rest(self, body: bytes) -> str:
        """Return the head from behind the path."""
        return f" HTTP/1.1{self._fixed}{len(body)}\r\n\r\n"

    def _cut_send(self) -> tuple[str, str]:
        body = wire.send_body(_MOBILE, self._temp_id)
        before, behind = body.decode().split(_MOBILE, 1)
        return f"{self._start}{wire.CODES_PATH}{self._rest(body)}{before}", behind

    def _cut_verify(self) -> tuple[str, str, str]:
        path, body = wire.verify_path(_MSG_ID), wire.verify_body(_CODE)
        path_before, path_behind = path.split(_MSG_ID)
        before, behind = body.decode().split(_CODE)
        return f"{self._start}{path_before}", f"{path_behind}{self._rest(body)}{before}", behind
