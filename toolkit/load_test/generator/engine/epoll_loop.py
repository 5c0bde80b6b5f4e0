"""Play the journeys of an open loop: begin each one when it is due, however long the responses take.

Problem
-------
In a closed loop a user waits for a response before the next call. A service that stalls for two seconds then gets no
calls for two seconds, and the calls that would have been slow are never made: the measured percentiles look good
("coordinated omission", G. Tene, "How NOT to measure latency", 2013). An open loop has a schedule instead. Call n is
due at t(n), even if call n-1 is still in flight, and the caller's time counts from t(n):

    due at      0    10    20    30    40 ms     the schedule: 100 arrivals a second
    sent at     0    10    60    60    60        the only connection was busy from 10 to 60 ms
    response    5    60    64    65    66
    latency     5    50     4     5     6        the server's part
    caller's    5    50    44    35    26        latency and wait, which is sent - due

Method
------
One greenlet runs one event loop over all connections: no greenlet for each user, and no locust event for each call,
as either costs more than the call itself. It uses the operating system's epoll and sockets, not gevent's. One turn:

    begin  start journeys that are due, resume those whose pause is over, and those that wait for a connection
    poll   serve the connections that are ready; a response resumes its journey, which sends its next request
    wait   if nothing is ready, sleep until the next arrival, the next resumption or the next yield
    yield  every 5 ms: hand the results over, let other greenlets run, look for timeouts, update the counts

A journey uses a connection only while a call is in flight. A pause or a connection that ends gives it back::

    due --> waits for a connection --> sends --> response --> next step --> ... --> done
                 ^                                   |
                 +---------- pause, in a heap <------+

An arrival that waits for a connection counts as queued. If it has none ``drain_s`` after the last arrival was due, it
is dropped. An arrival that begins more than 5 ms late although there was a connection counts as late: this process
was too busy, so the figures may not be those of the service.

Constants
---------
_YIELD_NS     5 ms: the longest that greenlets for heartbeats and records wait. Shorter spends time on switches, and
              on handing over small batches of results; a batch costs half of single results.
_SWEEP_NS     50 ms: the precision of a timeout, against a pass over all connections.
_FLUSH_NS     250 ms: the age of the counts in the run's folder, against the time to update them.
_LATE_NS      5 ms: equal to _YIELD_NS, so that a turn of other greenlets alone makes no arrival late.
_BATCH        256 events of epoll: arrivals are begun between batches, so larger ones make them late.
"""

from __future__ import annotations

import heapq
import select
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from math import inf
from typing import Protocol

import gevent
import numpy as np
from gevent.monkey import get_original

from toolkit.api.errors import CallError, NotConnectedError, TransportError
from toolkit.api.trace_context import TraceContext
from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.http.call_outcome import read_outcome
from toolkit.load_test.generator.http.call_tracer import CallTracer
from toolkit.load_test.generator.http.connection import Connection
from toolkit.load_test.generator.http.request_encoder import Connector
from toolkit.load_test.generator.http.response_parser import HttpResponse
from toolkit.load_test.generator.results.in_flight import InFlight, spread_ages_ns
from toolkit.load_test.generator.steps import CallResult, Journey, Outcome, Pause, Peek, Request, Send
from toolkit.load_test.generator.utc_clock import UTC_CLOCK
from toolkit.load_test.plan.http_options import CALL_TIMEOUT_S, CONNECT_TIMEOUT_S
from toolkit.load_test.plan.schedule import ArrivalCounts, Share
from toolkit.runs.begun_calls import BegunCalls

_NS_PER_S = 1_000_000_000
_YIELD_NS = 5_000_000
_SWEEP_NS = 50_000_000
_FLUSH_NS = 250_000_000
_LATE_NS = 5_000_000
_BATCH = 256

_clock_ns = time.perf_counter_ns
_epoll, _select = get_original("select", "epoll"), get_original("select", "select")


class ActiveJourney:
    """A journey under way.

    Attributes:
        journey: its generator.
        step: the step that it is in.
        request: the encoded request of the step.
        trace: the trace of the step's call; None if it was not sampled.
        due_ns, began_ns: when the step was due, and when it was begun.
    """

    __slots__ = ("began_ns", "due_ns", "journey", "request", "step", "trace")

    step: Request
    request: bytes
    trace: TraceContext | None
    due_ns: int
    began_ns: int

    def __init__(self, journey: Journey) -> None:
        self.journey = journey


