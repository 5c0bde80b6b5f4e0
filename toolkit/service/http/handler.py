"""The HTTP shell: a request in, desk, an answer out. Holds the order of the checks that HTTP is needed for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import (
    LENIENT_TYPES,
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
from toolkit.service.core.accounts import App
from toolkit.service.core.send_and_verify import Desk
from toolkit.service.http.request_context import Call, Request


@dataclass(frozen=True, slots=True)
class Service:
    """The API over a desk."""

    desk: Desk
    media_types: frozenset[str] = LENIENT_TYPES

    async def answer(self, call: Call, request: Request) -> Reply | Refusal:
        """Answer one request."""
        target = read_path(request.path)
        if isinstance(target, Refusal):
            return target
        call.endpoint, msg_id = target
        if request.method != b"POST":
            return Refusal(ReturnCode.METHOD_NOT_SUPPORT)
        app = authenticate(self.desk, request)
        if isinstance(app, Refusal):
            return app
        call.app_key = app.app_key
        if refusal := check_media_type(request.header(b"content-type"), self.media_types):
            return refusal
        fields = read_body(request.body)
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


def authenticate(desk: Desk, request: Request) -> App | Refusal:
    """Find the app that a request's Authorization header names."""
    credentials = read_authorization(request.header(b"authorization"))
    return credentials if isinstance(credentials, Refusal) else desk.authenticate(credentials)
