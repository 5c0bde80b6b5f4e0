"""Break the service in eight ways and count the damage: `python benchmarks/security.py [--hours 1]`.

Needs Linux; takes ten minutes, or longer with --hours. Each kind of fault meets a service of its own under load, with
real processes and files. The callers note every answer. Afterwards their notes are compared with the service, by rules
that do not use its code: see crash.py. The table is written to docs/reference/security-tests.md, which says what is
counted.
"""

import argparse
import asyncio
import json
import os
import random
import re
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import crash
import power_cuts
import psutil
import redis as redis_py
from crash import CALLERS, INVALID_CODE, OUT_OF_FREQ, RULE, SERVER_ERROR, SUCCESS, Book, Caller, balance, calling
from side_by_side import Server, UnavailableError, add_template, free_port, interpreter, redis, service

from toolkit.analysis import read

PAGE = Path(__file__).parents[1] / "docs/reference/security-tests.md"
BROKEN_FSYNC = Path(__file__).parents[1] / "tests/support/broken_fsync.c"
DAMAGE = ("lost", "doubled", "over-admitted", "mischarged", "unexpected")
Figures = Counter[str]


@contextmanager
def variables(**values: str) -> Iterator[None]:
    """Set variables of the environment for the processes that are started in the block."""
    earlier = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in earlier.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def audited(server: Server, store: str, start: int, book: Book, tried: int) -> Figures:
    """Return the damage that crash.py's comparison finds."""
    return damage_of(crash.audit(server, store, start, book), tried)


def damage_of(found: dict[str, int], tried: int) -> Figures:
    return Figures(
        {
            "tried": tried,
            "lost": found["messages lost"],
            "doubled": found["messages verified twice"] + found["msg_ids given twice"],
            "over-admitted": found["mobiles whose window lost a send"],
            "mischarged": abs(found["balance off by"]) + found["of these, accepted after all"],
        }
    )


async def load_beside(caller: Caller, book: Book, disturb: Callable[[], Awaitable[None]]) -> None:
    """Send and verify until a disturbance has ended, also after calls that failed."""
    disturbance = asyncio.ensure_future(disturb())

    async def work() -> None:
        while not disturbance.done():
            if not await crash.journey(caller, book, next(book.mobiles)):
                await asyncio.sleep(0.05)

    await asyncio.gather(disturbance, *(work() for _ in range(CALLERS)))


# Kills, power cuts, restores.


def kills(victim: str, folder: Path, draw: random.Random, seconds: float) -> Figures:
    count = max(2, round(seconds / 3))
    random.seed(draw.random())
    return damage_of(crash.run(victim, count), count)


def power_cut_images(folder: Path, draw: random.Random, seconds: float) -> Figures:
    store, journal, book = f"sqlite:///{folder}/store.db", folder / "journal", power_cuts.TimedBook()
    mobiles = Book().mobiles
    library = power_cuts.compile_library(folder)
    with (
        variables(LD_PRELOAD=str(library), WRITE_JOURNAL=str(journal)),
        service(store, *RULE) as server,
    ):
        start = balance(store, server.app_key)
        server = server.with_template(add_template(store, server.app_key, ttl_s=86_400))
        ready_ns = time.monotonic_ns()
        calling(server, partial(power_cuts.load, book=book, mobiles=mobiles, seconds=min(20, seconds / 6)))
        server.kill()
    changes = power_cuts.read_journal(journal)
    first = next(place for place, it in enumerate(changes) if it.time_ns > ready_ns)
    damage, end_s = Figures(), time.monotonic() + seconds * 5 / 6
    while time.monotonic() < end_s or not damage["tried"]:
        cut, copy = draw.randrange(first, len(changes)), folder / "image"
        copy.mkdir()
        database, log = power_cuts.image(changes[: cut + 1], draw)
        (copy / "store.db").write_bytes(database)
        (copy / "store.db-wal").write_bytes(log)
        shutil.copy(folder / "store.db.key", copy / "store.db.key")
        cut_ns = changes[cut].time_ns
        checked = power_cuts.check_image(copy / "store.db", server.temp_id, book, cut_ns, start)
        damage += Figures(asyncio.run(checked) | {"tried": 1})
        shutil.rmtree(copy)
    return damage


