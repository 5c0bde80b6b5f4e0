"""Starts the service: store, sandbox or production, uvicorn, signals, and an end that answers what is under way."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import uvicorn

from toolkit.errors import InputError, RunError, SettingsError, StoreError
from toolkit.service import control
from toolkit.service.accounts import DEFAULT_TEXT, SANDBOX_BALANCE
from toolkit.service.admin import Admin
from toolkit.service.app import Service
from toolkit.service.delivery import delivering
from toolkit.service.desk import Desk
from toolkit.service.front import Front
from toolkit.service.health import Health
from toolkit.service.logs import LineWriter, logging_json, open_stderr
from toolkit.service.policy import DEFAULT_POLICY, Policy, Rule
from toolkit.service.protocol import Protocol, sweep
from toolkit.service.providers import Way
from toolkit.service.providers.choice import Choice, Outbox, choose
from toolkit.service.sandbox import NO_FAULTS, Faults, Sandbox, on_demand
from toolkit.service.stores import Store
from toolkit.service.stores.opening import WAYS, is_shared, open_store
from toolkit.service.stores.sqlite import SqliteStore
from toolkit.service.tally import Tally
from toolkit.settings import ServiceSettings
from toolkit.wire import LENIENT_TYPES, STRICT_TYPES

log = logging.getLogger(__name__)

DRAIN_S = 10
PRUNE_S, PRUNE_MORE_S = 1.0, 0.02
_SWEEP_TICKS = 10  # of uvicorn's ticks, which are 0.1 s apart


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """How to run the service. ``store`` None keeps the state in a temporary file that goes with the process.

    ``key_file``: of the key of a shared store's digests. ``workers``: how many processes serve. ``admin_port`` None: no
    admin port, 0: a free one. ``log_calls`` None: calls are logged in production.
    """

    host: str = "127.0.0.1"
    port: int = 0
    store: str | None = None
    key_file: Path = Path("smscode.key")
    workers: int = 1
    production: bool = False
    expose_sandbox: bool = False
    speed: float = 1.0
    policy: Policy = DEFAULT_POLICY
    faults: Faults = NO_FAULTS
    strict_media: bool = False
    admin_host: str = "127.0.0.1"
    admin_port: int | None = None
    log_calls: bool | None = None
    max_in_flight: int = 1000
    until_stdin_closes: bool = False
    provider: Choice = field(default_factory=Outbox)

    @property
    def logs_calls(self) -> bool:
        """Whether each call gets a line in the log."""
        return self.production if self.log_calls is None else self.log_calls

    @classmethod
    def of(cls, settings: ServiceSettings, **rest: Any) -> Self:
        """Make the configuration from what is set; ``rest`` is what only the command line gives."""
        policy = Policy(
            rules=tuple(map(Rule.parse, settings.rules)),
            app_rules=tuple(map(Rule.parse, settings.app_rules)),
            tries=settings.tries,
            failures_per_hour=settings.failures_per_hour,
        )
        return cls(
            host=settings.host,
            port=settings.port,
            store=settings.store,
            key_file=settings.key_file,
            workers=settings.workers,
            production=settings.production,
            strict_media=settings.strict_media,
            admin_host=settings.admin_host,
            admin_port=settings.admin_port,
            log_calls=settings.log_calls,
            max_in_flight=settings.max_in_flight,
            policy=policy,
            provider=_choose(settings),
            **rest,
        )

    def __post_init__(self) -> None:
        if self.production and (self.speed != 1.0 or self.faults != NO_FAULTS):
            raise SettingsError("a faster clock and faults belong to the sandbox: leave them out, or leave production")
        if self.production and self.store is None:
            raise SettingsError(f"production needs a store that stays: {WAYS}")
        if self.workers > 1 and not (self.store and is_shared(self.store)):
            raise SettingsError(
                f"workers {self.workers}: one process owns a SQLite store; several share a Redis: --store redis://host:port"
            )
        if self.workers > 1 and self.admin_port is not None:
            raise SettingsError("the admin port tells of one process: leave it out, or --workers")
        if not 0 < self.speed <= 1_000_000:
            raise SettingsError(f"speed {self.speed}: give a number above 0, at most 1000000")
        if not (self.production or self.expose_sandbox or _is_loopback(self.host)):
            raise SettingsError(
                f"host {self.host}: a sandbox tells its codes to anyone with a key, so it listens on loopback only;"
                " --expose-sandbox lifts that"
            )


def serve(
    config: ServiceConfig, announce: Callable[[dict[str, Any]], None], listener: socket.socket | None = None
) -> None:
    """Run the service until SIGTERM or SIGINT; ``announce`` gets the URL, and a sandbox's app, once it answers.

    ``listener``: a socket that listens already.
    """
    stderr = open_stderr()
    _raise_file_limit()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(config, announce, stderr, listener))


async def _serve(
    config: ServiceConfig, announce: Callable[[dict[str, Any]], None], stderr: int, listener: socket.socket | None
) -> None:
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listener or bind(config.host, config.port))
        tally = Tally()
        writer = LineWriter(stderr, tally)
        stack.enter_context(logging_json(writer))
        store = await stack.enter_async_context(_open(config, tally))
        if isinstance(store, SqliteStore):
            store.tell_owner(pid=os.getpid(), **await stack.enter_async_context(control.listen(Admin(store))))
        about = {"url": url(config.host, listener)} | await _sandbox_app(store, config.production)
        await stack.enter_async_context(_pruning(store))
        if not isinstance(config.provider, Outbox):
            await stack.enter_async_context(delivering(store, config.provider, tally))
        answer = _build(config, store, tally).answer
        front = Front(answer, tally, writer if config.logs_calls else None, config.max_in_flight)
        server = _Server(front, Protocol, lambda: announce(about))
        health = Health(store, tally, draining=lambda: server.should_exit)
        about |= await stack.enter_async_context(_watched(config, health))
        with stopping(server.stop, config.until_stdin_closes):
            await server.serve(sockets=[listener])


def deliver(config: ServiceConfig, announce: Callable[[str], None]) -> None:
    """Deliver beside the services that share a store until SIGTERM or SIGINT; ``announce`` gets the provider's name."""
    if config.store is None or not is_shared(config.store):
        raise SettingsError("one process owns a SQLite store: `smscode serve` itself delivers; share a Redis for this")
    if isinstance(config.provider, Outbox):
        raise SettingsError("the outbox delivers nothing: set SMSCODE_PROVIDER to webhook or smpp")
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_deliver(config, config.provider, announce))


