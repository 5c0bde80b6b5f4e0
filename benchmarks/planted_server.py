"""Run a service whose capacity is planted: one queue before one server of random service times, on loopback.

`python benchmarks/planted_server.py --mean-ms 2` prints its URL. It answers as a sandbox: every code is 123456. A send
waits for its turn in the queue; verifies are answered at once. With --rate-limit, sends beyond that many per second get
50009. It needs little CPU, because waiting costs none, so the planted queue is its only limit.
"""

import argparse
import asyncio
import json
import math
import random
from collections.abc import Callable
from contextlib import suppress

SHAPES = ("constant", "exponential", "lognormal")


def service_time_s(shape: str, mean_s: float, draw: random.Random) -> float:
    """Draw a service time."""
    if shape == "exponential":
        return draw.expovariate(1 / mean_s)
    return mean_s * draw.lognormvariate(-0.5, 1.0) if shape == "lognormal" else mean_s


class PlantedServer(asyncio.Protocol):
    """A connection. The queue is shared by all of them."""

    def __init__(self, serve: Callable[[], float | None]) -> None:
        self._serve, self._buffer, self._messages = serve, b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            start = head.find(b"content-length:")
            length = int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            self._handle(head, body)

    def _handle(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"get /sandbox/state"):
            self._write(200, {"sandbox": True})
        elif head.startswith(b"get /sandbox/messages/"):
            self._write(200, {"code": "123456", "text": "123456"})
        elif b"/valid" in head.split(b"\r\n", 1)[0]:
            if b'"123456"' in body:
                self._write(200, {"is_valid": True})
            else:
                self._write(403, {"is_valid": False, "error": {"code": 50010, "message": "invalid code"}})
        else:
            at = self._serve()
            if at is None:
                self._write(403, {"error": {"code": 50009, "message": "out of freq"}})
            else:
                message = {"msg_id": f"{random.getrandbits(128):032x}"}
                asyncio.get_running_loop().call_at(at, self._write, 200, message)

    def _write(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        reason = "OK" if status == 200 else "Forbidden"
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        if not self._transport.is_closing():
            self._transport.write(head.encode() + body)  # type: ignore[attr-defined]


async def serve(shape: str, mean_s: float, rate_limit: float, seed: int, announce: Callable[[str], object]) -> None:
    """Serve until the process is ended."""
    loop, draw = asyncio.get_running_loop(), random.Random(seed)
    free_at, tokens, counted_at = 0.0, rate_limit, loop.time()

    def take() -> float | None:
        """Return when a send is answered; None if the rate limit refuses it."""
        nonlocal free_at, tokens, counted_at
        now = loop.time()
        tokens, counted_at = min(rate_limit, tokens + rate_limit * (now - counted_at)), now
        if rate_limit < math.inf:
            if tokens < 1:
                return None
            tokens -= 1
        free_at = max(free_at, now) + service_time_s(shape, mean_s, draw)
        return free_at

    server = await loop.create_server(lambda: PlantedServer(take), "127.0.0.1", 0)
    announce(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mean-ms", type=float, default=2.0, help="mean service time of a send")
    parser.add_argument("--shape", choices=SHAPES, default="exponential")
    parser.add_argument(
        "--rate-limit", type=float, default=math.inf, help="accepted sends per second, as a token bucket"
    )
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(
            serve(given.shape, given.mean_ms / 1e3, given.rate_limit, given.seed, lambda url: print(url, flush=True))
        )
