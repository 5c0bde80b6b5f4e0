"""Redis as processes of its own: one server, or a cluster of three."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as NotConnected
from support.programs import require

SLOTS = 16384


@dataclass
class RedisServer:
    """A redis-server on a port of its own, in a folder of its own."""

    folder: Path
    options: tuple[str, ...] = ()
    port: int = field(default_factory=lambda: free_port())
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        self.process = subprocess.Popen([*command, "--save", "", *self.options], stdout=subprocess.DEVNULL)
        with self.client() as client:
            _wait(lambda: _answers(client))

    def client(self) -> Redis:
        return Redis(port=self.port, socket_timeout=240)

    def empty(self) -> None:
        with self.client() as client:
            client.flushall()

    def freeze(self) -> None:
        """Let it go on living, and answer nothing."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[RedisServer]:
    """Run a Redis until the block ends."""
    server = RedisServer(folder, options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def redis_cluster(folder: Path) -> Iterator[list[RedisServer]]:
    """Run a Redis Cluster of three primaries until the block ends."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(_node(folder / str(n))) for n in range(3)]
        for n, node in enumerate(nodes):
            first, last = SLOTS * n // 3, SLOTS * (n + 1) // 3 - 1
            with node.client() as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
                client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port, _bus_port(nodes[0]))
        _wait(lambda: all(_is_whole(node) for node in nodes))
        yield nodes


def _node(folder: Path) -> AbstractContextManager[RedisServer]:
    return redis_server(folder, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))


def _is_whole(node: RedisServer) -> bool:
    with node.client() as client:
        about = client.execute_command("CLUSTER INFO")
    return str(about["cluster_state"]) == "ok"


def _bus_port(node: RedisServer) -> str:
    return node.options[-1]


def need_redis() -> None:
    """Skip the test if redis-server is not installed."""
    require("redis-server")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except (NotConnected, BusyLoadingError):
        return False


def _wait(is_so: Callable[[], bool], timeout_s: float = 240) -> None:
    until = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)  # a process is starting: nothing tells when it has


@dataclass
class Wire:
    """What lies between a store and its Redis. ``is_cut``: what Redis answers gets lost. ``change``: or changed."""

    url: str = ""
    is_cut: bool = False
    change: Callable[[bytes], bytes] = lambda answer: answer


@asynccontextmanager
async def wire(server: RedisServer) -> AsyncIterator[Wire]:
    """Lead to a Redis over a port that the test has in its hands."""
    led = Wire()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection("127.0.0.1", server.port)
        asking = asyncio.create_task(_pass_on(reader, questions, lambda question: question))
        await _pass_on(answers, writer, lambda answer: b"" if led.is_cut else led.change(answer))
        await asking

    listening = await asyncio.start_server(lead, "127.0.0.1", 0)
    async with listening:
        led.url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield led


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes]
) -> None:
    with closing(writer), suppress(ConnectionError):
        while some := await reader.read(65_536):
            writer.write(change(some))
            await writer.drain()
