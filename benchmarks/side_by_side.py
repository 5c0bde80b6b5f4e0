"""Start the processes that the benchmarks compare, on a given core if asked, and stop them when a block ends."""

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import psutil

SERVER_CORE, OTHER_CORE = 0, 1
SMSCODE = [sys.executable, "-m", "toolkit"]


def interpreter() -> str:
    """Return the interpreter's version, and whether it was built with profile-guided optimisation.

    Debian's package makes the target ``profile-opt`` itself, so its arguments of configure do not show it.
    """
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    is_debian = sys.base_prefix == "/usr" and "/usr/share/python-wheels" in arguments
    build = "with PGO" if is_debian or "--enable-optimizations" in arguments else "without PGO"
    return f"{platform.python_implementation()} {platform.python_version()} ({build})"


class UnavailableError(Exception):
    """A program can't be started on this computer. The message is the reason."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, with its URL and credentials, and its Redis if it has one."""

    process: psutil.Process
    url: str
    app_key: str = "key"
    master_secret: str = "secret"
    temp_id: int = 1
    redis: psutil.Process | None = None

    @property
    def authorization(self) -> str:
        return "Basic " + b64encode(f"{self.app_key}:{self.master_secret}".encode()).decode()

    def processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def cpu_s(self) -> float:
        return float(sum(sum(each.cpu_times()[:2]) for each in self.processes()))

    def redis_cpu_s(self) -> float:
        return float(sum(self.redis.cpu_times()[:2])) if self.redis else 0.0

    def rss_mb(self) -> float:
        return float(sum(each.memory_info().rss for each in self.processes()) / 1e6)

    def with_template(self, temp_id: int) -> Self:
        return replace(self, temp_id=temp_id)

    def kill(self) -> None:
        """Kill all processes (SIGKILL). The parent is stopped first, so that it restarts none."""
        self.process.suspend()
        for each in reversed(self.processes()):
            each.kill()


def pin(core: int) -> None:
    with suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {core})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def child(command: list[str], core: int | None = None, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a process until the block ends, on one core if asked."""
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    with subprocess.Popen([*pinned, *command], text=True, **options) as process:
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(15)
    process.kill()


@contextmanager
def announcing(command: list[str], core: int | None = None) -> Iterator[Server]:
    """Run a server that prints one line of JSON when it is ready; raise UnavailableError if it doesn't."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        child(command, core, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            process.wait()
            errors.seek(0)
            raise UnavailableError(" ".join(errors.read().split())[-200:])
        yield Server(psutil.Process(process.pid), **json.loads(line))


def service(store: str, *options: str, core: int | None = None) -> Any:
    """Run `smscode serve` on a store."""
    return announcing([*SMSCODE, "serve", "--port", "0", "--json", "--store", store, *options], core)


def add_template(store: str, app_key: str, ttl_s: int) -> int:
    adding = ["template", "add", app_key, "code {code}", "--ttl", str(ttl_s), "--store", store, "--json"]
    done = subprocess.run([*SMSCODE, *adding], capture_output=True, text=True, check=True)
    time.sleep(1)  # so long may it take a service over Redis to know of it
    return int(json.loads(done.stdout)[0]["temp_id"])


@contextmanager
def redis(folder: Path, port: int, appendfsync: str = "always", core: int | None = None) -> Iterator[psutil.Process]:
    """Run a redis-server that appends to a file in a folder."""
    if not shutil.which("redis-server"):
        raise UnavailableError("redis-server isn't installed (Debian: apt-get install redis-server)")
    os.environ["SMSCODE_KEY_FILE"] = str(folder / "smscode.key")  # every process that uses this Redis needs the same
    where = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    command = ["redis-server", *where, "--appendonly", "yes", "--appendfsync", appendfsync]
    with child(command, core, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: _pongs(port))
        yield psutil.Process(process.pid)


def _pongs(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
        peer.sendall(b"PING\r\n")
        return peer.recv(100).startswith(b"+PONG")
    return False


def wait_for(true: Callable[[], bool], within_s: float = 30) -> None:
    end = time.monotonic() + within_s
    while not true():
        if time.monotonic() > end:
            raise UnavailableError(f"no answer within {within_s} s")
        time.sleep(0.02)