def restores(folder: Path, draw: random.Random, seconds: float) -> Figures:
    """Restore a backup after more calls, and check that the later msg_ids stay unknown and are given to nobody else."""
    store, path, damage = f"sqlite:///{folder}/store.db", folder / "store.db", Figures()
    lifetimes: list[Book] = []
    mobiles = Book().mobiles
    end_s, span_s = time.monotonic() + seconds, min(3.0, seconds / 10)

    def load_for(server: Server) -> Book:
        book = Book(mobiles=mobiles)
        lifetimes.append(book)
        calling(server, partial(load_beside, book=book, disturb=lambda: asyncio.sleep(draw.uniform(0.3, 1) * span_s)))
        return book

    with service(store, *RULE) as server:
        start, temp_id = balance(store, server.app_key), add_template(store, server.app_key, ttl_s=86_400)
    kept: list[Book] = []
    while time.monotonic() < end_s or not damage["tried"]:
        with service(store, *RULE) as server:
            server = server.with_template(temp_id)
            kept.append(load_for(server))
            with closing(sqlite3.connect(path)) as live, closing(sqlite3.connect(folder / "backup")) as backup:
                live.backup(backup)
            gone = load_for(server)
            server.kill()
        for left in (path, folder / "store.db-wal", folder / "store.db-shm"):
            left.unlink(missing_ok=True)
        (folder / "backup").rename(path)
        with service(store, *RULE) as server:
            server = server.with_template(temp_id)
            again = load_for(server)
            kept.append(again)
            judged = partial(judge_all, codes=gone.codes)
            damage["doubled"] += sum(code != INVALID_CODE for code in calling(server, judged))
        damage["tried"] += 1
    with service(store, *RULE) as server:
        whole = Book(mobiles=mobiles)
        for book in kept:
            whole.messages += book.messages
            whole.accepted += book.accepted
            whole.codes |= book.codes
            whole.verified |= book.verified
        damage += audited(server.with_template(temp_id), store, start, whole, tried=0)
    given = [msg_id for book in lifetimes for msg_id in book.messages]
    damage["doubled"] += len(given) - len(set(given))
    return damage


async def judge_all(caller: Caller, codes: dict[str, str]) -> list[int | bool]:
    return await crash.each(codes, lambda msg_id: caller.judge(msg_id, codes[msg_id]))


# Clock steps.


def clock_steps(folder: Path, draw: random.Random, seconds: float) -> Figures:
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        raise UnavailableError("faketime isn't installed (Debian: apt-get install faketime)")
    store, shift = f"sqlite:///{folder}/store.db", folder / "shift"
    shift.write_text("+0")
    preloaded = {"LD_PRELOAD": str(libraries[0]), "FAKETIME_TIMESTAMP_FILE": str(shift), "FAKETIME_NO_CACHE": "1"}
    damage = Figures()

    async def step() -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            shift.write_text(f"{draw.choice(['-1d', '+1d', '-2h', '+2h', '-3', '+3', '+0'])}")
            damage["tried"] += 1
            await asyncio.sleep(draw.uniform(0.2, 1))

    async def load(caller: Caller) -> int:
        stepping = asyncio.ensure_future(step())
        accepted = await asyncio.gather(
            stepping, *(watch_window(caller, str(13_000_000_000 + n), stepping.done, damage) for n in range(CALLERS))
        )
        return sum(it or 0 for it in accepted)

    with service(store) as server:
        start, temp_id = balance(store, server.app_key), add_template(store, server.app_key, ttl_s=WINDOW_S)
    with variables(**preloaded, FAKETIME_DONT_FAKE_MONOTONIC="1"), service(store, "--rule", f"1/{WINDOW_S}") as server:
        accepted = calling(server.with_template(temp_id), load)
        shift.write_text("+0")
    damage["mischarged"] += abs(start - balance(store, server.app_key) - accepted)
    return damage


WINDOW_S = 2  # of the only rate limit, and the lifetime of a code
SLACK_S = 0.02  # the service counts milliseconds


async def watch_window(caller: Caller, mobile: str, ended: Callable[[], bool], damage: Figures) -> int:
    """Send to a mobile again and again, and verify early or late; return the number of accepted sends."""
    accepted, asked_s, answered_s = 0, float("-inf"), float("-inf")
    while not ended():
        now_s = time.monotonic()
        code, msg_id = await caller.send(mobile)
        then_s = time.monotonic()
        if code == SUCCESS:
            damage["over-admitted"] += then_s - asked_s < WINDOW_S - SLACK_S
            accepted, asked_s, answered_s = accepted + 1, now_s, then_s
            typed = await caller.peek(msg_id) or ""
            late = accepted % 3 == 0
            if late:
                await asyncio.sleep(WINDOW_S + SLACK_S)
            verdict = await caller.verify(msg_id, typed)
            in_time = time.monotonic() - now_s < WINDOW_S - SLACK_S
            damage["over-admitted"] += late and verdict == SUCCESS
            damage["lost"] += in_time and verdict not in (SUCCESS, SERVER_ERROR)
        elif code == OUT_OF_FREQ:
            damage["lost"] += now_s - answered_s > WINDOW_S + SLACK_S
        else:  # on a busy machine a commit may take too long: 50019, and nothing is charged
            damage["unexpected"] += code != SERVER_ERROR
        await asyncio.sleep(0.1)
    return accepted


