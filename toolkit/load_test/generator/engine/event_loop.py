"""Engine: the open loop of one process. Journeys begin when they are due, whatever the answers do.

It owns many connections and as many journeys, and polls them itself: no greenlet a user, no event a call. What a caller
waited counts from when the call was due: the arrival's time, or when the step before had come to its end.
"""

from __future__ import annotations

import heapq
import select
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import count
from math import inf
from typing import Protocol

from gevent.monkey import get_original

from toolkit.api.errors import CallError, NotConnectedError, TransportError
from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.http.address import Line
from toolkit.load_test.generator.http.blocking import CALL_TIMEOUT_S, CONNECT_TIMEOUT_S
from toolkit.load_test.generator.http.connection import Connection
from toolkit.load_test.generator.http.http1 import Received
from toolkit.load_test.generator.journeys.steps import (
    CallResult,
    Journey,
    Outcome,
    Pause,
    Peek,
    Request,
    Send,
    read_outcome,
)
from toolkit.load_test.plan.schedule import Arrivals, Share

_NS_PER_S = 1_000_000_000
_BREATH_NS = 5_000_000  # how long everybody else in the process may have to wait
_SWEEP_NS = 50_000_000  # how exact a timeout is
_FLUSH_NS = 250_000_000
_LATE_NS = 5_000_000
_BATCH = 256
_CONNECT_NS = int(CONNECT_TIMEOUT_S * _NS_PER_S)

_clock_ns = time.perf_counter_ns
_epoll, _select = get_original("select", "epoll"), get_original("select", "select")


class ActiveJourney:
    """A journey under way. ``step``: the one it is in; how that is written, when it was due, and when it was begun."""

    __slots__ = ("began_ns", "due_ns", "expected", "journey", "step", "written")

    step: Request
    written: bytes
    due_ns: int
    began_ns: int

    def __init__(self, journey: Journey, expected: Collection[int] = ()) -> None:
        self.journey, self.expected = journey, expected


class Ledger(Protocol):
    """Who is told what came of it all."""

    @property
    def arrivals(self) -> Arrivals:
        """What became of the arrivals; the engine counts them here."""

    def admit_send(self) -> None:
        """Let a message be sent; what it raises ends the journey."""

    def keep(self, kept: Sequence[CallResult]) -> None:
        """Keep what came of calls; comes before everybody else in the process has a turn."""

    def read_code(self, received: Received) -> str | None:
        """Read the code from what came of a peek."""

    def report_broken(self, error: Exception) -> None:
        """Tell that a journey was ended by what it raised."""

    def flush(self) -> None:
        """Hand on what was kept; comes a few times a second."""

    def close(self) -> None:
        """Hand on the last of it."""


_at_work: list[Engine] = []  # of this process: a second one plays the share of a worker that was lost


