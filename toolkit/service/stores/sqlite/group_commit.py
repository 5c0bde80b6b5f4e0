"""Group commit: one batch on its way to the disk, the next one gathering.

An answer waits for the commit that holds it and all it rests on. A commit that takes too long is answered as failed;
should it come through after all, the next one revokes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from toolkit.api.errors import StoreError
from toolkit.service.core.state import Batch, ServiceState
from toolkit.service.metrics.counters import Histogram, commit_sizes

TOO_SLOW_S = 2.0


@dataclass(slots=True)
class _Write:
    """A batch on its way to the disk, and who waits for it."""

    batch: Batch
    seq: int
    waiters: list[asyncio.Future[None]]
    given_up: bool = False


@dataclass(slots=True)
class GroupCommit:
    """Writes what a ledger decides. ``write`` runs in a thread: it gets a batch, and batches to revoke.

    ``sizes``: how many calls waited for each commit.
    """

    state: ServiceState
    write: Callable[[Batch, Sequence[Batch]], None]
    name: str
    too_slow_s: float = TOO_SLOW_S
    sizes: Histogram = field(default_factory=commit_sizes)
    durable_seq: int = 0
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "commits"))
    _waiters: list[asyncio.Future[None]] = field(default_factory=list)
    _revoked: list[Batch] = field(default_factory=list)
    _writing: _Write | None = None
    _scheduled: bool = False

    def raise_if_stalled(self) -> None:
        """Raise StoreError while a commit that was given up is still on its way."""
        if self._writing is not None and self._writing.given_up:
            raise StoreError("an earlier commit is still on its way to the disk")

    async def wait_durable(self) -> None:
        """Return when all that was decided so far is on disk; raise StoreError when it can't be."""
        if self._writing is None and not self.state.batch:
            return
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiters.append(waiter)
        if self._writing is None and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._flush)
        await waiter

    def close(self) -> None:
        """Wait for the thread to end."""
        self._thread.shutdown()

    def _flush(self) -> None:
        self._scheduled = False
        for late in self._revoked:
            self.state.batch.app_ids |= late.app_ids
            self.state.batch.temp_ids |= late.temp_ids
        write = _Write(self.state.start_next_batch(), self.state.seq, self._waiters)
        self._waiters = []
        if not write.batch:
            return _answer(write.waiters)
        self._writing = write
        self.sizes.observe(len(write.waiters))
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(self.too_slow_s, self._give_up, write)
        writing = loop.run_in_executor(self._thread, self.write, write.batch, list(self._revoked))
        writing.add_done_callback(lambda done: self._written(write, deadline, done.exception()))
        return None

    def _written(self, write: _Write, deadline: asyncio.TimerHandle, problem: BaseException | None) -> None:
        deadline.cancel()
        self._writing = None
        if problem is not None:
            if not write.given_up:
                self._roll_back(write, StoreError(f"{self.name}: {problem}"))
        elif write.given_up:
            self._revoked = [write.batch]
        else:
            self._revoked, self.durable_seq = [], write.seq
            _answer(write.waiters)
        if self._waiters or (write.given_up and self._revoked):
            self._flush()

    def _give_up(self, write: _Write) -> None:
        write.given_up = True
        self._roll_back(write, StoreError(f"{self.name}: a commit took longer than {self.too_slow_s} s"))

    def _roll_back(self, write: _Write, problem: StoreError) -> None:
        """Undo a batch that isn't on disk, and all that was decided after it, and tell everyone who waits."""
        self.state.start_next_batch().rollback()
        write.batch.rollback()
        _answer(write.waiters + self._waiters, problem)
        self._waiters = []


def _answer(waiters: Iterable[asyncio.Future[None]], problem: StoreError | None = None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if problem:
            waiter.set_exception(problem)
        else:
            waiter.set_result(None)
