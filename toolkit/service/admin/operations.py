"""Create and change apps and templates, and look up messages: `smscode app`, `template` and `message`.

Each operation returns values that can be serialised as JSON. A secret is returned only by the operation that creates
it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from toolkit.api.defaults import TTL_S
from toolkit.api.errors import InputError
from toolkit.service.core.accounts import DEFAULT_TEXT, App, Template, new_key
from toolkit.service.core.policy import ADVISED_TTL_S
from toolkit.service.stores.base import Store

MAX_OVERLAP_S = 90 * 86400
MAX_MESSAGES = 10**12  # in one top-up, and in a new app's balance

_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,100}")

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Admin:
    """The administrative operations on a store.

    Every operation raises InputError for arguments that it refuses; then nothing has changed.
    """

    store: Store

    async def create_app(
        self,
        *,
        balance: int = 0,
        text: str = DEFAULT_TEXT,
        ttl_s: int = TTL_S,
        app_key: str | None = None,
        master_secret: str | None = None,
    ) -> JsonObject:
        """Create an app with a first template. Its key and secret are random unless they are given.

        ``balance`` is in messages. ``text`` and ``ttl_s`` (seconds) are the template's.
        """
        if balance < 0:
            raise InputError(f"invalid balance {balance}: expected a number of messages from 0 to {MAX_MESSAGES}")
        _check_messages(balance)
        app_id, temp_id = await self.store.new_id("app"), await self.store.new_id("template")
        secret = master_secret or new_key()
        app = App(app_id, app_key or new_key(), self.store.digests.secret(secret))
        template = Template(temp_id, app_id, text, ttl_s)
        await self.store.put(app=app, credit=balance, template=template)
        return {"app_key": app.app_key, "master_secret": secret, "temp_id": template.temp_id, "balance": balance}

    async def list_apps(self) -> list[JsonObject]:
        """Return every app: key, balance in messages, whether it is suspended, whether it may send codes."""
        apps, balances = self.store.apps(), await self.store.balances()
        return [_show_app(app, balances[app.app_id]) for app in apps]

    async def top_up(self, *, app_key: str, messages: int, idempotency_key: str = "") -> JsonObject:
        """Add messages to an app's balance. A negative number subtracts, but never below zero.

        With an ``idempotency_key``, such as an invoice's number, a repetition adds nothing.
        """
        _check_messages(messages)
        if idempotency_key and not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
            raise InputError(
                f"invalid idempotency key {idempotency_key!r}: expected 1 to 100 ASCII characters, e.g. inv-17"
            )
        await self.store.put(app=self._find(app_key), credit=messages, credit_key=idempotency_key)
        return await self._show(app_key)

    async def change_app(
        self, *, app_key: str, suspended: bool | None = None, permitted: bool | None = None
    ) -> JsonObject:
        """Suspend or resume an app, grant or revoke its SMS-code permission. None leaves a setting unchanged."""
        app = self._find(app_key)
        suspended = app.suspended if suspended is None else suspended
        permitted = app.permitted if permitted is None else permitted
        await self.store.put(app=replace(app, suspended=suspended, permitted=permitted))
        return await self._show(app_key)

    async def rotate_secret(self, *, app_key: str, overlap_s: int) -> JsonObject:
        """Give an app a new master secret. The present one stays valid for ``overlap_s`` seconds more.

        A secret of an earlier rotation ends at once.
        """
        if not 0 <= overlap_s <= MAX_OVERLAP_S:
            raise InputError(f"invalid overlap_s {overlap_s}: expected seconds from 0 to {MAX_OVERLAP_S}, e.g. 86400")
        if app_key == self.store.digests.sandbox_app_key:
            raise InputError(
                f"app {app_key} is the sandbox's own: `smscode serve` prints its secret at each start, so it can't"
                " change; rotate the secret of another app, e.g. of one from `smscode app create`"
            )
        app, secret = self._find(app_key), new_key()
        until_ms = self.store.clock.now_ms() + overlap_s * 1000
        digest = self.store.digests.secret(secret)
        rotated = replace(app, secret_digest=digest, old_digest=app.secret_digest, old_until_ms=until_ms)
        await self.store.put(app=rotated)
        return {"app_key": app_key, "master_secret": secret, "old_secret_until": _show_time(until_ms)}

    async def add_template(self, *, app_key: str, text: str, ttl_s: int = TTL_S) -> JsonObject:
        """Add a template to an app."""
        app = self._find(app_key)
        template = Template(await self.store.new_id("template"), app.app_id, text, ttl_s)
        await self.store.put(template=template)
        return self._show_template(template)

    async def list_templates(self, *, app_key: str | None = None) -> list[JsonObject]:
        """Return the templates of an app; those of all apps if ``app_key`` is None."""
        app_id = self._find(app_key).app_id if app_key else None
        return [
            self._show_template(template) for template in self.store.templates() if app_id in (None, template.app_id)
        ]

    async def change_template(
        self, *, temp_id: int, text: str | None = None, ttl_s: int | None = None, enabled: bool | None = None
    ) -> JsonObject:
        """Change a template's text or lifetime, enable or disable it. None leaves a part unchanged.

        Messages that wait for delivery are sent with the new text. They keep their price and lifetime.
        """
        template = self.store.template(temp_id)
        if template is None:
            raise InputError(f"unknown template {temp_id}: `smscode template list` lists the templates")
        given: dict[str, Any] = {"text": text, "ttl_s": ttl_s, "enabled": enabled}
        changed = replace(template, **{name: value for name, value in given.items() if value is not None})
        await self.store.put(template=changed)
        return self._show_template(changed)

    async def show_message(self, *, msg_id: str) -> JsonObject:
        """Return a message's delivery state, attempts and times.

        Times are UTC in ISO 8601. Only the first seven digits of the mobile are shown.
        """
        message = await self.store.message(msg_id)
        if message is None:
            raise InputError(
                f"unknown message {msg_id!r}: it was never sent, or its record was removed after it expired"
            )
        delivery, app_keys = message.delivery, {app.app_id: app.app_key for app in self.store.apps()}
        return {
            "msg_id": msg_id,
            "state": delivery.state,
            "carrier_code": delivery.carrier_code,
            "carrier_id": delivery.carrier_id,
            "attempts": message.attempts,
            "sent": _show_time(message.sent_ms),
            "expires": _show_time(message.expires_ms),
            "settled": _show_time(message.settled_ms),
            "mobile": f"{str(message.mobile)[:7]}****",
            "app_key": app_keys[message.app_id],
            "temp_id": message.temp_id,
            "segments": message.segments,
        }

    def _find(self, app_key: str) -> App:
        if app := self.store.app(app_key):
            return app
        raise InputError(f"unknown app {app_key!r}: `smscode app list` lists the apps")

    async def _show(self, app_key: str) -> JsonObject:
        app = self._find(app_key)
        return _show_app(app, (await self.store.balances())[app.app_id])

    def _show_template(self, template: Template) -> JsonObject:
        app_keys = {app.app_id: app.app_key for app in self.store.apps()}
        return {
            "temp_id": template.temp_id,
            "app_key": app_keys[template.app_id],
            "text": template.text,
            "segments": template.segments,
            "ttl_s": template.ttl_s,
            "enabled": template.enabled,
        }


def _check_messages(messages: int) -> None:
    if abs(messages) > MAX_MESSAGES:
        raise InputError(f"invalid messages {messages}: expected at most {MAX_MESSAGES} messages at once")


def _show_app(app: App, balance: int) -> JsonObject:
    return {"app_key": app.app_key, "balance": balance, "suspended": app.suspended, "permitted": app.permitted}


def _show_time(time_ms: int) -> str | None:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds") if time_ms else None


def advise_ttl(ttl_s: int) -> str | None:
    """Return a warning if a lifetime (seconds) is longer than NIST SP 800-63B allows, else None.

    >>> advise_ttl(300) is None
    True
    """
    if ttl_s <= ADVISED_TTL_S:
        return None
    return f"ttl {ttl_s} s: NIST SP 800-63B requires codes to expire within {ADVISED_TTL_S} s"
