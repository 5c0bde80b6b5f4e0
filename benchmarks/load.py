"""Compare the load test with locust's users and wrk: `python benchmarks/load.py speed|stall|scaling`.

Needs Linux and two cores. The server runs pinned to core 0, the load generator to core 1. The server is
`trivial_server.c`, compiled with cc, or nginx over TLS. Both count their answers, which are compared with the
generator's count.
"""

import argparse
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.request import urlopen

from side_by_side import OTHER_CORE, SERVER_CORE, UnavailableError, child, free_port, interpreter, pin, wait_for

HERE = Path(__file__).parent
USERS = HERE / "load_users.py"
CONNECTIONS = 64
OVERLOAD = 200_000  # journeys a second: more than anything can begin; each that is dropped costs CPU time, too
STALL_MS, EVERY_MS, RATE, STALL_RUN_S = 200, 2_000, 1_000, 20
PERCENTILES = (50, 95, 99, 99.9)
SETTINGS = {"SMSCODE_APP_KEY": "key", "SMSCODE_MASTER_SECRET": "secret", "SMSCODE_TEMP_ID": "1"}
AUTHORIZATION = "Basic a2V5OnNlY3JldA=="
NGINX = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000000; default_type application/json;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{tls_port} ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
        location = /v1/codes {{ return 200 '{{"msg_id":"123456789"}}'; }}
        location = /sandbox/state {{ return 200 '{{"sandbox":true}}'; }}
        location /v1/codes/ {{ return 200 '{{"is_valid":true}}'; }}
    }}
    server {{ listen 127.0.0.1:{port}; location / {{ stub_status; }} }}
}}
"""
MAKE_CERTIFICATE = (
    "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
)


@dataclass(frozen=True, slots=True)
class Made:
    """The figures that a load generator reports: calls, seconds, CPU seconds, and latencies in ms."""

    calls: int
    seconds: float
    times_ms: tuple[float, ...] = ()
    cpu_s: float = 0.0

    @property
    def per_s(self) -> float:
        return self.calls / self.seconds


@dataclass(frozen=True, slots=True)
class Target:
    """A server and the number of calls that it has answered."""

    url: str
    answered: Callable[[], int]


# Servers.


@contextmanager
def trivial(folder: Path, *stalls: int) -> Iterator[Target]:
    binary = folder / "trivial_server"
    subprocess.run(["cc", "-O2", "-o", binary, HERE / "trivial_server.c"], check=True)
    with child([str(binary), *map(str, stalls)], SERVER_CORE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        out = process.stdout

        def end_and_count() -> int:
            process.terminate()
            return int(out.readline())

        yield Target(f"http://127.0.0.1:{int(out.readline())}", end_and_count)


@contextmanager
def nginx(folder: Path) -> Iterator[Target]:
    if not (shutil.which("nginx") and shutil.which("openssl")):
        raise UnavailableError("TLS needs nginx and openssl (Debian: apt-get install nginx-light openssl)")
    where = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run([*MAKE_CERTIFICATE.split(), *where], check=True, capture_output=True)
    tls_port, port = free_port(), free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, tls_port=tls_port, port=port))

    def status() -> list[int]:
        with urlopen(f"http://127.0.0.1:{port}/") as page:
            return [int(number) for number in re.findall(rb"\d+", page.read())]

    def is_up() -> bool:
        try:
            return bool(status())
        except OSError:
            return False

    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with child(command, SERVER_CORE):
        wait_for(is_up)
        asked = status()[3]
        yield Target(f"https://localhost:{tls_port}", lambda: status()[3] - asked - 1)


# Load generators.


def locust(target: Target, folder: Path, seconds: float, who: str, *options: str, **settings: str) -> Made:
    """Run locust with users of one kind; raise RuntimeError if a call failed."""
    run = folder / f"run-{time.monotonic_ns()}"
    run.mkdir()
    cpu = run / "cpu"
    ours = {"SMSCODE_RUN_DIR": str(run), "SMSCODE_SEED": "1"} if who in ("Journeys", "Sends") else {}
    where = ["-f", str(USERS), "--host", target.url, "--json-file", str(run / "stats"), who]
    how = ["--headless", "--only-summary", "--loglevel", "ERROR", "--stop-timeout", "5", "--run-time", f"{seconds:g}"]
    done = subprocess.run(
        ["taskset", "-c", core_list(options), sys.executable, "-m", "locust", *how, *where, *options],
        env={**os.environ, **SETTINGS, **ours, **trust(target, folder), "CPU_FILE": str(cpu), **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        entries = json.loads((run / "stats.json").read_text())
        cpu_s = float(cpu.read_text()) if cpu.exists() else 0.0
    except FileNotFoundError:
        raise RuntimeError(f"{who}: {done.stderr[-500:]}") from None
    finally:
        shutil.rmtree(run)
    return replace(read_entries(who, entries, done.stderr), cpu_s=cpu_s)


def core_list(options: tuple[str, ...]) -> str:
    return f"{SERVER_CORE},{OTHER_CORE}" if "--processes" in options else str(OTHER_CORE)


def read_entries(who: str, entries: list[dict], stderr: str) -> Made:
    calls = [entry for entry in entries if entry["method"] == "POST"]
    if not calls or any(entry["num_failures"] for entry in calls):
        raise RuntimeError(f"{who}: calls failed: {stderr[-500:]}")
    ended_s, began_s = max(it["last_request_timestamp"] for it in calls), min(it["start_time"] for it in calls)
    waited = [entry for entry in entries if entry["method"] == "CALLER" and entry["name"] == "send"]
    shown = (waited or [entry for entry in calls if entry["name"] == "send"])[0]
    return Made(sum(it["num_requests"] for it in calls), ended_s - began_s, percentiles(shown["response_times"]))


def percentiles(buckets: dict[str, int]) -> tuple[float, ...]:
    times = sorted((float(time_ms), calls) for time_ms, calls in buckets.items())
    whole = sum(calls for _, calls in times)
    found = []
    for percentile in PERCENTILES:
        upto = 0
        for time_ms, calls in times:
            upto += calls
            if upto >= percentile / 100 * whole:
                found.append(time_ms)
                break
    return tuple(found)


def wrk(target: Target, folder: Path, seconds: float) -> Made:
    if not shutil.which("wrk"):
        raise UnavailableError("wrk isn't installed (Debian: apt-get install wrk)")
    script = ["-s", str(HERE / "calls_in_turn.lua"), target.url, "--", AUTHORIZATION]
    command = ["taskset", "-c", str(OTHER_CORE), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", *script]
    before_s = children_cpu_s()
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu_s = children_cpu_s() - before_s
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(said)
    found = re.search(r"(\d+) requests in ([\d.]+)s", said)
    assert found
    return Made(int(found[1]), float(found[2]), cpu_s=cpu_s)


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def bare_loop(target: Target, folder: Path, seconds: float) -> Made:
    script = [str(HERE / "bare_loop.py"), target.url, f"{seconds:g}", str(CONNECTIONS), AUTHORIZATION]
    said = subprocess.run(
        ["taskset", "-c", str(OTHER_CORE), sys.executable, *script],
        env={**os.environ, **trust(target, folder)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    answered, took_s, cpu_s = map(float, said.split())
    return Made(int(answered), took_s, cpu_s=cpu_s)


def trust(target: Target, folder: Path) -> dict[str, str]:
    return {"SSL_CERT_FILE": str(folder / "cert.pem")} if target.url.startswith("https") else {}


OVERLOADED = ["--rate", str(OVERLOAD), "--max-connections", str(CONNECTIONS)]
GENERATORS: dict[str, Callable[[Target, Path, float], Made]] = {
    "locust HttpUser": lambda *where: locust(*where, "Http", "-u", "20", "-r", "20"),
    "locust FastHttpUser": lambda *where: locust(*where, "FastHttp", "-u", "20", "-r", "20"),
    "SmsCodeUser, recording": lambda *where: locust(*where, "Journeys", "-u", "20", "-r", "20"),
    "open loop, recording": lambda *where: locust(*where, "Journeys", *OVERLOADED),
    "bare loop, recording nothing": bare_loop,
    "wrk": wrk,
}


# speed.


def speed(rounds: int, seconds: float) -> None:
    """Measure calls per second on one core. Each round runs every generator; the figures are medians."""
    for name, server in (("plain", trivial), ("TLS", nginx)):
        rates: dict[str, list[float]] = {generator: [] for generator in GENERATORS}
        cpus_us: dict[str, list[float]] = {generator: [] for generator in GENERATORS}
        counts: dict[str, str] = {}
        for _ in range(rounds):
            for generator, run in GENERATORS.items():
                with TemporaryDirectory() as scratch, ExitStack() as stack:
                    try:
                        target = stack.enter_context(server(Path(scratch)))
                        made = run(target, Path(scratch), seconds)
                    except UnavailableError as why:
                        counts[generator] = str(why)
                        continue
                    rates[generator].append(made.per_s)
                    cpus_us[generator].append(1e6 * made.cpu_s / made.calls)
                    counts[generator] = f"{made.calls:,} of {target.answered():,}"
        show_speed(name, rates, cpus_us, counts)


def show_speed(
    name: str, rates: dict[str, list[float]], cpus_us: dict[str, list[float]], counts: dict[str, str]
) -> None:
    known = {generator: median(found) for generator, found in rates.items() if found}
    fast, ceiling = known.get("locust FastHttpUser"), known.get("wrk")
    heads = f"{'calls/s':>9} {'of FastHttpUser':>16} {'of wrk':>8} {'CPU µs':>8} {'of FastHttpUser':>16} {'of wrk':>8}"
    print(f"\n{name:28} {heads}   counted, of what the server answered")
    cpu_us = {generator: median(found) for generator, found in cpus_us.items() if found}
    for generator, counted in counts.items():
        if generator not in known:
            print(f"{generator:28} {counted}")
            continue
        rate = known[generator]
        of_fast, of_wrk = f"{rate / fast:.2f}" if fast else "", f"{rate / ceiling:.0%}" if ceiling else ""
        cost_us = cpu_us[generator]
        less = f"{cpu_us['locust FastHttpUser'] / cost_us:.2f}" if fast else ""
        share = f"{cpu_us['wrk'] / cost_us:.0%}" if ceiling else ""
        print(f"{generator:28} {rate:9,.0f} {of_fast:>16} {of_wrk:>8} {cost_us:8.1f} {less:>16} {share:>8}   {counted}")


# stall.


def stall(rounds: int, seconds: float) -> None:
    """Print the reported times at 1,000 calls a second, of a server that stalls for 200 ms every 2 s."""
    at_rate = ["--rate", str(RATE), "--max-connections"]
    rows: dict[str, Callable[[Target, Path], Made]] = {}
    for connections in (5, 20, 100, 400):
        rows[f"open loop, at most {connections} connections"] = lambda *where, n=str(connections): locust(
            *where, seconds, "Sends", *at_rate, n
        )
    for users in (5, 10):
        rows[f"locust FastHttpUser, {users} users, constant_throughput"] = lambda *where, n=users: locust(
            *where, seconds, "PacedFastHttp", "-u", str(n), "-r", str(n), RATE_PER_USER=str(RATE / n)
        )
    heads = "".join(f"{f'p{percentile:g}':>9}" for percentile in PERCENTILES)
    print(f"{'ms, as reported':54}{heads} {'calls/s':>9}")
    print(f"{'true, by calculation':54}{''.join(f'{truth(it):9.1f}' for it in PERCENTILES)} {RATE:9,}")
    for row, run in rows.items():
        with TemporaryDirectory() as scratch, trivial(Path(scratch), STALL_MS, EVERY_MS) as target:
            made = run(target, Path(scratch))
        print(f"{row:54}{''.join(f'{it:9.1f}' for it in made.times_ms)} {made.per_s:9,.0f}")
    print(f"{'wrk2':54}  not available: in neither Debian nor npm")


def truth(percentile: float) -> float:
    """Arrivals within a stall wait for a uniformly distributed part of it; the others don't wait."""
    held_ratio = STALL_MS / EVERY_MS
    return max(0.0, percentile / 100 - (1 - held_ratio)) / held_ratio * STALL_MS


