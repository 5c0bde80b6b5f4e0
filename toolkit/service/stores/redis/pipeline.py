"""The line to Redis: calls that wait in one turn of the loop go out together, and each has its answer in time or fails.

Of each app one script a flight, so that a call costs no round trip of its own. Nothing is ever sent twice: where an
answer doesn't arrive, the call fails, and if it may have been carried out, what takes it back is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError

from toolkit.api.errors import SettingsError, StoreError
from toolkit.service.metrics.counters import Histogram, commit_sizes

Client = Redis | RedisCluster
PROBLEMS = (RedisError, RedisClusterException, OSError, TimeoutError)

_TLS = frozenset({"ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"})
_CALLS_A_FLIGHT = 64  # a script that carries out so many keeps Redis from others for about a millisecond
_FLIGHTS = 2  # while Redis carries out one, the next is made ready


def connect(url: str, too_slow_s: float) -> Client:
    """Return a client that isn't connected yet: of ``redis[s]://``, or ``redis[s]+cluster://`` for a Redis Cluster.

    Raise SettingsError for a URL that can't be used.
    """
    _check(url)
    engine: Any = RedisCluster if "+cluster://" in url else Redis
    client: Client = engine.from_url(
        url.replace("+cluster://", "://"),
        retry=Retry(NoBackoff(), 0),  # a send that is repeated may be charged twice
        protocol=2,  # with 3, redis-py 8.1 takes connections that Redis has closed for good ones (its issue 4252)
        socket_timeout=too_slow_s,
        socket_connect_timeout=too_slow_s,
    )
    return client


def _check(url: str) -> None:
    """Refuse what redis-py would fail on, pass over, or let undo ``connect``; the error repeats nothing: a password."""
    try:
        parts = urlsplit(url)
        names = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        usable = parts.hostname and parts.port != 0 and re.fullmatch("/?[0-9]*", parts.path) and names <= _TLS
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError("the store's url can't be used: write redis://user:password@host:port/db")


def read_script(name: str) -> str:
    """Return the text of a script that lies beside this module."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


_SCRIPT = read_script("calls.lua")
_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()  # by which Redis knows it


class Rollback(NamedTuple):
    """A call that takes back another: only once Redis's clock has passed ``after_ms`` that one can't come any more."""

    tag: str
    word: str
    fields: dict[str, str]
    after_ms: int = 0

    @property
    def words(self) -> bytes:
        """The call as calls.lua takes it."""
        return f"{self.word} {json.dumps(self.fields | {'after_ms': self.after_ms})}".encode()


@dataclass(frozen=True, slots=True)
class _Call:
    tag: str
    words: bytes
    rollback: Rollback | None
    since_s: float
    answer: asyncio.Future[Any]


