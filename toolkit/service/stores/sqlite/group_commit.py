"""Write the decisions of many callers in one transaction: group commit.

Theory of operation
===================

**Problem.** An answer may leave only when its decision is on the disk (WAL, ``synchronous=FULL``). One fsync takes from
0.1 ms to 10 ms. With one transaction a call, the disk would limit the service to some hundred calls a second.

**Method** (D. DeWitt et al., "Implementation Techniques for Main Memory Database Systems", SIGMOD 1984). Decisions are
made in memory, in the event loop, without waiting. While one batch is on its way to the disk in a thread, the next one
gathers. When the commit ends, everything that has gathered becomes the next transaction:

    time           ->
    event loop     A decides   B, C, D decide         E decides
    gathering      [A]         [B C D]                [E]
    thread               commit A ........ commit B C D ........ commit E
    answers                              A                     B C D

The batch grows with the load: a lone caller waits for one fsync, and under load an fsync is shared by as many callers
as arrive while the one before it runs. A commit costs as much CPU time as ten calls, apart from its rows. So it also
waits while calls still come: it starts after a turn of the event loop in which none came, or with ``_MAX_GATHERED``
callers. An idle service adds one empty turn, some microseconds, and a busy one makes half as many commits.

If all callers wait for the same commit, the event loop has nothing to do while the disk writes. It then makes the
msg_ids of as many sends as the commit had callers (``ServiceState.prepare_sends``), a sixth of the work of a send.

A caller waits for its own batch even if its decision changed nothing, because a refusal may rest on an earlier decision
that is not durable yet: the second send to a mobile is refused because of the first, and the first can still be rolled
back.

**Failed commit.** ``tables.write`` ensures that the transaction left nothing on the disk. The batch and everything
decided after it (which may rest on it) are rolled back in memory, the later decisions first, and all their callers get
a StoreError.

**Slow commit.** After ``timeout_s`` a commit is given up: it is rolled back in memory in the same way, and its callers
get a StoreError. But the thread still runs, and the transaction may yet succeed. Until it ends, ``raise_if_stalled``
refuses new calls. If it fails, nothing is left to do. If it succeeds, the disk holds rows whose callers got an error.
The next transaction first deletes them (``revoked``) and writes the apps and templates that they changed as they are in
memory. So a caller that was refused is not charged. (One late batch remains if the process is killed between these two
transactions.)

**Constants.** ``COMMIT_TIMEOUT_S`` = 2: below the time limit of common callers (3 to 10 s), so that they get an answer
they can act on; well above the pause of a busy disk, which should not refuse calls. ``_MAX_GATHERED`` = 64: a call
takes about 30 us, so no call waits more than 2 ms for those behind it; a larger value would save less than 5 us a call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from toolkit.api.errors import StoreError
from toolkit.service.core.deferred import Deferred
from toolkit.service.core.state import Batch, ServiceState
from toolkit.service.metrics.counters import Histogram, commit_sizes

COMMIT_TIMEOUT_S = 2.0
_MAX_GATHERED = 64

T = TypeVar("T")
_Waiter = tuple[Deferred[Any], Any]  # and the value that it is settled with after the commit


@dataclass(slots=True)
class _Commit:
    """A batch on its way to the disk, and the callers that wait for it."""

    batch: Batch
    seq: int
    waiters: list[_Waiter]
    started_s: float
    given_up: bool = False


@dataclass(slots=True)
class GroupCommit:
    """Writes the batches of a state, one after the other.

    Args:
        write: writes a batch in one transaction and deletes the rows of revoked batches. It runs in a thread. It calls
            its last argument when only the wait for the disk is left.
        name: the store's name in errors.
        timeout_s: the time after which a commit is given up.
        batch_sizes: counts the callers that waited for each commit.
        durable_seq: the number of the last message on the disk.
        last_s: how long the last commit took, in seconds.
        stalled: whether a commit that was given up still runs; until it ends, no call may change the state.
    """

    state: ServiceState
    write: Callable[[Batch, Sequence[Batch], Callable[[], None]], None]
    name: str
    timeout_s: float = COMMIT_TIMEOUT_S
    batch_sizes: Histogram = field(default_factory=commit_sizes)
    durable_seq: int = 0
    last_s: float = 0.0
    stalled: bool = False
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "commits"))
    _waiters: list[_Waiter] = field(default_factory=list)
    _revoked: list[Batch] = field(default_factory=list)
    _running: _Commit | None = None
    _gathering: bool = False

    def raise_if_stalled(self) -> None:
        """Raise StoreError while a commit that was given up still runs."""
        if self.stalled:
            raise stalled_error()

    def when_durable(self, value: T) -> Deferred[T | StoreError]:
        """Return ``value`` once all decisions so far are on the disk, or a StoreError if they were rolled back."""
        if self._running is None and not self._gathering:
            if not self.state.batch:
                return Deferred(value)
            self._gathering = True
            asyncio.get_running_loop().call_soon(self._gather, 0)
        waiter: Deferred[T | StoreError] = Deferred()
        self._waiters.append((waiter, value))
        return waiter

    def _gather(self, earlier: int) -> None:
        """Start the commit, unless callers have come since there were ``earlier`` ones, and more may come."""
        if earlier < len(self._waiters) < _MAX_GATHERED:
            asyncio.get_running_loop().call_soon(self._gather, len(self._waiters))
        else:
            self._start_commit()

    async def wait_durable(self) -> None:
        """Return once all decisions so far are on the disk; raise StoreError if they were rolled back."""
        await self.when_durable(None)

    def close(self) -> None:
        """Wait for the thread to end."""
        self._thread.shutdown()

    def _start_commit(self) -> None:
        """Write the batch that has gathered."""
        self._gathering = False
        for late in self._revoked:
            self.state.batch.app_ids |= late.app_ids
            self.state.batch.temp_ids |= late.temp_ids
        commit = _Commit(self.state.start_next_batch(), self.state.seq, self._waiters, time.perf_counter())
        self._waiters = []
        if not commit.batch:
            return _answer(commit.waiters)
        self._running = commit
        self.batch_sizes.observe(len(commit.waiters))
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(self.timeout_s, self._give_up, commit)

        def end(done: Future[None]) -> None:
            loop.call_soon_threadsafe(self._end_commit, commit, deadline, done.exception())

        def prepare() -> None:
            loop.call_soon_threadsafe(self.state.prepare_sends, len(commit.waiters))

        self._thread.submit(self.write, commit.batch, list(self._revoked), prepare).add_done_callback(end)
        return None

    def _end_commit(self, commit: _Commit, deadline: asyncio.TimerHandle, problem: BaseException | None) -> None:
        """Answer the callers of a commit that has ended, and start the next one."""
        deadline.cancel()
        self._running, self.stalled, self.last_s = None, False, time.perf_counter() - commit.started_s
        if problem is not None:
            if not commit.given_up:
                self._roll_back(commit, StoreError(f"{self.name}: {problem}"))
        elif commit.given_up:
            self._revoked = [commit.batch]
        else:
            self._revoked, self.durable_seq = [], commit.seq
            _answer(commit.waiters)
        if (self._waiters or (commit.given_up and self._revoked)) and not self._gathering:
            self._gathering = True
            self._gather(0)

    def _give_up(self, commit: _Commit) -> None:
        commit.given_up = self.stalled = True
        self._roll_back(commit, StoreError(f"{self.name}: a commit took longer than {self.timeout_s} s"))

    def _roll_back(self, commit: _Commit, problem: StoreError) -> None:
        """Roll back the decisions of a commit and all later ones, and refuse their callers."""
        self.state.start_next_batch().rollback()
        commit.batch.rollback()
        refused, self._waiters = commit.waiters + self._waiters, []  # first: an answered caller may call again at once
        _answer(refused, problem)


def stalled_error() -> StoreError:
    """Return the error of a call that is refused because an earlier commit is still running."""
    return StoreError("an earlier commit is still being written to the disk")


def _answer(waiters: Iterable[_Waiter], problem: StoreError | None = None) -> None:
    for waiter, value in waiters:
        waiter.settle(problem or value)
