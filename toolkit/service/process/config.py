"""Check the settings of a service and convert them to values."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from toolkit.api.errors import SettingsError
from toolkit.api.rate_rules import Rule
from toolkit.service.core.policy import DEFAULT_POLICY, MAX_TTL_S, Policy
from toolkit.service.delivery.base import ProviderFactory
from toolkit.service.delivery.factory import provider_factory
from toolkit.service.sandbox.faults import NO_FAULTS, Faults
from toolkit.service.stores.open_store import is_shared
from toolkit.settings import STORE_URLS, ServiceSettings

MAX_SPEED = 1_000_000


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """The configuration of a service. Raises SettingsError for values that contradict each other.

    - ``store``: URL of the store; None for a temporary file that is removed when the process ends
    - ``key_file``: holds the key of a Redis store's digests
    - ``workers``: number of processes that serve
    - ``speed``: how many times as fast as real time the sandbox's clock runs
    - ``ttl_s``: lifetime of the codes of the ready-made app's template; None for any
    - ``admin_port``: None for no admin port, 0 for a free one
    - ``log_calls``: None to log calls in production only
    - ``until_stdin_closes``: stop when the parent process closes stdin
    - ``provider``: None to deliver nothing
    """

    host: str = "127.0.0.1"
    port: int = 0
    store: str | None = None
    key_file: Path = Path("smscode.key")
    workers: int = 1
    production: bool = False
    expose_sandbox: bool = False
    speed: float = 1.0
    ttl_s: int | None = None
    policy: Policy = DEFAULT_POLICY
    faults: Faults = NO_FAULTS
    strict_media: bool = False
    admin_host: str = "127.0.0.1"
    admin_port: int | None = None
    log_calls: bool | None = None
    max_in_flight: int = 1000
    until_stdin_closes: bool = False
    provider: ProviderFactory | None = None

    @property
    def logs_calls(self) -> bool:
        """Whether each call gets a line in the log."""
        return self.production if self.log_calls is None else self.log_calls

    @classmethod
    def from_settings(cls, settings: ServiceSettings, **options: Any) -> Self:
        """Create the configuration from settings, and from ``options`` that only the command line has."""
        if settings.production and settings.provider is None:
            raise SettingsError(
                "production needs a provider: set SMSCODE_PROVIDER, or provider in [service] of smscode.toml, to"
                " webhook or smpp; outbox delivers nothing"
            )
        same_name = {
            it.name: getattr(settings, it.name) for it in fields(cls) if it.name in type(settings).model_fields
        }
        policy = Policy(
            rules=tuple(map(Rule.parse, settings.rules)),
            app_rules=tuple(map(Rule.parse, settings.app_rules)),
            tries=settings.tries,
            failures_per_hour=settings.failures_per_hour,
        )
        provider = provider_factory(
            settings.provider or "outbox",
            webhook_url=settings.webhook_url,
            webhook_secret=settings.webhook_secret.get_secret_value(),
            smpp_url=settings.smpp_url,
            smpp_password=settings.smpp_password.get_secret_value(),
            smpp_source=settings.smpp_source,
        )
        return cls(**same_name | {"policy": policy, "provider": provider} | options)

    def warnings(self) -> list[str]:
        """Return the settings that show secrets or figures to others on the network."""
        found = []
        if self.admin_port is not None and not _is_loopback(self.admin_host):
            found.append(
                f"admin-host {self.admin_host}: everyone who reaches the admin port reads every app key, its balance"
                " and the figures of the service, without a password; let only the monitoring reach it"
            )
        host = self.provider.plain_text_host if self.provider else ""
        if host and not _is_loopback(host):
            found.append(f"webhook_url is http://: everyone on the way to {host} reads mobiles and codes; use https://")
        return found

    def __post_init__(self) -> None:
        if self.production and (self.speed != 1.0 or self.faults != NO_FAULTS):
            raise SettingsError("--speed and faults work only in a sandbox: leave them out, or leave out --production")
        if self.production and self.ttl_s is not None:
            raise SettingsError("--ttl is for a sandbox: in production, set it with `smscode template edit`")
        if self.ttl_s is not None and not 1 <= self.ttl_s <= MAX_TTL_S:
            raise SettingsError(f"invalid --ttl {self.ttl_s}: expected 1 to {MAX_TTL_S} seconds, e.g. 300")
        if self.production and self.store is None:
            raise SettingsError(f"production needs a store: give --store, or set SMSCODE_STORE, e.g. {STORE_URLS}")
        if self.workers > 1 and not (self.store and is_shared(self.store)):
            raise SettingsError(
                f"invalid workers {self.workers}: only one process can use a SQLite store; several need a Redis store,"
                " redis://host:port"
            )
        if not 0 < self.speed <= MAX_SPEED:
            raise SettingsError(f"invalid speed {self.speed}: expected a number above 0, at most {MAX_SPEED}")
        if not (self.production or self.expose_sandbox or _is_loopback(self.host)):
            raise SettingsError(
                f"invalid host {self.host!r}: a sandbox shows its codes to anyone with a key, so it listens on loopback"
                " only; use 127.0.0.1, or allow it with --expose-sandbox"
            )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
