"""Too many calls are refused at once, and idle connections delay nobody."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from support.bench import Bench
from support.edge import listening, parse_response, run, until
from support.service import Running, basic

from toolkit.api.return_codes import ReturnCode
from toolkit.service.core.accounts import App, Template
from toolkit.service.http.handler import OTHER, Api, RequestHandler


@pytest.fixture(autouse=True)
def files() -> Iterator[None]:
    """Let this process open as many connections as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def send_call(mobile: int, authorization: str) -> bytes:
    body = json.dumps({"mobile": mobile, "temp_id": 1}).encode()
    head = (
        f"POST /v1/codes HTTP/1.1\r\nHost: t\r\nAuthorization: {authorization}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def call(port: int, raw: bytes) -> tuple[int, bytes]:
    """Make one call on a connection of its own: return code, and the head of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    fields = json.loads(await reader.readexactly(int(length)))
    writer.close()
    return fields["error"]["code"] if "error" in fields else 50000, head


def test_calls_beyond_max_in_flight_are_refused_while_the_store_is_stuck(bench: Bench) -> None:
    async def test() -> None:
        bench.timeout_s = 30
        handler = RequestHandler(Api(await bench.open(balance=2000)).answer, max_in_flight=1000)
        authorization = basic("key", "secret")["Authorization"]
        async with listening(handler) as edge:
            freed = threading.Event()
            bench.store.commits._thread.submit(freed.wait)
            raws = [send_call(13800000000 + n, authorization) for n in range(1500)]
            answers = asyncio.as_completed([call(edge.port, raw) for raw in raws])
            refused = [await next(answers) for _ in range(500)]
            assert handler.counters.in_flight == 1000
            freed.set()
            accepted = [await answer for answer in answers]
            assert (await call(edge.port, send_call(13900000000, authorization)))[0] == 50000
        assert {code for code, _ in refused} == {50019}
        assert all(b"\r\nretry-after: 1\r\n" in head for _, head in refused)
        assert [code for code, _ in accepted] == [50000] * 1000
        assert bench.balance == 2000 - 1001
        assert handler.counters.in_flight == 0
        await bench.store.close()

    run(test())


def test_a_quiet_app_is_served_while_another_has_all_calls_in_flight(bench: Bench) -> None:
    async def test() -> None:
        bench.timeout_s = 30
        api = Api(await bench.open(balance=2000))
        quiet = App(2, "quiet", bench.store.digests.secret("secret"))
        await bench.store.put(app=quiet, credit=1000, template=Template(2, 2, "code {code}"))
        handler = RequestHandler(api.answer, api.service.counters, max_in_flight=400, find_app_key=api.find_app_key)
        noisy, quiet_ = (basic(it, "secret")["Authorization"] for it in ("key", "quiet"))
        async with listening(handler) as edge:
            freed = threading.Event()
            bench.store.commits._thread.submit(freed.wait)
            raws = [send_call(13800000000 + n, noisy) for n in range(600)]
            flood = [asyncio.ensure_future(call(edge.port, raw)) for raw in raws]
            refused = OTHER, ReturnCode.SERVER_ERROR
            await until(lambda: handler.counters.calls[refused] == 200)
            quiet_calls = [
                send_call(13900000000 + n, quiet_).replace(b'"temp_id": 1', b'"temp_id": 2') for n in range(9)
            ]
            asked = [asyncio.ensure_future(call(edge.port, raw)) for raw in quiet_calls]
            await until(lambda: handler.counters.in_flight == 409)
            freed.set()
            assert [code for code, _ in await asyncio.gather(*asked)] == [50000] * 9
            codes = Counter(code for code, _ in await asyncio.gather(*flood))
            assert codes == {50000: 400, 50019: 200}
        assert handler.counters.in_flight == handler.counters.queued == handler.counters.waiting == 0
        await bench.store.close()

    run(test())


def test_a_service_keeps_serving_after_an_overload(start: Callable[..., Running]) -> None:
    service = start("--latency", "500ms", "--max-in-flight", "100")
    port = urlsplit(service.url).port or 0

    async def test() -> None:
        for turn in (137_0000_0000, 139_0000_0000):
            raws = [send_call(turn + n, service.auth["Authorization"]) for n in range(300)]
            answers = await asyncio.gather(*(call(port, raw) for raw in raws))
            codes = Counter(code for code, _ in answers)
            assert codes == {50000: codes[50000], 50019: 300 - codes[50000]}
            assert 100 <= codes[50000] < 300

    run(test())
    assert service.send()


LIMITED = """
import resource, sys
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
from toolkit.cli import main
sys.argv = ["smscode", "serve", "--port", "0", "--json"]
main()
"""


def test_a_thousand_silent_and_two_hundred_slow_connections_delay_no_call() -> None:
    with subprocess.Popen([sys.executable, "-c", LIMITED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        service = Running(process, **json.loads(process.stdout.readline()))
        try:
            run(serve_among_the_slow(service))
        finally:
            process.terminate()


async def serve_among_the_slow(service: Running) -> None:
    port, authorization = urlsplit(service.url).port or 0, service.auth["Authorization"]
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(1000)]
    slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
    raws = [send_call(15000000000 + n, authorization) for n in range(len(slow))]
    piece = 32  # bytes: a service gives a request 10 s to arrive, so smaller pieces would demand a fast machine
    for position in range(0, len(raws[0]), piece):
        for (_, writer), raw in zip(slow, raws, strict=True):
            writer.write(raw[position : position + piece])
        code, _ = await call(port, send_call(15100000000 + position, authorization))
        assert code == 50000
    for reader, writer in slow:
        assert (await parse_response(reader))[0] == 200
        writer.close()
    reader, writer = silent[500]
    writer.write(send_call(15200000000, authorization))
    assert (await parse_response(reader))[0] == 200
    for _, writer in silent:
        writer.close()
