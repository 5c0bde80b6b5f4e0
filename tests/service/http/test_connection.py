"""A connection bounds its memory and its waiting time, and answers in order, however its caller behaves."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.bench import Bench
from support.edge import Edge, listening, parse_response, run, until
from support.service import basic

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import MAX_BODY_BYTES, ServerResponse
from toolkit.service.core.deferred import Deferred
from toolkit.service.core.deferred import run as run_task
from toolkit.service.http.connection import KEEP_ALIVE_S, PIECE_BYTES, REQUEST_S, Connection
from toolkit.service.http.handler import Api, RequestHandler
from toolkit.service.http.request_parser import MAX_HEAD_BYTES, MAX_MESSAGE_BYTES, Request

AUTH = f"Authorization: {basic('key', 'secret')['Authorization']}\r\n".encode()
READ_BYTES = 256 * 1024  # what uvloop reads at once
SMALLEST = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"


def post(headers: bytes = b"", body: bytes = b"{}") -> bytes:
    return b"POST /v1/codes HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n%s%s\r\n%s" % (len(body), AUTH, headers, body)


CHUNKED = post().replace(b"Content-Length: 2", b"Transfer-Encoding: chunked")[:-2]
CHUNKS = [b"1000\r\n" + b" " * 4096 + b"\r\n", b"1\r\n \r\n", b"1;%s\r\n \r\n" % (b"x" * 3000)]


@asynccontextmanager
async def served(bench: Bench) -> AsyncIterator[Edge]:
    async with listening(RequestHandler(Api(await bench.open()).answer)) as edge:
        yield edge
    await bench.store.close()


async def code_of(reader: asyncio.StreamReader) -> int:
    _, body = await parse_response(reader)
    return int(json.loads(body)["error"]["code"])


@dataclass
class Door:
    """An application whose answers wait until it is opened."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0
    answer_bytes: int = 2

    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def __call__(self, request: Request) -> Deferred[ServerResponse | None]:
        self.calls += 1
        return run_task(self.answer(), self.tasks, lambda problem: None)

    async def answer(self) -> ServerResponse | None:
        await self.opened.wait()
        return ServerResponse(200, ((b"content-length", b"%d" % self.answer_bytes),), bytes(self.answer_bytes))

    def refuse(self, return_code: ReturnCode, peer: str) -> ServerResponse:
        raise NotImplementedError


