"""A target that is healthy at first and then fails: a proxy on loopback in front of a real sandbox.

The proxy counts sends. From send number ``after`` + 1 on, every call of the API shows one fault; the launch check and
the first sends are answered by the sandbox. A target that dies at once, ``after`` 0, dies after the launch check.
Counting sends instead of seconds makes the tests independent of the speed of the machine. Reading a code from the
sandbox always works while the proxy listens: only the API fails.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

HANG_S = 3.0
# A response takes this long, well above the time that the sandbox takes, so that users in a closed loop are not busy.
DELAY_S, SLOW_DELAY_S = 0.05, 0.5  # tenfold
RETRY_AFTER_S = 7

_SERVER_ERROR = b'{"error": {"code": 50019, "message": "server error"}}'


class Fault(StrEnum):
    """The fault that a target shows."""

    NONE = "healthy"
    DIE = "die"  # stops listening and resets every connection
    HANG = "hang"  # reads requests and never answers
    HANG_AND_RETURN = "hang and return"  # answers after HANG_S, counted from the first call that hung
    UNAVAILABLE = "503 HTML"
    TOO_MANY = "429 with Retry-After"
    LOGIN_PAGE = "200 HTML"
    SERVER_ERROR = "500 with JSON"
    CLOSE = "close each connection"  # closes the connection when it has read a request
    SLOW = "slow tenfold"


_ANSWERS = {
    Fault.UNAVAILABLE: ("503 Service Unavailable", "text/html", b"<html><h1>Service Unavailable</h1></html>", ""),
    Fault.TOO_MANY: ("429 Too Many Requests", "text/html", b"<html>slow down</html>", f"Retry-After: {RETRY_AFTER_S}"),
    Fault.LOGIN_PAGE: ("200 OK", "text/html", b"<html><form>Please sign in</form></html>", ""),
    Fault.SERVER_ERROR: ("500 Internal Server Error", "application/json", _SERVER_ERROR, ""),
}


@dataclass
class FaultyTarget:
    """Counts of a proxy: ``sends`` that it read, ``faults`` that it showed."""

    url: str
    sends: int = 0
    faults: int = 0


@contextmanager
def faulty_target(sandbox_url: str, fault: Fault, after: int = 0) -> Iterator[FaultyTarget]:
    """Run a proxy that shows a fault from send number ``after`` + 1 on; 0: no call of the load test is answered."""
    ready = threading.Event()
    started: list[_Proxy] = []

    async def main() -> None:
        proxy = _Proxy(sandbox_url, fault, after)
        await proxy.listen()
        started.append(proxy)
        ready.set()
        await proxy.stopped.wait()
        proxy.stop_listening()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    ready.wait(240)
    proxy = started[0]
    try:
        yield proxy.counts
    finally:
        proxy.loop.call_soon_threadsafe(proxy.stopped.set)
        thread.join(240)


class _Proxy:
    def __init__(self, sandbox_url: str, fault: Fault, after: int) -> None:
        self._backend = urlsplit(sandbox_url)
        self._fault, self._after = fault, after
        self._writers: set[asyncio.StreamWriter] = set()
        self._returns_s: float | None = None
        self.loop, self.stopped = asyncio.get_running_loop(), asyncio.Event()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.counts = FaultyTarget(f"http://127.0.0.1:{port}")

    def stop_listening(self) -> None:
        """Refuse new connections and reset the open ones."""
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        backend: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            backend = await asyncio.open_connection(self._backend.hostname, self._backend.port)
            while await self._answer(await _read_message(reader), writer, *backend):
                await writer.drain()
        self._writers.discard(writer)
        for end in (writer, backend and backend[1]):
            if end:
                end.close()

    async def _answer(
        self,
        request: bytes,
        writer: asyncio.StreamWriter,
        from_sandbox: asyncio.StreamReader,
        to_sandbox: asyncio.StreamWriter,
    ) -> bool:
        """Answer a request, or not; return whether the connection stays open."""
        is_call = request.startswith(b"POST ")
        self.counts.sends += request.startswith(b"POST /v1/codes ")
        fault = self._fault if is_call and self.counts.sends > self._after else Fault.NONE
        self.counts.faults += fault is not Fault.NONE
        match fault:
            case Fault.DIE:
                self.stop_listening()
                return False
            case Fault.CLOSE:
                await asyncio.sleep(DELAY_S)
                return False
            case Fault.HANG:
                await self.stopped.wait()
                return False
            case Fault.HANG_AND_RETURN:
                if self._returns_s is None:
                    self._returns_s = self.loop.time() + HANG_S
                await asyncio.sleep(self._returns_s - self.loop.time())
            case _ if is_call:
                await asyncio.sleep(SLOW_DELAY_S if fault is Fault.SLOW else DELAY_S)
        if fault in _ANSWERS:
            writer.write(_encode(*_ANSWERS[fault]))
        else:
            to_sandbox.write(request)
            writer.write(await _read_message(from_sandbox))
        if self._fault is Fault.DIE and not self._after:
            self.counts.faults += 1
            self._server.close()
            return False
        return True


def _encode(status: str, media_type: str, body: bytes, header: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {media_type}",
        f"Content-Length: {len(body)}",
        *filter(None, [header]),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    """Read a request or a response, which states its length if it has a body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    return head + await reader.readexactly(int(length or 0))