async def _deliver(config: ServiceConfig, way: Way, announce: Callable[[str], None]) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    tally = Tally()
    async with _open(config, tally) as store, delivering(store, way, tally):
        announce(way.name)
        await stopped.wait()


def _choose(settings: ServiceSettings) -> Choice:
    """Return the chosen provider; production has none that nobody chose."""
    if settings.production and settings.provider is None:
        raise SettingsError(
            "production needs a provider: set SMSCODE_PROVIDER, or provider in [service] of smscode.toml, to webhook or"
            " smpp; outbox lets messages wait and expire"
        )
    return choose(
        settings.provider or "outbox",
        webhook_url=settings.webhook_url,
        webhook_secret=settings.webhook_secret.get_secret_value(),
        smpp_url=settings.smpp_url,
        smpp_password=settings.smpp_password.get_secret_value(),
        smpp_source=settings.smpp_source,
    )


async def prepare(config: ServiceConfig) -> dict[str, Any]:
    """Make the store ready for those who will serve from it; return a sandbox's app."""
    async with _open(config, Tally()) as store:
        return await _sandbox_app(store, config.production)


def _build(config: ServiceConfig, store: Store, tally: Tally) -> Service | Sandbox:
    """Put together what answers."""
    media_types = STRICT_TYPES if config.strict_media else LENIENT_TYPES
    if config.production:
        return Service(Desk(store, tally=tally), media_types)
    desk = Desk(store, on_demand=on_demand, tally=tally)
    return Sandbox(Service(desk, media_types), desk, config.faults)


