"""Measure a quiet app alone and beside a noisy one: `python benchmarks/fairness.py`. Takes a minute.

Needs Linux, two cores and wrk. The quiet app has one connection, and waits 2 ms between two calls. wrk calls as fast
as it can for another app. Rounds alternate, so that a busy moment of the machine affects every row; figures are medians
of the rounds. If this process may, it takes the highest priority: its own delays would count as the service's.
"""

import argparse
import gc
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from side_by_side import (
    OTHER_CORE,
    SMSCODE,
    Server,
    UnavailableError,
    add_template,
    free_port,
    interpreter,
    pin,
    redis,
    service,
)

HERE = Path(__file__).parent
PAUSE_S, WARM_UP_S = 0.002, 0.7
BLOCK = 10_000_000  # mobiles for one run of wrk
_quiet_mobiles, _blocks = count(19_100_000_000), count(13_000_000_000, BLOCK)


def add_app(server: Server, store: str) -> Server:
    """Create another app with a template, and return the server with its credentials."""
    creating = ["app", "create", "--balance", "1000000000", "--store", store, "--json"]
    done = subprocess.run([*SMSCODE, *creating], capture_output=True, text=True, check=True)
    app = json.loads(done.stdout)
    quiet = replace(server, app_key=app["app_key"], master_secret=app["master_secret"])
    return quiet.with_template(add_template(store, quiet.app_key, ttl_s=300))


@contextmanager
def noise(server: Server, connections: int, seconds: int) -> Iterator[list[float]]:
    """Call with many connections while the block runs. Then the list holds successes and refusals, a second each."""
    rates: list[float] = []
    if not connections:
        yield rates
        return
    arguments = ["send", server.authorization, str(server.temp_id), str(next(_blocks)), "", "0"]
    wrk = ["wrk", "-t1", f"-c{connections}", f"-d{seconds + 1}s", "--timeout", "60s", "-s", str(HERE / "calls.lua")]
    with subprocess.Popen([*wrk, server.url, "--", *arguments], stdout=subprocess.PIPE, text=True) as process:
        time.sleep(WARM_UP_S)
        yield rates
        said, _ = process.communicate()
    found = re.search(r"^RESULT ((?:\d+ ){8})", said, re.MULTILINE)
    if not found:
        raise RuntimeError(f"wrk: {said}")
    took_us, sent, _, _, refused, *_ = map(int, found[1].split())
    rates += [sent / took_us * 1e6, refused / took_us * 1e6]


def call(server: Server, seconds: float) -> tuple[list[float], int]:
    """Return the sorted latencies of calls in ms, and how many were refused."""
    address = urlsplit(server.url)
    head = f"POST /v1/codes HTTP/1.1\r\nHost: t\r\nAuthorization: {server.authorization}\r\nContent-Length: "
    latencies_ms, refused, end_s = [], 0, time.monotonic() + seconds
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.monotonic() < end_s:
            body = f'{{"mobile":"{next(_quiet_mobiles)}","temp_id":{server.temp_id}}}'
            began_s = time.perf_counter()
            connection.sendall(f"{head}{len(body)}\r\n\r\n{body}".encode())
            refused += not connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            latencies_ms.append((time.perf_counter() - began_s) * 1000)
            time.sleep(PAUSE_S)
    return sorted(latencies_ms), refused


@contextmanager
def first_in_line() -> Iterator[None]:
    """Run before every other process of the machine, if this process may, until the block ends."""
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(30))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


def measure(store: str, server: Server, connections: list[int], rounds: int, seconds: int) -> None:
    quiet, turns = add_app(server, store), {each: [] for each in connections}
    pin(OTHER_CORE)
    gc.disable()
    for _ in range(rounds):
        for each in connections:
            with noise(server, each, seconds) as rates, first_in_line():
                latencies_ms, refused = call(quiet, seconds)
            p50_ms, p99_ms = (latencies_ms[int(share * len(latencies_ms))] for share in (0.5, 0.99))
            turns[each].append((p50_ms, p99_ms, refused, *(rates or (0, 0))))
    print(
        f"{'connections of the noisy app':<30}{'p50 ms':>8}{'p99 ms':>8}{'refused':>9}{'noisy/s':>9}{'refused/s':>11}"
    )
    for each, rows in turns.items():
        p50_ms, p99_ms, _, sent, noisy_refused = (statistics.median(column) for column in zip(*rows, strict=True))
        refused = sum(row[2] for row in rows)
        print(f"{each:<30}{p50_ms:>8.2f}{p99_ms:>8.2f}{refused:>9}{sent:>9.0f}{noisy_refused:>11.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--redis", action="store_true", help="a Redis store, in place of SQLite")
    parser.add_argument("--connections", type=int, nargs="*", default=[0, 200, 1500], help="of the noisy app; 0: none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of one turn")
    chosen = parser.parse_args()
    try:
        if not shutil.which("wrk"):
            raise UnavailableError("wrk isn't installed (Debian: apt-get install wrk)")
        with TemporaryDirectory(prefix="smscode-bench-") as name, ExitStack() as stack:
            store = f"sqlite:///{name}/store.db"
            if chosen.redis:
                port = free_port()
                stack.enter_context(redis(Path(name), port))
                store = f"redis://127.0.0.1:{port}/0"
            server = stack.enter_context(service(store))
            measure(store, server, chosen.connections, chosen.rounds, chosen.seconds)
    except (UnavailableError, RuntimeError) as problem:
        sys.exit(str(problem))
    print(interpreter())


if __name__ == "__main__":
    main()
