"""Store the state of any number of processes and machines in one Redis (7 or later), Valkey or Redis Cluster.

Each decision is one atomic step of a script in Redis (calls.lua), by Redis's clock. All keys of an app lie in one slot;
the accounts of all apps lie in another one (accounts.lua), and in the memory of each process. While Redis doesn't
answer, calls fail at once. A background task checks whether it answers again, and rolls back the calls that were left
open.
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from toolkit.api.errors import InputError, RunError, StoreError
from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode
from toolkit.service.core.accounts import App, Template
from toolkit.service.core.clock import Anchor, Clock
from toolkit.service.core.deferred import Deferred
from toolkit.service.core.digests import Digests, draw_msg_ids
from toolkit.service.core.messages import Decision, Delivery, DeliveryState, Job, Message, NewMessage, SentMessage
from toolkit.service.core.policy import HOUR_MS, MAX_TTL_S, Policy
from toolkit.service.core.state import used_key_error
from toolkit.service.metrics.counters import Histogram, commit_sizes
from toolkit.service.stores.base import LEASE_S
from toolkit.service.stores.key_file import read_key
from toolkit.service.stores.redis.accounts_cache import AccountsCache
from toolkit.service.stores.redis.pipeline import Client, Pipeline, Rollback, connect, describe, within

log = logging.getLogger(__name__)

TIMEOUT_S = 2.0
KEPT_MS = 24 * HOUR_MS  # a message is kept for so long after it has expired

POLL_S = 0.4
_OLDEST_REDIS = 7
_EMPTIED_AT_ONCE = 500
_USED_KEY = -2  # calls.lua: the answer of credit
_CODES = {int(it): it for it in ReturnCode}
_DECIDED = (  # the codes by which calls.lua decides
    ReturnCode.SUCCESS,
    ReturnCode.OUT_OF_FREQ,
    ReturnCode.INVALID_CODE,
    ReturnCode.EXPIRED_CODE,
    ReturnCode.VERIFIED_CODE,
    ReturnCode.NO_MONEY,
)
_SEND = struct.Struct("<QIIHHBI")  # calls.lua: MESSAGE
_SENT = struct.Struct("<QIIHHBIQ")  # calls.lua: SENT


class _PackedMessage(NamedTuple):
    """An accepted message as calls.lua packs it."""

    mobile: int
    temp_id: int
    ttl_ms: int
    segments: int
    forced: int
    rate_limited: int
    masked: int
    sent_ms: int

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Unpack the beginning of a stored message."""
        return cls._make(_SENT.unpack_from(packed))

    @property
    def expires_ms(self) -> int:
        """When the code expires."""
        return self.sent_ms + self.ttl_ms


