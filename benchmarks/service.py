"""Compare the service with a bare ASGI app, Prism and WireMock: `python benchmarks/service.py`. Takes ten minutes.

Needs Linux and two cores. The server is pinned to core 0; wrk, and Redis if used, to core 1. Each round measures every
server, so that a busy moment of the machine affects all of them. The figures are medians over the rounds; latencies are
the percentiles of the median round. An answer that is not a success ends the benchmark. `memory` measures a million
messages, `profile` the CPU time of each part.
"""

import argparse
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psutil
from side_by_side import (
    OTHER_CORE,
    SERVER_CORE,
    Server,
    UnavailableError,
    add_template,
    announcing,
    child,
    free_port,
    interpreter,
    redis,
    service,
    wait_for,
)

HERE = Path(__file__).parent
PEERS = HERE / "peers"
MODULES = PEERS / "node_modules"
SPEC = HERE.parent / "docs/openapi.yaml"
CONNECTIONS = int(os.environ.get("CONNECTIONS", "32"))
BLOCK = 10_000_000  # mobiles for one run of wrk
CEILING = "bare ASGI"
NOTES = """\
send: POST /v1/codes, each to a mobile of its own. mix: a send and a verify in turn, the verify with the right code of
a message that was sent, and read from the sandbox, before the clock ran. Both are counted as calls. Closed loop, 32
keep-alive connections, or as many as the variable CONNECTIONS says. CPU µs: of the server's processes for a call;
Redis: the same of redis-server; core 0: what share of a core the server's processes had (low where core 1, with wrk,
Redis and whatever else ran, was too busy to ask for more). Two workers share core 0. SQLite, and Redis "always", answer
after their fsync; "everysec" may lose a second with the machine. Bare ASGI only parses and answers; Prism and WireMock
keep no state: they accept any code, however often."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The figures of one run of wrk. Latencies in ms."""

    calls_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    redis_us: float
    other_core_ratio: float


# Calling.


@dataclass(frozen=True, slots=True)
class Answers:
    """wrk's counts of responses, by call."""

    seconds: float
    sent: int
    verified: int
    peeked: int
    p50_ms: float
    p99_ms: float


_blocks = itertools.count(13_000_000_000, BLOCK)


def call(server: Server, mode: str, seconds: float, codes: Path | None = None, count: int = 0) -> Answers:
    """Run wrk against a server; raise RuntimeError unless every answer is a success."""
    threads = CONNECTIONS if mode == "prepare" else 1  # a thread doesn't learn which of its connections was answered
    arguments = [mode, server.authorization, str(server.temp_id), str(next(_blocks)), str(codes), str(count)]
    wrk = ["wrk", f"-t{threads}", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "60s"]
    script = ["-s", str(HERE / "calls.lua"), server.url, "--", *arguments]
    command = ["taskset", "-c", str(OTHER_CORE), *wrk, *script]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"^RESULT ((?:\d+ ){8})(.*)", said.stdout, re.MULTILINE)
    if not found:
        raise RuntimeError(f"wrk: {said.stdout} {said.stderr}")
    took_us, sent, verified, peeked, refused, broken, p50_us, p99_us = map(int, found[1].split())
    if refused or broken:
        raise RuntimeError(f"{mode}: {refused} answers were no success and {broken} calls had none: {found[2]}")
    if mode == "mix" and sent - verified > CONNECTIONS:
        raise RuntimeError(f"{mode}: {sent} sends but only {verified} verifies: too few codes were prepared")
    return Answers(took_us / 1e6, sent, verified, peeked, p50_us / 1000, p99_us / 1000)


