"""Measure data loss after kill -9 under load: `python benchmarks/crash.py [sqlite|redis|workers]`.

Needs Linux; takes two minutes each. sqlite: the service is killed. redis: redis-server is killed, with appendfsync
always, while the service stays up. workers: two workers of the service and their parent are killed, on a Redis that
stays up. Each time the killed processes are restarted on their data.

The callers note all answers. At the end the notes are compared with the service: every message answered 200 exists, is
verified with its code exactly once, and counts in its mobile's window. The balance is the initial one less the accepted
messages. A send without an answer, or with 50019 because Redis was down, may be accepted or not, but not in part:
the window shows which, and the balance must agree. The notes are read after the service has rolled back the calls that
Redis executed without an answer.
"""

import argparse
import asyncio
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
from side_by_side import SMSCODE, Server, UnavailableError, add_template, free_port, redis, service, wait_for

CALLERS = 32
KILLED_AFTER_S = (0.3, 1.0)
TAKEN_BACK_WITHIN_S = 4  # a call can be taken back once nobody waits for it any more: after two seconds
RULE = ("--rule", "1/86400")  # a mobile's first send is counted until the end
SUCCESS, OUT_OF_FREQ, INVALID_CODE, VERIFIED_CODE, SERVER_ERROR = 50000, 50009, 50010, 50012, 50019
NO_ANSWER = 0

Life = tuple[Server, Callable[[], None]]  # a service that answers, and what kills it or its store


@dataclass(slots=True)
class Book:
    """The answers that the callers got, as msg_ids and mobiles. ``codes``: those that were read in time."""

    messages: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    codes: dict[str, str] = field(default_factory=dict)
    verified: set[str] = field(default_factory=set)
    unsure_verifies: set[str] = field(default_factory=set)
    unanswered: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    mobiles: Iterator[str] = field(default_factory=lambda: map(str, itertools.count(13_000_000_000)))


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls a service over keep-alive; an answer is a return code and a body."""

    session: aiohttp.ClientSession
    temp_id: int

    async def post(self, path: str, fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            async with self.session.post(path, json=fields) as answer:
                body = await answer.json()
        except (aiohttp.ClientError, TimeoutError):
            return NO_ANSWER, {}
        return (body["error"]["code"] if "error" in body else SUCCESS), body

    async def send(self, mobile: str) -> tuple[int, str]:
        code, body = await self.post("/v1/codes", {"mobile": mobile, "temp_id": self.temp_id})
        return code, body.get("msg_id", "")

    async def verify(self, msg_id: str, code: str) -> int:
        return (await self.post(f"/v1/codes/{msg_id}/valid", {"code": code}))[0]

    async def judge(self, msg_id: str, code: str) -> int:
        """Verify a code; fail without a decision of the service."""
        verdict = await self.verify(msg_id, code)
        assert verdict not in (NO_ANSWER, SERVER_ERROR), verdict
        return verdict

    async def peek(self, msg_id: str) -> str | None:
        """Return a message's code, "" if the message is unknown, or None without an answer."""
        try:
            async with self.session.get(f"/sandbox/messages/{msg_id}") as answer:
                return str((await answer.json()).get("code", "")) if answer.status < 500 else None
        except (aiohttp.ClientError, TimeoutError):
            return None


def calling(server: Server, task: Callable[[Caller], Coroutine[Any, Any, Any]]) -> Any:
    """Run a task with connections to a server, and return what it returns."""

    async def run() -> Any:
        connector = aiohttp.TCPConnector(limit=CALLERS)
        headers = {"Authorization": server.authorization}
        async with aiohttp.ClientSession(server.url, connector=connector, headers=headers) as session:
            return await task(Caller(session, server.temp_id))

    return asyncio.run(run())


# Under load.


async def load_until_killed(caller: Caller, kill: Callable[[], None], book: Book) -> None:
    async def kill_later() -> None:
        await asyncio.sleep(random.uniform(*KILLED_AFTER_S))
        kill()

    await asyncio.gather(kill_later(), *(call_until_killed(caller, book) for _ in range(CALLERS)))


async def call_until_killed(caller: Caller, book: Book) -> None:
    while await journey(caller, book, next(book.mobiles)):
        pass


async def journey(caller: Caller, book: Book, mobile: str) -> bool:
    """Send, read the code, and verify every other one. Return whether all calls were answered."""
    code, msg_id = await caller.send(mobile)
    if code != SUCCESS:
        note_no_success(book, mobile, code)
        return False
    book.messages.append(msg_id)
    book.accepted.append(mobile)
    typed = await caller.peek(msg_id)
    if not typed:
        return typed is not None
    book.codes[msg_id] = typed
    return random.random() < 0.5 or await verify_once(caller, book, msg_id)


def note_no_success(book: Book, mobile: str, code: int) -> None:
    assert code in (NO_ANSWER, SERVER_ERROR), code
    (book.failed if code else book.unanswered).append(mobile)


async def verify_once(caller: Caller, book: Book, msg_id: str) -> bool:
    code = await caller.verify(msg_id, book.codes[msg_id])
    assert code in (SUCCESS, NO_ANSWER, SERVER_ERROR), code
    (book.verified if code == SUCCESS else book.unsure_verifies).add(msg_id)
    return code == SUCCESS


# Afterwards.


async def each(items: Iterable[str], task: Callable[[str], Coroutine[Any, Any, int | bool]]) -> list[int | bool]:
    """Run a task for each item, a few at a time, and return the results in any order."""
    waiting, done = iter(list(items)), list[int | bool]()

    async def work() -> None:
        for item in waiting:
            done.append(await task(item))

    await asyncio.gather(*(work() for _ in range(CALLERS)))
    return done


