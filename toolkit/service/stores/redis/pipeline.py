"""Send the calls of many callers to Redis together, each with a deadline, and roll back those that were left open.

Theory of operation
===================

**Problem.** A round trip to Redis costs more than the decision itself, and an answer that does not arrive leaves the
caller in doubt: a send that timed out may have been charged, or may still be carried out a second later.

**Pipelining.** Calls that are made in one turn of the event loop wait in ``_queue``. The next turn sends up to
``_CALLS_A_BATCH`` of them as one batch. For each app and command in it, one script call (calls.lua) carries out these
calls in their order. All script calls of a batch are sent in one Redis pipeline. ``_BATCHES`` batches are on their way
at once:

    time          ->
    queue         A B C      D E          F G H I
    batch 1       [A B C] -------> answers      [F G H I] ------->
    batch 2                  [D E] -------> answers

The batch grows with the load, as in the group commit of the SQLite store.

**At most once.** Nothing is ever sent twice: the client's own retries are switched off. Each batch carries a deadline,
``timeout_s`` after its first call, by Redis's own clock. A script that starts after its deadline changes nothing.

    answer arrives before the deadline      the caller gets it
    Redis refuses before it starts          nothing was done: the caller gets a StoreError
    any other error, or no answer in time   in doubt: the caller gets a StoreError, and its ``Rollback`` is kept

``is_refusal`` knows the errors of the second kind. If one call of a script fails, the others get their answers.

**When Redis is full**, it refuses scripts, except those whose first line allows it (``_FLAGS``). So sends
are refused, and everything else goes on: verifying, recording results, reading.

**Rollback.** A rollback undoes one call, if it was carried out (calls.lua: ``unsend``, ``unverify``). Redis does it
only once its clock has passed the call's deadline; before that the call itself might still come. The store calls
``roll_back`` every 0.4 s while Redis answers, so a caller that got an error is charged for a short time at most; until
then calls are refused, so that it may repeat a call as soon as one is answered. A
rollback may be repeated: if the call was not carried out, it changes nothing. Rollbacks are kept in memory, so those
that are left when the process is killed are lost.

**While Redis is down** (``is_down``), calls fail at once, and do not each wait for the timeout. The store's watch task
finds out when Redis answers again.

**Constants.** ``_CALLS_A_BATCH`` = 64 keeps one script below about 1 ms, in which Redis serves nobody else; a larger
value would save few round trips. ``_BATCHES`` = 2: while Redis carries out one, the next is encoded; more would only
queue up in Redis, and age towards their deadline there.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from hiredis import pack_command
from msgspec import Struct
from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from toolkit.api.errors import SettingsError, StoreError
from toolkit.service.core.deferred import Deferred
from toolkit.service.metrics.counters import Histogram, commit_sizes

log = logging.getLogger(__name__)

Client = Redis | RedisCluster
REDIS_ERRORS = (RedisError, RedisClusterException, OSError, TimeoutError)

_TLS = frozenset({"ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"})
_CALLS_A_BATCH = 64
_BATCHES = 2


def connect(url: str, timeout_s: float) -> Client:
    """Return a client that is not connected yet.

    Args:
        url: ``redis://`` or ``rediss://``; with ``+cluster``, such as ``redis+cluster://``, for a Redis Cluster.
        timeout_s: the time limit of connecting and of each answer.

    Raises:
        SettingsError: if the URL is not valid. The message does not repeat the URL, which may hold a password.
    """
    try:  # what redis-py would fail on, ignore, or let override the settings below
        parts = urlsplit(url)
        names = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        valid = parts.hostname and parts.port != 0 and re.fullmatch("/?[0-9]*", parts.path) and names <= _TLS
    except ValueError:
        valid = False
    if not valid:
        raise SettingsError("the store's url is not valid: write redis://user:password@host:port/db")
    engine: Any = RedisCluster if "+cluster://" in url else Redis
    client: Client = engine.from_url(
        url.replace("+cluster://", "://"),
        retry=Retry(NoBackoff(), 0),  # a send that is repeated may be charged twice
        protocol=2,  # with 3, redis-py 8.1 uses connections that Redis has closed (its issue 4252)
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
    )
    return client


def read_script(name: str) -> str:
    """Return the text of a script in this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


