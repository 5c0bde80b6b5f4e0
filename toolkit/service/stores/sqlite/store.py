"""Store the state of one service in one SQLite file, for the one process that owns it.

Decisions are made in memory (``ServiceState``) and written by ``GroupCommit``; an answer leaves after the commit that
holds it. At start the state is loaded from the file.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Self

from toolkit.api.errors import RunError, StoreError
from toolkit.service.core.accounts import App, Template
from toolkit.service.core.clock import Clock, elapsed_ms, wall_ms
from toolkit.service.core.deferred import Deferred
from toolkit.service.core.digests import Digests
from toolkit.service.core.messages import Decision, Delivery, DeliveryState, Job, Message, NewMessage, SentMessage
from toolkit.service.core.policy import Policy
from toolkit.service.core.record_pages import PAGE
from toolkit.service.core.rows import DeliveryRow, Refund
from toolkit.service.core.state import ROW_KEPT_MS, VERIFIED_KEPT_MS, Batch, ServiceState
from toolkit.service.metrics.counters import Histogram, commit_sizes
from toolkit.service.stores.base import LEASE_S, LoadProgress
from toolkit.service.stores.key_file import read_key
from toolkit.service.stores.sqlite import tables
from toolkit.service.stores.sqlite.group_commit import COMMIT_TIMEOUT_S, GroupCommit, stalled_error
from toolkit.service.stores.sqlite.leases import Leases
from toolkit.service.stores.sqlite.lock_file import LockFile, beside

log = logging.getLogger(__name__)

JOB_KEPT_MS = 60_000  # after its code has expired, for the delivery loop to record that it gave up
_ROWS_A_PRUNING = 500
_KNOWN_REFUNDS = 100_000  # a job that was settled is taken by nobody; only a worker that took it before can be late


@dataclass(slots=True)
class SqliteStore:
    """A store in a SQLite file. Open it with ``SqliteStore.open``; only one process can at a time."""

    path: Path
    state: ServiceState
    clock: Clock
    digests: Digests
    commits: GroupCommit
    _db: sqlite3.Connection
    _reader: sqlite3.Connection
    _lock: LockFile
    _now_s: Callable[[], float] = time.monotonic
    _job_kept_ms: int = JOB_KEPT_MS
    _first_job: int = 0  # the messages before it are no jobs any more
    _leases: Leases = field(default_factory=Leases)
    _refunded: dict[int, None] = field(default_factory=dict)  # the latest refunds: a late worker may report one again

    @classmethod
    def open(
        cls,
        path: Path,
        policy: Policy,
        speed: float = 1.0,
        wall: Callable[[], int] = wall_ms,
        elapsed: Callable[[], int] = elapsed_ms,
        timeout_s: float = COMMIT_TIMEOUT_S,
        now_s: Callable[[], float] = time.monotonic,
        batch_sizes: Histogram | None = None,
        progress: LoadProgress | None = None,
        is_durable: bool = True,
    ) -> Self:
        """Open a store, or create it, and load its state.

        Args:
            path: the database. The lock file and the key file are in the same folder.
            policy: the limits that the service enforces.
            speed: seconds of the service clock in one real second.
            wall: returns the machine's time of day in milliseconds.
            elapsed: returns milliseconds that never step.
            timeout_s: the time after which a commit is given up.
            now_s: a monotonic clock, for leases.
            batch_sizes: counts the callers of each commit.
            progress: is kept up to date while the messages are loaded.
            is_durable: False for a store that no later process opens: commits don't wait for the disk.

        Raises:
            OwnedError: if another process has the store open.
            RunError: if the file cannot be used, or is not a store of this version.
        """
        path = path.resolve()
        if beside(path, ".key").exists() and path.is_file() and not path.stat().st_size:
            raise RunError(
                f"{path}: is empty although it has a key, so its content was lost: restore it from a backup, or"
                " delete it to begin anew"
            )
        lock = LockFile.acquire(path)
        stack = ExitStack()
        stack.callback(lock.release)
        try:
            db = stack.enter_context(closing(tables.connect(path, is_durable)))
            reader = stack.enter_context(closing(tables.connect_to_read(path)))
            digests = Digests(read_key(beside(path, ".key"), tables.is_empty(db), is_durable))
            tables.check_key(db, digests)
            state = tables.load(db, policy, digests, progress or LoadProgress())
            clock = Clock(speed, tables.read_anchor(db), wall, elapsed, state.newest_ms)
            tables.write_anchor(db, clock.anchor)
            tables.start_epoch(db, state)
            lock.watch(path, beside(path, "-wal"))
        except sqlite3.Error as problem:
            stack.close()
            raise RunError(f"{path}: can't be used as a store: {problem}") from None
        except BaseException:
            stack.close()
            raise

        def write(batch: Batch, revoked: Sequence[Batch], before_commit: Callable[[], object]) -> None:
            if loss := lock.loss():
                raise StoreError(loss)
            tables.write(db, batch, revoked, before_commit)

        sizes = commit_sizes() if batch_sizes is None else batch_sizes
        commits = GroupCommit(state, write, str(path), timeout_s, sizes, durable_seq=state.seq)
        return cls(path, state, clock, digests, commits, db, reader, lock, now_s)

    def write_owner(self, **owner: object) -> None:
        """Write into the lock file how other processes reach this one."""
        self._lock.write_owner(**owner)

    async def close(self) -> None:
        """Write the last batch, and release the file."""
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
        """Return once a commit has succeeded; raise StoreError if it fails."""
        self.commits.raise_if_stalled()
        self.state.batch.app_ids |= set(islice(self.state.apps, 1))
        await self.commits.wait_durable()

    @property
    def commit_s(self) -> float:
        """How long the last commit took, in seconds."""
        return self.commits.last_s

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
        """Return the balance of every app in messages, by app_id."""
        return dict(self.state.balances)

    async def new_id(self, of: str) -> int:
        """Return an unused number for an "app" or a "template"."""
        return self.state.new_id(of)

    async def put(
        self, *, app: App | None = None, credit: int = 0, template: Template | None = None, credit_key: str = ""
    ) -> None:
        """Add or change an app, its balance and a template, in one atomic step."""
        self.commits.raise_if_stalled()
        if app:
            self.state.put_app(app, credit, credit_key)
        if template:
            self.state.put_template(template)
        await self.commits.wait_durable()

    # Decisions.

    def send(self, message: NewMessage) -> Deferred[Decision | StoreError]:
        """Accept a message, or refuse it for a rate limit or for lack of balance."""
        if self.commits.stalled:
            return Deferred(stalled_error())
        return self.commits.when_durable(self.state.send(message, self.clock.now_ms()))

    def verify(self, app_id: int, msg_id: str, code: str) -> Deferred[Decision | StoreError]:
        """Judge a typed code."""
        if self.commits.stalled:
            return Deferred(stalled_error())
        return self.commits.when_durable(self.state.verify(app_id, msg_id, code, self.clock.now_ms()))

    # Delivery. Jobs are read from the committed rows; leases are in the memory of this process.

    async def pending_job(self, app_id: int, msg_id: str) -> Job | None:
        """Return the delivery job of an app's message without taking it."""
        seq = self.state.find_seq(app_id, msg_id)
        return None if seq is None else self._read_jobs(seq - 1, seq, 1).get(seq)

    async def take_jobs(self, limit: int) -> list[Job]:
        """Lease up to ``limit`` jobs that are due, the oldest first, for ``LEASE_S`` each."""
        if self._lock.loss():
            return []  # a delivery could not be recorded, and would be repeated
        now_s = self._now_s()
        due = list(islice(self._leases.due(now_s), limit))
        jobs: dict[int, Job] = {}
        try:
            for seq in due:  # taken before: it may be completed or deleted by now
                jobs |= self._read_jobs(seq - 1, seq, 1)
            for seq in set(due) - jobs.keys():
                self._leases.release(seq)
            taken = max(self._leases.newest, self._first_job - 1)
            jobs |= self._read_jobs(taken, self.commits.durable_seq, limit - len(jobs))
        except StoreError:
            for seq in due:
                self._leases.hold(seq, now_s)
            raise
        return [job._replace(attempts=self._leases.take(seq, now_s + LEASE_S)) for seq, job in jobs.items()]

    async def postpone(self, job: Job, wait_s: float, fault: str | None = None) -> None:
        """Return a taken job to the queue; it is due in ``wait_s`` real seconds."""
        seq = self._seq(job)
        self._leases.hold(seq, self._now_s() + wait_s)
        if fault is not None and fault != job.fault:
            await self._write_deliveries([DeliveryRow(seq, DeliveryState.WAITING, fault, "", job.attempts + 1, 0)])

    async def record_delivery(self, job: Job, delivery: Delivery, refund: bool = False) -> None:
        """Record the result of a taken job, and delete the job with its code; credit its price if ``refund``."""
        seq = self._seq(job)
        refunds = [Refund(seq, job.app_id, job.segments)] if refund else []
        row = DeliveryRow(seq, *delivery, job.attempts + 1, self.clock.now_ms())
        await self._write_deliveries([row], refunds)
        self._leases.release(seq)

    async def record_receipt(self, carrier_id: str, delivery: Delivery, mobile: int | None = None) -> bool:
        """Record the receipt of a message that was SENT; return False if no such message has this carrier's id."""
        with _store_errors(self.path):
            row = tables.find_sent(self._reader, carrier_id, mobile)
        if row is None:
            return False
        settled_ms = self.clock.now_ms()
        await self._write_deliveries(
            [row._replace(state=delivery.state, carrier_code=delivery.carrier_code, settled_ms=settled_ms)]
        )
        return True

    async def message(self, msg_id: str) -> Message | None:
        """Return the state of a message, or None if it is unknown."""
        for app_id in self.state.apps:
            if (seq := self.state.find_seq(app_id, msg_id)) is not None:
                with _store_errors(self.path):
                    return tables.read_message(self._reader, seq, msg_id, self.clock.now_ms())
        return None

    async def backlog(self) -> int:
        """Return the number of jobs that are not completed, leased ones included."""

        def count() -> int:
            with _store_errors(self.path), closing(tables.connect_to_read(self.path)) as db:
                return tables.count_jobs(db, self._first_job)

        return await asyncio.to_thread(count)

    async def _write_deliveries(self, rows: Sequence[DeliveryRow], refunds: Sequence[Refund] = ()) -> None:
        """Write results of deliveries and, in the same commit, the refunds that were not given before."""
        self.commits.raise_if_stalled()
        due = [it for it in refunds if it.seq not in self._refunded]
        for it in due:
            self._refunded[it.seq] = None
            self.state.credit(it.app_id, it.messages)
        self.state.batch.deliveries += rows
        try:
            await self.commits.wait_durable()
        except StoreError:
            for it in due:  # the commit was rolled back, so they are still due
                self._refunded.pop(it.seq, None)
            raise
        while len(self._refunded) > _KNOWN_REFUNDS:
            del self._refunded[next(iter(self._refunded))]

    def _read_jobs(self, after: int, upto: int, limit: int) -> dict[int, Job]:
        with _store_errors(self.path):
            return tables.read_jobs(self._reader, self.state, after, upto, limit)

    def _seq(self, job: Job) -> int:
        seq = self.state.read_seq(job.app_id, job.msg_id)
        if seq is None:
            raise ValueError(f"{job.msg_id} is not a message of this store")
        return seq

    # The sandbox.

    def keep_inbox(self) -> None:
        """Keep the code of a message as long as its row."""
        self._job_kept_ms = ROW_KEPT_MS

    async def inbox(self, app_id: int, mobile: int | None, after: str, limit: int) -> list[SentMessage]:
        """Return up to ``limit`` messages of an app that were sent after another one, the oldest first."""
        seq = self.state.find_seq(app_id, after) or self.state.emptied.get(app_id, 0)
        with _store_errors(self.path):
            return tables.read_inbox(self._reader, self.state, app_id, mobile, seq, limit)

    async def advance(self, by_ms: int) -> None:
        """Move the service clock ahead."""
        self.commits.raise_if_stalled()
        anchor = self.state.batch.anchor = self.clock.anchor_after(by_ms)
        await self.commits.wait_durable()
        self.clock.anchor = anchor

    async def empty(self, app_id: int) -> int:
        """Remove all messages, windows and tries of an app; return the number of messages that it was charged."""
        self.commits.raise_if_stalled()
        first, last = self.state.emptied.get(app_id, 0) + 1, self.state.seq
        self.state.empty(app_id)
        await self.commits.wait_durable()
        with _store_errors(self.path):
            return tables.sum_segments(self._reader, app_id, first, last)

    # Pruning.

    async def prune(self) -> bool:
        """Delete a small part of the data that no decision needs any more; return whether more may be left."""
        self._lock.loss()  # so that it is logged within a second, even if nobody calls
        now_ms, state = self.clock.now_ms(), self.state
        state.forget_expired(now_ms)
        durable_seq = self.commits.durable_seq
        with _store_errors(self.path):
            self._first_job = tables.first_job(self._reader, self._first_job, durable_seq + 1)
            ends = (
                ("messages", now_ms - max(ROW_KEPT_MS, state.policy.longest_ms), range(durable_seq)),
                ("tries", tables.first_message(self._reader, durable_seq), range(state.try_seq)),
                ("pages", now_ms - VERIFIED_KEPT_MS, range(state.first_page)),
                ("jobs", now_ms - self._job_kept_ms, range(self._first_job, state.seq + 1)),
            )
            old = [tables.find_old(self._reader, *end, _ROWS_A_PRUNING) for end in ends]
            unsettled = tables.find_refunds(self._reader, *old[-1][1:]) if old[-1] else []
        self.commits.raise_if_stalled()
        state.batch.deletions += [found for found in old if found]
        if messages := old[0]:
            _, first, last = messages
            state.batch.pages += [state.page_row(page, last) for page in range(first // PAGE, last // PAGE + 1)]
        expired = [row._replace(state=DeliveryState.EXPIRED, settled_ms=now_ms) for row, _ in unsettled]
        await self._write_deliveries(expired, [refund for _, refund in unsettled])
        return any(old)


@contextmanager
def _store_errors(path: Path) -> Iterator[None]:
    """Raise a StoreError in place of an error of SQLite."""
    try:
        yield
    except sqlite3.Error as problem:
        raise StoreError(f"{path}: {problem}") from None
