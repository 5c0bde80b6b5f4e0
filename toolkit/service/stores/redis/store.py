"""The shared store: any number of processes and machines over one Redis (7 or later), Valkey, or Redis Cluster.

Each decision is one step of a script in Redis (calls.lua), by Redis's clock. Everything of an app lies in one slot;
what all share (accounts.lua) in another, and in memory here. While Redis doesn't answer, calls fail at once; a
background task looks after it, and takes back what may have been done unanswered.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import secrets
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit
from uuid import uuid4

from toolkit.api.errors import InputError, RunError, StoreError
from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode
from toolkit.service.core.accounts import App, Template
from toolkit.service.core.clock import Anchor, Clock
from toolkit.service.core.digests import Digests
from toolkit.service.core.messages import Decision, Delivery, DeliveryState, Job, Message, NewMessage
from toolkit.service.core.policy import HOUR_MS, MAX_TTL_S, Policy
from toolkit.service.metrics.counters import Histogram, commit_sizes
from toolkit.service.stores.base import LEASE_S
from toolkit.service.stores.key_file import read_key
from toolkit.service.stores.redis.accounts_cache import AccountsCache
from toolkit.service.stores.redis.pipeline import Client, Pipeline, Rollback, connect, describe, within

log = logging.getLogger(__name__)

TOO_SLOW_S = 2.0
KEPT_MS = 24 * HOUR_MS  # for this long after it has expired a message is still known

_POLL_S = 0.4
_OLDEST_REDIS = 7
_CODES = {int(it): it for it in ReturnCode}
_SEND = struct.Struct("<IQIIHHB16s")  # calls.lua: the masked code, and ORDER
_SENT = struct.Struct("<QIIHHB16sQ")  # calls.lua: SENT


class _Sent(NamedTuple):
    """An accepted order as calls.lua keeps it."""

    mobile: int
    temp_id: int
    ttl_ms: int
    segments: int
    forced: int
    ruled: int
    digest: bytes
    sent_ms: int

    @classmethod
    def read(cls, packed: bytes) -> Self:
        """Read what calls.lua has packed."""
        return cls._make(_SENT.unpack(packed))

    @property
    def expires_ms(self) -> int:
        """When the code expires."""
        return self.sent_ms + self.ttl_ms


@dataclass(slots=True)
class RedisStore:
    """The state of the service in one Redis, for every process that opens it with the same key."""

    policy: Policy
    digests: Digests
    clock: Clock
    _shared: AccountsCache
    _line: Pipeline
    _tokens: itertools.count[int] = field(default_factory=lambda: itertools.count(secrets.randbits(63)))
    _watch: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        policy: Policy,
        key_file: Path,
        speed: float | None = None,
        wall: Callable[[], int] | None = None,
        too_slow_s: float = TOO_SLOW_S,
        sizes: Histogram | None = None,
    ) -> Self:
        """Connect, and read or make the key file; raise RunError where this can't be.

        ``speed`` None leaves the clock as fast as it is. ``wall`` None takes Redis's time, so that windows are exact
        over all machines.
        """
        client = connect(url, too_slow_s)
        try:
            await _check_version(client, too_slow_s)
            shared = AccountsCache(client, too_slow_s)
            read_ms = wall or shared.wall_ms
            digests = Digests(read_key(key_file, await shared.is_fresh()))
            await shared.refresh()
            await shared.enter(digests, speed, read_ms)
        except (StoreError, RunError) as problem:
            await client.aclose()
            raise RunError(f"{_name(url)}: can't be used as a store: {problem}") from None
        except BaseException:
            await client.aclose()
            raise
        clock = Clock(shared.anchor.speed, shared.anchor, read_ms)
        store = cls(policy, digests, clock, shared, Pipeline(client, too_slow_s, wall, sizes or commit_sizes()))
        store._take_over()
        store._watch = asyncio.create_task(store._keep_watch())
        return store

    # The accounts.

    def app(self, app_key: str) -> App | None:
        """Return the app of a key."""
        return self._shared.by_key.get(app_key)

    def template(self, temp_id: int) -> Template | None:
        """Return a template."""
        return self._shared.templates.get(temp_id)

    def apps(self) -> list[App]:
        """Return every app."""
        return list(self._shared.apps.values())

    def templates(self) -> list[Template]:
        """Return every template."""
        return list(self._shared.templates.values())

    async def balances(self) -> dict[int, int]:
        """Return every app's balance in messages, by app_id."""
        return await self._ask_every_app("balance ")

    async def new_id(self, of: str) -> int:
        """Return a new number for an "app" or a "template": 1, 2, ..."""
        return await self._shared.new_id(of)

    async def put(self, *, app: App | None = None, credit: int = 0, template: Template | None = None) -> None:
        """Add or change an app and its balance, and a template.

        Raise InputError for a balance below zero, and for a key that is another app's.
        """
        # A top-up alone leaves the app as it is: another process may have changed it since it was read here.
        changed = app if app and app != self._shared.apps.get(app.app_id) else None
        if app and credit and await self._ask(app.app_id, f"credit {credit}") < 0:
            raise InputError(f"app {app.app_key}: its balance can't be changed by {credit} messages")
        if not await self._shared.put(changed, template) and app:
            await self._ask(app.app_id, f"credit {-credit}")
            raise InputError(f"app {app.app_key}: there is one already")

    # The two calls.

    async def send(self, order: NewMessage) -> Decision:
        """Accept a message, or refuse it for frequency or balance."""
        app_id, mobile, temp_id, code, ttl_ms, segments, forced, ruled = order
        msg_id = str(uuid4())
        packed = _SEND.pack(
            self.digests.mask(msg_id, code),
            mobile,
            temp_id,
            ttl_ms,
            segments,
            forced or 0,
            ruled,
            self.digests.code(msg_id, code),
        )
        tag = _tag(app_id)
        rollback = Rollback(tag, "unsend", {"msg_id": msg_id})
        return_code, wait_ms = await self._line.ask(tag, b"send " + packed + msg_id.encode(), rollback)
        return Decision(_CODES[return_code], wait_ms, msg_id if return_code == ReturnCode.SUCCESS else "")

    async def verify(self, app_id: int, msg_id: str, code: str) -> Decision:
        """Judge a typed code. A wrong one uses up a try, a right one the message."""
        tag, token = _tag(app_id), struct.pack(">Q", next(self._tokens))
        words = b"verify " + token + self.digests.code(msg_id, code) + msg_id.encode("utf-8", "surrogatepass")
        rollback = Rollback(tag, "unverify", {"msg_id": msg_id, "token": token.hex()})
        return_code, wait_ms = await self._line.ask(tag, words, rollback)
        return Decision(_CODES[return_code], wait_ms)

    # Delivery.

    async def pending_job(self, app_id: int, msg_id: str) -> Job | None:
        """Return an app's message whose delivery is still to come, without taking it."""
        row = await self._ask(app_id, f"undelivered {msg_id}")
        return self._job(app_id, row) if row else None

    async def take_jobs(self, limit: int) -> list[Job]:
        """Take jobs that are due, the oldest first, and lease each for ``LEASE_S``."""
        due = await self._ask_every_app(f"due {limit}")
        oldest = sorted((due_ms, app_id) for app_id, times in due.items() for due_ms in times)[:limit]
        shares = Counter(app_id for _, app_id in oldest)
        taken = await asyncio.gather(*[self._ask(app_id, f"take {share}") for app_id, share in shares.items()])
        return [self._job(app_id, row) for app_id, rows in zip(shares, taken, strict=True) for row in rows]

    async def postpone(self, job: Job, wait_s: float) -> None:
        """Put a taken job back, due in so many real seconds."""
        await self._ask_json(job.app_id, "postpone", msg_id=job.msg_id, wait_ms=int(wait_s * 1000))

    async def record_delivery(self, job: Job, delivery: Delivery) -> None:
        """Record what became of a taken job, and forget the job and its text."""
        if delivery.state is DeliveryState.SENT and delivery.carrier_id:
            await self._line.ask(_receipt_tag(delivery.carrier_id), f"name {job.app_id} {job.msg_id}".encode())
        await self._ask_json(job.app_id, "settle", msg_id=job.msg_id, **delivery._asdict())

    async def record_receipt(self, carrier_id: str, delivery: Delivery) -> bool:
        """Record the receipt of a message that was SENT under a carrier's number; False where none is known so."""
        named = await self._line.ask(_receipt_tag(carrier_id), b"named ")
        if named is None:
            return False
        app_id, msg_id = named.decode().split()
        fields = delivery._asdict() | {"msg_id": msg_id, "carrier_id": carrier_id}
        return bool(await self._ask_json(int(app_id), "receive", **fields))

    async def message(self, msg_id: str) -> Message | None:
        """Return what is known of a message."""
        for app_id, row in (await self._ask_every_app(f"message {msg_id}")).items():
            if row[0]:
                return _message(app_id, msg_id, row, self.clock.now_ms())
        return None

    async def backlog(self) -> int:
        """Return how many jobs wait, leased ones included."""
        return sum((await self._ask_every_app("backlog ")).values())

    async def ping(self) -> None:
        """Return when Redis answers; raise StoreError where it doesn't, in time."""
        await self._shared.refresh()

    async def prune(self) -> bool:
        """Leave forgetting to Redis: every key but those of the accounts has a TTL."""
        return False

    async def close(self) -> None:
        """Finish what is under way, and let go of Redis."""
        if self._watch:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        await self._line.land()
        with contextlib.suppress(StoreError):
            await self._line.rollback()
        await self._line.client.aclose()

    def _job(self, app_id: int, row: Sequence[Any]) -> Job:
        msg_id, sent = row[0].decode(), _Sent.read(row[1])
        code = self.digests.unmask(msg_id, int(row[2]))
        return Job(app_id, msg_id, sent.mobile, sent.temp_id, code, sent.expires_ms, row[3])

    async def _ask(self, app_id: int, words: str) -> Any:
        return await self._line.ask(_tag(app_id), words.encode("utf-8", "surrogatepass"))

    async def _ask_json(self, app_id: int, word: str, **fields: Any) -> Any:
        return await self._ask(app_id, f"{word} {json.dumps(fields)}")

    async def _ask_every_app(self, words: str) -> dict[int, Any]:
        app_ids = list(self._shared.apps)
        return dict(zip(app_ids, await asyncio.gather(*[self._ask(it, words) for it in app_ids]), strict=True))

    # Looking after Redis, in the background.

    async def _keep_watch(self) -> None:
        # Asked so, for Python 3.11's wait_for, which redis-py uses, may swallow a cancellation.
        while not (task := asyncio.current_task()) or not task.cancelling():
            await asyncio.sleep(_POLL_S)
            try:
                await self._look()
            except Exception as problem:  # whatever it is, the next look may find Redis well
                if not self._line.is_down:
                    log.error("%s", describe(problem))
                self._line.is_down = True

    async def _look(self) -> None:
        await self._shared.refresh()
        self._take_over()
        await self._line.rollback()
        if self._line.is_down:
            log.warning("Redis answers again")
        self._line.is_down = False

    def _take_over(self) -> None:
        """Go by the clock as the machines have it now, and by Redis's time."""
        anchor = self._shared.anchor
        if self.clock.speed != anchor.speed:
            self.clock = Clock(anchor.speed, anchor, self._line.wall or self._shared.wall_ms)
        self._line.settings = _settings(self.policy, anchor)
        self._line.ahead_s = self._shared.ahead_s


