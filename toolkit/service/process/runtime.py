"""Puts the service together and runs it: store, sandbox or production, delivery, front, admin port."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from toolkit.api.errors import InputError, RunError, SettingsError, StoreError
from toolkit.api.wire import LENIENT_TYPES, STRICT_TYPES
from toolkit.service.admin import control_socket
from toolkit.service.admin.health import DRAINING, Health
from toolkit.service.admin.operations import Admin
from toolkit.service.core.accounts import DEFAULT_TEXT, SANDBOX_BALANCE
from toolkit.service.core.send_and_verify import VerificationService
from toolkit.service.delivery.base import ProviderFactory
from toolkit.service.delivery.retry_loop import delivering
from toolkit.service.http.connection import Connection
from toolkit.service.http.handler import Api, RequestHandler
from toolkit.service.http.server import Server, bind, loop_factory, raise_file_limit, stopping, url
from toolkit.service.metrics.call_log import LineWriter, logging_json, open_stderr
from toolkit.service.metrics.counters import Counters
from toolkit.service.process.config import ServiceConfig
from toolkit.service.sandbox import Sandbox, on_demand
from toolkit.service.stores.base import Store
from toolkit.service.stores.open import is_shared, open_store
from toolkit.service.stores.sqlite.store import SqliteStore

log = logging.getLogger(__name__)

PRUNE_S, PRUNE_MORE_S = 1.0, 0.02
TELL_S = 1.0

Announce = Callable[[dict[str, Any]], None]
Tell = Callable[[Counters], None]


def serve(
    config: ServiceConfig, announce: Announce, listener: socket.socket | None = None, tell: Tell | None = None
) -> None:
    """Run the service until SIGTERM or SIGINT; ``announce`` gets the URL, and a sandbox's app, once it answers.

    ``listener``: a socket that listens already. ``tell`` gets the counters every TELL_S, and at the end.
    """
    stderr = open_stderr()
    raise_file_limit()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(config, announce, stderr, listener, tell))


async def _serve(
    config: ServiceConfig, announce: Announce, stderr: int, listener: socket.socket | None, tell: Tell | None
) -> None:
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listener or bind(config.host, config.port))
        counters = Counters()
        writer = LineWriter(stderr, counters)
        stack.enter_context(logging_json(writer, logging.INFO if config.logs_calls else logging.WARNING))
        store = await stack.enter_async_context(opened(config, counters, config.speed))
        if isinstance(store, SqliteStore):
            store.tell_owner(pid=os.getpid(), **await stack.enter_async_context(control_socket.listen(Admin(store))))
        about = {"url": url(config.host, listener)} | await sandbox_app(store, config.production)
        await stack.enter_async_context(_repeating(_prune, store))
        if config.provider:
            await stack.enter_async_context(delivering(store, config.provider, counters))
        if tell:
            stack.callback(tell, counters)
            await stack.enter_async_context(_repeating(_tell, tell, counters))
        answer = _build(config, store, counters).answer
        handler = RequestHandler(answer, counters, writer if config.logs_calls else None, config.max_in_flight)
        server = Server(handler, Connection, lambda: announce(about))
        health = Health(store, lambda: counters, unready=lambda: DRAINING if server.should_exit else "")
        about |= await stack.enter_async_context(watched(config, health))
        _spare_the_collector()
        with stopping(server.stop, config.until_stdin_closes):
            await server.serve(sockets=[listener])


def deliver(config: ServiceConfig, announce: Announce) -> None:
    """Deliver beside the services that share a store until SIGTERM or SIGINT; ``announce`` gets the provider's name."""
    if config.store is None or not is_shared(config.store):
        raise SettingsError("one process owns a SQLite store: `smscode serve` itself delivers; share a Redis for this")
    if config.provider is None:
        raise SettingsError("the outbox delivers nothing: set SMSCODE_PROVIDER to webhook or smpp")
    stderr = open_stderr()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_deliver(config, config.provider, announce, stderr))


