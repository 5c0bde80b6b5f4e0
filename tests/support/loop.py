"""A small real server for many connections at once: it answers as it is told, and knows what it did and when."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

SENT = b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"msg_id":"m"}'
VERIFIED = b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"is_valid":true}'


@dataclass
class Server:
    """A server that keeps the heads of its requests, and in ``requests`` their first lines.

    ``answer``: writes an answer to a request's first line, and returns False to hang up.
    """

    answer: Callable[[bytes, asyncio.StreamWriter], Awaitable[bool]]
    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0
    stalls_ns: list[tuple[int, int]] = field(default_factory=list)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def stall(self, duration_s: float) -> None:
        """Answer nobody for a while."""
        began_ns = time.time_ns()
        time.sleep(duration_s)
        self.stalls_ns.append((began_ns, time.time_ns()))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._serve_one(reader, writer):
                pass
        writer.close()
        with suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
            await writer.wait_closed()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        await reader.readexactly(int(length[0].split(b":")[1]))
        self.heads.append(head)
        self.requests.append(head.split(b"\r\n")[0])
        return await self.answer(self.requests[-1], writer)

    async def end(self) -> None:
        """End every connection."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def answer_at_once(request: bytes, writer: asyncio.StreamWriter) -> bool:
    writer.write(VERIFIED if request.endswith(b"/valid HTTP/1.1") else SENT)
    return True


@contextmanager
def serving(
    answer: Callable[[bytes, asyncio.StreamWriter], Awaitable[bool]] = answer_at_once,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> Iterator[Server]:
    """Serve on a loopback port in a thread of its own."""
    server = Server(answer)
    listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    scheme, name = ("https", "localhost") if tls else ("http", f"[{host}]" if ":" in host else host)
    server.url = f"{scheme}://{name}:{listener.getsockname()[1]}"
    server.loop.run_until_complete(asyncio.start_server(server.serve, sock=listener, ssl=tls, backlog=1000))
    thread = threading.Thread(target=server.loop.run_forever)
    thread.start()
    try:
        yield server
    finally:
        server.loop.call_soon_threadsafe(server.loop.stop)
        thread.join()
        server.loop.run_until_complete(server.end())
        server.loop.close()
        listener.close()