class Sink:
    """A transport that takes every response at once."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.write = self.written.append

    def get_extra_info(self, name: str) -> None:
        return None

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


def test_any_number_of_requests_that_are_refused_at_once_is_answered(bench: Bench) -> None:
    # One call for each piece of the bytes would exceed the limit of Python's stack.
    requests = sys.getrecursionlimit()

    async def test() -> None:
        async with served(bench) as edge:
            connection = Connection(edge.config, edge.state, {})
            connection.connection_made(sink := Sink())  # type: ignore[arg-type]
            connection.data_received(post(b"X: %s\r\n" % (b"x" * PIECE_BYTES), b"") * requests)
            await until(lambda: len(sink.written) == requests)
            assert {written.count(b'"code":50003') for written in sink.written} == {1}
            edge.state.connections.discard(connection)

    run(test())


# How much is read.


def padded(count: int) -> bytes:
    """Make a request without a body whose head has just so many bytes."""
    bare = len(post(b"X: \r\n", b""))
    return post(b"X: %s\r\n" % (b"x" * (count - bare)), b"")


def test_a_head_up_to_the_bound_is_read(bench: Bench) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, writer = await edge.connect(padded(MAX_HEAD_BYTES))
            assert await code_of(reader) == 50003
            writer.write(post())
            assert await code_of(reader) == 50004

    run(test())


@pytest.mark.parametrize("count", [3 * MAX_HEAD_BYTES, 10**6])
@pytest.mark.parametrize("start", [b"POST /v1/codes HTTP/1.1\r\nX: ", b"POST /v1/", b"POST /v1/codes HTTP/1.1\r\nX"])
def test_a_head_beyond_the_bound_is_refused_before_its_end(bench: Bench, start: bytes, count: int) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, _ = await edge.connect(start + b"x" * count)
            assert await code_of(reader) == 50007
            assert await reader.read() == b""

    run(test())


def test_a_head_of_many_small_headers_is_bounded(bench: Bench) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, _ = await edge.connect(b"POST /v1/codes HTTP/1.1\r\n" + b"a: b\r\n" * 10_000)
            assert await code_of(reader) == 50007
            assert await reader.read() == b""

    run(test())


def test_a_huge_content_length_is_answered_and_not_read_to_its_end(bench: Bench) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, _ = await edge.connect(post().replace(b": 2", b": 10000000000") + b" " * MAX_BODY_BYTES)
            assert await code_of(reader) == 50007
            assert await reader.read() == b""

    run(test())


@pytest.mark.parametrize(
    "chunk", [b"1000\r\n" + b" " * 4096 + b"\r\n", b"1\r\n \r\n", b"1;%s\r\n \r\n" % (b"x" * 3000)]
)
def test_an_endless_chunked_body_is_answered_and_not_read_to_its_end(bench: Bench, chunk: bytes) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, writer = await edge.connect(
                post().replace(b"Content-Length: 2", b"Transfer-Encoding: chunked")[:-2]
            )
            writer.write(chunk * (2 * MAX_MESSAGE_BYTES // len(chunk)))
            assert await code_of(reader) == 50007
            assert await reader.read() == b""

    run(test())


def test_endless_trailers_take_no_memory(bench: Bench) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, writer = await edge.connect(
                post().replace(b"Content-Length: 2", b"Transfer-Encoding: chunked")[:-2]
            )
            writer.write(b"2\r\n{}\r\n0\r\n" + b"a: b\r\n" * MAX_MESSAGE_BYTES)
            assert await code_of(reader) == 50007
            assert await reader.read() == b""

    run(test())


def test_a_chunked_body_of_single_bytes_is_read_up_to_the_bound(bench: Bench) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            body = b'{"mobile":"' + b"1" * (MAX_BODY_BYTES - 13) + b'"}'
            reader, writer = await edge.connect(
                post().replace(b"Content-Length: 2", b"Transfer-Encoding: chunked")[:-2]
            )
            writer.write(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
            assert await code_of(reader) == 50005

    run(test())


def test_a_caller_that_sends_everything_before_reading_gets_its_answer(bench: Bench) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, writer = await edge.connect()
            writer.write(post(body=b" " * 500_000))
            await writer.drain()
            assert await code_of(reader) == 50007

    run(test())


def test_a_refusal_leaves_the_connection_open(bench: Bench) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, writer = await edge.connect(post().replace(AUTH, b"")[:-2])
            writer.write(b"{}" + post())
            assert [await code_of(reader), await code_of(reader)] == [50001, 50004]

    run(test())


@pytest.mark.parametrize(("headers", "keeps"), [(b"Connection: keep-alive\r\n", True), (b"", False)])
def test_an_http_1_0_connection_is_kept_only_on_request(bench: Bench, headers: bytes, keeps: bool) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, writer = await edge.connect(post(headers).replace(b"1.1", b"1.0"))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert (b"connection: keep-alive" in head, b"connection: close" in head) == (keeps, not keeps)
            if keeps:
                await reader.readuntil(b"}}")
                writer.write(post())
                assert await code_of(reader) == 50004
            else:
                assert (await reader.read()).endswith(b"}}")

    run(test())


def test_a_caller_that_closes_its_side_is_answered_and_disconnected(bench: Bench) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, writer = await edge.connect(post() + post())
            writer.write_eof()
            assert [await code_of(reader), await code_of(reader)] == [50004, 50004]
            assert await reader.read() == b""

    run(test())


@pytest.mark.parametrize("half", [b"POST /v1/co", post()[:-1], post()[:60]])
@pytest.mark.parametrize("is_prompt", [True, False])
def test_a_caller_that_closes_its_side_in_a_second_request_is_answered_and_disconnected(
    bench: Bench, half: bytes, is_prompt: bool
) -> None:
    async def test() -> None:
        door, api = Door(), Api(await bench.open())
        app = RequestHandler(api.answer) if is_prompt else door
        async with listening(app) as edge:
            reader, writer = await edge.connect(post() + half)
            writer.write_eof()
            if not is_prompt:
                await until(lambda: door.calls)
                door.opened.set()
            await parse_response(reader)
            assert await reader.read() == b""
            await until(lambda: not edge.connections)
        await bench.store.close()

    run(test())


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"Host: t\r\n" + AUTH + AUTH, 50002),
        (b"Host: t\r\nAuthorization: \r\n" + AUTH, 50002),
        (b"Host: t\r\nHost: t\r\n" + AUTH, 50007),
        (AUTH, 50007),
        (b"Host: t\r\nX-Other: 1\r\nX-Other: 2\r\n" + AUTH, 50004),
    ],
)
def test_a_request_with_repeated_credentials_or_not_one_host_is_refused(bench: Bench, head: bytes, code: int) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, _ = await edge.connect(b"POST /v1/codes HTTP/1.1\r\nContent-Length: 2\r\n%b\r\n{}" % head)
            assert await code_of(reader) == code

    run(test())


def test_http_1_0_needs_no_host(bench: Bench) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, _ = await edge.connect(post().replace(b"Host: t\r\n", b"").replace(b"HTTP/1.1", b"HTTP/1.0"))
            assert await code_of(reader) == 50004

    run(test())


def test_an_incomplete_request_does_not_count_as_in_flight(bench: Bench) -> None:
    async def test() -> None:
        handler = RequestHandler(Api(await bench.open()).answer, max_in_flight=1)
        async with listening(handler) as edge:
            slow = [await edge.connect(post()[:-1]) for _ in range(10)]
            await until(lambda: [it.parser.unfinished for it in edge.connections] == [True] * len(slow))
            reader, _ = await edge.connect(post())
            assert await code_of(reader) == 50004
            for reader, writer in slow:
                writer.write(b"}")
                assert await code_of(reader) == 50004
        await bench.store.close()

    run(test())


# Pieces.


def test_a_request_is_parsed_the_same_in_any_number_of_pieces(bench: Bench) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, _ = await edge.connect()
            await until(lambda: edge.connections)
            protocol = edge.connections[0]
            for raw in (post(), post(b"Connection: Upgrade\r\nUpgrade: h2c\r\n")):
                for cut in range(1, len(raw)):
                    protocol.data_received(raw[:cut])
                    protocol.data_received(raw[cut:])
                    assert await code_of(reader) == 50004

    run(test())


def test_100_continue_is_sent_after_the_earlier_answers() -> None:
    async def test() -> None:
        door = Door()
        async with listening(door) as edge:
            reader, writer = await edge.connect(SMALLEST + post(b"Expect: 100-continue\r\n")[:-2])
            await until(lambda: door.calls)
            door.opened.set()
            assert (await parse_response(reader))[0] == 200
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"{}")
            assert (await parse_response(reader))[0] == 200

    run(test())


def test_the_refusal_of_invalid_http_comes_after_the_earlier_answers(bench: Bench) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, _ = await edge.connect(post() + post(body=b"") + b"\x16\x03\x01\r\n\r\n")
            assert [await code_of(reader) for _ in range(3)] == [50004, 50003, 50018]
            assert await reader.read() == b""

    run(test())


def test_bytes_after_the_last_request_are_not_answered(bench: Bench) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, _ = await edge.connect(post(b"Connection: close\r\n") + post())
            assert await code_of(reader) == 50004
            assert await reader.read() == b""

    run(test())


# Who sends without reading.


def kept(edge: Edge) -> tuple[int, int, int]:
    """Return how many requests and bytes wait in a connection, and how many bytes of answers."""
    (protocol,) = edge.connections
    return len(protocol.parser.parsed), len(protocol.held), protocol.transport.get_write_buffer_size()


def test_a_flood_of_requests_on_one_connection_is_held_back_and_answered() -> None:
    async def test() -> None:
        door = Door()
        async with listening(door) as edge:
            flood = 20_000  # more than one read brings
            reader, _ = await edge.connect(SMALLEST * flood)
            await until(lambda: door.calls and edge.connections[0].held)
            door.opened.set()
            for _ in range(flood):
                requests, waiting, _ = kept(edge)
                assert requests <= PIECE_BYTES // len(SMALLEST) + 1
                assert waiting <= 2 * READ_BYTES
                assert (await parse_response(reader))[0] == 200
            assert door.calls == flood

    run(test())


def test_unread_answers_stop_the_reading_and_end_the_connection() -> None:
    async def test() -> None:
        door = Door(answer_bytes=100_000)
        door.opened.set()
        async with listening(door) as edge:
            _ = await edge.connect(SMALLEST * 10_000)
            await until(lambda: edge.connections and edge.connections[0].write_paused)
            while edge.connections:
                assert kept(edge)[2] < 10 * door.answer_bytes
                edge.pass_time(1)
                await asyncio.sleep(0)
            assert door.calls < 1000

    run(test())


# How long is waited.


UNFINISHED = {
    "a method": b"PO",
    "a head": post()[:60],
    "a body": post(body=b"{}")[:-1],
    "a second request": post() + post()[:60],
}


@pytest.mark.parametrize("name", UNFINISHED)
def test_a_request_that_takes_too_long_to_arrive_is_cut_off(bench: Bench, name: str) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, _ = await edge.connect(UNFINISHED[name])
            await until(lambda: edge.connections and edge.connections[0].parser.unfinished)
            if name == "a second request":
                assert await code_of(reader) == 50004
            for _ in range(REQUEST_S):
                assert edge.connections
                edge.pass_time(1)
            edge.pass_time(1)
            assert await reader.read() == b""

    run(test())


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n" + post()])
def test_a_silent_connection_is_closed_after_the_keep_alive_time(bench: Bench, sent: bytes) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, _ = await edge.connect(sent)
            await until(lambda: edge.connections)
            if sent:
                assert await code_of(reader) == 50004
            edge.pass_time(KEEP_ALIVE_S - 1)
            assert edge.connections[0].transport.is_closing() is False
            edge.pass_time(2)
            assert await reader.read() == b""

    run(test())


def test_requests_keep_a_connection_alive(bench: Bench) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, writer = await edge.connect()
            for _ in range(3):
                writer.write(post())
                assert await code_of(reader) == 50004
                edge.pass_time(KEEP_ALIVE_S - 5)

    run(test())


def test_a_caller_that_waits_for_its_answer_is_not_cut_off() -> None:
    async def test() -> None:
        door = Door()
        async with listening(door) as edge:
            reader, _ = await edge.connect(SMALLEST)
            await until(lambda: door.calls)
            edge.pass_time(10 * KEEP_ALIVE_S)
            door.opened.set()
            assert (await parse_response(reader))[0] == 200

    run(test())


def test_a_caller_is_not_cut_off_while_a_part_of_its_request_is_held_back() -> None:
    async def test() -> None:
        door = Door()
        async with listening(door) as edge:
            reader, _ = await edge.connect(SMALLEST * 1000)
            await until(lambda: door.calls and edge.connections[0].held)
            assert edge.connections[0].parser.unfinished
            edge.pass_time(10 * REQUEST_S)
            door.opened.set()
            for _ in range(1000):
                assert (await parse_response(reader))[0] == 200

    run(test())


def test_a_caller_that_stays_after_the_last_answer_is_cut_off(bench: Bench) -> None:
    async def test() -> None:
        async with served(bench) as edge:
            reader, _ = await edge.connect(b"hello\r\n\r\n")
            assert await code_of(reader) == 50018
            edge.pass_time(REQUEST_S + 1)
            await until(lambda: not edge.connections)

    run(test())
