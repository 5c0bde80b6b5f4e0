"""Empty stores of every engine, with a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

from support.bench import Wall

from toolkit.api.return_codes import ReturnCode
from toolkit.service.core.accounts import App, Template
from toolkit.service.core.messages import NewMessage
from toolkit.service.core.policy import Policy
from toolkit.service.stores.base import Store
from toolkit.service.stores.open_store import read_path
from toolkit.service.stores.redis.store import RedisStore
from toolkit.service.stores.sqlite.store import SqliteStore

MOBILE = 13800138000
CODE = "123456"
OTHER_CODE = "654321"


@dataclass
class Case:
    """One engine's empty database. ``store`` is the first that was opened on it."""

    url: str
    folder: Path
    wall: Wall | None = field(default_factory=Wall)  # None: the engine's own clock
    opened: list[Store] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return self.opened[0]

    async def open(self, policy: Policy | None = None, speed: float = 1.0, **options: Any) -> Store:
        """Open a store, where the engine allows it beside those that are open."""
        options = {"policy": policy or Policy(), "speed": speed, "wall": self.wall, **options}
        if self.url.startswith("sqlite:"):
            elapsed = {"elapsed": self.wall} if self.wall else {}
            store: Store = SqliteStore.open(read_path(self.url), now_s=self.now_s, **elapsed, **options)
        else:
            store = await RedisStore.open(self.url, key_file=self.folder / "smscode.key", **options)
        self.opened.append(store)
        return store

    async def begin(self, policy: Policy | None = None, balance: int = 1000, apps: int = 1, **options: Any) -> Store:
        """Open a store and put apps 1, 2, ... in it, each with a template of the same number."""
        store = await self.open(policy, **options)
        for n in range(1, apps + 1):
            await put_app(store, n, balance)
        return store

    async def reopen(self, policy: Policy | None = None, **options: Any) -> Store:
        """Close what is open, as a restart does, and open it again."""
        await self.close()
        return await self.open(policy, **options)

    async def close(self) -> None:
        while self.opened:
            await self.opened.pop().close()

    async def send(self, mobile: int = MOBILE, **fields: Any) -> ReturnCode:
        return (await self.store.send(new_message(mobile, **fields))).return_code

    async def sent(self, mobile: int = MOBILE, **fields: Any) -> str:
        """Send, and return the msg_id."""
        decision = await self.store.send(new_message(mobile, **fields))
        assert decision.return_code is ReturnCode.SUCCESS, decision
        return decision.msg_id

    async def verify(self, msg_id: str, code: str = CODE, app_id: int = 1) -> ReturnCode:
        return (await self.store.verify(app_id, msg_id, code)).return_code

    async def balance(self, app_id: int = 1) -> int:
        return (await self.store.balances())[app_id]

    def now_s(self) -> float:
        assert self.wall
        return self.wall.now_ms / 1000

    def pass_s(self, seconds: float) -> None:
        """Let the wall's time pass."""
        assert self.wall
        self.wall.now_ms += int(seconds * 1000)


async def put_app(store: Store, app_id: int, balance: int = 1000) -> None:
    app = App(app_id, f"key{app_id}", store.digests.secret("secret"))
    await store.put(app=app, credit=balance, template=Template(app_id, app_id, "code {code}"))


def new_message(
    mobile: int = MOBILE, app_id: int = 1, ttl_s: float = 300, segments: int = 1, **rest: Any
) -> NewMessage:
    return NewMessage(
        app_id, mobile, rest.pop("temp_id", app_id), rest.pop("code", CODE), int(ttl_s * 1000), segments, **rest
    )


def claim(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test that is a coroutine, and close what it opened."""

    @wraps(test)
    def run(case: Case, **fixtures: Any) -> None:
        async def judge() -> None:
            try:
                await test(case, **fixtures)
            finally:
                await case.close()

        asyncio.run(judge())

    return run
