"""Compare the clients with plain httpx: `python benchmarks/async_client.py`. Takes about a minute.

A minimal keep-alive server runs pinned to core 0, the callers to core 1 (on Linux; elsewhere unpinned), loopback only.
Each round measures every caller, so that a busy moment of the machine affects all of them. The figures are medians over
the rounds; latencies are the percentiles of the median round. "ratio" compares with plain httpx.AsyncClient with as
many tasks.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from importlib import metadata

import httpx
from httpx_aiohttp import AiohttpTransport
from side_by_side import OTHER_CORE, SERVER_CORE, interpreter, pin

from toolkit.api.basic_auth import Credentials
from toolkit.api.wire import CODES_PATH, build_send
from toolkit.client import AsyncClient, Client

ROUNDS, TURN_S = 5, 0.9
MOBILE, TEMP_ID = "13800138000", 1
REPLY = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{"msg_id":"7"}'
REQUEST = build_send(Credentials("key", "secret"), MOBILE, TEMP_ID)

Measured = tuple[float, float, float]  # calls/s, p50 and p99 in ms


class Server(asyncio.Protocol):
    """Answers every request. All requests have the same body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.received = transport, b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.received.endswith(REQUEST.body):
            self.received = b""
            self.transport.write(REPLY)


async def serve() -> None:
    pin(SERVER_CORE)
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def drive(call: Callable[[], Awaitable[object]], tasks: int) -> Measured:
    latencies: list[float] = []

    async def work() -> None:
        while (started := time.perf_counter()) < end:
            await call()
            latencies.append(time.perf_counter() - started)

    began = time.perf_counter()
    end = began + TURN_S
    await asyncio.gather(*(work() for _ in range(tasks)))
    return summarize(latencies, time.perf_counter() - began)


def drive_blocking(call: Callable[[], object]) -> Measured:
    latencies: list[float] = []
    began = started = time.perf_counter()
    while started < began + TURN_S:
        call()
        latencies.append(time.perf_counter() - started)
        started = time.perf_counter()
    return summarize(latencies, started - began)


def summarize(latencies: list[float], seconds: float) -> Measured:
    cuts = statistics.quantiles(latencies, n=100)
    return len(latencies) / seconds, cuts[49] * 1000, cuts[98] * 1000


async def measure(url: str) -> dict[tuple[str, int], list[Measured]]:
    target = url + CODES_PATH

    def ours(on_call: Callable[..., object] | None) -> AsyncClient:
        return AsyncClient(url, "key", "secret", on_call=on_call)

    def post(client: httpx.AsyncClient) -> Callable[[], Awaitable[object]]:
        return lambda: client.post(target, content=REQUEST.body, headers=REQUEST.headers)

    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
    plain, swapped = httpx.AsyncClient(limits=limits), httpx.AsyncClient(transport=AiohttpTransport(limits=limits))
    rows: dict[tuple[str, int], list[Measured]] = {}
    with Client(url, "key", "secret") as blocking, httpx.Client() as plain_blocking:
        async with ours(None) as bare, ours(lambda _: None) as recording, plain, swapped:
            callers = {
                "toolkit.AsyncClient": lambda: bare.send_code(MOBILE, TEMP_ID),
                "toolkit.AsyncClient, on_call": lambda: recording.send_code(MOBILE, TEMP_ID),
                "httpx + httpx-aiohttp": post(swapped),
                "httpx.AsyncClient": post(plain),
            }
            for _ in range(ROUNDS):
                for tasks in (10, 100):
                    for name, call in callers.items():
                        rows.setdefault((name, tasks), []).append(await drive(call, tasks))
                turn = drive_blocking(lambda: blocking.send_code(MOBILE, TEMP_ID))
                rows.setdefault(("toolkit.Client", 1), []).append(turn)
                turn = drive_blocking(
                    lambda: plain_blocking.post(target, content=REQUEST.body, headers=REQUEST.headers)
                )
                rows.setdefault(("httpx.Client", 1), []).append(turn)
    return rows


def show(rows: dict[tuple[str, int], list[Measured]]) -> None:
    medians = {key: sorted(rounds)[len(rounds) // 2] for key, rounds in rows.items()}
    print(f"{'caller':<30}{'tasks':>6}{'calls/s':>9}{'lowest':>8}{'highest':>9}{'ratio':>7}{'p50 ms':>8}{'p99 ms':>8}")
    for (name, tasks), (rate, p50, p99) in medians.items():
        rates = [turn[0] for turn in rows[name, tasks]]
        ratio = rate / medians["httpx.AsyncClient" if tasks > 1 else "httpx.Client", tasks][0]
        print(
            f"{name:<30}{tasks:>6}{rate:>9.0f}{min(rates):>8.0f}{max(rates):>9.0f}{ratio:>7.2f}{p50:>8.2f}{p99:>8.2f}"
        )


def main() -> None:
    with subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            port = int(server.stdout.readline())
            pin(OTHER_CORE)
            show(asyncio.run(measure(f"http://127.0.0.1:{port}")))
        finally:
            server.terminate()
    versions = [f"{name} {metadata.version(name)}" for name in ("httpx", "httpcore", "aiohttp", "httpx-aiohttp")]
    print(f"{interpreter()}, {', '.join(versions)}, {ROUNDS} rounds")


if __name__ == "__main__":
    asyncio.run(serve()) if sys.argv[1:] == ["serve"] else main()
