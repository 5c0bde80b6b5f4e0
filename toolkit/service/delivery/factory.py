"""Which provider is chosen: from settings to a way out, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from toolkit.api.errors import SettingsError
from toolkit.service.delivery.base import Way

Name = Literal["outbox", "webhook", "smpp"]


@dataclass(frozen=True, slots=True)
class Outbox:
    """The choice of no way out: messages wait, and expire."""


Choice = Outbox | Way


def choose(
    name: Name, *, webhook_url: str, webhook_secret: str, smpp_url: str, smpp_password: str, smpp_source: str
) -> Choice:
    """Return the provider of a name; raise SettingsError for what it needs and lacks."""
    if name == "webhook":
        from toolkit.service.delivery.webhook import Webhook

        return Webhook(_need(name, webhook_url=webhook_url), _need(name, webhook_secret=webhook_secret))
    if name == "smpp":
        from toolkit.service.delivery.smpp.provider import Smpp

        url, password = _need(name, smpp_url=smpp_url), _need(name, smpp_password=smpp_password)
        return Smpp.parse(url, password, smpp_source)
    return Outbox()


def _need(name: str, **settings: str) -> str:
    [(setting, value)] = settings.items()
    if not value:
        ways = f"set SMSCODE_{setting.upper()}, or {setting} in [service] of smscode.toml"
        raise SettingsError(f"the provider {name} needs a {setting.replace('_', ' ')}: {ways}")
    return value
