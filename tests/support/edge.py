"""Connections in the event loop of the test: real sockets, and an application and timeouts that the test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
import uvloop
from uvicorn.server import ServerState

from toolkit.service.http.connection import Connection, sweep


@dataclass
class Edge:
    """``connections``: those that are open. ``looked_s``: the time of the last sweep."""

    port: int
    state: ServerState
    config: uvicorn.Config
    looked_s: float = 0.0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def connections(self) -> list[Connection]:
        return list(self.state.connections)  # type: ignore[arg-type]

    async def connect(self, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        writer.write(sent)
        return reader, writer

    def pass_time(self, seconds: float) -> None:
        """Sweep at every second of a stretch of time."""
        end_s = self.looked_s + seconds
        while self.looked_s < end_s:
            self.looked_s += 1
            sweep(self.connections, self.looked_s)


@asynccontextmanager
async def listening(app: Any) -> AsyncIterator[Edge]:
    options = {
        "ws": "none",
        "lifespan": "off",
        "log_config": None,
        "server_header": False,
        "proxy_headers": False,
        "interface": "asgi3",
    }
    config = uvicorn.Config(app, http=Connection, **options)
    state = ServerState()
    config.load()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(config, state, {}), "127.0.0.1", 0, backlog=2048
    )
    edge = Edge(server.sockets[0].getsockname()[1], state, config)
    try:
        yield edge
    finally:
        server.close()
        for writer in edge.writers:
            writer.close()
        await until(lambda: not state.connections)
        await asyncio.gather(*state.tasks, return_exceptions=True)


async def until(reached: Any) -> None:
    """Let the loop run until something is so."""
    async with asyncio.timeout(240):
        while not reached():
            await asyncio.sleep(0)


async def parse_response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one answer by its Content-Length: status and body."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
    return int(head.split()[1]), await reader.readexactly(int(length))


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test in the loop that the service runs in."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(test, 60))