# scaling.


def scaling(rounds: int, seconds: float) -> None:
    """Measure calls per second of one and two workers on both cores, with the server on the first."""
    print(f"{'workers':8} {'calls/s':>9}   median of {rounds}, on {os.cpu_count()} cores; the server has one of them")
    for workers in (1, 2):
        rates = []
        for _ in range(rounds):
            with TemporaryDirectory() as scratch, trivial(Path(scratch)) as target:
                options = [*OVERLOADED, "--processes", str(workers)]
                rates.append(locust(target, Path(scratch), seconds, "Journeys", *options).per_s)
        print(f"{workers:8} {median(rates):9,.0f}")


def versions() -> str:
    packages = ("sms-code-toolkit", "locust", "gevent", "geventhttpclient", "requests", "numpy")
    found = [interpreter(), *(f"{name} {metadata.version(name)}" for name in packages)]
    for program, option in (("wrk", "-v"), ("nginx", "-v")):
        if shutil.which(program):
            said = subprocess.run([program, option], capture_output=True, text=True, check=False)
            found.append((said.stdout + said.stderr).splitlines()[0].split(" Copyright")[0].strip())
    return f"{', '.join(found)}; {platform.release()}, {os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "stall", "scaling"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int)
    given = parser.parse_args()
    pin(OTHER_CORE)
    what, seconds = {"speed": (speed, 6), "stall": (stall, STALL_RUN_S), "scaling": (scaling, 6)}[given.what]
    began_s = time.monotonic()
    what(given.rounds, given.seconds or seconds)
    print(f"\n{versions()}\ntook {time.monotonic() - began_s:.0f} s")


if __name__ == "__main__":
    main()
