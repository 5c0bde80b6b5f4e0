"""The state in memory, and the two decisions over it: may this be sent, is this code right.

No I/O, no clock: each decision is one uninterrupted step that changes the state, and notes in a batch what to write and
how to take it back. A store writes the batch; where it can't, it takes it back. A message is kept in memory until it
expires; afterwards its msg_id alone tells that it was sent, and one bit whether it was verified.
"""

from __future__ import annotations

import hmac
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, Protocol

from toolkit.api.errors import InputError
from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode, find
from toolkit.service.core.accounts import App, Template
from toolkit.service.core.digests import Digests
from toolkit.service.core.messages import Decision, NewMessage
from toolkit.service.core.policy import HOUR_MS, Policy
from toolkit.service.core.rate_windows import RateWindows, SendTimes
from toolkit.service.core.record_pages import PAGE, RecordPages

VERIFIED_KEPT_MS = 24 * HOUR_MS  # for this long an expired message is still known as verified
_GRACE_MS = 60_000  # what is under way when a message expires has ended by then
_MOBILES = 10**11
_RECORD = struct.Struct("<IQQ16sHB?")
_VERIFIED_AT = _RECORD.size - 1
_DIGITS = bytes.maketrans(b"\0\1", b"01")
_PAGES_A_SWEEP = 16


class Record(NamedTuple):
    """What is kept of an accepted send until it expires."""

    app_id: int
    mobile: int
    expires_ms: int
    digest: bytes
    forced: int
    tries: int
    verified: bool


class MessageRow(NamedTuple):
    """An accepted send as it is written."""

    seq: int
    app_id: int
    mobile: int
    temp_id: int
    sent_ms: int
    expires_ms: int
    segments: int
    digest: bytes
    forced: int


class JobRow(NamedTuple):
    """A delivery job as it is written; the code is masked."""

    seq: int
    masked: int


class TryRow(NamedTuple):
    """A typed code as it is written; ``right`` 1 or 0."""

    try_seq: int
    seq: int
    tried_ms: int
    right: int


class DeliveryRow(NamedTuple):
    """What became of a message as it is written."""

    seq: int
    state: str
    carrier_code: str
    carrier_id: str
    attempts: int
    settled_ms: int


class AppRow(NamedTuple):
    """An app as it is written, with its balance in messages."""

    app_id: int
    app_key: str
    secret_digest: bytes
    suspended: bool
    permitted: bool
    balance: int


class TemplateRow(NamedTuple):
    """A template as it is written."""

    temp_id: int
    app_id: int
    text: str
    ttl_s: int
    enabled: bool


class Table(Protocol):
    """A mapping that a batch can change and set back: a dict, a slab, windows."""

    def get(self, key: Any, /) -> Any:
        """Return the value of a key, or None."""

    def __setitem__(self, key: Any, value: Any, /) -> None: ...

    def pop(self, key: Any, /) -> Any:
        """Remove a key that is there."""


@dataclass(slots=True)
class Batch:
    """What was decided since the last one: what to write, and the earlier values that take it back.

    Of apps and templates it notes which changed; ``Ledger.swap`` adds their rows as they then are. ``dropped`` names
    rows to delete, as (table, first, last) of their keys.
    """

    messages: list[MessageRow] = field(default_factory=list)
    jobs: list[JobRow] = field(default_factory=list)
    tries: list[TryRow] = field(default_factory=list)
    deliveries: list[DeliveryRow] = field(default_factory=list)
    dropped: list[tuple[str, int, int]] = field(default_factory=list)
    app_ids: set[int] = field(default_factory=set)
    temp_ids: set[int] = field(default_factory=set)
    app_rows: list[AppRow] = field(default_factory=list)
    template_rows: list[TemplateRow] = field(default_factory=list)
    _before: list[tuple[Table, object, object]] = field(default_factory=list)

    def set(self, table: Table, key: object, value: object) -> None:
        """Change the state, and note how it was."""
        self._before.append((table, key, table.get(key)))
        table[key] = value

    def rollback(self) -> None:
        """Undo every change, the last one first."""
        while self._before:
            table, key, value = self._before.pop()
            if value is None:
                table.pop(key)
            else:
                table[key] = value

    def __bool__(self) -> bool:
        return bool(self._before or self.app_ids or self.temp_ids or self.deliveries or self.dropped)


