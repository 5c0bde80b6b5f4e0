"""Serve /healthz, /readyz and /metrics on the admin port, as an ASGI application that only reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from toolkit.api.errors import StoreError
from toolkit.api.wire import ServerResponse
from toolkit.service.metrics.counters import Counters
from toolkit.service.metrics.prometheus import StoreState, render
from toolkit.service.stores.base import Store

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

STORE_TIMEOUT_S = 1.0
DRAINING = "draining: no new connections are accepted"


@dataclass(slots=True)
class Health:
    """The admin port's application.

    ``store`` is None until it is loaded. ``counters`` returns the current counts. ``unready`` returns why the service
    should get no traffic now, or an empty string. ``store_timeout_s`` limits the wait for the store, in seconds.
    """

    store: Store | None
    counters: Callable[[], Counters]
    unready: Callable[[], str]
    store_timeout_s: float = STORE_TIMEOUT_S

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        reply = await self._reply(scope)
        await send({"type": "http.response.start", "status": reply.http_status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _reply(self, scope: Scope) -> ServerResponse:
        if scope["method"] not in ("GET", "HEAD"):
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "use GET")
        match scope["path"]:
            case "/healthz":
                return _text(HTTPStatus.OK, "ok")
            case "/readyz":
                problem = self.unready() or await self._store_problem()
                if problem:
                    return _text(HTTPStatus.SERVICE_UNAVAILABLE, problem)
                # Other instances have the same settings, so taking this one out of service would not help.
                note = self.counters().delivery_problem
                return _text(HTTPStatus.OK, f"ok, but {note}" if note else "ok")
            case "/metrics":
                accept = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
                body, media_type = render(self.counters(), await self._store_state(), accept)
                return _build(HTTPStatus.OK, body, media_type)
            case _:
                return _text(HTTPStatus.NOT_FOUND, "unknown path: use /healthz, /readyz or /metrics")

    async def _store_problem(self) -> str:
        """Return why the store can't be used, or an empty string."""
        if self.store is None:
            return "loading the store"
        try:
            async with asyncio.timeout(self.store_timeout_s):
                await self.store.ping()
        except TimeoutError:
            return f"the store did not answer within {self.store_timeout_s:g} s"
        except StoreError as problem:
            return f"store: {problem}"
        return ""

    async def _store_state(self) -> StoreState | None:
        """Return the store's gauges; None if it does not answer."""
        if self.store is None:
            return None
        try:
            async with asyncio.timeout(self.store_timeout_s):
                balances = await self.store.balances()
                backlog = await self.store.backlog()
        except (StoreError, TimeoutError):
            return None
        by_key = {app.app_key: balances.get(app.app_id, 0) for app in self.store.apps()}
        return StoreState(by_key, backlog, self.store.clock.ahead_s())


def _text(status: HTTPStatus, line: str) -> ServerResponse:
    return _build(status, f"{line}\n".encode(), "text/plain; charset=utf-8")


def _build(status: HTTPStatus, body: bytes, media_type: str) -> ServerResponse:
    headers = ((b"content-type", media_type.encode()), (b"content-length", b"%d" % len(body)))
    return ServerResponse(status, headers, body)