@dataclass(slots=True)
class RedisStore:
    """A store in Redis, shared by every process with the same key. Open it with ``RedisStore.open``."""

    policy: Policy
    digests: Digests
    clock: Clock
    _accounts: AccountsCache
    _pipeline: Pipeline
    _msg_ids: Iterator[str] = field(default_factory=draw_msg_ids)
    _tokens: itertools.count[int] = field(default_factory=lambda: itertools.count(secrets.randbits(63)))
    _watch_task: asyncio.Task[None] | None = None
    _anchor: Anchor | None = None
    _has_inbox: bool = False

    @classmethod
    async def open(
        cls,
        url: str,
        policy: Policy,
        key_file: Path,
        speed: float | None = None,
        wall: Callable[[], int] | None = None,
        timeout_s: float = TIMEOUT_S,
        batch_sizes: Histogram | None = None,
    ) -> Self:
        """Connect to Redis, and read or create the key file.

        Args:
            url: of Redis; see ``pipeline.connect``.
            policy: the limits that the service enforces.
            key_file: the key of the digests, the same for every process.
            speed: seconds of the service clock in one real second; None leaves the clock as it is.
            wall: returns the time in milliseconds; None for Redis's time, by which windows are exact over all machines.
            timeout_s: the time limit of each call.
            batch_sizes: counts the calls of each batch that is sent to Redis.

        Raises:
            SettingsError: if the URL is not valid.
            RunError: if Redis does not answer, is too old, or belongs to another key.
        """
        client = connect(url, timeout_s)
        try:
            about = await within(timeout_s, client.info("server"))
            if int(about["redis_version"].split(".")[0]) < _OLDEST_REDIS:
                raise RunError(
                    f"Redis {about['redis_version']} is too old: Redis {_OLDEST_REDIS} or later, or Valkey, is required"
                )
            await _check_settings(client, timeout_s)
            accounts = AccountsCache(client, timeout_s)
            wall_ms = wall or accounts.wall_ms
            digests = Digests(read_key(key_file, await accounts.is_empty()))
            await accounts.refresh()
            await accounts.enter(digests, speed, wall_ms)
        except (StoreError, RunError) as problem:
            await client.aclose()
            parts = urlsplit(url)
            name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"  # without the password
            raise RunError(f"{name}: can't be used as a store: {problem}") from None
        except BaseException:
            await client.aclose()
            raise
        clock = Clock(accounts.anchor.speed, accounts.anchor, wall_ms, wall_ms)
        sizes = commit_sizes() if batch_sizes is None else batch_sizes
        store = cls(policy, digests, clock, accounts, Pipeline(client, timeout_s, wall, sizes))
        store._update_clock()
        store._watch_task = asyncio.create_task(store._watch())
        return store

    # Accounts.

    def app(self, app_key: str) -> App | None:
        """Return the app of a key."""
        return self._accounts.by_key.get(app_key)

    def template(self, temp_id: int) -> Template | None:
        """Return a template."""
        return self._accounts.templates.get(temp_id)

    def apps(self) -> list[App]:
        """Return every app."""
        return list(self._accounts.apps.values())

    def templates(self) -> list[Template]:
        """Return every template."""
        return list(self._accounts.templates.values())

    async def balances(self) -> dict[int, int]:
        """Return the balance of every app in messages, by app_id."""
        return await self._call_every_app("balance")

    async def new_id(self, of: str) -> int:
        """Return an unused number for an "app" or a "template": 1, 2, ..."""
        return await self._accounts.new_id(of)

    async def put(
        self, *, app: App | None = None, credit: int = 0, template: Template | None = None, credit_key: str = ""
    ) -> None:
        """Add or change an app, its balance and a template.

        Raises:
            InputError: if the balance would fall below zero, if another app has the key, or if ``credit_key`` was given
                to another credit.
        """
        # A top-up alone does not write the app: another process may have changed it since it was read here.
        changed = app if app and app != self._accounts.apps.get(app.app_id) else None
        balance = await self._call(app.app_id, "credit", f"{credit} {credit_key}") if app and credit else 0
        if balance == _USED_KEY:
            raise used_key_error(credit_key)
        if app and balance < 0:
            raise InputError(f"app {app.app_key}: its balance can't be changed by {credit} messages")
        if not await self._accounts.put(changed, template) and app:
            await self._call(app.app_id, "credit", f"{-credit}")
            raise InputError(f"app key {app.app_key}: another app has this key; choose another one")

    # Decisions.

    def send(self, message: NewMessage) -> Deferred[Decision | StoreError]:
        """Accept a message, or refuse it for a rate limit or for lack of balance."""
        msg_id = next(self._msg_ids)
        packed = _SEND.pack(
            message.mobile,
            message.temp_id,
            message.ttl_ms,
            message.segments,
            message.forced or 0,
            message.rate_limited,
            self.digests.mask_code(msg_id, message.code),
        )
        tag = _tag(message.app_id)
        rollback = Rollback(tag, "unsend", {"msg_id": msg_id})

        def decide(answer: Any) -> Decision | StoreError:
            if isinstance(answer, StoreError):
                return answer
            return_code, wait_ms = answer
            return Decision(_CODES[return_code], wait_ms, msg_id if return_code == ReturnCode.SUCCESS else "")

        return self._pipeline.call(tag, "send", packed + msg_id.encode(), rollback).then(decide)

    def verify(self, app_id: int, msg_id: str, code: str) -> Deferred[Decision | StoreError]:
        """Judge a typed code. A wrong code uses up a try, the right one the message."""
        tag, token = _tag(app_id), struct.pack(">Q", next(self._tokens))
        typed = struct.pack("<I", self.digests.mask_typed(msg_id, code))
        payload = token + typed + msg_id.encode("utf-8", "surrogatepass")
        rollback = Rollback(tag, "unverify", {"msg_id": msg_id, "token": token.hex()})

        def decide(answer: Any) -> Decision | StoreError:
            return answer if isinstance(answer, StoreError) else Decision(_CODES[answer[0]], answer[1])

        return self._pipeline.call(tag, "verify", payload, rollback).then(decide)

    # Delivery.

    async def pending_job(self, app_id: int, msg_id: str) -> Job | None:
        """Return the delivery job of an app's message without taking it."""
        row = await self._call(app_id, "undelivered", msg_id)
        return self._job(app_id, row) if row else None

    async def take_jobs(self, limit: int) -> list[Job]:
        """Lease up to ``limit`` jobs that are due, the oldest first, for ``LEASE_S`` each."""
        due = await self._call_every_app("due", limit)
        oldest = sorted((due_ms, app_id) for app_id, times in due.items() for due_ms in times)[:limit]
        shares = Counter(app_id for _, app_id in oldest)
        taken = await asyncio.gather(*[self._call(app_id, "take", share) for app_id, share in shares.items()])
        return [self._job(app_id, row) for app_id, rows in zip(shares, taken, strict=True) for row in rows]

    async def postpone(self, job: Job, wait_s: float, fault: str | None = None) -> None:
        """Return a taken job to the queue; it is due in ``wait_s`` real seconds."""
        fault = job.fault if fault is None else fault
        await self._call_json(job.app_id, "postpone", msg_id=job.msg_id, wait_ms=int(wait_s * 1000), fault=fault)

    async def record_delivery(self, job: Job, delivery: Delivery, refund: bool = False) -> None:
        """Record the result of a taken job, and delete the job with its code; credit its price if ``refund``."""
        if delivery.state is DeliveryState.SENT and delivery.carrier_id:
            message = f"{job.app_id} {job.msg_id}".encode()
            await self._pipeline.call(_receipt_tag(delivery.carrier_id), "link", message)
        await self._call_json(job.app_id, "complete", msg_id=job.msg_id, refund=refund, **delivery._asdict())

    async def record_receipt(self, carrier_id: str, delivery: Delivery, mobile: int | None = None) -> bool:
        """Record the receipt of a message that was SENT; return False if no such message has this carrier's id."""
        message = await self._pipeline.call(_receipt_tag(carrier_id), "find")
        if message is None:
            return False
        app_id, msg_id = message.decode().split()
        fields = delivery._asdict() | {"msg_id": msg_id, "carrier_id": carrier_id, "mobile": mobile or 0}
        return bool(await self._call_json(int(app_id), "receive", **fields))

    async def message(self, msg_id: str) -> Message | None:
        """Return the state of a message, or None if it is unknown."""
        for app_id, row in (await self._call_every_app("message", msg_id)).items():
            if row[0]:
                return _message(app_id, msg_id, row, self.clock.now_ms())
        return None

    async def backlog(self) -> int:
        """Return the number of jobs that are not completed, leased ones included."""
        return sum((await self._call_every_app("backlog")).values())

    @property
    def commit_s(self) -> float:
        """How long the last batch of calls took, in seconds."""
        return self._pipeline.last_s

    async def ping(self) -> None:
        """Return once Redis has answered; raise StoreError if it does not in time, or while calls are rolled back."""
        await self._accounts.refresh()
        if self._pipeline.is_down:
            raise StoreError("calls that Redis left open are not rolled back yet")

    async def prune(self) -> bool:
        """Do nothing: every key has a TTL, except those of the accounts and balances, and Redis deletes it itself."""
        return False

    async def close(self) -> None:
        """Complete the calls under way, and close the connections."""
        if self._watch_task:
            self._watch_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch_task
        await self._pipeline.drain()
        with contextlib.suppress(StoreError):
            await self._pipeline.roll_back()
        await self._pipeline.client.aclose()

    # The sandbox.

    def keep_inbox(self) -> None:
        """Keep the order of the messages for ``inbox``."""
        self._has_inbox = True
        self._update_clock()

    async def inbox(self, app_id: int, mobile: int | None, after: str, limit: int) -> list[SentMessage]:
        """Return up to ``limit`` messages of an app that were sent after another one, the oldest first."""
        found: list[SentMessage] = []
        for packed_id, packed in await self._call_json(app_id, "inbox", after=after, mobile=mobile or 0, limit=limit):
            msg_id, sent = packed_id.decode(), _PackedMessage.unpack(packed)
            code = self.digests.unmask_code(msg_id, sent.masked)
            found.append(SentMessage(msg_id, sent.mobile, sent.temp_id, code, sent.sent_ms))
        return found

    async def advance(self, by_ms: int) -> None:
        """Move the service clock ahead."""
        await self._accounts.advance(by_ms)
        self._update_clock()

    async def empty(self, app_id: int) -> int:
        """Remove all messages, windows and tries of an app; return the number of messages that it was charged."""
        charged, emptied = 0, _EMPTIED_AT_ONCE
        while emptied == _EMPTIED_AT_ONCE:
            emptied, some = await self._call(app_id, "empty", _EMPTIED_AT_ONCE)
            charged += some
        return charged

    def _job(self, app_id: int, row: Sequence[Any]) -> Job:
        msg_id, sent = row[0].decode(), _PackedMessage.unpack(row[1])
        code = self.digests.unmask_code(msg_id, sent.masked)
        return Job(
            app_id,
            msg_id,
            sent.mobile,
            sent.temp_id,
            code,
            sent.expires_ms,
            attempts=row[2],
            segments=sent.segments,
            fault=row[3].decode(),
        )

    async def _call(self, app_id: int, command: str, payload: str | int = "") -> Any:
        return await self._pipeline.call(_tag(app_id), command, str(payload).encode("utf-8", "surrogatepass"))

    async def _call_json(self, app_id: int, command: str, **fields: Any) -> Any:
        return await self._call(app_id, command, json.dumps(fields))

    async def _call_every_app(self, command: str, payload: str | int = "") -> dict[int, Any]:
        app_ids = list(self._accounts.apps)
        answers = await asyncio.gather(*[self._call(it, command, payload) for it in app_ids])
        return dict(zip(app_ids, answers, strict=True))

    # The watch task.

    async def _watch(self) -> None:
        """Refresh the accounts and the clock, and roll back open calls, again and again."""
        # The loop asks for a cancellation, because wait_for of Python 3.11, which redis-py uses, may swallow one.
        while not (task := asyncio.current_task()) or not task.cancelling():
            await asyncio.sleep(POLL_S)
            try:
                await self._accounts.refresh()
                self._update_clock()
                await self._pipeline.roll_back()
            except Exception as problem:  # of any kind, because the next attempt may succeed
                if not self._pipeline.is_down:
                    log.error("%s", describe(problem))
                self._pipeline.is_down = True
            else:
                if self._pipeline.is_down and not self._pipeline.rollbacks:
                    log.warning("Redis answers again")
                    self._pipeline.is_down = False

    def _update_clock(self) -> None:
        """Use the anchor that all machines share, and the time of Redis."""
        anchor = self._accounts.anchor
        if anchor != self._anchor:
            wall_ms = self._pipeline.wall or self._accounts.wall_ms
            self.clock, self._anchor = Clock(anchor.speed, anchor, wall_ms, wall_ms), anchor
        self._pipeline.settings = _settings(self.policy, anchor, self._has_inbox)
        self._pipeline.ahead_s = self._accounts.ahead_s