def measure(server: Server, mode: str, seconds: float, codes: Path | None = None) -> Turn:
    cpu_s, redis_s, core = server.cpu_s(), server.redis_cpu_s(), psutil.cpu_times(percpu=True)[OTHER_CORE]
    answers = call(server, mode, seconds, codes)
    calls = answers.sent + answers.verified
    cpu_us = (server.cpu_s() - cpu_s) / calls * 1e6
    redis_us = (server.redis_cpu_s() - redis_s) / calls * 1e6
    later = psutil.cpu_times(percpu=True)[OTHER_CORE]
    idle_ratio = (later.idle + later.iowait - core.idle - core.iowait) / (sum(later[:8]) - sum(core[:8]))
    return Turn(calls / answers.seconds, answers.p50_ms, answers.p99_ms, cpu_us, redis_us, 1 - idle_ratio)


def prepare(server: Server, codes: Path, keeps_state: bool, seconds: float) -> None:
    """Write "msg_id code" lines for the verifies of one turn."""
    codes.unlink(missing_ok=True)
    if keeps_state:
        call(server, "prepare", 4 * seconds + 1, codes)
    else:
        line = "06890980-6789-4054-bba9-90fb66ab2fce 123456\n"
        codes.write_text(line * int(50_000 * seconds))


# Servers.


@contextmanager
def on_redis(folder: Path, appendfsync: str, workers: int) -> Iterator[Server]:
    port, kept = free_port(), folder / f"redis-{appendfsync}-{workers}"
    kept.mkdir()
    with (
        redis(kept, port, appendfsync, OTHER_CORE) as process,
        service(f"redis://127.0.0.1:{port}/0", "--workers", str(workers), core=SERVER_CORE) as server,
    ):
        yield replace(server, redis=process)


@contextmanager
def stand_in(command: list[str], port: int) -> Iterator[Server]:
    """Run another server until the block ends. It is ready when the block begins."""
    with child(command, SERVER_CORE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        server = Server(psutil.Process(process.pid), f"http://127.0.0.1:{port}")
        wait_for(lambda: answers(server), 60)
        yield server


def answers(server: Server) -> bool:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=5)
    headers = {"Authorization": server.authorization, "Content-Type": "application/json"}
    try:
        connection.request("POST", "/v1/codes", '{"mobile":"13800138000","temp_id":1}', headers)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def install_peers() -> None:
    if MODULES.exists():
        return
    if not shutil.which("npm"):
        raise UnavailableError("npm isn't installed")
    done = subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=PEERS, capture_output=True, text=True)
    if done.returncode:
        raise UnavailableError(f"npm install: {done.stderr.strip()[-200:]}")


@contextmanager
def prism(*options: str) -> Iterator[Server]:
    install_peers()
    port = free_port()
    command = ["node", str(MODULES / "@stoplight/prism-cli/dist/index.js"), "mock", str(SPEC)]
    with stand_in([*command, "--port", str(port), *options], port) as server:
        yield server


@contextmanager
def wiremock(*options: str) -> Iterator[Server]:
    install_peers()
    if not shutil.which("java"):
        raise UnavailableError("java isn't installed")
    port, jar = free_port(), next(MODULES.glob("wiremock/build/wiremock-standalone-*.jar"))
    with stand_in(["java", "-jar", str(jar), "--port", str(port), "--root-dir", str(PEERS), *options], port) as server:
        yield server


def start_all(stack: ExitStack, folder: Path, only: list[str]) -> dict[str, Server]:
    """Start the available servers, and print why others can't be started."""
    starting = {
        "SQLite FULL": service(f"sqlite:///{folder}/store.db", core=SERVER_CORE),
        "Redis always, 1 worker": on_redis(folder, "always", 1),
        "Redis always, 2 workers": on_redis(folder, "always", 2),
        "Redis everysec, 1 worker": on_redis(folder, "everysec", 1),
        CEILING: announcing([sys.executable, str(HERE / "bare_asgi.py")], SERVER_CORE),
        "Prism": prism(),
        "Prism, log off": prism("--verboseLevel", "silent"),
        "WireMock": wiremock(),
        "WireMock, journal off": wiremock("--no-request-journal", "--disable-request-logging"),
    }
    servers = {}
    for name, server in starting.items():
        if only and name != CEILING and not any(name.startswith(word) for word in only):
            continue
        try:
            servers[name] = stack.enter_context(server)
        except UnavailableError as reason:
            print(f"{name}: left out: {reason}", flush=True)
    return servers