@asynccontextmanager
async def _watched(config: ServiceConfig, health: Health) -> AsyncIterator[dict[str, str]]:
    """Answer on the admin port, if there is to be one, until the block ends: longer than the service itself does."""
    if config.admin_port is None:
        yield {}
        return
    with bind(config.admin_host, config.admin_port) as listener:
        server = _Server(health, "httptools", lambda: None)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield {"admin_url": url(config.admin_host, listener)}
        finally:
            server.stop()
            await serving


@asynccontextmanager
async def _open(config: ServiceConfig, tally: Tally) -> AsyncIterator[Store]:
    with contextlib.ExitStack() as stack:
        place = config.store
        if place is None:
            place = f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory(prefix='smscode-'))}/sandbox.db"
        store = await open_store(place, config.policy, config.key_file, config.speed, tally.batches)
        try:
            yield store
        finally:
            await store.close()


@asynccontextmanager
async def _pruning(store: Store) -> AsyncIterator[None]:
    """Have the store forget, a small part at a time, for as long as the service runs."""

    async def prune() -> None:
        while True:
            try:
                more = await store.prune()
            except (StoreError, sqlite3.Error) as problem:
                more = False
                log.warning("pruning: %s", problem)
            await asyncio.sleep(PRUNE_MORE_S if more else PRUNE_S)

    task = asyncio.create_task(prune())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _sandbox_app(store: Store, production: bool) -> dict[str, Any]:
    """Return a sandbox's ready-made app: key, secret and template, the same at every start on a store.

    Raise RunError where the store is of the other kind: what a sandbox hands out must not be worth anything.
    """
    app_key, secret = store.seal.derive("sandbox app key"), store.seal.derive("sandbox master secret")
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


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it answers, and leaves signals to us."""

    def __init__(self, app: Any, protocol: type[Protocol] | Literal["httptools"], started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._started()

    async def on_tick(self, counter: int) -> bool:
        if counter % _SWEEP_TICKS == 0:
            sweep([it for it in self.server_state.connections if isinstance(it, Protocol)], time.monotonic())
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Accept no more connections, answer what is under way, and end; at the second call end at once."""
        self.force_exit = self.should_exit
        self.should_exit = True


@contextlib.contextmanager
def stopping(stop: Callable[[], None], until_stdin_closes: bool) -> Iterator[None]:
    """Stop on SIGTERM, SIGINT and SIGHUP, and where asked when the process that holds our stdin ends."""
    loop = asyncio.get_running_loop()
    is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    endings = (signal.SIGTERM, signal.SIGINT) if is_nohup else (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in endings:
        loop.add_signal_handler(number, stop)
    if until_stdin_closes:
        loop.add_reader(sys.stdin.fileno(), _stop_at_end, stop)
    try:
        yield
    finally:
        for number in endings:
            loop.remove_signal_handler(number)
        if until_stdin_closes:
            loop.remove_reader(sys.stdin.fileno())


def _stop_at_end(stop: Callable[[], None]) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop()


def bind(host: str, port: int, shared: bool = False) -> socket.socket:
    """Listen; raise RunError where that can't be. ``shared``: beside others who share the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048, reuse_port=shared)
    except (OSError, OverflowError, TypeError, ValueError) as problem:
        raise RunError(f"can't listen on {host} port {port}: {problem}; give another --host or --port") from None


def url(host: str, listener: socket.socket) -> str:
    """Return where the service is reached."""
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _raise_file_limit() -> None:
    """Take as many connections as this process may: the usual soft limit, 1024, is there for programs that select()."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS names a hard limit that it doesn't grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.new_event_loop
