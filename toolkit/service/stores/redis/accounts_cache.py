"""What all machines on one Redis share, and each keeps in memory: apps, templates, the clock's anchor."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from toolkit.api.errors import RunError
from toolkit.service.core.accounts import App, Template
from toolkit.service.core.clock import Anchor, Clock
from toolkit.service.core.digests import Digests
from toolkit.service.stores.redis.pipeline import Client, read_script, within

_FORMAT = b"1"
_TAG = "sms:{accounts}"
_WALL = Anchor(0, 0, 1.0)  # a clock that shows the wall's time
_SCRIPT = read_script("accounts.lua")


@dataclass(slots=True)
class AccountsCache:
    """The accounts as of the version that was read last. ``ahead_s``: Redis's clock before our monotonic one."""

    client: Client
    too_slow_s: float
    anchor: Anchor = _WALL
    ahead_s: float = 0.0
    apps: dict[int, App] = field(default_factory=dict)
    by_key: dict[str, App] = field(default_factory=dict)
    templates: dict[int, Template] = field(default_factory=dict)
    _version: bytes = b""

    def wall_ms(self) -> int:
        """Return Redis's time, as far as it can be known from here."""
        return int((time.monotonic() + self.ahead_s) * 1000)

    async def is_fresh(self) -> bool:
        """Return whether no app has ever been kept here."""
        return not await self._answer(self.client.exists(f"{_TAG}:apps"))

    async def enter(self, digests: Digests, speed: float | None, wall: Callable[[], int]) -> None:
        """Begin to use the store: check format and key, set the clock's speed, read what there is."""
        await self.read()
        speed = float(speed or self.anchor.speed)
        anchor = Clock(speed, self.anchor, wall).anchor
        check = digests.derive("store check")
        kept = await self._call("open", _FORMAT, check, anchor.wall_ms, anchor.clock_ms, repr(speed))
        if kept[0] != _FORMAT:
            raise RunError(f"it is of another version (format {kept[0].decode()}, not {_FORMAT.decode()})")
        if kept[1] != check.encode():
            raise RunError("the key file holds another key than the store was made with: restore that one")
        await self.read()

    async def refresh(self) -> None:
        """Take the time from Redis, and read the accounts again where they have changed."""
        version, s, us = await self._call("poll")
        self.ahead_s = int(s) + int(us) / 1e6 - time.monotonic()  # too little by the way back: no deadline is late
        if version != self._version:
            await self.read()

    async def read(self) -> None:
        """Read apps, templates and anchor."""
        (version, *anchor), apps, templates = await self._call("read")
        if version:
            self.anchor = Anchor(int(anchor[0]), int(anchor[1]), float(anchor[2]))
        self.apps = {app.app_id: app for app in map(_load_app, apps[::2], apps[1::2])}
        self.by_key = {app.app_key: app for app in self.apps.values()}
        self.templates = {it.temp_id: it for it in map(_load_template, templates[::2], templates[1::2])}
        self._version = version or b""

    async def new_id(self, of: str) -> int:
        """Return a new number: 1, 2, ..."""
        return int(await self._answer(self.client.incr(f"{_TAG}:last-{of}")))

    async def put(self, app: App | None, template: Template | None) -> bool:
        """Add or change an app and a template; False, with nothing done, where another app has that key."""
        dumped = (app.app_id, app.app_key, _dump_app(app)) if app else ("", "", "")
        more = (template.temp_id, _dump_template(template)) if template else ("", "")
        done = await self._call("put", *dumped, *more)
        await self.read()
        return bool(done)

    async def _call(self, word: str, *arguments: Any) -> Any:
        return await self._answer(self.client.eval(_SCRIPT, 1, _TAG, word, *arguments))

    async def _answer(self, answering: Awaitable[Any]) -> Any:
        return await within(self.too_slow_s, answering)


def _dump_app(app: App) -> str:
    return json.dumps([app.app_key, app.secret_digest.hex(), app.suspended, app.permitted])


def _load_app(app_id: bytes, row: bytes) -> App:
    app_key, digest, suspended, permitted = json.loads(row)
    return App(int(app_id), app_key, bytes.fromhex(digest), suspended, permitted)


def _dump_template(template: Template) -> str:
    return json.dumps([template.app_id, template.text, template.ttl_s, template.enabled])


def _load_template(temp_id: bytes, row: bytes) -> Template:
    app_id, text, ttl_s, enabled = json.loads(row)
    return Template(int(temp_id), app_id, text, ttl_s, enabled)
