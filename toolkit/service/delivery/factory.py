"""Create the provider that the settings name."""

from __future__ import annotations

from typing import Literal

from toolkit.api.errors import SettingsError
from toolkit.service.delivery.base import ProviderFactory

ProviderName = Literal["outbox", "webhook", "smpp"]


def provider_factory(
    name: ProviderName,
    *,
    webhook_url: str = "",
    webhook_secret: str = "",
    smpp_url: str = "",
    smpp_password: str = "",
    smpp_source: str = "",
) -> ProviderFactory | None:
    """Return the factory of a provider; None for ``outbox``, which delivers nothing.

    Only the settings of the named provider are read. Raise SettingsError if one is missing or malformed.

    >>> provider_factory("webhook", webhook_url="https://sms.example.org/texts", webhook_secret="s3cret").name
    'webhook'
    """
    if name == "webhook":
        from toolkit.service.delivery.webhook import WebhookFactory

        _require(name, webhook_url=webhook_url, webhook_secret=webhook_secret)
        return WebhookFactory(webhook_url, webhook_secret)
    if name == "smpp":
        from toolkit.service.delivery.smpp.provider import SmppFactory

        _require(name, smpp_url=smpp_url, smpp_password=smpp_password)
        return SmppFactory.parse(smpp_url, smpp_password, smpp_source)
    return None


def _require(provider: ProviderName, **settings: str) -> None:
    """Raise SettingsError for the first setting that is empty."""
    for setting, value in settings.items():
        if not value:
            raise SettingsError(
                f"provider {provider} needs {setting}: set SMSCODE_{setting.upper()}, or {setting} in [service] of"
                " smscode.toml"
            )