async def _check_settings(client: Client, timeout_s: float) -> None:
    """Raise RunError if Redis may remove data that decisions need; warn if it keeps nothing on disk."""
    policy = (await within(timeout_s, client.info("memory"))).get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise RunError(
            f"its maxmemory-policy is {policy}, so a full Redis would remove windows and balances: set"
            " `maxmemory-policy noeviction`"
        )
    if not (await within(timeout_s, client.info("persistence"))).get("aof_enabled"):
        log.warning("Redis has no append-only file, so answered calls are lost if it ends: set `appendonly yes`")


def _settings(policy: Policy, anchor: Anchor, has_inbox: bool) -> str:
    """Return the settings of calls.lua: the policy, the anchor of the clock, and the numbers that both sides use."""
    settings = {
        "anchor": asdict(anchor),
        "codes": {it.name: it for it in _DECIDED},
        "windows": [
            _window(rules) | {"is_of_app": is_of_app}
            for rules, is_of_app in ((policy.rules, False), (policy.app_rules, True))
            if rules
        ],
        "failures": _window((Rule(policy.failures_per_hour, HOUR_MS // 1000),)),
        "tries": policy.tries,
        "kept_ms": KEPT_MS,
        "longest_ms": MAX_TTL_S * 1000 + KEPT_MS,
        "has_inbox": has_inbox,
        "lease_ms": LEASE_S * 1000,
        "sent": DeliveryState.SENT,
    }
    return json.dumps(settings)


def _window(rules: Sequence[Rule]) -> dict[str, Any]:
    return {
        "rules": [{"count": rule.count, "window_ms": rule.window_ms} for rule in rules],
        "max_count": max(rule.count for rule in rules),
        "longest_ms": max(rule.window_ms for rule in rules),
    }


def _message(app_id: int, msg_id: str, row: Sequence[Any], now_ms: int) -> Message:
    """Build a message from its fields. If it has no result and its code is no longer valid, it has expired."""
    sent = _PackedMessage.unpack(row[0])
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
