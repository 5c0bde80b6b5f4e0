"""The HTTP shell, plain ASGI: bytes in, desk, bytes out. Holds the order of the checks that HTTP is needed for.

Two calls need no framework. Whatever happens, the answer is a row of the return-code table.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from toolkit.codes import ReturnCode
from toolkit.service.accounts import App
from toolkit.service.desk import Desk
from toolkit.wire import (
    LENIENT_TYPES,
    MAX_BODY_BYTES,
    Endpoint,
    Refusal,
    Reply,
    build_refusal,
    build_sent,
    build_verified,
    check_media_type,
    read_authorization,
    read_body,
    read_path,
    read_send,
    read_verify,
)

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class DisconnectedError(Exception):
    """The caller has gone before the request was whole: there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class Service:
    """The API as an ASGI application."""

    desk: Desk
    media_types: frozenset[str] = LENIENT_TYPES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            answer = await self._answer(scope, receive)
        except DisconnectedError:
            return
        except Exception:
            log.exception("the service failed on a request")
            answer = Refusal(ReturnCode.SERVER_ERROR)
        await send_reply(send, build_refusal(answer) if isinstance(answer, Refusal) else answer)

    async def _answer(self, scope: Scope, receive: Receive) -> Reply | Refusal:
        call = read_path(scope["raw_path"])
        if isinstance(call, Refusal):
            return call
        if scope["method"] != "POST":
            return Refusal(ReturnCode.METHOD_NOT_SUPPORT)
        app = authenticate(self.desk, scope)
        if isinstance(app, Refusal):
            return app
        if refusal := check_media_type(header(scope, b"content-type"), self.media_types):
            return refusal
        fields = read_body(await read_all(receive))
        if isinstance(fields, Refusal):
            return fields
        endpoint, msg_id = call
        return await (self._send(app, fields) if endpoint is Endpoint.SEND else self._verify(app, msg_id, fields))

    async def _send(self, app: App, fields: dict[str, Any]) -> Reply | Refusal:
        sending = read_send(fields)
        if isinstance(sending, Refusal):
            return sending
        sent = await self.desk.send(app, sending)
        return sent if isinstance(sent, Refusal) else build_sent(sent)

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


async def send_reply(send: Send, reply: Reply) -> None:
    """Send a reply."""
    await send({"type": "http.response.start", "status": reply.http_status, "headers": reply.headers})
    await send({"type": "http.response.body", "body": reply.body})
