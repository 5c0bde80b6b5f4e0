"""Cache the accounts that all processes share in Redis: apps, templates and the anchor of the service clock."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from toolkit.api.errors import RunError, StoreError
from toolkit.service.core.accounts import App, Template
from toolkit.service.core.clock import Anchor, Clock
from toolkit.service.core.digests import Digests
from toolkit.service.stores.redis.pipeline import READING, WRITING, Client, read_script, within

_FORMAT = b"4"
_TAG = "sms:{accounts}"
_WALL = Anchor(0, 0, 1.0)  # a clock that shows the machine's time
_SCRIPT = read_script("accounts.lua")


@dataclass(slots=True)
class AccountsCache:
    """The accounts as they were read last, at most one poll ago.

    Redis counts a version with each change, so that ``refresh`` reads the accounts only if they have changed.
    ``ahead_s`` is how far Redis's clock is ahead of our monotonic clock.
    """

    client: Client
    timeout_s: float
    anchor: Anchor = _WALL
    ahead_s: float = 0.0
    apps: dict[int, App] = field(default_factory=dict)
    by_key: dict[str, App] = field(default_factory=dict)
    templates: dict[int, Template] = field(default_factory=dict)
    _version: bytes = b""

    def wall_ms(self) -> int:
        """Return Redis's time in milliseconds, estimated from our monotonic clock."""
        return int((time.monotonic() + self.ahead_s) * 1000)

    async def is_empty(self) -> bool:
        """Return whether the store has no app yet."""
        return not await within(self.timeout_s, self.client.exists(f"{_TAG}:apps"))

    async def enter(self, digests: Digests, speed: float | None, wall: Callable[[], int]) -> None:
        """Check the store's format and key, set the speed of its clock, and read the accounts.

        Raises:
            RunError: if the store has another format or was created with another key.
        """
        await self.read()
        speed = float(speed or self.anchor.speed)
        anchor = Clock(speed, self.anchor, wall, wall).anchor
        check = digests.derive("store check")
        stored = await self._call("open", _FORMAT, check, anchor.wall_ms, anchor.clock_ms, repr(speed))
        if stored[0] != _FORMAT:
            raise RunError(f"it is of another version (format {stored[0].decode()}, expected {_FORMAT.decode()})")
        if stored[1] != check.encode():
            raise RunError("the key file holds another key than the store was created with: restore it from a backup")
        await self.read()

    async def refresh(self) -> None:
        """Read Redis's time, and the accounts if they have changed."""
        version, s, us = await self._call("poll")
        # Smaller than the true value by the way back of the answer, so a deadline is never too late.
        self.ahead_s = int(s) + int(us) / 1e6 - time.monotonic()
        if version != self._version:
            await self.read()

    async def read(self) -> None:
        """Read the apps, templates and anchor."""
        (version, *anchor), apps, templates = await self._call("read")
        if version:
            self.anchor = Anchor(int(anchor[0]), int(anchor[1]), float(anchor[2]))
        apps_by_id: dict[int, App] = {}
        templates_by_id: dict[int, Template] = {}
        for app_id, packed in zip(map(int, apps[::2]), apps[1::2], strict=True):
            app_key, digest, suspended, permitted, old_digest, old_until_ms = json.loads(packed)
            old = bytes.fromhex(old_digest), old_until_ms
            apps_by_id[app_id] = App(app_id, app_key, bytes.fromhex(digest), suspended, permitted, *old)
        for temp_id, packed in zip(map(int, templates[::2]), templates[1::2], strict=True):
            of_app_id, text, ttl_s, enabled = json.loads(packed)
            templates_by_id[temp_id] = Template(temp_id, of_app_id, text, ttl_s, enabled)
        if self.apps and not apps_by_id:
            raise StoreError("Redis was emptied: restore its data, or restart the service to begin with an empty store")
        self.apps, self.templates = apps_by_id, templates_by_id
        self.by_key = {app.app_key: app for app in self.apps.values()}
        self._version = version or b""

    async def new_id(self, of: str) -> int:
        """Return an unused number: 1, 2, ..."""
        return int(await within(self.timeout_s, self.client.incr(f"{_TAG}:last-{of}")))

    async def put(self, app: App | None, template: Template | None) -> bool:
        """Add or change an app and a template; return False, with nothing changed, if another app has the key."""
        arguments: list[Any] = ["", "", "", "", ""]
        if app:
            old = [app.old_digest.hex(), app.old_until_ms]
            packed = json.dumps([app.app_key, app.secret_digest.hex(), app.suspended, app.permitted, *old])
            arguments[:3] = app.app_id, app.app_key, packed
        if template:
            packed = json.dumps([template.app_id, template.text, template.ttl_s, template.enabled])
            arguments[3:] = template.temp_id, packed
        done = await self._call("put", *arguments)
        await self.read()
        return bool(done)

    async def advance(self, by_ms: int) -> None:
        """Move the service clock of all processes ahead; the others notice it at their next poll."""
        await self._call("advance", by_ms)
        await self.read()

    async def _call(self, command: str, *arguments: Any) -> Any:
        flags = READING if command in ("poll", "read") else WRITING
        return await within(self.timeout_s, self.client.eval(flags + _SCRIPT, 1, _TAG, command, *arguments))
