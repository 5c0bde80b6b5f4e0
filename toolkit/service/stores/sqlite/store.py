"""The embedded store: one process, one SQLite file; decisions from memory over appended rows.

A decision is made at once in the ledger; its answer leaves after the commit (WAL, synchronous=FULL) that holds it and
all it rests on. At start the state is loaded back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Self

from toolkit.api.errors import RunError, StoreError
from toolkit.service.core.accounts import App, Template
from toolkit.service.core.clock import Clock, wall_ms
from toolkit.service.core.digests import Digests
from toolkit.service.core.messages import Decision, Delivery, Job, Message, NewMessage
from toolkit.service.core.policy import Policy
from toolkit.service.core.state import VERIFIED_KEPT_MS, Batch, DeliveryRow, ServiceState
from toolkit.service.metrics.counters import Histogram, commit_sizes
from toolkit.service.stores.base import LEASE_S
from toolkit.service.stores.key_file import read_key
from toolkit.service.stores.sqlite import tables
from toolkit.service.stores.sqlite.group_commit import TOO_SLOW_S, GroupCommit
from toolkit.service.stores.sqlite.leases import Leases
from toolkit.service.stores.sqlite.lock_file import LockFile, beside

log = logging.getLogger(__name__)

JOB_KEPT_MS = 60_000  # after its code has expired, for a worker to tell that it gave up
_ROWS_A_PRUNING = 500


@dataclass(slots=True)
class SqliteStore:
    """The state of one service in one SQLite file. Open it with ``SqliteStore.open``; one process at a time can."""

    path: Path
    state: ServiceState
    clock: Clock
    digests: Digests
    commits: GroupCommit
    _db: sqlite3.Connection
    _reader: sqlite3.Connection
    _lock: LockFile
    _now_s: Callable[[], float] = time.monotonic
    _leases: Leases = field(default_factory=Leases)

    @classmethod
    def open(
        cls,
        path: Path,
        policy: Policy,
        speed: float = 1.0,
        wall: Callable[[], int] = wall_ms,
        too_slow_s: float = TOO_SLOW_S,
        now_s: Callable[[], float] = time.monotonic,
        sizes: Histogram | None = None,
    ) -> Self:
        """Open or create a store and load its state; raise RunError where the file is owned, unusable or foreign."""
        path = path.resolve()
        lock = LockFile.acquire(path)
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT, 0o600))  # it holds mobiles, so only its owner may read it
            db, reader = tables.connect(path), tables.connect_to_read(path)
            digests = Digests(read_key(beside(path, ".key"), is_new=tables.is_empty(db)))
            tables.check_key(db, digests)
            clock = Clock(speed, tables.read_anchor(db), wall)
            tables.keep_anchor(db, clock.anchor)
            state = tables.load(db, policy, digests)
        except sqlite3.Error as problem:
            lock.release()
            raise RunError(f"{path}: can't be used as a store: {problem}") from None
        except BaseException:
            lock.release()
            raise

        def write(batch: Batch, revoked: Sequence[Batch]) -> None:
            tables.write(db, batch, revoked)

        commits = GroupCommit(state, write, str(path), too_slow_s, sizes or commit_sizes(), durable_seq=state.seq)
        return cls(path, state, clock, digests, commits, db, reader, lock, now_s)

    def tell_owner(self, **owner: object) -> None:
        """Leave word, for other processes, of how to reach the one that owns this store."""
        self._lock.write_owner(**owner)

    async def close(self) -> None:
        """Write what is decided, and give the file free."""
        try:
            self.commits.raise_if_stalled()
            await self.commits.wait_durable()
        except StoreError as problem:
            log.error("store: %s", problem)
        self.commits.close()
        self._reader.close()
        self._db.close()
        self._lock.release()

    async def ping(self) -> None:
        """Return when a commit has come through; raise StoreError when it doesn't."""
        self.commits.raise_if_stalled()
        self.state.batch.app_ids |= set(islice(self.state.apps, 1))
        await self.commits.wait_durable()

    # Accounts.

    def app(self, app_key: str) -> App | None:
        """Return the app of a key."""
        return self.state.app(app_key)

    def template(self, temp_id: int) -> Template | None:
        """Return a template."""
        return self.state.templates.get(temp_id)

    def apps(self) -> list[App]:
        """Return every app."""
        return list(self.state.apps.values())

    def templates(self) -> list[Template]:
        """Return every template."""
        return list(self.state.templates.values())

    async def balances(self) -> dict[int, int]:
        """Return every app's balance in messages, by app_id."""
        return dict(self.state.balances)

    async def new_id(self, of: str) -> int:
        """Return a new number for an "app" or a "template"."""
        return self.state.new_id(of)

    async def put(self, *, app: App | None = None, credit: int = 0, template: Template | None = None) -> None:
        """Add or change an app and its balance, and a template, in one atomic step."""
        self.commits.raise_if_stalled()
        if app:
            self.state.put_app(app, credit)
        if template:
            self.state.put_template(template)
        await self.commits.wait_durable()

    # The two calls.

    async def send(self, order: NewMessage) -> Decision:
        """Accept a message, or refuse it for frequency or balance."""
        self.commits.raise_if_stalled()
        decision = self.state.send(order, self.clock.now_ms())
        await self.commits.wait_durable()
        return decision

    async def verify(self, app_id: int, msg_id: str, code: str) -> Decision:
        """Judge a typed code."""
        self.commits.raise_if_stalled()
        decision = self.state.verify(app_id, msg_id, code, self.clock.now_ms())
        await self.commits.wait_durable()
        return decision

    # Delivery. Jobs are read from what is committed; who has taken which is known to this process alone.

    async def pending_job(self, app_id: int, msg_id: str) -> Job | None:
        """Return an app's message whose delivery is still to come."""
        seq = self.digests.seq(app_id, msg_id)
        return None if seq is None else self._read_jobs(seq - 1, seq, 1).get(seq)

    async def take_jobs(self, limit: int) -> list[Job]:
        """Take jobs that are due, the oldest first, and lease each."""
        now_s = self._now_s()
        due = list(islice(self._leases.due(now_s), limit))
        try:
            jobs = self._read_again(due)
            jobs |= self._read_jobs(self._leases.newest, self.commits.durable_seq, limit - len(jobs))
        except StoreError:
            for seq in due:
                self._leases.hold(seq, now_s)
            raise
        return [job._replace(attempts=self._leases.take(seq, now_s + LEASE_S)) for seq, job in jobs.items()]

    async def postpone(self, job: Job, wait_s: float) -> None:
        """Put a taken job back, due in so many real seconds."""
        self._leases.hold(self._seq(job), self._now_s() + wait_s)

    async def record_delivery(self, job: Job, delivery: Delivery) -> None:
        """Record what became of a taken job, and forget the job and its text."""
        seq = self._seq(job)
        await self._record(DeliveryRow(seq, *delivery, job.attempts + 1, self.clock.now_ms()))
        self._leases.release(seq)

    async def record_receipt(self, carrier_id: str, delivery: Delivery) -> bool:
        """Record the receipt of a message that was SENT under a carrier's number; False where none is known so."""
        with _telling(self.path):
            row = tables.find_awaited(self._reader, carrier_id)
        if row is not None:
            told = row._replace(state=delivery.state, carrier_code=delivery.carrier_code)
            await self._record(told._replace(settled_ms=self.clock.now_ms()))
        return row is not None

    async def message(self, msg_id: str) -> Message | None:
        """Return what is known of a message."""
        for app_id in self.state.apps:
            if (seq := self.digests.seq(app_id, msg_id)) is not None:
                with _telling(self.path):
                    return tables.read_message(self._reader, seq, msg_id, self.clock.now_ms())
        return None

    async def backlog(self) -> int:
        """Return how many jobs wait, leased ones included."""
        return await asyncio.to_thread(_count_jobs, self.path)

    async def _record(self, row: DeliveryRow) -> None:
        self.commits.raise_if_stalled()
        self.state.batch.deliveries.append(row)
        await self.commits.wait_durable()

    def _read_again(self, numbers: Sequence[int]) -> dict[int, Job]:
        """Read jobs that were taken before, and forget those that are no more."""
        jobs: dict[int, Job] = {}
        for seq in numbers:
            jobs |= self._read_jobs(seq - 1, seq, 1)
        for gone in set(numbers) - jobs.keys():
            self._leases.release(gone)
        return jobs

    def _read_jobs(self, after: int, upto: int, limit: int) -> dict[int, Job]:
        with _telling(self.path):
            return tables.read_jobs(self._reader, self.digests, after, upto, limit)

    def _seq(self, job: Job) -> int:
        seq = self.digests.seq(job.app_id, job.msg_id)
        if seq is None:
            raise ValueError(f"{job.msg_id} is no message of this store")
        return seq

    # Forgetting.

    async def prune(self) -> bool:
        """Forget a small part of what no decision needs any more; return whether there may be more of it."""
        now_ms, state = self.clock.now_ms(), self.state
        state.forget_expired(now_ms)
        kept_ms = max(VERIFIED_KEPT_MS, state.policy.longest_ms)
        ends = (
            ("messages", now_ms - kept_ms, state.seq),
            ("tries", now_ms - kept_ms, state.try_seq),
            ("jobs", now_ms - JOB_KEPT_MS, state.seq + 1),
        )
        with _telling(self.path):
            old = [tables.find_old(self._reader, *end, _ROWS_A_PRUNING) for end in ends]
        self.commits.raise_if_stalled()
        state.batch.dropped += [found for found in old if found]
        await self.commits.wait_durable()
        return any(old)


def _count_jobs(path: Path) -> int:
    with _telling(path), closing(tables.connect_to_read(path)) as db:
        return tables.count_jobs(db)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Say what the database can't tell as every store does."""
    try:
        yield
    except sqlite3.Error as problem:
        raise StoreError(f"{path}: {problem}") from None
