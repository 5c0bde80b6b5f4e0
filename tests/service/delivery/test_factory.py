"""Create providers from settings."""

from __future__ import annotations

import pytest

from toolkit.api.errors import SettingsError
from toolkit.service.delivery.factory import ProviderName, provider_factory
from toolkit.service.delivery.smpp.provider import SmppFactory
from toolkit.service.delivery.webhook import WebhookFactory
from toolkit.service.process.config import ServiceConfig
from toolkit.settings import ServiceSettings

ALL = {
    "webhook_url": "https://sms.example.org/texts",
    "webhook_secret": "hidden-1",
    "smpp_url": "smpp://me@smsc.example.org",
    "smpp_password": "hidden-2",
    "smpp_source": "Sign",
}


def test_a_factory_is_created_from_the_provider_settings() -> None:
    assert provider_factory("outbox", **ALL) is None
    assert provider_factory("webhook", **ALL) == WebhookFactory("https://sms.example.org/texts", "hidden-1")
    assert provider_factory("smpp", **ALL) == SmppFactory.parse("smpp://me@smsc.example.org", "hidden-2", "Sign")


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("webhook", "webhook_url"),
        ("webhook", "webhook_secret"),
        ("smpp", "smpp_url"),
        ("smpp", "smpp_password"),
    ],
)
def test_a_missing_setting_is_named(name: ProviderName, missing: str) -> None:
    with pytest.raises(SettingsError, match=f"set SMSCODE_{missing.upper()}, or {missing} in"):
        provider_factory(name, **ALL | {missing: ""})


@pytest.mark.parametrize("name", ["webhook", "smpp"])
def test_no_secret_is_shown(name: str) -> None:
    settings = ServiceSettings.model_validate(ALL | {"provider": name, "port": 0})
    assert "hidden" not in repr(settings)
    assert "hidden" not in repr(ServiceConfig.from_settings(settings))
