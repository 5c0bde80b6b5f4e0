"""Run a service whose capacity is planted: one queue before one server of random service times, on loopback.

`python benchmarks/planted_server.py --mean-ms 2` prints its URL. It answers as a sandbox: every code is 123456. A send
waits for its turn in the queue; verifies are answered at once. With --rate-limit, sends beyond that many per second get
50009. With --noise the server's speed wanders by 3 % from second to second; with --stalls it stands still for 20 ms,
every 5 s on average. It needs little CPU, because waiting costs none, so the planted queue is its only limit.
"""

import argparse
import asyncio
import json
import math
import random
from collections.abc import Callable
from contextlib import suppress

SHAPES = ("constant", "exponential", "lognormal", "bimodal")
SPEED_NOISE, NOISE_MEMORY = 0.03, 0.5  # of a server's speed from second to second
STALL_S, STALL_EVERY_S = 0.02, 5.0
SLOW_SHARE, SLOW_TIMES, FAST_TIMES = 0.05, 10.0, 0.5 / 0.95  # of bimodal sends: a mean of 1


def service_time_s(shape: str, mean_s: float, draw: random.Random) -> float:
    """Draw a service time."""
    match shape:
        case "exponential":
            return draw.expovariate(1 / mean_s)
        case "lognormal":
            return mean_s * draw.lognormvariate(-0.5, 1.0)
        case "bimodal":
            return mean_s * (SLOW_TIMES if draw.random() < SLOW_SHARE else FAST_TIMES)
    return mean_s


class PlantedQueue:
    """A queue before one server. Times are those of a monotonic clock, in s.

    Args:
        shape: Distribution of the service times.
        mean_s: Their mean.
        draw: Draws them.
        rate_limit_per_s: Size and refill of a token bucket; infinite for none.
        is_noisy: Whether the server's speed wanders.
        stalls: Whether it stalls.
    """

    def __init__(
        self,
        shape: str,
        mean_s: float,
        draw: random.Random,
        rate_limit_per_s: float = math.inf,
        is_noisy: bool = False,
        stalls: bool = False,
    ) -> None:
        self._shape, self._mean_s, self._draw, self._rate_limit_per_s = shape, mean_s, draw, rate_limit_per_s
        self._is_noisy, self._tokens = is_noisy, rate_limit_per_s
        self._free_at = self._counted_at = -math.inf
        self._second, self._noise = -1, draw.gauss(0.0, 1.0)
        self._stall_at = -math.inf if stalls else math.inf

    def take(self, now: float) -> float | None:
        """Return when a send that arrives now is done; None if the rate limit refuses it."""
        if not self._is_admitted(now):
            return None
        time_s = service_time_s(self._shape, self._mean_s, self._draw)
        if self._is_noisy:
            time_s *= self._slowness(int(now))
        if self._stall_at <= now:
            time_s += STALL_S
            self._stall_at = now + self._draw.expovariate(1 / STALL_EVERY_S)
        self._free_at = max(self._free_at, now) + time_s
        return self._free_at

    def _is_admitted(self, now: float) -> bool:
        if self._rate_limit_per_s == math.inf:
            return True
        refill = self._rate_limit_per_s * (now - self._counted_at)
        self._tokens, self._counted_at = min(self._rate_limit_per_s, self._tokens + refill), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _slowness(self, second: int) -> float:
        """Return the factor of all service times in a second."""
        if second != self._second:
            new = self._draw.gauss(0.0, 1.0)
            self._second = second
            self._noise = NOISE_MEMORY * self._noise + math.sqrt(1 - NOISE_MEMORY**2) * new
        return math.exp(SPEED_NOISE * self._noise)


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


async def serve(queue: PlantedQueue, announce: Callable[[str], object]) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: PlantedServer(lambda: queue.take(loop.time())), "127.0.0.1", 0)
    announce(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mean-ms", type=float, default=2.0, help="mean service time of a send")
    parser.add_argument("--shape", choices=SHAPES, default="exponential")
    parser.add_argument(
        "--rate-limit", type=float, default=math.inf, help="accepted sends per second, as a token bucket"
    )
    parser.add_argument("--noise", action="store_true", help="let its speed wander")
    parser.add_argument("--stalls", action="store_true", help="let it stall now and then")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    planted = PlantedQueue(
        given.shape, given.mean_ms / 1e3, random.Random(given.seed), given.rate_limit, given.noise, given.stalls
    )
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(planted, lambda url: print(url, flush=True)))
