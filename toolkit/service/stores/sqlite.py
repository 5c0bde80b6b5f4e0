"""The embedded store: one process, one SQLite file; decisions from memory over appended rows.

A decision is made at once in the ledger. Its answer leaves after the commit (WAL, synchronous=FULL) that holds it and
all it rests on; while one commit is on its way to the disk, what is decided meanwhile gathers for the next. Rows are
appended with integer keys in order, so that a commit touches few pages. At start the state is loaded back.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Self

from toolkit.errors import RunError, SettingsError, StoreError
from toolkit.service.accounts import App, Seal, Template
from toolkit.service.clock import Anchor, Clock, wall_ms
from toolkit.service.ledger import (
    EXPIRED_KEPT_MS,
    AppRow,
    Batch,
    Decision,
    Ledger,
    MessageRow,
    Order,
    TemplateRow,
    TryRow,
)
from toolkit.service.policy import Policy
from toolkit.service.stores import Sent
from toolkit.service.stores.files import FileLock, read_key

log = logging.getLogger(__name__)

TOO_SLOW_S = 2.0  # a commit that takes longer is answered as failed, and revoked when it comes through after all
_ROWS_A_STATEMENT = (64, 16, 4, 1)
_VERSION = 1
_TABLES = """
CREATE TABLE clock (wall_ms INTEGER, clock_ms INTEGER, speed REAL);
CREATE TABLE apps (app_id INTEGER PRIMARY KEY, app_key TEXT, secret_digest BLOB, suspended INTEGER, permitted INTEGER,
    balance INTEGER);
CREATE TABLE templates (temp_id INTEGER PRIMARY KEY, app_id INTEGER, text TEXT, ttl_s INTEGER, enabled INTEGER);
CREATE TABLE messages (seq INTEGER PRIMARY KEY, msg_id TEXT, app_id INTEGER, mobile INTEGER, temp_id INTEGER,
    sent_ms INTEGER, expires_ms INTEGER, segments INTEGER, digest BLOB, forced INTEGER);
CREATE TABLE jobs (seq INTEGER PRIMARY KEY, code TEXT);
CREATE TABLE tries (try_seq INTEGER PRIMARY KEY, seq INTEGER, tried_ms INTEGER, right INTEGER);
"""


def read_store_url(url: str) -> Path:
    """Return the file of a store's URL: ``sqlite:///path.db`` is relative, ``sqlite:////path.db`` absolute."""
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not path:
        raise SettingsError(f"store {url!r}: give sqlite:///path.db, or sqlite:////path.db for an absolute path")
    return Path(path)


@dataclass(slots=True)
class _Write:
    """A batch on its way to the disk, and who waits for it."""

    batch: Batch
    waiters: list[asyncio.Future[None]]
    given_up: bool = False