# Faults of the disk and of Redis.


def disk_faults(folder: Path, draw: random.Random, seconds: float) -> Figures:
    """Let fsync fail, and let files grow no further, by turns; then kill the service half of the times."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise UnavailableError("a C compiler isn't installed (Debian: apt-get install gcc)")
    library, flag, store, book = folder / "fsync.so", folder / "fails", f"sqlite:///{folder}/store.db", Book()
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(BROKEN_FSYNC), "-ldl"], check=True)
    temp_id, tried, end_s = 0, 0, time.monotonic() + seconds

    async def disturb(server: Server) -> None:
        nonlocal tried
        for _ in range(4):
            await asyncio.sleep(draw.uniform(0.1, 0.5))
            tried += 1
            if draw.random() < 0.5:
                flag.touch()
                await asyncio.sleep(draw.uniform(0.05, 0.5))
                flag.unlink()
            else:
                size = (folder / "store.db-wal").stat().st_size + draw.randrange(20_000)
                unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
                resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, unlimited[1]))
                await asyncio.sleep(draw.uniform(0.05, 0.5))
                resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
        if draw.random() < 0.5:
            flag.touch()
            await asyncio.sleep(0.1)
            server.kill()
            flag.unlink()

    with variables(LD_PRELOAD=str(library), FSYNC_FAILS=str(flag)):
        while time.monotonic() < end_s or not tried:
            with service(store, *RULE) as server:
                if not temp_id:
                    start = balance(store, server.app_key)
                    temp_id = add_template(store, server.app_key, ttl_s=86_400)
                loading = partial(load_beside, book=book, disturb=partial(disturb, server))
                calling(server.with_template(temp_id), loading)
        with service(store, *RULE) as server:
            return audited(server.with_template(temp_id), store, start, book, tried)


def redis_faults(folder: Path, draw: random.Random, seconds: float) -> Figures:
    """Fill Redis, stop it, close its connections, and make scripts fail half-way, by turns."""
    port, book, tried = free_port(), Book(), 0
    store = f"redis://127.0.0.1:{port}/0"

    async def disturb() -> None:
        nonlocal tried
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s or not tried:
            await asyncio.sleep(draw.uniform(0.1, 0.5))
            tried += 1
            fault = draw.choice(["full", "paused", "stopped", "cut"])
            if fault == "full":
                client.config_set("maxmemory", 1)
                await asyncio.sleep(draw.uniform(0.05, 0.5))
                client.config_set("maxmemory", 0)
            elif fault == "paused":
                client.client_pause(draw.randrange(100, 3000))
            elif fault == "stopped":
                process.suspend()
                await asyncio.sleep(draw.uniform(0.1, 3))
                process.resume()
            else:
                client.client_kill_filter(_type="normal", skipme=True)

    with redis(folder, port) as process, service(store, *RULE) as server, redis_py.Redis(port=port) as client:
        start = balance(store, server.app_key)
        server = server.with_template(add_template(store, server.app_key, ttl_s=3600))
        calling(server, partial(load_beside, book=book, disturb=disturb))
        crash.wait_for(lambda: crash.store_answers(server))
        return audited(server, store, start, book, tried)


# Hostile requests and lines.


def mutated(data: bytes, draw: random.Random) -> bytes:
    """Change, insert, repeat and remove bytes."""
    content = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5, 20])):
        place = draw.randrange(len(content) + 1)
        action = draw.randrange(5)
        if action == 0 and place < len(content):
            content[place] = draw.randrange(256)
        elif action == 1:
            content[place:place] = draw.choice(
                [b"\r\n", b"\0", b"\xff", b'"', b"{", b"[" * 300, b"9" * 400, b" ", b"\xed\xa0\x80"]
            )
        elif action == 2:
            content[place:place] = content[place : place + draw.randrange(1, 60)]
        elif action == 3:
            del content[place : place + draw.randrange(1, 10)]
        else:
            content[place : place + 1] = draw.choice(
                [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"-1", b"1e999", b"null"]
            )
    return bytes(content)


def exchange(port: int, data: bytes) -> bytes:
    """Send bytes, half-close and return what arrives; b"" if the peer closes or resets at once."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as peer, suppress(ConnectionError):
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        while part := peer.recv(65536):
            received += part
    return received