# The table of speeds.


def speed(rounds: int, seconds: float, only: list[str]) -> None:
    turns: dict[tuple[str, str], list[Turn]] = {}
    with TemporaryDirectory(prefix="smscode-bench-") as name, ExitStack() as stack:
        codes, servers = Path(name) / "codes", start_all(stack, Path(name), only)
        for number, (subject, server) in itertools.product(range(rounds + 1), servers.items()):
            print(f"round {number} of {rounds}: {subject}", file=sys.stderr, flush=True)
            send = measure(server, "send", seconds)
            prepare(server, codes, subject.startswith(("SQLite", "Redis")), seconds)
            mix = measure(server, "mix", seconds, codes)
            if number:  # before the first, the JVM's and V8's compilers have to see the code
                turns.setdefault((subject, "send"), []).append(send)
                turns.setdefault((subject, "mix"), []).append(mix)
    show(turns)


def show(turns: dict[tuple[str, str], list[Turn]]) -> None:
    medians = {key: sorted(each, key=lambda it: it.calls_per_s)[len(each) // 2] for key, each in turns.items()}
    print(f"{'server':<26}{'calls':<6}{'calls/s':>9}{'lowest':>8}{'highest':>9}{'of bare':>9}", end="")
    print(f"{'p50 ms':>8}{'p99 ms':>8}{'CPU µs':>8}{'Redis':>7}{'core 0':>8}{'core 1':>8}")
    for (name, mode), it in medians.items():
        rates = [each.calls_per_s for each in turns[name, mode]]
        ratio = it.calls_per_s / medians[CEILING, mode].calls_per_s
        print(f"{name:<26}{mode:<6}{it.calls_per_s:>9.0f}{min(rates):>8.0f}{max(rates):>9.0f}{ratio:>9.2f}", end="")
        print(f"{it.p50_ms:>8.2f}{it.p99_ms:>8.2f}{it.cpu_us:>8.1f}{it.redis_us:>7.1f}", end="")
        print(f"{it.calls_per_s * it.cpu_us / 1e6:>8.0%}{it.other_core_ratio:>8.0%}")
    print(NOTES)


def versions() -> str:
    ours = [f"{name} {metadata.version(name)}" for name in ("sms-code-toolkit", "uvicorn", "uvloop", "httptools")]
    peers = json.loads((PEERS / "package.json").read_text())["dependencies"]
    tools = [("redis-server", "--version"), ("java", "-version"), ("node", "--version"), ("wrk", "--version")]
    return ", ".join(
        [
            interpreter(),
            *ours,
            f"SQLite {sqlite3.sqlite_version}",
            *(f"{name.rpartition('/')[2]} {version}" for name, version in peers.items()),
            *(f"{name} {_version(name, option)}" for name, option in tools if shutil.which(name)),
        ]
    )


def _version(name: str, option: str) -> str:
    done = subprocess.run([name, option], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return found[0] if found else "?"


# Memory and start-up.


def memory(messages: int, speed_up: int = 1000) -> None:
    """Print the memory for a number of messages while they are valid, after a restart, and after they have expired."""
    with TemporaryDirectory(prefix="smscode-bench-") as name:
        store = f"sqlite:///{name}/store.db"
        with service(store, core=SERVER_CORE) as server:
            report("empty", server)
            lasting = server.with_template(add_template(store, server.app_key, ttl_s=3600))
            began = time.monotonic()
            call(lasting, "fill", 3000, count=messages)
            report(f"{messages} unexpired messages, sent in {time.monotonic() - began:.0f} s", server)
        began = time.monotonic()
        with service(store, core=SERVER_CORE) as server:
            report(f"start with {messages} unexpired messages took {time.monotonic() - began:.1f} s", server)
        with service(store, "--speed", str(speed_up), core=SERVER_CORE) as server:
            report(f"started once more, at {speed_up} times the speed", server)
            for hours in (2, 30, 60):
                time.sleep(max(0.0, began + 10 + hours * 3600 / speed_up - time.monotonic()))
                call(server, "send", 1)
                report(f"{hours} hours later", server)
        print(f"the file: {(Path(name) / 'store.db').stat().st_size / 1e6:.0f} MB")


def report(what: str, server: Server) -> None:
    print(f"{server.rss_mb():>6.0f} MB RSS: {what}", flush=True)


# The profile.


def profile(mode: str, seconds: int) -> None:
    """Print the CPU time of a call, and the shares of the interpreter lock by file and by function."""
    spy_path = Path(sys.executable).with_name("py-spy")
    if not spy_path.exists():
        raise UnavailableError("py-spy isn't installed (pip install py-spy)")
    with TemporaryDirectory(prefix="smscode-bench-") as name:
        codes, stacks = Path(name) / "codes", Path(name) / "stacks"
        with service(f"sqlite:///{name}/store.db", core=SERVER_CORE) as server:
            prepare(server, codes, True, 2 * seconds)
            show_cpu(server, mode, seconds, codes)
            prepare(server, codes, True, 2 * seconds)
            # Samples of all threads would mostly show the store's, which waits for the next batch.
            spying = [str(spy_path), "record", "--gil", "--rate", "400", "--duration", str(seconds)]
            where = ["--pid", str(server.process.pid), "--format", "raw", "--output", str(stacks)]
            with child([*spying, *where], OTHER_CORE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as spy:
                call(server, mode, seconds + 2, codes)
                spy.wait()
        show_profile(read_stacks(stacks.read_text()))


def show_cpu(server: Server, mode: str, seconds: int, codes: Path) -> None:
    before = server.process.cpu_times()
    answers = call(server, mode, seconds, codes)
    after, calls = server.process.cpu_times(), answers.sent + answers.verified
    user_us, system_us = ((after[n] - before[n]) / calls * 1e6 for n in (0, 1))
    print(f"{mode}: {calls / answers.seconds:.0f} calls/s, CPU µs a call: {user_us:.0f} user, {system_us:.0f} system")


def read_stacks(text: str) -> list[tuple[list[str], int]]:
    """Return stacks of "function (file)", outermost first, each with its samples."""
    parted = (line.rpartition(" ") for line in text.splitlines())
    return [([re.sub(r":\d+\)$", ")", it) for it in stack.split(";")], int(count)) for stack, _, count in parted]


def show_profile(stacks: list[tuple[list[str], int]], rows: int = 30) -> None:
    files, own, total = Counter[str](), Counter[str](), Counter[str]()
    for frames, samples in stacks:
        files[frames[-1].rpartition("(")[2].rstrip(")")] += samples
        own[frames[-1]] += samples
        total.update(dict.fromkeys(frames, samples))
    print(f"{'own':>6}  file")
    for name, samples in files.most_common(rows // 2):
        print(f"{samples / files.total():>6.1%}  {name}")
    print(f"{'own':>6}{'total':>8}  function")
    for name, samples in own.most_common(rows):
        print(f"{samples / files.total():>6.1%}{total[name] / files.total():>8.1%}  {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["speed", "memory", "profile"], default="speed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of one turn")
    parser.add_argument("--only", nargs="*", default=[], help="servers whose names begin so, beside the bare one")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--calls", choices=["send", "mix"], default="mix", help="to profile")
    chosen = parser.parse_args()
    try:
        if not shutil.which("wrk"):
            raise UnavailableError("wrk isn't installed (Debian: apt-get install wrk)")
        if chosen.what == "speed":
            speed(chosen.rounds, chosen.seconds, chosen.only)
        elif chosen.what == "memory":
            memory(chosen.messages)
        else:
            profile(chosen.calls, chosen.seconds)
    except (UnavailableError, RuntimeError) as problem:
        sys.exit(str(problem))
    print(versions())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started ends with it
    main()