WRITING, READING = "#!lua flags=allow-oom\n", "#!lua flags=no-writes\n"
_FLAGS = {"send": "#!lua\n"} | dict.fromkeys(
    ("balance", "undelivered", "due", "message", "backlog", "find", "inbox"), READING
)
_SCRIPTS = {flags: flags + read_script("calls.lua") for flags in ("#!lua\n", WRITING, READING)}
_SHAS = {  # Redis knows a script by its SHA-1
    flags: hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest() for flags, script in _SCRIPTS.items()
}


class Rollback(NamedTuple):
    """A call that undoes another one. Redis refuses it until its clock has passed ``after_ms``, that one's deadline."""

    tag: str
    command: str
    fields: dict[str, str]
    after_ms: int = 0

    def payload(self) -> bytes:
        """Return the payload that calls.lua reads."""
        return json.dumps(self.fields | {"after_ms": self.after_ms}).encode()


class _PendingCall(Struct):
    group: tuple[str, str]  # the tag and the command
    payload: bytes
    rollback: Rollback | None
    since_s: float
    answer: Deferred[Any]


@dataclass(slots=True)
class Pipeline:
    """Sends calls to Redis and returns their answers.

    Attributes:
        wall: returns the time in milliseconds that decisions use; None for Redis's own time.
        batch_sizes: counts the calls of each batch.
        settings: the JSON that calls.lua reads its settings from.
        ahead_s: how far Redis's clock is ahead of our monotonic clock.
        is_down: whether calls fail at once. The store sets it back when Redis answers again.
        rollbacks: the calls that were left open.
        last_s: how long the last batch took, in seconds.
    """

    client: Client
    timeout_s: float
    wall: Callable[[], int] | None = None
    batch_sizes: Histogram = field(default_factory=commit_sizes)
    settings: str = ""
    ahead_s: float = 0.0
    is_down: bool = False
    rollbacks: list[Rollback] = field(default_factory=list)
    last_s: float = 0.0
    _queue: list[_PendingCall] = field(default_factory=list)
    _batches: set[asyncio.Task[None]] = field(default_factory=set)
    _scheduled: bool = False

    def call(self, tag: str, command: str, payload: bytes = b"", rollback: Rollback | None = None) -> Deferred[Any]:
        """Carry out a call and return its answer, or a StoreError if it does not arrive in time.

        Args:
            tag: the keys' tag, which decides their slot; such as ``sms:{7}`` for app 7.
            command: of calls.lua.
            payload: of the command.
            rollback: the call that undoes this one, if it is left open.
        """
        if self.is_down:
            return Deferred(StoreError("Redis doesn't answer"))
        answer: Deferred[Any] = Deferred()
        self._queue.append(_PendingCall((tag, command), payload, rollback, time.monotonic(), answer))
        self._schedule()
        return answer

    async def roll_back(self) -> None:
        """Undo the calls that were left open; those whose deadline has not passed stay for the next time."""
        for it in tuple(self.rollbacks):
            deadline_ms = self._deadline_ms(time.monotonic() + self.timeout_s)
            group = it.tag, it.command
            answers = await within(self.timeout_s, self._run_scripts({group: [it.payload()]}, deadline_ms))
            match answers[group]:
                case [1]:
                    self.rollbacks.remove(it)
                case [Exception() as problem]:  # it would fail again, and no call would be accepted
                    log.error("store: %s %s failed and is given up: %s", it.command, it.fields["msg_id"], problem)
                    self.rollbacks.remove(it)

    async def drain(self) -> None:
        """Return once every call is answered."""
        while self._queue or self._batches:
            await asyncio.sleep(0)
            await asyncio.gather(*self._batches)

    def _deadline_ms(self, due_s: float) -> int:
        return int((due_s + self.ahead_s) * 1000)

    def _schedule(self) -> None:
        if self._queue and not self._scheduled and len(self._batches) < _BATCHES:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._start_batch)

    def _start_batch(self) -> None:
        self._scheduled = False
        calls, self._queue = self._queue[:_CALLS_A_BATCH], self._queue[_CALLS_A_BATCH:]
        if calls:
            self.batch_sizes.observe(len(calls))
            batch = asyncio.get_running_loop().create_task(self._send_batch(calls))
            self._batches.add(batch)
            batch.add_done_callback(self._end_batch)

    def _end_batch(self, batch: asyncio.Task[None]) -> None:
        self._batches.discard(batch)
        self._schedule()

    async def _send_batch(self, calls: list[_PendingCall]) -> None:
        groups: dict[tuple[str, str], list[_PendingCall]] = {}
        for call in calls:
            groups.setdefault(call.group, []).append(call)
        due_s = calls[0].since_s + self.timeout_s
        deadline_ms = self._deadline_ms(due_s)
        started_s = time.monotonic()
        payloads = {group: [call.payload for call in its] for group, its in groups.items()}
        try:
            async with asyncio.timeout(due_s - started_s):
                answers = await self._run_scripts(payloads, deadline_ms)
        except Exception as problem:  # of any kind, because the callers must get an answer
            self.is_down = True
            self._fail(calls, deadline_ms, problem)
            waiting, self._queue = self._queue, []
            return _refuse(waiting, problem)  # they were not sent, so there is nothing to roll back
        self.last_s = time.monotonic() - started_s
        for group, its in groups.items():
            self._answer(its, answers[group], deadline_ms)
        return None

    async def _run_scripts(self, payloads: dict[tuple[str, str], list[bytes]], deadline_ms: int) -> dict[Any, Any]:
        """Run calls.lua once for each tag and command, and return its answers or its error."""
        head = (deadline_ms, self.wall() if self.wall else "", self.settings)
        arguments = {(tag, command): (1, tag, *head, command, *its) for (tag, command), its in payloads.items()}
        answers = await self._execute("EVALSHA", _SHAS, arguments)
        if unknown := {group: it for group, it in arguments.items() if isinstance(answers[group], NoScriptError)}:
            answers |= await self._execute("EVAL", _SCRIPTS, unknown)  # Redis had no script to run: nothing was done
        return answers

    async def _execute(self, command: str, scripts: dict[str, str], arguments: dict[Any, Any]) -> dict[Any, Any]:
        calls = [(command, scripts[_FLAGS.get(of, WRITING)], *its) for (_, of), its in arguments.items()]
        if isinstance(self.client, Redis):
            answers = await _exchange(self.client.connection_pool, calls)
        else:
            pipe = self.client.pipeline(transaction=False)
            for call in calls:
                pipe.execute_command(*call)
            answers = await pipe.execute(raise_on_error=False)
        return dict(zip(arguments, answers, strict=True))

    def _answer(self, calls: list[_PendingCall], answers: Any, deadline_ms: int) -> None:
        if is_refusal(answers):
            return _refuse(calls, answers)
        if isinstance(answers, Exception):
            return self._fail(calls, deadline_ms, answers)
        for call, answer in zip(calls, answers, strict=True):
            if isinstance(answer, Exception):
                self._fail([call], deadline_ms, answer)
            else:
                call.answer.settle(answer)
        return None

    def _fail(self, calls: list[_PendingCall], deadline_ms: int, problem: Exception) -> None:
        """Refuse calls that may have been carried out, and keep their rollbacks."""
        self.rollbacks += [it.rollback._replace(after_ms=deadline_ms) for it in calls if it.rollback]
        _refuse(calls, problem)