@dataclass(slots=True)
class SqliteStore:
    """The state of one service in one SQLite file. Open it with ``SqliteStore.open``; one process at a time can."""

    path: Path
    ledger: Ledger
    clock: Clock
    seal: Seal
    _db: sqlite3.Connection
    _reader: sqlite3.Connection
    _lock: FileLock
    too_slow_s: float = TOO_SLOW_S
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "sqlite"))
    _waiters: list[asyncio.Future[None]] = field(default_factory=list)
    _revoked: list[Batch] = field(default_factory=list)
    _writing: _Write | None = None
    _scheduled: bool = False

    @classmethod
    def open(
        cls,
        path: Path,
        policy: Policy,
        speed: float = 1.0,
        wall: Callable[[], int] = wall_ms,
        too_slow_s: float = TOO_SLOW_S,
    ) -> Self:
        """Open or create a store and load its state; raise RunError where the file is owned, unusable or foreign."""
        lock = FileLock.take(path)
        try:
            db, reader = _connect(path), _connect(path)
            seal = Seal(read_key(path, fresh=_is_empty(db)))
            clock = Clock(speed, _read_anchor(db), wall)
            _keep_anchor(db, clock.anchor)
            _drop_old(db, policy, clock.now_ms())
            return cls(path, _load(db, policy), clock, seal, db, reader, lock, too_slow_s)
        except sqlite3.Error as problem:
            lock.release()
            raise RunError(f"{path}: can't be used as a store: {problem}") from None
        except BaseException:
            lock.release()
            raise

    # The service's calls.

    def app(self, app_key: str) -> App | None:
        """Return the app of a key."""
        return self.ledger.app(app_key)

    def template(self, temp_id: int) -> Template | None:
        """Return a template."""
        return self.ledger.templates.get(temp_id)

    async def send(self, order: Order, now_ms: int) -> Decision:
        """Accept a message, or refuse it for frequency or balance."""
        self._check()
        decision = self.ledger.send(order, now_ms)
        await self._settle()
        return decision

    async def verify(self, app_id: int, msg_id: str, digest: bytes, now_ms: int) -> Decision:
        """Judge a typed code by its digest."""
        self._check()
        decision = self.ledger.verify(app_id, msg_id, digest, now_ms)
        await self._settle()
        return decision

    async def undelivered(self, msg_id: str) -> Sent | None:
        """Return a message whose delivery is still to come."""
        seq = self.ledger.seq_of(msg_id)
        row = self._reader.execute(
            "SELECT app_id, temp_id, code FROM messages JOIN jobs USING (seq) WHERE seq = ?", (seq,)
        ).fetchone()
        return row and Sent(*row)

    async def put(self, *, app: App | None = None, credit: int = 0, template: Template | None = None) -> None:
        """Add or change an app and its balance (by a number of messages), and a template, in one atomic step."""
        self._check()
        if app:
            self.ledger.put_app(app, credit)
        if template:
            self.ledger.put_template(template)
        await self._settle()

    def apps(self) -> list[tuple[App, int]]:
        """Return every app with its balance in messages."""
        return [(app, self.ledger.balances[app_id]) for app_id, app in self.ledger.apps.items()]

    def templates(self) -> list[Template]:
        """Return every template."""
        return list(self.ledger.templates.values())

    def tell_owner(self, **owner: object) -> None:
        """Leave word, for other processes, of how to reach the one that owns this store."""
        self._lock.tell(**owner)

    async def close(self) -> None:
        """Write what is decided, and give the file free."""
        try:
            self._check()
            await self._settle()
        except StoreError as problem:
            log.error("store: %s", problem)
        self._thread.shutdown()
        self._reader.close()
        self._db.close()
        self._lock.release()

    # Group commit: one batch on its way to the disk, the next one gathering.

    @property
    def _stuck(self) -> bool:
        return self._writing is not None and self._writing.given_up

    def _check(self) -> None:
        if self._stuck:
            raise StoreError("an earlier commit is still on its way to the disk")

    async def _settle(self) -> None:
        """Return when all that was decided so far is on disk; raise StoreError when it can't be."""
        if self._writing is None and not self.ledger.batch:
            return
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiters.append(waiter)
        if self._writing is None and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._flush)
        await waiter

    def _flush(self) -> None:
        self._scheduled = False
        for late in self._revoked:
            self.ledger.batch.app_ids |= late.app_ids
            self.ledger.batch.temp_ids |= late.temp_ids
        write = _Write(self.ledger.swap(), self._waiters)
        self._waiters = []
        if not write.batch:
            return _answer(write.waiters)
        self._writing = write
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(self.too_slow_s, self._give_up, write)
        writing = loop.run_in_executor(self._thread, self._write, write.batch, list(self._revoked))
        writing.add_done_callback(lambda done: self._written(write, deadline, done.exception()))
        return None

    def _written(self, write: _Write, deadline: asyncio.TimerHandle, problem: BaseException | None) -> None:
        deadline.cancel()
        self._writing = None
        if problem is None:
            self._revoked = [write.batch] if write.given_up else []
            _answer(write.waiters)
        elif not write.given_up:
            self._take_back(write, StoreError(f"{self.path}: {problem}"))
        if self._waiters or (write.given_up and self._revoked):
            self._flush()

    def _give_up(self, write: _Write) -> None:
        write.given_up = True
        self._take_back(write, StoreError(f"{self.path}: a commit took longer than {self.too_slow_s} s"))

    def _take_back(self, write: _Write, problem: StoreError) -> None:
        """Undo a batch that isn't on disk, and all that was decided after it, and tell everyone who waits."""
        self.ledger.swap().take_back()
        write.batch.take_back()
        _answer(write.waiters + self._waiters, problem)
        self._waiters = []

    def _write(self, batch: Batch, revoked: Iterable[Batch]) -> None:
        """Write a batch in one transaction (in the store's thread)."""
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            for late in revoked:
                _delete(db, late)
            _put(db, "apps", AppRow._fields, batch.app_rows)
            _put(db, "templates", TemplateRow._fields, batch.template_rows)
            _put(db, "messages", MessageRow._fields, batch.messages)
            _put(db, "jobs", ("seq", "code"), batch.jobs)
            _put(db, "tries", TryRow._fields, batch.tries)
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")