async def lost_messages(caller: Caller, book: Book) -> int:
    """Count the messages answered 200 whose code is refused, unless an unanswered verify may have used it."""

    async def is_lost(msg_id: str) -> bool:
        typed = book.codes.get(msg_id) or await caller.peek(msg_id)
        assert typed is not None
        first = await caller.judge(msg_id, typed) if typed else INVALID_CODE
        return first != SUCCESS and not (first == VERIFIED_CODE and msg_id in book.unsure_verifies)

    return sum(await each(set(book.messages) - book.verified, is_lost))


async def verified_twice(caller: Caller, book: Book) -> int:
    """Count the verified messages that do not answer 'verified code' to another verify."""
    again = await each(book.codes, lambda it: caller.judge(it, book.codes[it]))
    return len(again) - again.count(VERIFIED_CODE)


async def uncounted(caller: Caller, mobiles: Iterable[str]) -> int:
    """Send once more to each mobile, and count the sends that are accepted."""

    async def passes(mobile: str) -> bool:
        code, _ = await caller.send(mobile)
        assert code in (SUCCESS, OUT_OF_FREQ), code
        return code == SUCCESS

    return sum(await each(mobiles, passes))


def balance(store: str, app_key: str) -> int:
    listing = [*SMSCODE, "app", "list", "--store", store, "--json"]
    done = subprocess.run(listing, capture_output=True, text=True, check=True)
    return int(next(row["balance"] for row in json.loads(done.stdout) if row["app_key"] == app_key))


def audit(server: Server, store: str, start: int, book: Book) -> dict[str, int]:
    """Return the figures. Those that must be 0 come last."""
    time.sleep(TAKEN_BACK_WITHIN_S)
    charged = start - balance(store, server.app_key)
    lost = calling(server, lambda it: lost_messages(it, book))  # before a probe can take a lost one's msg_id
    twice = calling(server, lambda it: verified_twice(it, book))
    unanswered = len(book.unanswered) - calling(server, lambda it: uncounted(it, book.unanswered))
    failed = len(book.failed) - calling(server, lambda it: uncounted(it, book.failed))
    return {
        "messages answered 200": len(book.messages),
        "verifies answered 200": len(book.verified),
        "verifies unanswered or failed": len(book.unsure_verifies),
        "sends unanswered": len(book.unanswered),
        "of these, accepted": unanswered,
        "sends answered 50019": len(book.failed),
        "of these, accepted after all": failed,
        "messages lost": lost,
        "messages verified twice": twice,
        "msg_ids given twice": len(book.messages) - len(set(book.messages)),
        "mobiles whose window lost a send": calling(server, lambda it: uncounted(it, book.accepted)),
        "balance off by": charged - len(book.messages) - unanswered - failed,
    }


MUST_BE_0 = (
    "messages lost",
    "messages verified twice",
    "msg_ids given twice",
    "mobiles whose window lost a send",
    "balance off by",
)


# What is killed.


def sqlite_lives(stack: ExitStack, store: str, _: Path) -> Iterator[Life]:
    while True:
        server = stack.enter_context(service(store, *RULE))
        yield server, server.kill


def redis_lives(stack: ExitStack, store: str, folder: Path) -> Iterator[Life]:
    port = int(store.rpartition(":")[2].partition("/")[0])
    database = stack.enter_context(redis(folder, port))
    server = stack.enter_context(service(store, *RULE))
    while True:
        yield server, database.kill
        database = stack.enter_context(redis(folder, port))
        wait_for(lambda: store_answers(server))


def worker_lives(stack: ExitStack, store: str, folder: Path) -> Iterator[Life]:
    stack.enter_context(redis(folder, int(store.rpartition(":")[2].partition("/")[0])))
    while True:
        server = stack.enter_context(service(store, *RULE, "--workers", "2"))
        yield server, server.kill


def store_answers(server: Server) -> bool:
    """Return whether the store answers a verify, of an unknown message."""
    return bool(calling(server, lambda it: it.verify("none", "000000")) == INVALID_CODE)


LIVES = {"sqlite": sqlite_lives, "redis": redis_lives, "workers": worker_lives}


def run(victim: str, kills: int) -> dict[str, int]:
    """Kill the processes a number of times under load, and return the figures."""
    with TemporaryDirectory(prefix="smscode-crash-") as name, ExitStack() as stack:
        store = f"sqlite:///{name}/store.db" if victim == "sqlite" else f"redis://127.0.0.1:{free_port()}/0"
        lives, book = LIVES[victim](stack, store, Path(name)), Book()
        server, kill = next(lives)
        start, temp_id = balance(store, server.app_key), add_template(store, server.app_key, ttl_s=3600)
        for number in range(kills):
            calling(server.with_template(temp_id), partial(load_until_killed, kill=kill, book=book))
            server, kill = next(lives)
            print(f"kill {number + 1} of {kills}: {len(book.messages)} messages", file=sys.stderr, flush=True)
        return audit(server.with_template(temp_id), store, start, book)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("victims", nargs="*", metavar="sqlite|redis|workers", help="default: all three")
    parser.add_argument("--kills", type=int, default=20)
    chosen = parser.parse_args()
    sys.exit(max(report(victim, chosen.kills) for victim in chosen.victims or LIVES))


def report(victim: str, kills: int) -> int:
    """Print the figures; return 0 if they are right, 1 if not, and 3 if there are none."""
    try:
        figures = run(victim, kills)
    except UnavailableError as reason:
        print(f"{victim}: left out: {reason}", flush=True)
        return 3
    print(f"{victim}: {kills} kills")
    for what, figure in figures.items():
        print(f"{figure:>9}  {what}")
    return int(any(figures[what] for what in MUST_BE_0))


if __name__ == "__main__":
    main()