async def _exchange(pool: ConnectionPool, calls: list[tuple[Any, ...]]) -> list[Any]:
    """Send commands together, and return the answer or the error of each.

    A pipeline of redis-py does the same, but encodes each argument in Python, which doubles the CPU time of a batch.
    """
    connection = await pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        await connection.send_packed_command(b"".join(map(pack_command, calls)))
        return [await _read_answer(connection) for _ in calls]
    finally:
        await pool.release(connection)


async def _read_answer(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as problem:
        return problem


def is_refusal(problem: object) -> bool:
    """Return whether an error shows that Redis did not start a script: it is full, a replica, past the deadline, ..."""
    if not isinstance(problem, ResponseError) or "@user_script" in str(problem):  # which names the line that failed
        return False
    refusals = (OutOfMemoryError, ReadOnlyError, NoPermissionError, NoScriptError)
    return isinstance(problem, refusals) or str(problem).startswith(("LATE ", "MISCONF ", "NOREPLICAS ", "BUSY "))


def _refuse(calls: list[_PendingCall], problem: Exception) -> None:
    for call in calls:
        call.answer.settle(StoreError(f"Redis: {describe(problem)}"))


def describe(problem: Exception) -> str:
    """Return an error in one line, without the arguments of the command that failed."""
    if isinstance(problem, TimeoutError) or not str(problem):
        return "no answer in time"
    return str(problem).splitlines()[0]


async def within(seconds: float, answering: Awaitable[Any]) -> Any:
    """Return an answer of Redis; raise StoreError if it takes longer than a number of seconds."""
    try:
        async with asyncio.timeout(seconds):
            return await answering
    except REDIS_ERRORS as problem:
        raise StoreError(f"Redis: {describe(problem)}") from None
