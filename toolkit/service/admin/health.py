"""The admin port's answers, plain ASGI: alive, ready, metrics. Reads the service, and never changes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from toolkit.api.errors import StoreError
from toolkit.api.wire import Reply
from toolkit.service.metrics.counters import Counters
from toolkit.service.metrics.prometheus import StoreState, render
from toolkit.service.stores.base import Store

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

STORE_ANSWERS_S = 1.0
DRAINING = "draining: no new connections are accepted"


@dataclass(frozen=True, slots=True)
class Health:
    """What is told of a service. ``unready`` says why it is not to be called just now, or nothing."""

    store: Store
    counters: Callable[[], Counters]
    unready: Callable[[], str]
    store_answers_s: float = STORE_ANSWERS_S

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        reply = await self._answer(scope)
        await send({"type": "http.response.start", "status": reply.http_status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _answer(self, scope: Scope) -> Reply:
        if scope["method"] not in ("GET", "HEAD"):
            return _say(HTTPStatus.METHOD_NOT_ALLOWED, "GET it")
        match scope["path"]:
            case "/healthz":
                return _say(HTTPStatus.OK, "ok")
            case "/readyz":
                return await self._ready()
            case "/metrics":
                return await self._metrics(dict(scope["headers"]).get(b"accept", b"").decode("latin-1"))
            case _:
                return _say(HTTPStatus.NOT_FOUND, "there is /healthz, /readyz and /metrics")

    async def _ready(self) -> Reply:
        if reason := self.unready():
            return _say(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        try:
            async with asyncio.timeout(self.store_answers_s):
                await self.store.ping()
        except TimeoutError:
            return _say(HTTPStatus.SERVICE_UNAVAILABLE, f"the store did not answer within {self.store_answers_s:g} s")
        except StoreError as problem:
            return _say(HTTPStatus.SERVICE_UNAVAILABLE, f"store: {problem}")
        return _say(HTTPStatus.OK, "ok")

    async def _metrics(self, accept: str) -> Reply:
        body, media_type = render(self.counters(), await self._ask_store(), accept)
        return _reply(HTTPStatus.OK, body, media_type)

    async def _ask_store(self) -> StoreState | None:
        try:
            async with asyncio.timeout(self.store_answers_s):
                balances = await self.store.balances()
                backlog = await self.store.backlog()
        except (StoreError, TimeoutError):
            return None
        return StoreState({app.app_key: balances.get(app.app_id, 0) for app in self.store.apps()}, backlog)


def _say(status: HTTPStatus, line: str) -> Reply:
    return _reply(status, f"{line}\n".encode(), "text/plain; charset=utf-8")


def _reply(status: HTTPStatus, body: bytes, media_type: str) -> Reply:
    headers = ((b"content-type", media_type.encode()), (b"content-length", b"%d" % len(body)))
    return Reply(status, headers, body)
