"""The HTTP shell: bytes in, desk, an answer out. Holds the order of the checks that HTTP is needed for.

Two calls need no framework.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from toolkit.codes import ReturnCode
from toolkit.service.accounts import App
from toolkit.service.calls import Call
from toolkit.service.desk import Desk
from toolkit.wire import (
    LENIENT_TYPES,
    MAX_BODY_BYTES,
    Endpoint,
    Refusal,
    Reply,
    build_sent,
    build_verified,
    check_media_type,
    read_authorization,
    read_body,
    read_path,
    read_send,
    read_verify,
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class DisconnectedError(Exception):
    """The caller has gone before the request was whole: there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class Service:
    """The API over a desk."""

    desk: Desk
    media_types: frozenset[str] = LENIENT_TYPES

    async def answer(self, call: Call, scope: Scope, receive: Receive) -> Reply | Refusal:
        """Answer one request; raise DisconnectedError where there is nobody to answer."""
        target = read_path(scope["raw_path"])
        if isinstance(target, Refusal):
            return target
        call.endpoint, msg_id = target
        if scope["method"] != "POST":
            return Refusal(ReturnCode.METHOD_NOT_SUPPORT)
        app = authenticate(self.desk, scope)
        if isinstance(app, Refusal):
            return app
        call.app_key = app.app_key
        if refusal := check_media_type(header(scope, b"content-type"), self.media_types):
            return refusal
        fields = read_body(await read_all(receive))
        if isinstance(fields, Refusal):
            return fields
        if call.endpoint is Endpoint.SEND:
            return await self._send(call, app, fields)
        call.msg_id = msg_id
        return await self._verify(app, msg_id, fields)

    async def _send(self, call: Call, app: App, fields: dict[str, Any]) -> Reply | Refusal:
        sending = read_send(fields)
        if isinstance(sending, Refusal):
            return sending
        call.mobile = sending.mobile
        sent = await self.desk.send(app, sending)
        if isinstance(sent, Refusal):
            return sent
        call.msg_id = sent
        return build_sent(sent)

    async def _verify(self, app: App, msg_id: str, fields: dict[str, Any]) -> Reply | Refusal:
        code = read_verify(fields)
        if isinstance(code, Refusal):
            return code
        return await self.desk.verify(app, msg_id, code) or build_verified()


def authenticate(desk: Desk, scope: Scope) -> App | Refusal:
    """Find the app that a request's Authorization header names."""
    credentials = read_authorization(header(scope, b"authorization"))
    return credentials if isinstance(credentials, Refusal) else desk.authenticate(credentials)


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first header of a name."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


async def read_all(receive: Receive) -> bytes:
    """Return a request's body, or, of one that is too large, enough of it to tell."""
    body, more = b"", True
    while more and len(body) <= MAX_BODY_BYTES:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise DisconnectedError
        body += event.get("body", b"")
        more = event.get("more_body", False)
    return body


async def send_reply(send: Send, reply: Reply, *headers: tuple[bytes, bytes]) -> None:
    """Send a reply, with more headers beside its own."""
    await send({"type": "http.response.start", "status": reply.http_status, "headers": (*reply.headers, *headers)})
    await send({"type": "http.response.body", "body": reply.body})
