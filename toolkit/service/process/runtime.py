"""Run one service process: put together store, API, delivery, metrics and servers, and run them until a signal."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.api import defaults
from toolkit.api.errors import InputError, RunError, SettingsError, StoreError
from toolkit.api.wire import LENIENT_TYPES, STRICT_TYPES
from toolkit.service.admin import control_socket
from toolkit.service.admin.health import DRAINING, Health
from toolkit.service.admin.operations import Admin
from toolkit.service.core.accounts import DEFAULT_TEXT, SANDBOX_BALANCE
from toolkit.service.core.send_and_verify import VerificationService
from toolkit.service.delivery.base import ProviderFactory
from toolkit.service.delivery.retry_loop import delivering
from toolkit.service.http.auth_throttle import AuthThrottle
from toolkit.service.http.connection import Connection
from toolkit.service.http.handler import Api, RequestHandler
from toolkit.service.http.server import Server, bind, loop_factory, raise_file_limit, stopping, url
from toolkit.service.metrics.call_log import LineWriter, logging_json, open_stderr
from toolkit.service.metrics.counters import Counters
from toolkit.service.process.config import ServiceConfig
from toolkit.service.sandbox.sandbox import Sandbox
from toolkit.service.stores.base import LoadProgress, Store
from toolkit.service.stores.open_store import is_shared, open_store
from toolkit.service.stores.sqlite.store import SqliteStore

log = logging.getLogger(__name__)

PRUNE_INTERVAL_S, PRUNE_MORE_INTERVAL_S = 1.0, 0.02
PUBLISH_INTERVAL_S = 1.0
EMBEDDED_COMMIT_TIMEOUT_S = 60.0  # the machine of a test may be so busy that a thread waits for seconds
WATCH_INTERVAL_S, CLOCK_STEP_S = 1.0, 1.0  # a smaller step is a usual correction

Announce = Callable[[dict[str, Any]], None]
"""Gets a description of the service once it answers: ``url``, ``admin_url``, and a sandbox's ``app_key``,
``master_secret`` and ``temp_id``."""
Publish = Callable[[Counters], None]
"""Gets the counters of a worker process at intervals."""


def serve(
    config: ServiceConfig, announce: Announce, listener: socket.socket | None = None, publish: Publish | None = None
) -> None:
    """Run the service in this process until SIGTERM or SIGINT.

    A worker gets its ``listener`` from the supervisor; without one the process listens on the configured address.
    ``publish`` is called every PUBLISH_INTERVAL_S and at the end.
    """
    stderr = open_stderr()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(config, announce, stderr, listener, publish))


async def _serve(
    config: ServiceConfig, announce: Announce, stderr: int, listener: socket.socket | None, publish: Publish | None
) -> None:
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listener or bind(config.host, config.port))
        counters = Counters()
        writer = LineWriter(stderr, counters)
        stack.enter_context(logging_json(writer, logging.INFO if config.logs_calls else logging.WARNING))
        file_warning = raise_file_limit()
        if publish is None:  # the supervisor of several workers has warned
            warn(config)
        if file_warning:
            log.warning(file_warning)
        progress = LoadProgress()
        health = Health(None, lambda: counters, unready=lambda: str(progress))
        admin_url = await stack.enter_async_context(serving_admin_port(config, health))
        store = await stack.enter_async_context(configured_store(config, counters, config.speed, progress))
        progress.end()
        if isinstance(store, SqliteStore):
            store.write_owner(pid=os.getpid(), **await stack.enter_async_context(control_socket.listen(Admin(store))))
        description = {"url": url(config.host, listener)} | admin_url
        description |= await ensure_sandbox_app(store, config.production, config.ttl_s)
        await stack.enter_async_context(_pruning(store))
        await stack.enter_async_context(_watching_clock(store))
        if config.provider:
            await stack.enter_async_context(delivering(store, config.provider, counters))
        if publish:
            await stack.enter_async_context(_publishing(publish, counters))
        server, _, _ = _build_server(config, store, counters, writer, lambda: announce(description))
        health.store, health.unready = store, lambda: DRAINING if server.should_exit else ""
        # Calls create no cyclic garbage, so the collector may run rarely and skip the objects of the start.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        with stopping(server.stop, config.until_stdin_closes):
            await server.serve(sockets=[listener])


def deliver(config: ServiceConfig, announce: Announce) -> None:
    """Deliver the messages of services that share a Redis store, until SIGTERM or SIGINT.

    ``announce`` gets the name of the ``provider`` and the ``admin_url``. Raise SettingsError for a SQLite store, and if
    there is no provider.
    """
    if config.store is None or not is_shared(config.store):
        raise SettingsError(
            "only `smscode serve` can deliver from a SQLite store; to deliver in another process, share a Redis:"
            " --store redis://host:port"
        )
    if config.provider is None:
        raise SettingsError("the provider outbox delivers nothing: set SMSCODE_PROVIDER to webhook or smpp")
    stderr = open_stderr()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_deliver(config, config.provider, announce, stderr))


async def _deliver(config: ServiceConfig, factory: ProviderFactory, announce: Announce, stderr: int) -> None:
    counters, stopped = Counters(), asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.enter_context(logging_json(LineWriter(stderr, counters), logging.INFO))
        stack.enter_context(stopping(stopped.set, until_stdin_closes=False))
        warn(config)
        store = await stack.enter_async_context(configured_store(config, counters))
        await stack.enter_async_context(delivering(store, factory, counters))
        health = Health(store, lambda: counters, unready=lambda: "")
        announce({"provider": factory.name} | await stack.enter_async_context(serving_admin_port(config, health)))
        await stopped.wait()


def warn(config: ServiceConfig) -> None:
    """Log the settings that expose something. They may be meant, for example in a private network."""
    for warning in config.warnings():
        log.warning(warning)


@dataclass(frozen=True, slots=True)
class EmbeddedSandbox:
    """A sandbox that serves from the running event loop.

    ``description``: its ``url``, ``app_key``, ``master_secret`` and ``temp_id``. ``app_id`` is that of the app key.
    ``handler`` answers a request without a connection.
    """

    description: dict[str, Any]
    app_id: int
    sandbox: Sandbox
    handler: RequestHandler


@asynccontextmanager
async def embedded_sandbox(config: ServiceConfig) -> AsyncIterator[EmbeddedSandbox]:
    """Run a sandbox in the current event loop until the block ends, for tests.

    It may run in any thread. Unlike ``serve`` it leaves the signal handlers, the log, the limit of files and the
    garbage collector of the process as they are, and its temporary store is not written through to the disk.
    """
    counters = Counters()
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(bind(config.host, config.port))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="smscode-"))
        store = SqliteStore.open(
            Path(folder) / "sandbox.db",
            config.policy,
            config.speed,
            timeout_s=EMBEDDED_COMMIT_TIMEOUT_S,
            batch_sizes=counters.batches,
            is_durable=False,
        )
        stack.push_async_callback(store.close)
        description = {"url": url(config.host, listener)} | await ensure_sandbox_app(store, False, config.ttl_s)
        await stack.enter_async_context(_pruning(store))
        started = asyncio.Event()
        server, api, handler = _build_server(config, store, counters, None, started.set)
        app = store.app(description["app_key"])
        assert isinstance(api, Sandbox)
        assert app
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await started.wait()
        try:
            yield EmbeddedSandbox(description, app.app_id, api, handler)
        finally:
            server.stop()
            await serving


def _build_server(
    config: ServiceConfig,
    store: Store,
    counters: Counters,
    call_log: LineWriter | None,
    on_started: Callable[[], None],
) -> tuple[Server, Api | Sandbox, RequestHandler]:
    """Return a server of the API over a store, the API, and the handler of requests between them.

    The API is inside a sandbox unless the configuration is for production.
    """
    media_types = STRICT_TYPES if config.strict_media else LENIENT_TYPES
    verification = VerificationService(store, counters=counters)
    tasks: set[asyncio.Task[Any]] = set()
    api: Api | Sandbox
    if config.production:
        api = Api(verification, media_types)
    else:
        api = Sandbox(
            verification,
            store,
            media_types,
            config.faults,
            tasks,
            is_stopping=lambda: server.should_exit,
            has_controls=config.workers == 1,
            is_shared=not isinstance(store, SqliteStore),
            delivers=config.provider is not None,
        )
    handler = RequestHandler(
        api.answer,
        counters,
        call_log if config.logs_calls else None,
        config.max_in_flight,
        find_app_key=api.find_app_key,
        commit_s=lambda: store.commit_s,
        auth_throttle=AuthThrottle() if config.production else None,
    )
    server = Server(handler, Connection, on_started, tasks)
    return server, api, handler


@asynccontextmanager
async def serving_admin_port(config: ServiceConfig, health: Health) -> AsyncIterator[dict[str, str]]:
    """Serve the admin port until the block ends, and yield its ``admin_url``; do nothing if none is configured."""
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
async def configured_store(
    config: ServiceConfig, counters: Counters, speed: float | None = None, progress: LoadProgress | None = None
) -> AsyncIterator[Store]:
    """Open the configured store until the block ends.

    ``speed`` sets the speed of the store's clock. None leaves that of a Redis store unchanged.
    """
    with contextlib.ExitStack() as stack:
        store_url = config.store
        if store_url is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="smscode-"))
            store_url = f"sqlite:///{folder}/sandbox.db"
        store = await open_store(store_url, config.policy, config.key_file, speed, counters.batches, progress)
        try:
            yield store
        finally:
            await store.close()


@asynccontextmanager
async def _repeating(step: Callable[[], Awaitable[float]]) -> AsyncIterator[None]:
    """Run a step again and again until the block ends. Each run returns the wait before the next, in seconds."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(await step())

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _pruning(store: Store) -> contextlib.AbstractAsyncContextManager[None]:
    """Remove expired records from the store, a few at a time, so that no call waits long."""

    async def prune() -> float:
        try:
            return PRUNE_MORE_INTERVAL_S if await store.prune() else PRUNE_INTERVAL_S
        except StoreError as problem:
            log.warning("pruning: %s", problem)
            return PRUNE_INTERVAL_S

    return _repeating(prune)


