"""The engine against a real server, without locust."""

from __future__ import annotations

import asyncio
import json
import re
import select
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count, cycle, repeat
from pathlib import Path

import gevent
import pytest
from support.certificates import certificate
from support.loop import SENT, answer_at_once, serving

from toolkit.api.errors import NotConnectedError
from toolkit.api.trace_context import parse_traceparent
from toolkit.load_test.generator.engine.epoll_loop import ActiveJourney, Engine, serve_hub
from toolkit.load_test.generator.http import connection
from toolkit.load_test.generator.http.call_outcome import classify, read_code
from toolkit.load_test.generator.http.call_tracer import CallTracer
from toolkit.load_test.generator.http.request_encoder import Connector
from toolkit.load_test.generator.http.response_parser import HttpResponse
from toolkit.load_test.generator.results.in_flight import InFlight
from toolkit.load_test.generator.steps import Call, CallResult, Journey, Outcome, Pause, Peek, Send, Verify
from toolkit.load_test.plan.http_options import DEFAULT_HTTP
from toolkit.load_test.plan.schedule import ArrivalCounts, Schedule, Share, Stage, parse_stages
from toolkit.runs.thresholds import Measure
from toolkit.settings import Target

MOBILE = "13800138000"
PATIENCE_S = 60.0  # for a machine that is busy with other things


@dataclass
class Host:
    """Keeps everything that an engine hands over."""

    arrivals: ArrivalCounts = field(default_factory=ArrivalCounts)
    calls: list[tuple[Call, Outcome]] = field(default_factory=list)
    broken: list[Exception] = field(default_factory=list)
    due_s: list[float] = field(default_factory=list)
    turns: int = 0
    lost_peeks: int = 0
    is_closed: bool = False

    def admit_send(self) -> None:
        pass

    def record(self, results: Sequence[CallResult]) -> None:
        self.calls += results

    def read_code(self, response: HttpResponse | None) -> str | None:
        if response is not None:
            return read_code(response)
        self.lost_peeks += 1
        return None

    def on_error(self, error: Exception) -> None:
        self.broken.append(error)

    def on_turn(self, lag_s: float) -> None:
        self.turns += 1

    def on_due(self, until_s: float) -> None:
        self.due_s.append(until_s)

    def close(self) -> None:
        self.is_closed = True

    def outcomes(self) -> Counter[int | str | None]:
        return Counter(it.return_code if it.error is None else classify(it.error).value for _, it in self.calls)


def send_and_verify() -> Journey:
    sent = yield Send(MOBILE)
    if sent.msg_id:
        yield Verify(sent.msg_id, "123456")


def send() -> Journey:
    yield Send(MOBILE)


def play(
    url: str,
    stages: str | tuple[Stage, ...],
    journey: Callable[[], Journey] = send,
    connections: int = 10,
    timeout_s: float = PATIENCE_S,
    yield_to_hub: Callable[[], None] = lambda: None,
    is_stopping: Callable[[], bool] = lambda: False,
    drain_s: float = PATIENCE_S,
    tracer: CallTracer | None = None,
) -> Host:
    """Play journeys until all have ended."""
    kept = Host()
    schedule = Schedule(parse_stages(stages) if isinstance(stages, str) else stages)
    journeys = (ActiveJourney(begin()) for begin in repeat(journey))
    line = Connector(Target(url, "key", "secret", 1), tracer.add_header(DEFAULT_HTTP) if tracer else DEFAULT_HTTP)
    share = Share(schedule, 1)
    engine = Engine(line, kept, journeys, share, connections, timeout_s, drain_s, tracer=tracer)
    engine.run(yield_to_hub, is_stopping)
    return kept


def test_every_arrival_is_a_journey_and_every_call_is_kept() -> None:
    with serving() as server:
        kept = play(server.url, "500ms@400,500ms=400", send_and_verify)
    assert kept.arrivals.due == 300
    assert kept.arrivals.dropped == 0
    assert kept.outcomes() == {50000: 600}
    assert len(server.requests) == 600
    assert server.connections <= 10
    assert kept.due_s == sorted(kept.due_s)
    assert kept.due_s[-1] <= 1.0
    assert kept.turns
    assert kept.is_closed


def test_a_turn_of_the_engine_serves_the_timers_that_are_due() -> None:
    done: list[bool] = []
    greenlet = gevent.spawn_later(0, done.append, True)
    serve_hub()
    serve_hub()
    assert done
    greenlet.kill()