@dataclass(slots=True)
class Pipeline:
    """Carries calls to Redis, and answers back.

    ``wall`` None: what is decided goes by Redis's time. ``sizes``: of the flights, in calls. ``settings``: what
    calls.lua has to know. ``ahead_s``: Redis's clock before our monotonic one.
    While ``is_down``, calls fail at once: whoever finds that Redis answers again says so.
    """

    client: Client
    too_slow_s: float
    wall: Callable[[], int] | None = None
    sizes: Histogram = field(default_factory=commit_sizes)
    settings: str = ""
    ahead_s: float = 0.0
    is_down: bool = False
    rollbacks: list[Rollback] = field(default_factory=list)
    _queue: list[_Call] = field(default_factory=list)
    _flights: set[asyncio.Task[None]] = field(default_factory=set)
    _scheduled: bool = False

    async def ask(self, tag: str, words: bytes, rollback: Rollback | None = None) -> Any:
        """Have a call carried out and return its answer; raise StoreError where none arrives in time."""
        if self.is_down:
            raise StoreError("Redis doesn't answer")
        answer = asyncio.get_running_loop().create_future()
        self._queue.append(_Call(tag, words, rollback, time.monotonic(), answer))
        self._schedule()
        return await answer

    async def rollback(self) -> None:
        """Take back what may have been done unanswered; what may still come stays for the next time."""
        for it in tuple(self.rollbacks):
            deadline_ms = self._deadline_ms(time.monotonic() + self.too_slow_s)
            answers = await within(self.too_slow_s, self._carry_out({it.tag: [it.words]}, deadline_ms))
            if answers[it.tag] == [1]:
                self.rollbacks.remove(it)

    async def land(self) -> None:
        """Return when all that was asked is answered."""
        while self._queue or self._flights:
            await asyncio.sleep(0)
            await asyncio.gather(*self._flights)

    def _deadline_ms(self, due_s: float) -> int:
        return int((due_s + self.ahead_s) * 1000)

    def _schedule(self) -> None:
        if self._queue and not self._scheduled and len(self._flights) < _FLIGHTS:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._take_off)

    def _take_off(self) -> None:
        self._scheduled = False
        calls, self._queue = self._queue[:_CALLS_A_FLIGHT], self._queue[_CALLS_A_FLIGHT:]
        if calls:
            self.sizes.observe(len(calls))
            flight = asyncio.get_running_loop().create_task(self._fly(calls))
            self._flights.add(flight)
            flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        self._schedule()

    async def _fly(self, calls: list[_Call]) -> None:
        by_tag: dict[str, list[_Call]] = {}
        for call in calls:
            by_tag.setdefault(call.tag, []).append(call)
        due_s = calls[0].since_s + self.too_slow_s
        deadline_ms = self._deadline_ms(due_s)
        words = {tag: [call.words for call in its] for tag, its in by_tag.items()}
        try:
            async with asyncio.timeout(due_s - time.monotonic()):
                answers = await self._carry_out(words, deadline_ms)
        except Exception as problem:  # whatever it is, those who wait must be told
            return self._fall(calls, deadline_ms, problem)
        for tag, its in by_tag.items():
            self._answer(its, answers[tag], deadline_ms)
        return None

    async def _carry_out(self, calls: dict[str, list[bytes]], deadline_ms: int) -> dict[str, Any]:
        head = (deadline_ms, self.wall() if self.wall else "", self.settings)
        work = {tag: (1, tag, *head, *words) for tag, words in calls.items()}
        answers = await self._run("EVALSHA", _SHA, work)
        if new := {tag: it for tag, it in work.items() if isinstance(answers[tag], NoScriptError)}:
            answers |= await self._run("EVAL", _SCRIPT, new)  # Redis didn't know the script, so nothing was done
        return answers

    async def _run(self, command: str, which: str, work: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
        pipe = self.client.pipeline(transaction=False)
        for arguments in work.values():
            pipe.execute_command(command, which, *arguments)
        return dict(zip(work, await pipe.execute(raise_on_error=False), strict=True))

    def _answer(self, calls: list[_Call], answers: Any, deadline_ms: int) -> None:
        if isinstance(answers, ResponseError):
            return _refuse(calls, answers)  # Redis said no before it began: it is full, a replica, past the deadline
        if isinstance(answers, Exception):
            return self._fail(calls, deadline_ms, answers)
        for call, answer in zip(calls, answers, strict=True):
            if not call.answer.done():
                call.answer.set_result(answer)
        return None

    def _fall(self, calls: list[_Call], deadline_ms: int, problem: Exception) -> None:
        """Give up a flight, and what waits behind it: of that nothing was sent, so there is nothing to take back."""
        self.is_down = True
        self._fail(calls, deadline_ms, problem)
        waiting, self._queue = self._queue, []
        _refuse(waiting, problem)

    def _fail(self, calls: list[_Call], deadline_ms: int, problem: Exception) -> None:
        self.rollbacks += [it.rollback._replace(after_ms=deadline_ms) for it in calls if it.rollback]
        _refuse(calls, problem)


def _refuse(calls: list[_Call], problem: Exception) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(StoreError(f"Redis: {describe(problem)}"))


def describe(problem: Exception) -> str:
    """Say in one line what is wrong, with no word of what was asked."""
    if isinstance(problem, TimeoutError) or not str(problem):
        return "no answer in time"
    return str(problem).splitlines()[0]


async def within(seconds: float, answering: Awaitable[Any]) -> Any:
    """Return an answer of Redis; raise StoreError where there is none in time."""
    try:
        async with asyncio.timeout(seconds):
            return await answering
    except PROBLEMS as problem:
        raise StoreError(f"Redis: {describe(problem)}") from None
