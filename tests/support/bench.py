"""A verification service over a SQLite store, with a clock that the test moves."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.api.wire import Refusal, SendFields
from toolkit.service.core.accounts import App, Template
from toolkit.service.core.policy import Policy
from toolkit.service.core.send_and_verify import VerificationService
from toolkit.service.stores.sqlite.store import SqliteStore

DAY_0 = 1_700_000_000_000


@dataclass
class Wall:
    """A wall clock, in milliseconds, that stands until it is moved."""

    now_ms: int = DAY_0

    def __call__(self) -> int:
        return self.now_ms


@dataclass
class Bench:
    """A verification service over a SQLite store with one app; every code is 123456."""

    path: Path
    wall: Wall
    policy: Policy = field(default_factory=Policy)
    speed: float = 1.0
    timeout_s: float = 2.0
    elapsed: Wall | None = None  # None: time passes as the wall clock shows it
    store: SqliteStore = field(init=False)

    async def open(self, balance: int = 1000) -> VerificationService:
        self.store = store = SqliteStore.open(
            self.path, self.policy, self.speed, self.wall, self.elapsed or self.wall, self.timeout_s
        )
        if store.app("key") is None:
            app, template = App(1, "key", store.digests.secret("secret")), Template(1, 1, "code {code}", 300)
            await store.put(app=app, credit=balance, template=template)
        return VerificationService(store, digits=lambda: "123456")

    @property
    def app(self) -> App:
        app = self.store.app("key")
        assert app
        return app

    @property
    def balance(self) -> int:
        return self.store.state.balances[1]

    async def send(self, verification: VerificationService, mobile: str = "13800138000") -> str:
        sent = await verification.send(self.app, SendFields(mobile, 1))
        assert not isinstance(sent, Refusal), sent
        return sent

    def rows(self, table: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.path)) as db:
            return db.execute(f"SELECT * FROM {table}").fetchall()