async def _deliver(config: ServiceConfig, factory: ProviderFactory, announce: Announce, stderr: int) -> None:
    counters, stopped = Counters(), asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.enter_context(logging_json(LineWriter(stderr, counters), logging.INFO))
        stack.enter_context(stopping(stopped.set, until_stdin_closes=False))
        store = await stack.enter_async_context(opened(config, counters))
        await stack.enter_async_context(delivering(store, factory, counters))
        watching = watched(config, Health(store, lambda: counters, unready=lambda: ""))
        announce({"provider": factory.name} | await stack.enter_async_context(watching))
        await stopped.wait()


def _build(config: ServiceConfig, store: Store, counters: Counters) -> Api | Sandbox:
    """Return the API of a store, in a sandbox unless it is production."""
    media_types = STRICT_TYPES if config.strict_media else LENIENT_TYPES
    if config.production:
        return Api(VerificationService(store, counters=counters), media_types)
    api = Api(VerificationService(store, on_demand=on_demand, counters=counters), media_types)
    return Sandbox(api, store, config.faults)


@asynccontextmanager
async def watched(config: ServiceConfig, health: Health) -> AsyncIterator[dict[str, str]]:
    """Answer on the admin port, if there is to be one, until the block ends: longer than the service itself does."""
    if config.admin_port is None:
        yield {}
        return
    with bind(config.admin_host, config.admin_port) as listener:
        server = Server(health, "httptools", lambda: None)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield {"admin_url": url(config.admin_host, listener)}
        finally:
            server.stop()
            await serving


@asynccontextmanager
async def opened(config: ServiceConfig, counters: Counters, speed: float | None = None) -> AsyncIterator[Store]:
    """Open the store until the block ends; ``speed`` None leaves a shared store's clock as it runs."""
    with contextlib.ExitStack() as stack:
        place = config.store
        if place is None:
            place = f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory(prefix='smscode-'))}/sandbox.db"
        store = await open_store(place, config.policy, config.key_file, speed, counters.batches)
        try:
            yield store
        finally:
            await store.close()


@asynccontextmanager
async def _repeating(work: Callable[..., Awaitable[float]], *arguments: Any) -> AsyncIterator[None]:
    """Do something again and again while the block lasts; it returns after how many seconds."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(await work(*arguments))

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _prune(store: Store) -> float:
    """Have the store forget a small part of what no decision needs."""
    try:
        return PRUNE_MORE_S if await store.prune() else PRUNE_S
    except StoreError as problem:
        log.warning("pruning: %s", problem)
        return PRUNE_S


async def _tell(tell: Tell, counters: Counters) -> float:
    tell(counters)
    return TELL_S


def _spare_the_collector() -> None:
    """Have the collector of cyclic garbage look less often, and never at what starting has made: calls make none."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


async def sandbox_app(store: Store, production: bool) -> dict[str, Any]:
    """Return a sandbox's ready-made app: key, secret and template, the same at every start on a store.

    Raise RunError where the store is of the other kind: what a sandbox hands out must not be worth anything.
    """
    app_key, secret = store.digests.derive("sandbox app key"), store.digests.derive("sandbox master secret")
    app = store.app(app_key)
    if production:
        if app:
            raise RunError("the store is a sandbox's: for production give another with --store")
        return {}
    if app is None and store.apps():
        raise RunError("the store is no sandbox's: give --production, or another with --store")
    if app is None:
        with contextlib.suppress(InputError):  # another machine may have been first
            await Admin(store).create_app(balance=SANDBOX_BALANCE, app_key=app_key, master_secret=secret)
    return {"app_key": app_key, "master_secret": secret, "temp_id": await _sandbox_template(store, app_key)}


async def _sandbox_template(store: Store, app_key: str) -> int:
    templates = await Admin(store).list_templates(app_key=app_key)
    enabled = [template for template in templates if template["enabled"]]
    return int((enabled or [await Admin(store).add_template(app_key=app_key, text=DEFAULT_TEXT)])[0]["temp_id"])