def _watching_clock(store: Store) -> contextlib.AbstractAsyncContextManager[None]:
    """Log when the machine's time of day was stepped. The service goes on by elapsed time."""
    logged_s = 0.0

    async def watch() -> float:
        nonlocal logged_s
        ahead_s = store.clock.ahead_s()
        if abs(ahead_s - logged_s) >= CLOCK_STEP_S:
            log.warning(
                "the machine's time of day is %.0f s %s the service clock, which counts elapsed time",
                abs(ahead_s),
                "behind" if ahead_s > 0 else "ahead of",
            )
            logged_s = ahead_s
        return WATCH_INTERVAL_S

    return _repeating(watch)


@asynccontextmanager
async def _publishing(publish: Publish, counters: Counters) -> AsyncIterator[None]:
    """Publish the counters at intervals, and once more when the block ends."""

    async def step() -> float:
        publish(counters)
        return PUBLISH_INTERVAL_S

    try:
        async with _repeating(step):
            yield
    finally:
        publish(counters)


async def ensure_sandbox_app(store: Store, production: bool, ttl_s: int | None = None) -> dict[str, Any]:
    """Return the sandbox's app: key, secret and template. It is created at the first start and stays the same.

    With ``ttl_s``, the template has this lifetime, and is added if it is missing. Otherwise it is the first one.

    In production return an empty dictionary. Raise RunError if a sandbox would use a production store, or the other
    way round, because a sandbox publishes its credentials.
    """
    app_key, secret = store.digests.sandbox_app_key, store.digests.sandbox_secret
    app, admin = store.app(app_key), Admin(store)
    if production:
        if app:
            raise RunError("the store belongs to a sandbox: name another one for production, with --store")
        return {}
    if app is None and store.apps():
        raise RunError("the store belongs to a production service: add --production, or name another with --store")
    if app is None:
        with contextlib.suppress(InputError):  # another machine may have created it first
            await admin.create_app(
                balance=SANDBOX_BALANCE, app_key=app_key, master_secret=secret, ttl_s=ttl_s or defaults.TTL_S
            )
    templates = await admin.list_templates(app_key=app_key)
    template = next((it for it in templates if it["enabled"] and ttl_s in (None, it["ttl_s"])), None)
    if template is None:
        template = await admin.add_template(app_key=app_key, text=DEFAULT_TEXT, ttl_s=ttl_s or defaults.TTL_S)
    return {"app_key": app_key, "master_secret": secret, "temp_id": int(template["temp_id"])}
