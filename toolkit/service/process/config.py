"""How to run the service: what is set, checked, and turned into values."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from toolkit.api.errors import SettingsError
from toolkit.api.rate_rules import Rule
from toolkit.service.core.policy import DEFAULT_POLICY, Policy
from toolkit.service.delivery.base import ProviderFactory
from toolkit.service.delivery.factory import provider_factory
from toolkit.service.sandbox import NO_FAULTS, Faults
from toolkit.service.stores.open import WAYS, is_shared
from toolkit.settings import ServiceSettings

_GIVEN = (  # under the same name in the settings
    "host",
    "port",
    "store",
    "key_file",
    "workers",
    "production",
    "strict_media",
    "admin_host",
    "admin_port",
    "log_calls",
    "max_in_flight",
)


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
    provider: ProviderFactory | None = None

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
        given = {name: getattr(settings, name) for name in _GIVEN}
        return cls(**given, policy=policy, provider=_choose(settings), **rest)

    def __post_init__(self) -> None:
        if self.production and (self.speed != 1.0 or self.faults != NO_FAULTS):
            raise SettingsError("a faster clock and faults belong to the sandbox: leave them out, or leave production")
        if self.production and self.store is None:
            raise SettingsError(f"production needs a store that stays: {WAYS}")
        if self.workers > 1 and not (self.store and is_shared(self.store)):
            raise SettingsError(
                f"workers {self.workers}: one process owns a SQLite store; several share a Redis: --store redis://host:port"
            )
        if not 0 < self.speed <= 1_000_000:
            raise SettingsError(f"speed {self.speed}: give a number above 0, at most 1000000")
        if not (self.production or self.expose_sandbox or _is_loopback(self.host)):
            raise SettingsError(
                f"host {self.host}: a sandbox tells its codes to anyone with a key, so it listens on loopback only;"
                " --expose-sandbox lifts that"
            )


def _choose(settings: ServiceSettings) -> ProviderFactory | None:
    """Return the chosen provider; production has none that nobody chose."""
    if settings.production and settings.provider is None:
        raise SettingsError(
            "production needs a provider: set SMSCODE_PROVIDER, or provider in [service] of smscode.toml, to webhook or"
            " smpp; outbox lets messages wait and expire"
        )
    return provider_factory(
        settings.provider or "outbox",
        webhook_url=settings.webhook_url,
        webhook_secret=settings.webhook_secret.get_secret_value(),
        smpp_url=settings.smpp_url,
        smpp_password=settings.smpp_password.get_secret_value(),
        smpp_source=settings.smpp_source,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