class Engine:
    """Plays ``trips`` when the arrivals of ``share`` are due, over up to ``max_connections`` connections.

    ``drain_s``: how long what was due when the arrivals end may still wait for a connection.
    """

    # A plain object's attributes are slower to reach once there are more than thirty.
    __slots__ = (
        *("_begun", "_breath_ns", "_connections", "_drain_ns", "_dropped", "_epoll", "_flush_ns", "_hold_ns", "_idle"),
        *(
            "_is_starved",
            "_is_stopped",
            "_kept",
            "_last_ns",
            "_late",
            "_ledger",
            "_line",
            "_max_connections",
            "_next_ns",
        ),
        *(
            "_paused",
            "_pauses",
            "_queued",
            "_ready",
            "_share",
            "_start_ns",
            "_sweep_ns",
            "_timeout_ns",
            "_times",
            "_told",
        ),
        *("_trips", "_orphaned", "_utc_ns"),
    )

    def __init__(
        self,
        line: Line,
        ledger: Ledger,
        trips: Iterator[ActiveJourney],
        share: Share,
        max_connections: int,
        timeout_s: float = CALL_TIMEOUT_S,
        drain_s: float = 1.0,
    ) -> None:
        self._line, self._ledger, self._trips, self._share = line, ledger, trips, share
        self._max_connections = max_connections
        self._timeout_ns, self._drain_ns = int(timeout_s * _NS_PER_S), int(drain_s * _NS_PER_S)
        self._times = share.times_ns()
        self._epoll = _epoll()
        self._connections: dict[int, Connection] = {}
        self._idle: list[Connection] = []
        self._ready: deque[ActiveJourney] = deque()  # in the middle of a journey, and without a connection
        self._paused: list[tuple[int, int, ActiveJourney]] = []
        self._pauses = count()
        self._kept: list[CallResult] = []
        self._begun = self._late = self._queued = self._dropped = 0
        self._orphaned = round(share.orphaned())
        self._told = Arrivals()  # of the ledger's counts, which may be those of two engines
        self._is_starved = self._is_stopped = False
        self._hold_ns = _BREATH_NS
        self._start_ns = self._utc_ns = self._breath_ns = self._flush_ns = self._sweep_ns = 0
        self._next_ns = self._last_ns = inf  # when the next arrival is due, and the last one that is wanted

    def run(self, yield_to_hub: Callable[[], None], is_stopping: Callable[[], bool]) -> None:
        """Play journeys until the arrivals are over or ``is_stopping``; ``yield_to_hub`` lets other greenlets run."""
        self._breath_ns = _clock_ns()
        self._utc_ns = time.time_ns() - self._breath_ns
        self._start_ns = self._breath_ns - int(self._share.after_s * _NS_PER_S)
        self._last_ns = self._start_ns + self._share.duration_s * _NS_PER_S
        self._await_next()
        _at_work.append(self)
        try:
            while not self._is_over():
                self._begin_due(_clock_ns())
                self._poll()
                if _clock_ns() - self._breath_ns >= self._hold_ns:
                    self._see_to_others(yield_to_hub, is_stopping)
        finally:
            _at_work.remove(self)
            self._close()

    def _see_to_others(self, yield_to_hub: Callable[[], None], is_stopping: Callable[[], bool]) -> None:
        self._hand_over()
        yield_to_hub()
        self._breath_ns = now_ns = _clock_ns()
        self._hold_ns = _BREATH_NS // len(_at_work)
        if not self._is_stopped and is_stopping():
            self._stop()
        if now_ns - self._sweep_ns >= _SWEEP_NS:
            self._sweep_ns = now_ns
            self._time_out(now_ns)
        if now_ns - self._flush_ns >= _FLUSH_NS:
            self._flush_ns = now_ns
            self._count_due(now_ns)
            self._ledger.flush()

    # Arrivals.

    def _await_next(self) -> None:
        due_ns = next(self._times, None)
        self._next_ns = inf if due_ns is None else self._start_ns + due_ns

    def _begin_due(self, now_ns: int) -> None:
        while self._paused and self._paused[0][0] <= now_ns:
            due_ns, _, trip = heapq.heappop(self._paused)
            self._take(trip, None, due_ns, None)
        while self._ready and (connection := self._find_connection()):
            self._depart(connection, self._ready.popleft())
        until_ns = min(now_ns, self._last_ns)
        while self._next_ns <= until_ns:
            connection = self._find_connection()
            if connection is None:
                self._is_starved = True
                return
            due_ns = int(self._next_ns)
            self._begun += 1
            if self._is_starved:
                self._queued += 1
            elif now_ns - due_ns > _LATE_NS:
                self._late += 1
            self._await_next()
            self._take(next(self._trips), None, due_ns, connection)
        self._is_starved = False

    def _stop(self) -> None:
        """Begin no journey whose time is still to come, and go on with none that pauses."""
        self._is_stopped = True
        self._last_ns = min(self._last_ns, _clock_ns())
        for _, _, trip in self._paused:
            trip.journey.close()
        self._paused.clear()

    def _is_over(self) -> bool:
        if self._next_ns <= self._last_ns and _clock_ns() <= self._last_ns + self._drain_ns:
            return False
        self._dropped += self._count_waiting(self._last_ns)
        self._next_ns = inf
        return len(self._idle) == len(self._connections) and not self._ready and not self._paused

    def _count_due(self, now_ns: int) -> None:
        """Bring the counts of arrivals up to date; one that waits to be begun counts as dropped until it is."""
        dropped = self._dropped + self._count_waiting(min(now_ns, self._last_ns))
        due = self._begun + dropped + self._orphaned
        now = Arrivals(due, self._late, self._queued, dropped, self._orphaned)
        self._ledger.arrivals.grow(now - self._told)
        self._told = now

    def _count_waiting(self, until_ns: float) -> int:
        """Count the arrivals that are due and not begun; the schedule's mean says how many are due."""
        if self._next_ns > until_ns:
            return 0
        return max(0, round(self._share.due((until_ns - self._start_ns) / _NS_PER_S)) - self._begun)

    # Journeys.

    def _take(self, trip: ActiveJourney, came: object, due_ns: int, connection: Connection | None) -> None:
        """Take a trip's next step, which is due then, on the connection that the trip has, if it has one."""
        written, trip.due_ns = None, due_ns
        try:
            step = trip.journey.send(came)
            if isinstance(step, Pause):
                self._pause(trip, due_ns + int(step.duration_s * _NS_PER_S))
            else:
                if isinstance(step, Send):
                    self._ledger.admit_send()
                trip.step, written = step, self._line.write(step)
        except StopIteration:
            pass
        except Exception as error:
            self._ledger.report_broken(error)
        if written is None:
            if connection is not None:
                connection.trip = None
                self._idle.append(connection)
            return
        trip.written = written
        if connection is None:
            self._ready.append(trip)
        else:
            self._depart(connection, trip)

    def _pause(self, trip: ActiveJourney, until_ns: int) -> None:
        if self._is_stopped:
            trip.journey.close()
            return
        heapq.heappush(self._paused, (until_ns, next(self._pauses), trip))

    def _depart(self, connection: Connection, trip: ActiveJourney) -> None:
        """Send a trip's call, or have the connection opened first."""
        connection.trip = trip
        trip.began_ns = _clock_ns()
        if not connection.is_open:
            return
        try:
            if not connection.start(trip.written):
                self._watch(connection)
        except OSError as error:
            self._fail(connection, error)

    def _arrive(self, connection: Connection, trip: ActiveJourney, received: Received) -> None:
        """Take what came of a call, and the trip's next step."""
        now_ns, began_ns, step = _clock_ns(), trip.began_ns, trip.step
        came: object
        if isinstance(step, Peek):
            came = self._ledger.read_code(received)
        else:
            started_ns, waited_ns = began_ns + self._utc_ns, began_ns - trip.due_ns
            came = outcome = read_outcome(step, received, started_ns, now_ns - began_ns, waited_ns)
            self._kept.append((step, outcome, trip.expected))
        if connection.keeps:
            self._take(trip, came, now_ns, connection)
        else:
            self._hang_up(connection)
            self._take(trip, came, now_ns, None)

    def _fail(self, connection: Connection, error: Exception) -> None:
        """End a connection, and the call that was made on it; one that couldn't be opened may have another address."""
        trip, was_open = connection.trip, connection.is_open
        self._hang_up(connection)
        if trip is None:
            return
        if not was_open and connection.attempt + 1 < self._line.attempts:  # nothing was sent yet
            self._depart(self._dial(connection.attempt + 1), trip)
            return
        failure: CallError = TransportError(f"no whole answer: {type(error).__name__}")
        if not was_open:
            failure = NotConnectedError(f"no connection to the target: {type(error).__name__}")
        failure.__cause__ = error
        self._take(trip, self._keep_failure(trip, failure), _clock_ns(), None)

    def _keep_failure(self, trip: ActiveJourney, failure: CallError) -> Outcome | None:
        if isinstance(trip.step, Peek):
            return None
        endpoint = Endpoint.SEND if isinstance(trip.step, Send) else Endpoint.VERIFY
        began_ns = trip.began_ns
        times = began_ns + self._utc_ns, _clock_ns() - began_ns
        outcome = Outcome(endpoint, *times, error=failure, wait_ns=began_ns - trip.due_ns)
        self._kept.append((trip.step, outcome, trip.expected))
        return outcome

    def _hand_over(self) -> None:
        """Hand over what came of calls, many at once: that costs half of one by one."""
        if self._kept:
            kept, self._kept = self._kept, []
            self._ledger.keep(kept)

    # Connections.

    def _find_connection(self) -> Connection | None:
        """Return an idle connection, else a new one, else None."""
        if self._idle:
            return self._idle.pop()
        if len(self._connections) >= self._max_connections:
            return None
        try:
            return self._dial(0)
        except OSError as error:  # this process, or the machine, has no more sockets: go on with those there are
            if not self._connections:
                raise NotConnectedError(f"no connection can be opened: {type(error).__name__}") from error
            self._max_connections = len(self._connections)
            return None

    def _dial(self, attempt: int) -> Connection:
        connection = self._line.dial(attempt)
        connection.attempt = attempt
        self._connections[connection.fileno()] = connection
        self._epoll.register(connection.fileno(), select.EPOLLIN | select.EPOLLOUT)
        return connection

    def _poll(self) -> None:
        """See to the connections that can go on; where none can, wait for one, an arrival or the next breath."""
        ready = self._epoll.poll(0, _BATCH)
        if not ready:
            self._wait()
            ready = self._epoll.poll(0, _BATCH)
        connections, go_on = self._connections, self._go_on
        for fileno, _ in ready:
            if (connection := connections.get(fileno)) is not None:
                go_on(connection)

    def _wait(self) -> None:
        until_ns: float = self._breath_ns + self._hold_ns
        if not self._is_starved:
            until_ns = min(until_ns, self._next_ns, self._paused[0][0] if self._paused else inf)
        wait_s = (until_ns - _clock_ns()) / _NS_PER_S
        if wait_s > 0:
            _select((self._epoll,), (), (), wait_s)  # epoll's own timeout is in whole milliseconds

    def _go_on(self, connection: Connection) -> None:
        """See to a connection that can go on: nearly always, an answer has come."""
        trip = connection.trip
        try:
            if trip is None or not connection.is_open:
                self._rouse(connection)
                return
            received = connection.go_on()
        except (OSError, ValueError) as error:
            self._fail(connection, error)
            return
        if received is None:
            self._watch(connection)  # there is more to come, or to go
        else:
            self._arrive(connection, trip, received)

    def _rouse(self, connection: Connection) -> None:
        """Go on opening a connection, or see why an idle one is readable."""
        if connection.is_open:
            if not connection.is_quiet():
                self._hang_up(connection)
            return
        is_open = connection.open()
        self._watch(connection)
        if is_open and connection.trip is not None:
            self._depart(connection, connection.trip)

    def _watch(self, connection: Connection) -> None:
        """Poll a connection for what it waits for."""
        mask = select.EPOLLIN | select.EPOLLOUT if connection.wants_write() else select.EPOLLIN
        self._epoll.modify(connection.fileno(), mask)

    def _hang_up(self, connection: Connection) -> None:
        if connection.trip is None:
            self._idle.remove(connection)
        del self._connections[connection.fileno()]
        connection.close()  # which takes it out of epoll too

    def _time_out(self, now_ns: int) -> None:
        for connection in list(self._connections.values()):
            allowed_ns = self._timeout_ns if connection.is_open else _CONNECT_NS
            if connection.trip is not None and now_ns - connection.trip.began_ns > allowed_ns:
                self._fail(connection, TimeoutError("the call took too long"))

    def _close(self) -> None:
        """Cut off what is under way, and keep that too: a send may cost money all the same."""
        cut_off = TransportError("the run ended first")
        cut_off.__cause__ = KeyboardInterrupt()
        for connection in self._connections.values():
            if connection.trip is not None and connection.is_open:
                self._keep_failure(connection.trip, cut_off)
            connection.close()
        self._hand_over()
        self._count_due(_clock_ns())
        self._ledger.close()
        self._epoll.close()