class ServiceState:
    """The state of every app: accounts, balances, messages, windows. All times are the service clock's."""

    def __init__(self, policy: Policy, digests: Digests) -> None:
        self.policy = policy
        self.digests = digests
        self.apps: dict[int, App] = {}
        self.app_ids: dict[str, int] = {}
        self.templates: dict[int, Template] = {}
        self.balances: dict[int, int] = {}
        self.records = RecordPages(_RECORD.size)
        self.seq = self.try_seq = 0
        self.batch = Batch()
        self.sends = RateWindows(policy.rules)
        self.app_sends: defaultdict[int, SendTimes] = defaultdict(SendTimes)
        self.failures = RateWindows((Rule(policy.failures_per_hour, HOUR_MS // 1000),))
        self._drawn = {"app": 0, "template": 0}
        self._expires_ms: dict[int, int] = {}  # of each page, when its last record does
        self._verified: dict[int, tuple[int, int]] = {}  # of each dropped page, when it expired, and a bit a message

    def start_next_batch(self) -> Batch:
        """Hand over what was decided so far, and begin the next batch."""
        batch, self.batch = self.batch, Batch()
        batch.app_rows = [self._app_row(app_id) for app_id in batch.app_ids if app_id in self.apps]
        batch.template_rows = [self._template_row(temp_id) for temp_id in batch.temp_ids if temp_id in self.templates]
        return batch

    def _app_row(self, app_id: int) -> AppRow:
        app = self.apps[app_id]
        return AppRow(
            app_id, app.app_key, app.secret_digest, app.suspended, app.permitted, balance=self.balances[app_id]
        )

    def _template_row(self, temp_id: int) -> TemplateRow:
        template = self.templates[temp_id]
        return TemplateRow(temp_id, template.app_id, template.text, template.ttl_s, template.enabled)

    # The two decisions.

    def send(self, order: NewMessage, now_ms: int) -> Decision:
        """Accept a message, or refuse it for frequency or balance; a refusal changes nothing."""
        if order.ruled and (wait_ms := self._wait_ms(order, now_ms)) > 0:
            return Decision(ReturnCode.OUT_OF_FREQ, wait_ms)
        if self.balances[order.app_id] < order.segments:
            return Decision(ReturnCode.NO_MONEY)
        if order.ruled:
            self._count(order, now_ms)
        self.credit(order.app_id, -order.segments)
        return Decision(ReturnCode.SUCCESS, msg_id=self._add(order, now_ms))

    def _wait_ms(self, order: NewMessage, now_ms: int) -> int:
        wait_ms = self.sends.wait_ms(_key(order.app_id, order.mobile), now_ms)
        if self.policy.app_rules:
            wait_ms = max(wait_ms, self.app_sends[order.app_id].wait_ms(self.policy.app_rules, now_ms))
        return wait_ms

    def _count(self, order: NewMessage, now_ms: int) -> None:
        if self.policy.rules:
            key = _key(order.app_id, order.mobile)
            self.batch.set(self.sends, key, self.sends.with_one_more(key, now_ms))
        if self.policy.app_rules:
            stream = self.app_sends[order.app_id]
            self.batch.set(stream, stream.end, now_ms)

    def _add(self, order: NewMessage, now_ms: int) -> str:
        self.seq += 1
        app_id, mobile, temp_id, code, ttl_ms, segments, demanded, _ = order
        msg_id, expires_ms, forced = self.digests.msg_id(app_id, self.seq), now_ms + ttl_ms, int(demanded or 0)
        digest = self.digests.code(msg_id, code)
        self._keep(self.seq, expires_ms)
        self.batch.set(self.records, self.seq, _RECORD.pack(app_id, mobile, expires_ms, digest, forced, 0, False))
        self.batch.jobs.append(JobRow(self.seq, self.digests.mask(msg_id, code)))
        row = (self.seq, app_id, mobile, temp_id, now_ms, expires_ms, segments, digest, forced)
        self.batch.messages.append(MessageRow._make(row))
        return msg_id

    def _keep(self, seq: int, expires_ms: int) -> None:
        page = seq // PAGE
        if expires_ms > self._expires_ms.get(page, 0):
            self._expires_ms[page] = expires_ms

    def verify(self, app_id: int, msg_id: str, code: str, now_ms: int) -> Decision:
        """Judge a typed code. A wrong one uses up a try, a right one the message."""
        seq = self.digests.seq(app_id, msg_id)
        if seq is None:
            return Decision(ReturnCode.INVALID_CODE)
        record = self.record(seq)
        if record is None:
            return Decision(ReturnCode.VERIFIED_CODE if self._was_verified(seq) else ReturnCode.EXPIRED_CODE)
        key = _key(app_id, record.mobile)
        if (wait_ms := self.failures.wait_ms(key, now_ms)) > 0:
            return Decision(ReturnCode.OUT_OF_FREQ, wait_ms)
        verdict = self._verdict(record, msg_id, code, now_ms)
        if verdict is ReturnCode.INVALID_CODE and not record.forced:
            self.batch.set(self.failures, key, self.failures.with_one_more(key, now_ms))
            self._tried(seq, record._replace(tries=record.tries + 1), now_ms)
        elif verdict is ReturnCode.SUCCESS:
            self._tried(seq, record._replace(verified=True), now_ms)
        return Decision(verdict)

    def _verdict(self, record: Record, msg_id: str, code: str, now_ms: int) -> ReturnCode:
        if row := find(record.forced):
            return row
        if record.verified:
            return ReturnCode.VERIFIED_CODE
        if now_ms >= record.expires_ms or record.tries >= self.policy.tries:
            return ReturnCode.EXPIRED_CODE
        right = hmac.compare_digest(record.digest, self.digests.code(msg_id, code))
        return ReturnCode.SUCCESS if right else ReturnCode.INVALID_CODE

    def _tried(self, seq: int, record: Record, now_ms: int) -> None:
        self.try_seq += 1
        self.batch.set(self.records, seq, _RECORD.pack(*record))
        self.batch.tries.append(TryRow(self.try_seq, seq, now_ms, int(record.verified)))

    def record(self, seq: int) -> Record | None:
        """Return what is kept of a message; None when it has expired, or never was."""
        packed = self.records.get(seq)
        return Record._make(_RECORD.unpack(packed)) if packed else None

    def _was_verified(self, seq: int) -> bool:
        _, verified = self._verified.get(seq // PAGE, (0, 0))
        return bool(verified >> seq % PAGE & 1)

    # Accounts.

    def new_id(self, of: str) -> int:
        """Return a new number for an "app" or a "template"."""
        self._drawn[of] = 1 + max([self._drawn[of], *(self.apps if of == "app" else self.templates)])
        return self._drawn[of]

    def put_app(self, app: App, credit: int = 0) -> None:
        """Add or change an app, and its balance by a number of messages; raise InputError where it falls below zero."""
        balance = self.balances.get(app.app_id, 0)
        if balance + credit < 0:
            raise InputError(f"app {app.app_key}: its balance is {balance} messages, so {-credit} can't be taken away")
        self.batch.set(self.apps, app.app_id, app)
        self.batch.set(self.app_ids, app.app_key, app.app_id)
        self.credit(app.app_id, credit)

    def put_template(self, template: Template) -> None:
        """Add or change a template."""
        self.batch.set(self.templates, template.temp_id, template)
        self.batch.temp_ids.add(template.temp_id)

    def credit(self, app_id: int, messages: int) -> None:
        """Change an app's balance by a number of messages."""
        self.batch.set(self.balances, app_id, self.balances.get(app_id, 0) + messages)
        self.batch.app_ids.add(app_id)

    def app(self, app_key: str) -> App | None:
        """Return the app of a key."""
        return self.apps.get(self.app_ids.get(app_key, 0))

    # Forgetting what no decision needs, a small part at a time.

    def forget_expired(self, now_ms: int) -> None:
        """Let go of messages that have expired, and of times that have left their windows."""
        self.sends.forget_expired(now_ms)
        self.failures.forget_expired(now_ms)
        for stream in self.app_sends.values():
            stream.forget_expired(now_ms - max(rule.window_ms for rule in self.policy.app_rules))
        expired = (page for page, expires_ms in self._expires_ms.items() if expires_ms + _GRACE_MS <= now_ms)
        for page in list(islice(expired, _PAGES_A_SWEEP)):
            self._drop(page)
        forgotten = (
            page for page, (expires_ms, _) in self._verified.items() if expires_ms + VERIFIED_KEPT_MS <= now_ms
        )
        for page in list(islice(forgotten, _PAGES_A_SWEEP)):
            del self._verified[page]

    def _drop(self, page: int) -> None:
        verified = int(self.records.column(page, _VERIFIED_AT)[::-1].translate(_DIGITS), 2)
        _, earlier = self._verified.pop(page, (0, 0))
        self._verified[page] = self._expires_ms.pop(page), verified | earlier
        self.records.drop(page)

    # Loading back what was written.

    def load_app(self, row: AppRow) -> None:
        """Take in an app and its balance."""
        app = App(row.app_id, row.app_key, row.secret_digest, bool(row.suspended), bool(row.permitted))
        self.apps[app.app_id], self.app_ids[app.app_key] = app, app.app_id
        self.balances[app.app_id] = row.balance

    def load_template(self, row: TemplateRow) -> None:
        """Take in a template."""
        self.templates[row.temp_id] = Template(*row[:4], enabled=bool(row.enabled))

    def load_message(self, row: MessageRow) -> None:
        """Take in an accepted send; in the order of ``seq``."""
        self.seq, app_id, mobile, _, sent_ms, expires_ms, _, digest, forced = row
        self.records[self.seq] = _RECORD.pack(app_id, mobile, expires_ms, digest, forced, 0, False)
        self._keep(self.seq, expires_ms)
        self.sends.load(_key(app_id, mobile), sent_ms)
        if self.policy.app_rules:
            stream = self.app_sends[app_id]
            stream[stream.end] = sent_ms

    def load_try(self, row: TryRow) -> None:
        """Take in a typed code; in the order of ``try_seq``, after the messages."""
        self.try_seq, seq, tried_ms, right = row
        if (record := self.record(seq)) is None:
            return
        self.records[seq] = _RECORD.pack(
            *record._replace(verified=record.verified or bool(right), tries=record.tries + 1 - right)
        )
        if not right:
            self.failures.load(_key(record.app_id, record.mobile), tried_ms)


def _key(app_id: int, mobile: int) -> int:
    return app_id * _MOBILES + mobile