def _put(db: sqlite3.Connection, table: str, columns: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    """Put rows into a table, many a statement: after each one this thread must win the interpreter back."""
    start = 0
    for size in _ROWS_A_STATEMENT:
        while len(rows) - start >= size:
            db.execute(_insert(table, columns, size), list(chain.from_iterable(rows[start : start + size])))
            start += size


@cache
def _insert(table: str, columns: tuple[str, ...], rows: int) -> str:
    row = f"({', '.join('?' * len(columns))})"
    return f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)}"


def _answer(waiters: Iterable[asyncio.Future[None]], problem: StoreError | None = None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if problem:
            waiter.set_exception(problem)
        else:
            waiter.set_result(None)


def _delete(db: sqlite3.Connection, late: Batch) -> None:
    """Delete what a commit wrote that came through only after its calls had been answered as failed."""
    for table in ("messages", "jobs"):
        db.executemany(f"DELETE FROM {table} WHERE seq = ?", [(row.seq,) for row in late.messages])
    db.executemany("DELETE FROM tries WHERE try_seq = ?", [(row.try_seq,) for row in late.tries])
    db.executemany("DELETE FROM apps WHERE app_id = ?", [(app_id,) for app_id in late.app_ids])
    db.executemany("DELETE FROM templates WHERE temp_id = ?", [(temp_id,) for temp_id in late.temp_ids])


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == 0 and not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version={_VERSION}; COMMIT;")
    elif version != _VERSION:
        raise RunError(f"{path}: not a store of this version ({version}, not {_VERSION}): give another file")
    return db


def _is_empty(db: sqlite3.Connection) -> bool:
    return not db.execute("SELECT EXISTS (SELECT 1 FROM apps)").fetchone()[0]


def _read_anchor(db: sqlite3.Connection) -> Anchor | None:
    row = db.execute("SELECT wall_ms, clock_ms, speed FROM clock").fetchone()
    return row and Anchor(*row)


def _keep_anchor(db: sqlite3.Connection, anchor: Anchor) -> None:
    db.execute("BEGIN")
    db.execute("DELETE FROM clock")
    db.execute("INSERT INTO clock VALUES (?, ?, ?)", (anchor.wall_ms, anchor.clock_ms, anchor.speed))
    db.execute("COMMIT")


def _drop_old(db: sqlite3.Connection, policy: Policy, now_ms: int) -> None:
    """Delete the rows that no decision needs any more, and the texts of expired messages."""
    longest_ms = max((rule.window_ms for rule in policy.rules + policy.app_rules), default=0)
    db.execute("BEGIN")
    db.execute("DELETE FROM jobs WHERE seq IN (SELECT seq FROM messages WHERE expires_ms <= ?)", (now_ms,))
    db.execute(
        "DELETE FROM messages WHERE expires_ms < ? AND sent_ms < ?", (now_ms - EXPIRED_KEPT_MS, now_ms - longest_ms)
    )
    db.execute("DELETE FROM tries WHERE seq NOT IN (SELECT seq FROM messages)")
    db.execute("COMMIT")


def _load(db: sqlite3.Connection, policy: Policy) -> Ledger:
    ledger = Ledger(policy)
    for app in _select(db, "apps", AppRow, "app_id"):
        ledger.load_app(AppRow._make(app))
    for template in _select(db, "templates", TemplateRow, "temp_id"):
        ledger.load_template(TemplateRow._make(template))
    for message in _select(db, "messages", MessageRow, "seq"):
        ledger.load_message(MessageRow._make(message))
    tries = db.execute(
        f"SELECT msg_id, {', '.join(f'tries.{column}' for column in TryRow._fields)}"
        " FROM tries JOIN messages USING (seq) ORDER BY try_seq"
    )
    for msg_id, *row in tries:
        ledger.load_try(msg_id, TryRow._make(row))
    return ledger


def _select(db: sqlite3.Connection, table: str, row: type[NamedTuple], order: str) -> sqlite3.Cursor:
    return db.execute(f"SELECT {', '.join(row._fields)} FROM {table} ORDER BY {order}")