@contextmanager
def full_listener() -> Iterator[str]:
    """Listen and accept nothing: once the queue is full, a connection stays half open. Gives the URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as queued:
        while True:
            waiting = queued.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
            if not select.select([], [waiting], [], 0.2)[1]:
                break
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_call_that_is_still_connecting_is_in_flight_with_the_age_of_its_caller() -> None:
    seen = InFlight()
    with full_listener() as url:
        schedule = Schedule(parse_stages("100ms=20"))
        journeys = (ActiveJourney(send()) for _ in count())
        engine = Engine(Connector(Target(url, "key", "secret", 1)), Host(), journeys, Share(schedule, 1), 10)

        def look() -> None:
            engine.add_in_flight(seen)
            if seen.calls:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            engine.run(look, lambda: False)
    seen.close()
    assert seen.calls
    assert seen.waiting == 0
    assert [measure for _, measure in seen.ages] == [Measure.CALLER_MS]


@pytest.mark.parametrize("connections", [2, 50])
def test_callers_of_a_stalled_server_wait_for_its_end(connections: int) -> None:
    with serving() as server:
        for at_s in (0.3, 0.8):
            server.loop.call_soon_threadsafe(server.loop.call_later, at_s, server.stall, 0.2)
        kept = play(server.url, "1500ms=200", connections=connections)
    assert len(kept.calls) == len(server.requests) == 300
    assert len(server.stalls_ns) == 2
    held = 0
    for _, outcome in kept.calls:
        due_ns, answered_ns = outcome.started_ns - outcome.wait_ns, outcome.started_ns + outcome.latency_ns
        for began_ns, ended_ns in server.stalls_ns:
            if began_ns < due_ns < ended_ns:
                held += 1
                assert answered_ns >= ended_ns - 1_000_000
    assert held  # those who arrived in a stall are not left out
    assert connections == 50 or kept.arrivals.queued


def test_arrivals_that_find_no_connection_in_the_end_are_dropped_and_counted() -> None:
    async def answer_slowly(request: bytes, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(0.1)
        return await answer_at_once(request, writer)

    with serving(answer_slowly) as server:
        kept = play(server.url, "500ms=200", connections=2, drain_s=1.0)
    assert kept.arrivals.due == 100
    assert len(kept.calls) == len(server.requests) == 100 - kept.arrivals.dropped
    assert kept.arrivals.dropped > 50
    assert kept.arrivals.queued > 0


def test_orphaned_arrivals_are_due_and_neither_late_nor_dropped() -> None:
    with serving() as server:
        host, journeys = Host(), (ActiveJourney(begin()) for begin in repeat(send))
        share = Share(Schedule(parse_stages("2s=100")), 1, after_s=1.5, orphaned_s=1.0)
        Engine(Connector(Target(server.url, "key", "secret", 1)), host, journeys, share, 5).run(
            lambda: None, lambda: False
        )
    assert host.arrivals == ArrivalCounts(due=150, orphaned=100, late=host.arrivals.late)
    assert len(server.requests) == 50


def test_arrivals_that_only_had_to_wait_are_not_dropped() -> None:
    async def answer_slowly(request: bytes, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(0.05)
        return await answer_at_once(request, writer)

    with serving(answer_slowly) as server:
        kept = play(server.url, "100ms=120", connections=1)
    assert kept.turns > 2  # some of them came while arrivals waited
    assert (kept.arrivals.due, kept.arrivals.dropped, len(server.requests)) == (12, 0, 12)


@pytest.mark.parametrize(
    "answer",
    [
        SENT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"msg\r\n9\r\n_id":"m"}\r\n0\r\n\r\n',
        b"HTTP/1.1 100 Continue\r\n\r\n" + SENT,
        b'HTTP/1.1 200 OK\r\n\r\n{"msg_id":"m"}',
    ],
    ids=["closing", "chunked", "announced", "ended by the connection"],
)
@pytest.mark.parametrize("piece", [1, 1000])
def test_any_answer_is_read_whole(answer: bytes, piece: int) -> None:
    keeps = b"100 Continue" in answer or b"chunked" in answer

    async def answer_in_pieces(request: bytes, writer: asyncio.StreamWriter) -> bool:
        for at in range(0, len(answer), piece):
            writer.write(answer[at : at + piece])
            await writer.drain()
        return keeps

    with serving(answer_in_pieces) as server:
        kept = play(server.url, "100ms=100", connections=3)
    assert kept.outcomes() == {50000: 10}
    assert len(server.requests) == 10
    assert {outcome.msg_id for _, outcome in kept.calls} == {"m"}


def test_a_request_is_never_sent_twice() -> None:
    async def hang_up(request: bytes, writer: asyncio.StreamWriter) -> bool:
        return False

    with serving(hang_up) as server:
        kept = play(server.url, "100ms=100", send_and_verify)
    assert kept.outcomes() == {"reset": 10}
    assert len(server.requests) == 10


def test_an_idle_connection_that_the_server_closed_is_replaced() -> None:
    async def answer_and_hang_up(request: bytes, writer: asyncio.StreamWriter) -> bool:
        await answer_at_once(request, writer)
        return False

    with serving(answer_and_hang_up) as server:
        kept = play(server.url, "300ms=50")
    assert kept.outcomes() == {50000: 15}
    assert server.connections == 15


def test_a_call_that_takes_too_long_is_a_timeout_and_the_journey_goes_on() -> None:
    seen = []

    async def never(request: bytes, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(60)
        return True

    def send_twice() -> Journey:
        seen.append((yield Send(MOBILE)))
        seen.append((yield Send(MOBILE)))

    with serving(never) as server:
        kept = play(server.url, "10ms=100", send_twice, timeout_s=0.2)
    assert kept.outcomes() == {"timeout": 2}
    assert [outcome for _, outcome in kept.calls] == seen
    assert all(outcome.latency_ns >= 0.2e9 for outcome in seen)


def test_a_closed_port_is_a_failure_that_sent_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    kept = play(f"http://127.0.0.1:{port}", "50ms=100")
    assert kept.outcomes() == {"connect": 5}
    assert all(isinstance(outcome.error, NotConnectedError) for _, outcome in kept.calls)


def test_a_response_that_is_not_http_is_a_failure() -> None:
    async def babble(request: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"SMTP ready\r\n")
        return True

    with serving(babble) as server:
        assert play(server.url, "50ms=100").outcomes() == {"protocol": 5}


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_the_next_address_is_tried_where_the_first_refuses() -> None:
    with serving(host="::1") as server:
        port = server.url.rpartition(":")[2]
        assert play(server.url, "50ms=100").outcomes() == {50000: 5}
        line = Connector(Target(server.url, "key", "secret", 1))
        line.addresses.insert(0, (socket.AF_INET, ("127.0.0.1", int(port))))
        kept = Host()
        journeys = (ActiveJourney(begin()) for begin in repeat(send))
        Engine(line, kept, journeys, Share(Schedule(parse_stages("50ms=100")), 1), 3, PATIENCE_S, PATIENCE_S).run(
            lambda: None, lambda: False
        )
    assert kept.outcomes() == {50000: 5}


def test_a_code_is_peeked_at_and_counted_nowhere_and_a_pause_holds_no_connection() -> None:
    codes = []

    async def give(request: bytes, writer: asyncio.StreamWriter) -> bool:
        if request.startswith(b"GET /sandbox/messages/m "):
            body = json.dumps({"code": "654321"}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            return True
        return await answer_at_once(request, writer)

    def think() -> Journey:
        sent = yield Send(MOBILE)
        codes.append((yield Peek(sent.msg_id)))
        assert (yield Pause(0.2)) is None
        yield Verify(sent.msg_id, codes[-1])

    with serving(give) as server:
        kept = play(server.url, "100ms=100", think, connections=1)
    assert codes == ["654321"] * 10
    assert Counter(outcome.endpoint for _, outcome in kept.calls) == {"send": 10, "verify": 10}
    assert server.connections == 1
    verified = [outcome for _, outcome in kept.calls if outcome.endpoint == "verify"]
    sent = [outcome for _, outcome in kept.calls if outcome.endpoint == "send"]
    assert min(it.started_ns for it in verified) - min(it.started_ns for it in sent) >= 0.2e9
    assert min(it.wait_ns for it in verified) < 0.2e9  # the pause is no wait of the caller's


def test_a_peek_without_a_response_is_told_to_the_host() -> None:
    async def lose_the_peek(request: bytes, writer: asyncio.StreamWriter) -> bool:
        return not request.startswith(b"GET") and await answer_at_once(request, writer)

    def look() -> Journey:
        sent = yield Send(MOBILE)
        assert (yield Peek(sent.msg_id)) is None

    with serving(lose_the_peek) as server:
        kept = play(server.url, "100ms=100", look)
    assert (kept.outcomes(), kept.lost_peeks, kept.broken) == ({50000: 10}, 10, [])


def test_each_call_has_its_own_trace_though_a_journey_yields_one_step_twice_and_a_peek_has_none() -> None:
    async def lose_the_verify(request: bytes, writer: asyncio.StreamWriter) -> bool:
        return b"/valid" not in request and await answer_at_once(request, writer)

    def send_again() -> Journey:
        step = Send(MOBILE)
        yield step
        sent = yield step
        yield Peek(sent.msg_id)
        yield Verify(sent.msg_id, "123456")

    with serving(lose_the_verify) as server:
        kept = play(server.url, "100ms=100", send_again, connections=2, tracer=CallTracer(1.0))
    named = [parse_traceparent(it) for it in re.findall(rb"traceparent: ([^\r]*)", b"".join(server.heads))]
    traces = [outcome.trace for _, outcome in kept.calls if outcome.trace]
    assert kept.outcomes() == {50000: 20, "reset": 10}
    assert len(named) == 40
    assert {it for it in named if it and it.is_sampled} == set(traces)
    assert len(set(traces)) == len(traces) > 20  # a trace that looks like a mobile is not sampled


def test_a_journey_that_pauses_first_finds_another_connection_where_its_own_was_refused() -> None:
    def think_then_send() -> Journey:
        yield Pause(0.2)
        yield Send(MOBILE)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert play(f"http://127.0.0.1:{port}", "50ms=100", think_then_send).outcomes() == {"connect": 5}
    with serving() as server:
        assert play(server.url, "50ms=100", think_then_send).outcomes() == {50000: 5}


def test_a_journey_that_raises_is_reported_and_the_others_go_on() -> None:
    breaks = cycle([True, False])

    def raise_then_send() -> Journey:
        yield Send(MOBILE)
        if next(breaks):
            raise LookupError("this journey is broken")

    with serving() as server:
        kept = play(server.url, "100ms=100", raise_then_send)
    assert kept.outcomes() == {50000: 10}
    assert [str(error) for error in kept.broken] == ["this journey is broken"] * 5


def test_stopping_begins_no_more_and_finishes_what_was_begun() -> None:
    async def answer_later(request: bytes, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(0.1)
        return await answer_at_once(request, writer)

    with serving(answer_later) as server:
        kept = play(server.url, "1h=100", send_and_verify, is_stopping=lambda: len(server.requests) >= 5)
    assert kept.outcomes() == {50000: len(server.requests)}
    assert kept.arrivals.due == len(server.requests) / 2


def test_calls_cut_off_by_the_end_are_recorded_as_cancelled() -> None:
    class EndedError(BaseException):
        pass

    async def never(request: bytes, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(60)
        return True

    kept: list[Host] = []

    def yield_to_hub() -> None:
        if len(server.requests) >= 3:
            raise EndedError

    with serving(never) as server:
        kept.append(Host())
        journeys = (ActiveJourney(begin()) for begin in repeat(send))
        share = Share(Schedule(parse_stages("30ms=100")), 1)
        engine = Engine(
            Connector(Target(server.url, "key", "secret", 1)), kept[0], journeys, share, 5, PATIENCE_S, PATIENCE_S
        )
        with pytest.raises(EndedError):
            engine.run(yield_to_hub, lambda: False)
    assert kept[0].outcomes() == {"cancelled": 3}


@pytest.mark.parametrize("is_known", [True, False])
def test_tls_needs_a_trusted_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_known: bool) -> None:
    cert, context = certificate(tmp_path)
    if is_known:
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    connection.tls_context.cache_clear()
    with serving(tls=context) as server:
        kept = play(server.url, "300ms=100", send_and_verify, connections=3)
    connection.tls_context.cache_clear()
    assert kept.outcomes() == ({50000: 60} if is_known else {"connect": 30})
    assert server.requests == [] or server.connections <= 3


def test_a_request_that_does_not_fit_the_socket_is_sent_in_pieces() -> None:
    bodies: list[int] = []

    def send_much() -> Journey:
        yield Send("1" * 3_000_000)

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> bool:
        bodies.append(1)
        return await answer_at_once(request, writer)

    with serving(answer) as server:
        assert play(server.url, "20ms=100", send_much).outcomes() == {50000: 2}
    assert bodies == [1, 1]