def fuzzed_requests(folder: Path, draw: random.Random, seconds: float) -> Figures:
    store, damage, messages, mobiles = f"sqlite:///{folder}/store.db", Figures(), list[str](), Book().mobiles
    with service(store) as server:
        start, port = balance(store, server.app_key), urlsplit(server.url).port or 0
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s or not damage["tried"]:
            body = json.dumps({"mobile": next(mobiles), "temp_id": server.temp_id}).encode()
            path = b"/v1/codes"
            if messages and draw.random() < 0.5:
                path, body = f"/v1/codes/{draw.choice(messages)}/valid".encode(), b'{"code": "000000"}'
            head = b"POST %s HTTP/1.1\r\nHost: a\r\nAuthorization: %s\r\nContent-Type: application/json\r\n"
            request = head % (path, server.authorization.encode()) + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            try:
                answer = exchange(port, mutated(request, draw))
            except OSError:
                damage["unexpected"] += 1
                continue
            damage["tried"] += 1
            messages += re.findall(r'"msg_id": ?"([^"]+)"', answer.decode("latin-1"))
            for part in re.split(rb"(?=HTTP/1\.1 \d)", answer)[1:]:
                damage["unexpected"] += not is_of_the_contract(part)
        damage["unexpected"] += b'"msg_id"' not in exchange(port, send_request(server))
        damage["mischarged"] += abs(start - balance(store, server.app_key) - len(messages) - 1)
        damage["doubled"] += len(messages) - len(set(messages))
    return damage


def send_request(server: Server) -> bytes:
    body = json.dumps({"mobile": "13800138000", "temp_id": server.temp_id}).encode()
    head = f"POST /v1/codes HTTP/1.1\r\nHost: a\r\nAuthorization: {server.authorization}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def is_of_the_contract(answer: bytes) -> bool:
    """Whether an answer is a success, or a refusal by the table other than 'server error'."""
    _, _, body = answer.partition(b"\r\n\r\n")
    if answer.startswith((b"HTTP/1.1 100", b"HTTP/1.1 200")):
        return True
    with suppress(ValueError, KeyError, TypeError):
        return 50001 <= json.loads(body)["error"]["code"] <= 50018
    return False


def control_lines(folder: Path, draw: random.Random, seconds: float) -> Figures:
    """Send mutated top-ups to the control socket; only those that are answered with a result may change a balance."""
    store, damage = f"sqlite:///{folder}/store.db", Figures()
    with service(store) as server:
        start = balance(store, server.app_key)
        owner = json.loads((folder / "store.db.lock").read_text())
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s or not damage["tried"]:
            amount = draw.choice([5, -5, 1.5, True, None, "5", 10**30, -(10**30), 2**63, float("nan"), [5], {}])
            arguments = {"app_key": server.app_key, "messages": amount}
            line = json.dumps({"token": owner["token"], "user": "u", "operation": "top_up", "arguments": arguments})
            data = line.encode() if draw.random() < 0.5 else mutated(line.encode(), draw)
            answer = exchange(owner["port"], data.replace(b"\n", b" ") + b"\n")
            damage["tried"] += 1
            try:
                result = json.loads(answer)
            except ValueError:
                damage["unexpected"] += 1
                continue
            if "error" not in result:
                amount = json.loads(data)["arguments"]["messages"]
                is_whole = isinstance(amount, int) and not isinstance(amount, bool)
                damage["mischarged"] += not is_whole or result["result"]["balance"] != start + amount
                start = result["result"]["balance"]
        damage["mischarged"] += abs(start - balance(store, server.app_key))
        damage["unexpected"] += b'"msg_id"' not in exchange(urlsplit(server.url).port or 0, send_request(server))
    return damage