def _settings(policy: Policy, anchor: Anchor) -> str:
    """Return what calls.lua has to know."""
    settings = {
        "anchor": asdict(anchor),
        "codes": {it.name: it for it in ReturnCode},
        "sends": _window(policy.rules),
        "app_sends": _window(policy.app_rules),
        "failures": _window((Rule(policy.failures_per_hour, HOUR_MS // 1000),)),
        "tries": policy.tries,
        "kept_ms": KEPT_MS,
        "longest_ms": MAX_TTL_S * 1000 + KEPT_MS,
        "lease_ms": LEASE_S * 1000,
        "sent": DeliveryState.SENT,
    }
    return json.dumps(settings)


def _window(rules: Sequence[Rule]) -> dict[str, Any]:
    return {
        "rules": [{"count": rule.count, "window_ms": rule.window_ms} for rule in rules],
        "kept": max((rule.count for rule in rules), default=0),
        "longest_ms": max((rule.window_ms for rule in rules), default=0),
    }


def _message(app_id: int, msg_id: str, row: Sequence[Any], now_ms: int) -> Message:
    """Read what is known of a message; one that nobody settled in time has expired."""
    sent = _Sent.read(row[0])
    state, carrier_code, carrier_id = ((it or b"").decode() for it in row[1:4])
    unsettled = DeliveryState.WAITING if now_ms < sent.expires_ms else DeliveryState.EXPIRED
    return Message(
        app_id=app_id,
        msg_id=msg_id,
        mobile=sent.mobile,
        temp_id=sent.temp_id,
        segments=sent.segments,
        sent_ms=sent.sent_ms,
        expires_ms=sent.expires_ms,
        delivery=Delivery(DeliveryState(state or unsettled), carrier_code, carrier_id),
        attempts=int(row[4] or 0),
        settled_ms=int(row[5] or 0),
    )


def _tag(app_id: int) -> str:
    return f"sms:{{{app_id}}}"


def _receipt_tag(carrier_id: str) -> str:
    return f"sms:{{receipt-{carrier_id}}}"


def _name(url: str) -> str:
    """Name a Redis without its password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


async def _check_version(client: Client, too_slow_s: float) -> None:
    about = await within(too_slow_s, client.info("server"))
    if int(about["redis_version"].split(".")[0]) < _OLDEST_REDIS:
        raise RunError(f"Redis {about['redis_version']} is too old: {_OLDEST_REDIS} or later, or Valkey, is needed")
