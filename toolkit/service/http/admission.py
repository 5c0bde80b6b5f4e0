"""Decide which requests begin at once, and let the others begin later, in turn by app.

Theory of operation
===================

**Problem.** Requests begin in the order in which the event loop reads their connections. While 1,500 connections of one
app are busy, a call of another app waits for a turn of the loop over 1,500 requests, for a commit that holds all of
them, and for the commit thread, which hardly gets the interpreter lock while the loop is busy.

**Method.** A request begins at once while little is under way. Otherwise it joins the queue of its app, and the queues
are served round robin, one request each (*fair queuing*: J. Nagle, RFC 970). There are two limits:

- at most ``CALLS_A_TURN`` requests of any kind begin in a turn of the loop;
- at most ``_limit`` calls wait for the store, so that commits stay short.

A quiet app then waits for the rest of a turn, the commit that is running and its own, each of them short:

    connections                                              store
    app A  * * * * * * * * ... -> queue A  [A A A A ...] \
                                                          > round robin -> [A B A A] commit
    app B  *                   -> queue B  [B]           /

Callers with refused credentials share one queue, so they take the time of one app at most.

**Limits.** The end of a turn is detected by a callback in the next one. It costs 5 us, so it is only scheduled after
half of CALLS_A_TURN. The limit of waiting calls depends on the number of calling apps. While all calls come from one
app, they wait for each other only, and large commits cost the least: ``_ALONE``, two full gatherings of the group
commit. Once calls of two apps come, it is ``_SHARED`` for CONTENDED_S. Deciding and writing that many calls takes about
as long as a fast fsync (0.6 ms), so a call waits for two to three times as long as without the other app. A slow disk
makes every call wait, and needs larger commits for the same rate. So the limit is at least one call for each 30 us that
the last commit took: 30 us is the time to decide a call. With two apps it is half as many. The shortest of the latest
commits counts, because others had to wait for the interpreter lock: more calls would make that worse.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from toolkit.service.core.fair_queue import FairQueue
from toolkit.service.metrics.counters import Counters

CALLS_A_TURN = 32
_ALONE, _SHARED = (128, 30e-6), (24, 60e-6)  # waiting calls; seconds of the last commit for one more
CONTENDED_S = 60.0
_FAST_S, _GROWTH = 1e-4, 1.02  # a slower disk is known after a hundred turns

Begin = Callable[[], object]


@dataclass(slots=True)
class Admission:
    """Limits the requests that begin at once, and queues the others.

    Args:
        call_soon: calls a function in the next turn of the event loop.
        commit_s: returns how long the store's last commit took, in seconds.
        now_s: a monotonic clock.
    """

    counters: Counters
    call_soon: Callable[[Callable[[], None]], object]
    commit_s: Callable[[], float] = lambda: 0.0
    now_s: Callable[[], float] = time.perf_counter
    _queue: FairQueue[Begin] = field(default_factory=FairQueue)
    _begun: int = 0  # since the last turn that was noticed
    _commit_s: float = 0.0
    _limit: int = _ALONE[0]
    _is_scheduled: bool = False
    _last_app: str | None = None
    _contended_until_s: float = float("-inf")

    def begins_now(self) -> bool:
        """Return whether a request begins at once; otherwise it must be put into the queue."""
        counters = self.counters
        if counters.queued or self._begun >= CALLS_A_TURN or counters.waiting >= self._limit:
            return False
        self._begun += 1
        if self._begun == CALLS_A_TURN // 2:
            self._schedule()
        return True

    def put(self, app_key: str | None, begin: Begin) -> None:
        """Add a request to the queue of its app; None: to that of all callers without one."""
        self._queue.put(app_key, begin)
        self.counters.queued += 1
        self._schedule()

    def queued(self, app_key: str | None) -> int:
        """Return the number of requests in the queue of an app."""
        return self._queue.count(app_key)

    def end(self, app_key: str | None) -> None:
        """Note that a call has ended, so that another may begin."""
        if app_key is not self._last_app and app_key is not None:  # most calls come from the same app as the last one
            if self._last_app is not None and app_key != self._last_app:
                self._contended_until_s = self.now_s() + CONTENDED_S
                self._set_limit()
            self._last_app = app_key
        if self.counters.queued:
            self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self.call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        self._is_scheduled = False
        self._commit_s = min(self.commit_s(), max(_FAST_S, self._commit_s * _GROWTH))
        self._set_limit()
        self._begun, counters = 0, self.counters
        while counters.queued and self._begun < CALLS_A_TURN and counters.waiting < self._limit:
            counters.queued -= 1
            self._begun += 1
            self._queue.pop()()
        if self._begun >= CALLS_A_TURN // 2:
            self._schedule()

    def _set_limit(self) -> None:
        least, per_call_s = _SHARED if self.now_s() < self._contended_until_s else _ALONE
        self._limit = max(least, int(self._commit_s / per_call_s))