class EngineHost(Protocol):
    """The process that an engine runs in: it admits sends, and takes the results and the counts."""

    @property
    def arrivals(self) -> ArrivalCounts:
        """The counts of the arrivals, which the engine keeps up to date."""

    def admit_send(self) -> None:
        """Allow a message to be sent. An exception ends the journey."""

    def record(self, results: Sequence[CallResult]) -> None:
        """Record the results of calls. Called before other greenlets run."""

    def read_code(self, response: HttpResponse | None) -> str | None:
        """Read a message's code from the response to a peek; from None if there was no response."""

    def on_error(self, error: Exception) -> None:
        """Report the exception that ended a journey."""

    def on_turn(self, lag_s: float) -> None:
        """Note by how much a turn was longer than planned; called every 5 ms."""

    def on_due(self, until_s: float) -> None:
        """Note how far the schedule has come, in s from its start; called a few times a second, after the counts."""

    def close(self) -> None:
        """Write the counts for the last time."""


class Engine:
    """Plays one share of the arrivals.

    Args:
        connector: opens connections to the target and encodes requests.
        host: takes the results.
        journeys: an endless iterator of journeys.
        share: the times at which journeys are due.
        max_connections: the most connections that may be open.
        timeout_s: the limit for a call.
        drain_s: how long arrivals may still wait for a connection after the last one was due.
        peers: the engines of this process that are running; they share its time.
        connect_timeout_s: the limit for opening a connection.
        tracer: samples the calls; None to trace none.
        begun: counts the calls before their first byte leaves.
    """

    # A plain object's attributes are slower to reach once there are more than thirty.
    __slots__ = (
        *("_begun", "_begun_calls", "_connect_ns", "_connections", "_connector", "_drain_ns", "_dropped", "_epoll"),
        *("_flush_ns", "_hold_ns", "_host"),
        *("_idle", "_is_starved", "_is_stopped", "_journeys", "_last_ns", "_late", "_max_connections", "_next_ns"),
        *("_orphaned", "_outgoing", "_paused", "_pauses", "_peers", "_queued", "_ready", "_reported", "_results"),
        *("_share", "_start_ns", "_sweep_ns", "_timeout_ns", "_times", "_tracer", "_utc_ns", "_yield_ns"),
    )

    def __init__(
        self,
        connector: Connector,
        host: EngineHost,
        journeys: Iterator[ActiveJourney],
        share: Share,
        max_connections: int,
        timeout_s: float = CALL_TIMEOUT_S,
        drain_s: float = 1.0,
        peers: list[Engine] | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        tracer: CallTracer | None = None,
        begun: BegunCalls | None = None,
    ) -> None:
        self._tracer, self._begun_calls = tracer, [0, 0] if begun is None else begun
        self._connector, self._host, self._journeys, self._share = connector, host, journeys, share
        self._max_connections = max_connections
        self._timeout_ns, self._drain_ns = int(timeout_s * _NS_PER_S), int(drain_s * _NS_PER_S)
        self._connect_ns = int(connect_timeout_s * _NS_PER_S)
        self._peers = [] if peers is None else peers
        self._times = share.times_ns()
        self._epoll = _epoll()
        self._connections: dict[int, Connection] = {}
        self._idle: list[Connection] = []
        self._outgoing: list[Connection] = []  # their requests are to be sent
        self._ready: deque[ActiveJourney] = deque()  # in the middle of a journey, and without a connection
        self._paused: list[tuple[int, int, ActiveJourney]] = []
        self._pauses = count()
        self._results: list[CallResult] = []
        self._begun = self._late = self._queued = self._dropped = 0
        self._orphaned = round(share.orphaned())
        self._reported = ArrivalCounts()  # this engine's part of the host's counts
        self._is_starved = self._is_stopped = False
        self._hold_ns = _YIELD_NS
        self._start_ns = self._utc_ns = self._yield_ns = self._flush_ns = self._sweep_ns = 0
        self._next_ns = self._last_ns = inf  # when the next arrival is due, and the last one that is wanted

    def run(self, yield_to_hub: Callable[[], None], is_stopping: Callable[[], bool]) -> None:
        """Play until the arrivals and their journeys are over.

        Args:
            yield_to_hub: lets other greenlets run.
            is_stopping: when it returns True, no arrival is begun any more, and paused journeys are ended.
        """
        self._yield_ns = _clock_ns()
        self._utc_ns = UTC_CLOCK.offset_ns
        self._start_ns = self._yield_ns - int(self._share.after_s * _NS_PER_S)
        self._last_ns = self._start_ns + self._share.duration_s * _NS_PER_S
        self._await_next()
        self._peers.append(self)
        try:
            while not self._is_over():
                self._begin_due(_clock_ns())
                self._send_all()  # before a poll finds that one of their connections was closed while it was idle
                self._poll()
                if _clock_ns() - self._yield_ns >= self._hold_ns:
                    self._yield_turn(yield_to_hub, is_stopping)
        finally:
            self._peers.remove(self)
            self._close()

    def _yield_turn(self, yield_to_hub: Callable[[], None], is_stopping: Callable[[], bool]) -> None:
        self._hand_over()
        yield_to_hub()
        before_ns, self._yield_ns = self._yield_ns, (now_ns := _clock_ns())
        self._host.on_turn((now_ns - before_ns - _YIELD_NS) / _NS_PER_S)
        self._hold_ns = _YIELD_NS // len(self._peers)
        if not self._is_stopped and is_stopping():
            self._is_stopped = True
            self._last_ns = min(self._last_ns, now_ns)
            for _, _, active in self._paused:
                active.journey.close()
            self._paused.clear()
        if now_ns - self._sweep_ns >= _SWEEP_NS:
            self._sweep_ns = now_ns
            self._time_out(now_ns)
        if now_ns - self._flush_ns >= _FLUSH_NS:
            self._flush_ns = now_ns
            self._count_arrivals(now_ns)

    # Arrivals.

    def _await_next(self) -> None:
        due_ns = next(self._times, None)
        self._next_ns = inf if due_ns is None else self._start_ns + due_ns

    def _begin_due(self, now_ns: int) -> None:
        while self._paused and self._paused[0][0] <= now_ns:
            due_ns, _, active = heapq.heappop(self._paused)
            self._resume(active, None, due_ns, None)
        while self._ready and (connection := self._find_connection()):
            self._begin_call(connection, self._ready.popleft())
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
            self._resume(next(self._journeys), None, due_ns, connection)
        self._is_starved = False

    def _is_over(self) -> bool:
        if self._next_ns <= self._last_ns and _clock_ns() <= self._last_ns + self._drain_ns:
            return False
        while self._next_ns <= self._last_ns:
            self._dropped += 1
            self._await_next()
        self._next_ns = inf
        return len(self._idle) == len(self._connections) and not self._ready and not self._paused

    def _count_arrivals(self, now_ns: int) -> None:
        """Update the host's counts. An arrival that waits to be begun counts as dropped until it is."""
        dropped = self._dropped + self._count_waiting(min(now_ns, self._last_ns))
        due = self._begun + dropped + self._orphaned
        now = ArrivalCounts(due, self._late, self._queued, dropped, self._orphaned)
        self._host.arrivals.grow(now - self._reported)
        self._reported = now
        self._host.on_due((min(now_ns, self._last_ns) - self._start_ns) / _NS_PER_S)

    def _count_waiting(self, until_ns: float) -> int:
        """Count the arrivals that are due and not begun; the mean of the schedule gives the number that are due."""
        if self._next_ns > until_ns:
            return 0
        return max(0, round(self._share.due((until_ns - self._start_ns) / _NS_PER_S)) - self._begun)

    def add_in_flight(self, in_flight: InFlight) -> None:
        """Add the calls in flight, and the journeys and arrivals that wait for a connection."""
        now_ns = _clock_ns()
        for connection in self._connections.values():
            active = connection.journey
            if active is not None and not isinstance(active.step, Peek):
                age_ns = now_ns - active.began_ns if connection.is_open else None
                in_flight.add_call(_endpoint(active.step), age_ns, now_ns - active.due_ns)
        for active in self._ready:
            if not isinstance(active.step, Peek):
                in_flight.add_waiting(_endpoint(active.step), np.array([now_ns - active.due_ns]))
        if self._is_starved and (waiting := self._count_waiting(min(now_ns, self._last_ns))):
            in_flight.add_waiting(Endpoint.SEND, spread_ages_ns(now_ns - int(self._next_ns), waiting))

    # Journeys.

    def _resume(self, active: ActiveJourney, value: object, due_ns: int, connection: Connection | None) -> None:
        """Send a value into a journey, and begin the step that it yields, which is due at ``due_ns``.

        ``connection`` is the journey's, if it has one.
        """
        request, active.due_ns = None, due_ns
        try:
            step = active.journey.send(value)
            if isinstance(step, Pause):
                if self._is_stopped:
                    active.journey.close()
                else:
                    until_ns = due_ns + int(step.duration_s * _NS_PER_S)
                    heapq.heappush(self._paused, (until_ns, next(self._pauses), active))
            else:
                if isinstance(step, Send):
                    self._host.admit_send()
                active.step, active.trace, request = step, None, self._connector.encode(step)
                if self._tracer is not None and not isinstance(step, Peek):
                    request, active.trace = self._tracer.sample(request)
        except StopIteration:
            pass
        except Exception as error:
            self._host.on_error(error)
        if request is None:
            if connection is not None:
                connection.journey = None
                self._idle.append(connection)
            return
        active.request = request
        if connection is None:
            self._ready.append(active)
        else:
            self._begin_call(connection, active)

    def _begin_call(self, connection: Connection, active: ActiveJourney) -> None:
        """Send a journey's request at the end of this part of the turn, or once the connection is open."""
        connection.journey = active
        active.began_ns = _clock_ns()
        if connection.is_open:
            self._outgoing.append(connection)

    def _send_all(self) -> None:
        """Send the requests that were begun. Together they take three quarters of the time of single ones."""
        begun = self._begun_calls
        for connection in self._outgoing:  # a failure may add another
            active = connection.journey
            active.began_ns = _clock_ns()
            if (kind := type(active.step)) is not Peek:
                begun[kind is Send] += 1
            try:
                if not connection.start(active.request):
                    self._watch(connection)
            except OSError as error:
                self._fail(connection, error)
        self._outgoing.clear()

    def _end_call(self, connection: Connection, active: ActiveJourney, response: HttpResponse, now_ns: int) -> None:
        """Store the result of a call, and resume its journey."""
        began_ns, step = active.began_ns, active.step
        value: object
        if isinstance(step, Peek):
            value = self._host.read_code(response)
        else:
            started_ns, waited_ns = began_ns + self._utc_ns, began_ns - active.due_ns
            value = outcome = read_outcome(step, response, started_ns, now_ns - began_ns, waited_ns)
            outcome.trace = active.trace
            self._results.append((step, outcome))
        if connection.keeps:
            self._resume(active, value, now_ns, connection)
        else:
            self._hang_up(connection)
            self._resume(active, value, now_ns, None)

    def _fail(self, connection: Connection, error: Exception) -> None:
        """End a connection, and the call on it. If it was never open, the call tries the target's next address."""
        active, was_open = connection.journey, connection.is_open
        self._hang_up(connection)
        if active is None:
            return
        if not was_open and connection.attempt + 1 < len(self._connector.addresses):  # nothing was sent yet
            self._begin_call(self._connect(connection.attempt + 1), active)
            return
        failure: CallError = TransportError(f"no complete response: {type(error).__name__}")
        if not was_open:
            failure = NotConnectedError(f"no connection to the target: {type(error).__name__}")
        failure.__cause__ = error
        self._resume(active, self._keep_failure(active, failure), _clock_ns(), None)

    def _keep_failure(self, active: ActiveJourney, failure: CallError) -> Outcome | str | None:
        if isinstance(active.step, Peek):
            return self._host.read_code(None)
        endpoint, began_ns = _endpoint(active.step), active.began_ns
        times_ns = began_ns + self._utc_ns, _clock_ns() - began_ns
        outcome = Outcome(endpoint, *times_ns, error=failure, wait_ns=began_ns - active.due_ns, trace=active.trace)
        self._results.append((active.step, outcome))
        return outcome

    def _hand_over(self) -> None:
        """Pass the results to the host. A batch costs half of single results."""
        if self._results:
            results, self._results = self._results, []
            self._host.record(results)

    # Connections.

    def _find_connection(self) -> Connection | None:
        """Return an idle connection, a new one, or None."""
        if self._idle:
            return self._idle.pop()
        if len(self._connections) >= self._max_connections:
            return None
        try:
            return self._connect(0)
        except OSError as error:  # no more sockets in this process or machine: continue with the connections there are
            if not self._connections:
                raise NotConnectedError(f"no connection can be opened: {type(error).__name__}") from error
            self._max_connections = len(self._connections)
            return None

    def _connect(self, attempt: int) -> Connection:
        connection = self._connector.connect(attempt)
        connection.attempt = attempt
        self._connections[connection.fileno()] = connection
        self._epoll.register(connection.fileno(), select.EPOLLIN | select.EPOLLOUT)
        return connection

    def _poll(self) -> None:
        """Serve the connections that are ready. If none is, wait for one, for an arrival or for the next yield."""
        ready = self._epoll.poll(0, _BATCH)
        if not ready:
            until_ns: float = self._yield_ns + self._hold_ns
            if not self._is_starved:
                until_ns = min(until_ns, self._next_ns, self._paused[0][0] if self._paused else inf)
            wait_s = (until_ns - _clock_ns()) / _NS_PER_S
            if wait_s > 0:
                _select((self._epoll,), (), (), wait_s)  # epoll's own timeout is in whole milliseconds
            ready = self._epoll.poll(0, _BATCH)
        connections, serve = self._connections, self._serve
        arrived = []
        for fileno, _ in ready:
            if (connection := connections.get(fileno)) is not None and (response := serve(connection)) is not None:
                arrived.append((connection, response, _clock_ns()))
        for connection, response, now_ns in arrived:
            self._end_call(connection, connection.journey, response, now_ns)
        self._send_all()

    def _serve(self, connection: Connection) -> HttpResponse | None:
        """Serve a connection that is ready: nearly always, a response has arrived, which is returned."""
        try:
            if connection.journey is None or not connection.is_open:
                self._serve_without_call(connection)
                return None
            response = connection.advance()
        except (OSError, ValueError) as error:
            self._fail(connection, error)
            return None
        if response is None:
            self._watch(connection)  # there is more to read or to send
        return response

    def _serve_without_call(self, connection: Connection) -> None:
        """Continue to open a connection, or find out why an idle one is readable."""
        if connection.is_open:
            if not connection.is_quiet():
                self._hang_up(connection)
            return
        is_open = connection.open()
        self._watch(connection)
        if is_open and connection.journey is not None:
            self._begin_call(connection, connection.journey)

    def _watch(self, connection: Connection) -> None:
        """Poll a connection for the event that it waits for."""
        mask = select.EPOLLIN | select.EPOLLOUT if connection.wants_write() else select.EPOLLIN
        self._epoll.modify(connection.fileno(), mask)

    def _hang_up(self, connection: Connection) -> None:
        if connection.journey is None:
            self._idle.remove(connection)
        del self._connections[connection.fileno()]
        connection.close()  # which takes it out of epoll too

    def _time_out(self, now_ns: int) -> None:
        for connection in list(self._connections.values()):
            allowed_ns = self._timeout_ns if connection.is_open else self._connect_ns
            if connection.journey is not None and now_ns - connection.journey.began_ns > allowed_ns:
                self._fail(connection, TimeoutError("the call took too long"))

    def _close(self) -> None:
        """Record the calls in flight as cut off: a send may cost money all the same."""
        cut_off = TransportError("the run ended first")
        cut_off.__cause__ = KeyboardInterrupt()
        for connection in self._connections.values():
            active = connection.journey
            if active is not None and connection.is_open and not isinstance(active.step, Peek):
                self._keep_failure(active, cut_off)
            connection.close()
        self._hand_over()
        self._count_arrivals(_clock_ns())
        self._host.close()
        self._epoll.close()


def serve_hub() -> None:
    """Let other greenlets run and due timers fire. ``gevent.sleep(0)`` serves timers only every 50th time."""
    hub = gevent.get_hub()
    with hub.loop.timer(0) as timer:
        hub.wait(timer)


def _endpoint(step: Request) -> Endpoint:
    return Endpoint.SEND if isinstance(step, Send) else Endpoint.VERIFY