def log_lines(folder: Path, draw: random.Random, seconds: float) -> Figures:
    """Read mutated lines of the service's log; each must be a call, another line, or unread, and be counted once."""
    store, errors, damage = f"sqlite:///{folder}/store.db", folder / "log", Figures()
    with errors.open("wb") as stderr:
        command = [*crash.SMSCODE, "serve", "--port", "0", "--json", "--store", store, "--log-calls", *RULE]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
            assert process.stdout
            server = Server(psutil.Process(process.pid), **json.loads(process.stdout.readline()))
            calling(server, partial(load_beside, book=Book(), disturb=partial(asyncio.sleep, 1)))
            process.terminate()
    lines = [line for line in errors.read_bytes().splitlines() if b"msg_id" in line]
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s or not damage["tried"]:
        hostile = [mutated(draw.choice(lines), draw).replace(b"\n", b" ").replace(b"\r", b" ") for _ in range(1000)]
        hostile = [line for line in hostile if line.strip()]
        path = folder / "hostile.log"
        path.write_bytes(b"\n".join([*draw.sample(lines, 20), *hostile]) + b"\n")
        [source] = read(path).sources
        counted = source.calls + sum(source.others.values()) + sum(it.rows for it in source.unread)
        expected = len(hostile) + 20
        damage["tried"] += expected
        damage["lost"] += max(0, expected - counted)
        damage["doubled"] += max(0, counted - expected)
    return damage


KINDS: dict[str, tuple[str, Callable[[Path, random.Random, float], Figures]]] = {
    "kills of the service (SQLite)": ("kills", partial(kills, "sqlite")),
    "kills of redis-server": ("kills", partial(kills, "redis")),
    "kills of two workers and their parent (Redis)": ("kills", partial(kills, "workers")),
    "power-cut images": ("images", power_cut_images),
    "restores of a backup": ("restores", restores),
    "clock steps": ("steps", clock_steps),
    "disk faults (fsync fails, files can't grow)": ("faults", disk_faults),
    "Redis faults (full, paused, stopped, cut off)": ("faults", redis_faults),
    "fuzzed requests": ("requests", fuzzed_requests),
    "hostile lines to the control socket": ("lines", control_lines),
    "hostile lines of a log": ("lines", log_lines),
}


def versions() -> str:
    done = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"v=(\S+)", done.stdout)
    ours = f"sms-code-toolkit {metadata.version('sms-code-toolkit')}"
    return f"{interpreter()}, {ours}, SQLite {sqlite3.sqlite_version}, redis-server {found[1] if found else 'none'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=0.1, help="for all kinds together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", nargs="*", default=[], help="kinds whose names have one of these words; no page is written"
    )
    chosen = parser.parse_args()
    kinds = {name: it for name, it in KINDS.items() if not chosen.only or any(word in name for word in chosen.only)}
    seconds = chosen.hours * 3600 / len(KINDS)
    rows, is_whole = [], True
    for name, (unit, run) in kinds.items():
        with TemporaryDirectory(prefix="smscode-security-") as folder:
            print(name, file=sys.stderr, flush=True)
            try:
                figures = run(Path(folder), random.Random(f"{chosen.seed} {name}"), seconds)
            except UnavailableError as reason:
                print(f"{name}: left out: {reason}", flush=True)
                is_whole = False
                continue
        cells = [name, f"{figures['tried']:,} {unit}", *(f"{figures[it]:,}" for it in DAMAGE)]
        rows.append(f"| {' | '.join(cells)} |")
        print(rows[-1], flush=True)
        is_whole = is_whole and not any(figures[it] for it in DAMAGE)
    if not chosen.only:
        PAGE.write_text(page(rows, chosen.hours, chosen.seed), encoding="utf-8")
    sys.exit(not is_whole)


def page(rows: list[str], hours: float, seed: int) -> str:
    head = ["| fault | tried |" + "".join(f" {it} |" for it in DAMAGE), "|---|---:|" + "---:|" * len(DAMAGE)]
    return f"{INTRODUCTION}\n" + "\n".join([*head, *rows]) + f"\n\n`--hours {hours:g} --seed {seed}`; {versions()}.\n"


INTRODUCTION = """\
# Security tests

`python benchmarks/security.py` breaks the service in these ways, under load, with real processes and files, and writes
this page. `--hours 8` does it for a night. The callers note every answer, and the notes are compared with the service
afterwards. A fault that finds damage ends the command with status 1.

- **lost**: an answer that was given and does not hold: a message, a verify, a valid code that is refused.
- **doubled**: a msg_id that was given twice, a code that was accepted twice, a line that was counted twice.
- **over-admitted**: a send inside a window, or a code that was accepted after its lifetime.
- **mischarged**: messages by which a balance is wrong.
- **unexpected**: an answer that the contract does not have, or none where there must be one.

A power-cut image holds every write up to the last fsync of a file, and of the later ones a random part, in sectors of
512 bytes. Each image is opened and compared with the answers that had left before it.
"""

if __name__ == "__main__":
    main()
