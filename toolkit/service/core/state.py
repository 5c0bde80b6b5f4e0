"""Keep the state of the service in memory, and decide sends and verifies on it, each in one uninterrupted step.

Theory of operation
===================

A store must answer thousands of calls a second, and an answer must be durable. So decisions are made on a copy of the
state in memory (after the *memory image* of a database with a redo log), and only their results are written:

    state.send(message)                 changes the memory, appends rows and undo entries to ``state.batch``
    state.start_next_batch()            hands the batch to the store, which writes it in one transaction
        -> written:                     the store answers the callers
        -> failed:  batch.rollback()    restores the memory, and the store refuses the callers

The class does no I/O and reads no clock. One call of ``send`` or ``verify`` runs to its end without an ``await``, so no
other call can see half a decision: no lock is needed.

**Order of checks.** ``send``: rate limits first, then the balance; a refusal changes nothing. ``verify``: is the msg_id
one of the app's; is the message still in memory; has the mobile failed too often in the last hour; then the message's
own state (forced result, already verified, expired or out of tries, right or wrong). Only a wrong code and the right
code change the state. The callers' rights and templates were checked before, in ``send_and_verify``.

**Undo.** ``Batch.set`` notes the earlier value of each key that it changes. ``rollback`` restores them, the latest
change first. For example, an app with a balance of 10 accepts two messages:

    key        undo log             after both sends    after rollback
    balance    10, then 9           8                   9, then 10
    records    None, then None      seq 1 and 2         both removed

A batch must not be rolled back while a later one is kept: ``GroupCommit`` rolls back the later one first.

**Recovery.** At start the store feeds its rows to ``load_app``, ``load_template``, ``load_messages`` (by ascending
``seq``, a page at a time, because a call for each of a million rows would take longer than all else) and
``load_failures`` (after the messages). They rebuild records, windows and balances exactly, because every row was
written in the transaction that answered its call. Of a page that expired an hour ago only the bits stay (see below).

**Expiry.** Memory holds a message until it expires. Records lie in pages of 4096 consecutive numbers, and a page is
dropped once its last message has expired (plus a minute, for calls that are still under way). The msg_id alone then
proves that the message was sent, since it can be made with the service's key only. One bit a message remains until 24
hours after the last one of its page expired: was it verified? ``forget_expired`` does a small part of this work each
time, so that no call waits for it. How far it has come changes no decision: ``verify`` looks at the times.

**Deleting rows.** The store deletes the row of a message ``ROW_KEPT_MS`` after its send, and those of its tries after
it. A code lives for a day at most and a failure counts for an hour, so both are over by then. The bit may
still count. ``page_row`` holds it, and the store writes it in the same transaction. So a loaded state decides as the
state that wrote the rows did.

**Emptying a sandbox.** ``empty`` removes the windows of an app and notes the number of the last message so far. Earlier
messages of the app are unknown from then on, and loading them fills no window.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress, islice, repeat
from operator import and_
from typing import Any, Protocol

from toolkit.api.errors import InputError
from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode, find
from toolkit.service.core.accounts import App, Template
from toolkit.service.core.clock import Anchor
from toolkit.service.core.digests import Digests, mask, mask_typed, unmask
from toolkit.service.core.message_record import SIZE, VERIFIED_AT, Record, app_of, pack_fields, times_of, window_key
from toolkit.service.core.messages import Decision, NewMessage
from toolkit.service.core.policy import HOUR_MS, MAX_TTL_S, Policy
from toolkit.service.core.rate_windows import RateWindows, SendTimes
from toolkit.service.core.record_pages import PAGE, RecordPages
from toolkit.service.core.rows import (
    AppRow,
    DeliveryRow,
    EmptiedRow,
    MessageRow,
    PageRow,
    TemplateRow,
    TopUpRow,
    TryRow,
)

_SUCCESS = ReturnCode.SUCCESS  # looking up an enum's attribute runs Python code
VERIFIED_KEPT_MS = 24 * HOUR_MS  # an expired message is known as verified for so long
ROW_KEPT_MS = MAX_TTL_S * 1000 + HOUR_MS
_GRACE_MS = 60_000  # a call that was under way when a message expired has ended by then
_DIGITS = bytes.maketrans(b"\0\1", b"01")
_PAGES_A_SWEEP = 16


def used_key_error(credit_key: str) -> InputError:
    """Return the error for a top-up whose idempotency key belongs to another one."""
    return InputError(f"idempotency key {credit_key!r}: it was used for another top-up; choose a new key")


class UndoableMapping(Protocol):
    """A mapping that a batch can change and restore: a dict, record pages, rate windows."""

    def get(self, key: Any, /) -> Any:
        """Return the value of a key, or None."""

    def __setitem__(self, key: Any, value: Any, /) -> None: ...

    def pop(self, key: Any, /) -> Any:
        """Remove a key that is present."""


@dataclass(slots=True)
class Batch:
    """The rows to write for the decisions since the last batch, and the earlier values to roll them back.

    Attributes:
        deletions: rows to delete, as (table, first key, last key). "jobs" is no table: there, the codes of the messages
            are deleted.
        app_ids, temp_ids: the apps and templates that changed. ``ServiceState.start_next_batch`` adds their rows as
            they are at that time.
        anchor: the new anchor of the clock, if a sandbox moved it ahead.
    """

    messages: list[MessageRow] = field(default_factory=list)
    tries: list[TryRow] = field(default_factory=list)
    deliveries: list[DeliveryRow] = field(default_factory=list)
    pages: list[PageRow] = field(default_factory=list)
    top_ups: list[TopUpRow] = field(default_factory=list)
    emptied: list[EmptiedRow] = field(default_factory=list)
    anchor: Anchor | None = None
    deletions: list[tuple[str, int, int]] = field(default_factory=list)
    app_ids: set[int] = field(default_factory=set)
    temp_ids: set[int] = field(default_factory=set)
    app_rows: list[AppRow] = field(default_factory=list)
    template_rows: list[TemplateRow] = field(default_factory=list)
    _undo_log: list[tuple[UndoableMapping, object, object]] = field(default_factory=list)

    def set(self, mapping: UndoableMapping, key: object, value: object) -> None:
        """Change a mapping of the state, and note the earlier value."""
        self.replace(mapping, key, mapping.get(key), value)

    def replace(self, mapping: UndoableMapping, key: object, earlier: object, value: object) -> None:
        """Change a mapping of the state; ``earlier`` is its value, which the caller has looked up."""
        self._undo_log.append((mapping, key, earlier))
        mapping[key] = value

    def remove(self, mapping: UndoableMapping, key: object) -> None:
        """Remove a key of a mapping of the state, and note its value."""
        self._undo_log.append((mapping, key, mapping.get(key)))
        mapping.pop(key)

    def rollback(self) -> None:
        """Undo every change, the latest first."""
        while self._undo_log:
            mapping, key, value = self._undo_log.pop()
            if value is None:
                mapping.pop(key)
            else:
                mapping[key] = value

    def __bool__(self) -> bool:
        return bool(self._undo_log or self.app_ids or self.temp_ids or self.deliveries or self.deletions or self.anchor)


def _bits(column: bytes) -> int:
    """Return a number whose n-th bit is the n-th byte, which is 0 or 1."""
    return int(column[::-1].translate(_DIGITS), 2)


class ServiceState:
    """The accounts, balances, messages and rate windows of every app. All times are of the service clock."""

    def __init__(self, policy: Policy, digests: Digests) -> None:
        self.policy = policy
        self.digests = digests
        self.apps: dict[int, App] = {}
        self.app_ids: dict[str, int] = {}
        self.templates: dict[int, Template] = {}
        self.balances: dict[int, int] = {}
        self.top_ups: dict[str, TopUpRow] = {}
        self.emptied: dict[int, int] = {}  # by app: the number of the last message that a sandbox forgot
        self.records = RecordPages(SIZE)
        self.seq = self.try_seq = 0
        self.newest_ms = 0  # of the stored times; set before the messages are loaded
        self._epoch_starts: list[int] = [0]
        self._epochs: list[str] = [""]
        self.batch = Batch()
        self.sends = RateWindows(policy.rules)
        self.app_sends: defaultdict[int, SendTimes] = defaultdict(SendTimes)
        self.failures = RateWindows((Rule(policy.failures_per_hour, HOUR_MS // 1000),))
        self._last_ids = {"app": 0, "template": 0}
        self._last_app_id = 0  # the app of the last accepted send
        self._prepared: dict[tuple[int, int], tuple[str, int]] = {}  # by app and number: msg_id and pad
        self._expires_ms: dict[int, int] = {}  # by page: when its last record expires
        self._verified: dict[int, tuple[int, int]] = {}  # by dropped page: when it expired, and one bit a message

    def start_next_batch(self) -> Batch:
        """Return the batch of the decisions so far, and start the next one."""
        batch, self.batch = self.batch, Batch()
        for app_id in batch.app_ids & self.apps.keys():
            app = self.apps[app_id]
            rights = (app_id, app.app_key, app.secret_digest, app.suspended, app.permitted)
            batch.app_rows.append(AppRow(*rights, self.balances[app_id], app.old_digest, app.old_until_ms))
        for temp_id in batch.temp_ids & self.templates.keys():
            template = self.templates[temp_id]
            fields = (template.app_id, template.text, template.ttl_s, template.enabled)
            batch.template_rows.append(TemplateRow(temp_id, *fields))
        return batch

    # Decisions.

    def send(self, message: NewMessage, now_ms: int) -> Decision:
        """Accept a message, or refuse it for a rate limit or for lack of balance. A refusal changes nothing."""
        app_id, mobile, segments, rate_limited = message.app_id, message.mobile, message.segments, message.rate_limited
        key, policy, batch, sends = window_key(app_id, mobile), self.policy, self.batch, self.sends
        times = sends.get(key)
        if rate_limited:
            wait_ms = 0 if times is None else sends.wait_ms(times, now_ms)
            if policy.app_rules:
                wait_ms = max(wait_ms, self.app_sends[app_id].wait_ms(policy.app_rules, now_ms))
            if wait_ms > 0:
                return Decision(ReturnCode.OUT_OF_FREQ, wait_ms)
        balance = self.balances[app_id]
        if balance < segments:
            return Decision(ReturnCode.NO_MONEY)
        if rate_limited and policy.rules:
            batch.replace(sends, key, times, sends.with_one_more(times, now_ms) if times else now_ms)
        if rate_limited and policy.app_rules:
            app_times = self.app_sends[app_id]
            batch.set(app_times, app_times.end, now_ms)
        batch.replace(self.balances, app_id, balance, balance - segments)
        batch.app_ids.add(app_id)
        seq = self.seq = self.seq + 1
        prepared = self._prepared.pop((app_id, seq), None)
        msg_id, pad = prepared or self.digests.make_msg_id(app_id, seq, self._epochs[-1])
        self._last_app_id = app_id
        forced_number, expires_ms = int(message.forced or 0), now_ms + message.ttl_ms
        self._keep_page_until(seq, expires_ms)
        record = pack_fields(key, expires_ms, mask(message.code, pad), message.ttl_ms, forced_number, 0, False)
        batch.replace(self.records, seq, None, record)
        batch.messages.append(MessageRow(seq, message.temp_id, segments, 1 if rate_limited else 0, record))
        return Decision(_SUCCESS, 0, msg_id)

    def prepare_sends(self, count: int) -> None:
        """Make the msg_ids of the next sends ahead, at a time when nobody waits for it.

        They are for the app of the last send. A send of another app makes its msg_id itself.
        """
        keys = [(self._last_app_id, seq) for seq in range(self.seq + 1, self.seq + 1 + count)]
        known, make, epoch = self._prepared.get, self.digests.make_msg_id, self._epochs[-1]
        self._prepared = {key: known(key) or make(*key, epoch) for key in keys}

    def verify(self, app_id: int, msg_id: str, code: str, now_ms: int) -> Decision:
        """Judge a typed code. A wrong code uses up a try, the right one the message."""
        found = self._find(app_id, msg_id)
        if found is None:
            return Decision(ReturnCode.INVALID_CODE)
        seq, pad = found
        record = self.record(seq)
        if record is None or now_ms >= record.expires_ms + _GRACE_MS:
            return Decision(self._late_verdict(seq, record, now_ms))
        failures = self.failures.get(record.key)
        if (wait_ms := self.failures.wait_ms(failures, now_ms)) > 0:
            return Decision(ReturnCode.OUT_OF_FREQ, wait_ms)
        verdict = self._verdict(record, mask_typed(code, pad), now_ms)
        if verdict is ReturnCode.INVALID_CODE and not record.forced:
            self.batch.replace(self.failures, record.key, failures, self.failures.with_one_more(failures, now_ms))
            self._record_try(seq, record._replace(tries=record.tries + 1), now_ms)
        elif verdict is ReturnCode.SUCCESS:
            self._record_try(seq, record._replace(verified=True), now_ms)
        return Decision(verdict)

    def _verdict(self, record: Record, masked: int, now_ms: int) -> ReturnCode:
        if forced := find(record.forced):
            return forced
        if record.verified:
            return ReturnCode.VERIFIED_CODE
        if now_ms >= record.expires_ms or record.tries >= self.policy.tries:
            return ReturnCode.EXPIRED_CODE
        return ReturnCode.SUCCESS if masked == record.masked else ReturnCode.INVALID_CODE

    def _late_verdict(self, seq: int, record: Record | None, now_ms: int) -> ReturnCode:
        """Judge a message that has expired some time ago, whether its record was dropped or not."""
        page, bit = divmod(seq, PAGE)
        verified = record.verified if record else self._verified.get(page, (0, 0))[1] >> bit & 1
        is_known = now_ms < self._page_expires_ms(page) + VERIFIED_KEPT_MS
        return ReturnCode.VERIFIED_CODE if verified and is_known else ReturnCode.EXPIRED_CODE

    def _record_try(self, seq: int, record: Record, now_ms: int) -> None:
        self.try_seq += 1
        self.batch.set(self.records, seq, record.pack())
        self.batch.tries.append(TryRow(self.try_seq, seq, now_ms, int(record.verified)))

    def read_message(self, app_id: int, seq: int, masked: int) -> tuple[str, str]:
        """Return the msg_id and the code of a message that is still to be delivered."""
        msg_id, pad = self.digests.make_msg_id(app_id, seq, self._epoch(seq))
        return msg_id, unmask(masked, pad)

    def find_seq(self, app_id: int, msg_id: str) -> int | None:
        """Return the number of a message; None if the app never got this msg_id, or if a sandbox forgot it."""
        found = self._find(app_id, msg_id)
        return found and found[0]

    def read_seq(self, app_id: int, msg_id: str) -> int | None:
        """Return the number of a message, also of a forgotten one; None if the app never got this msg_id."""
        found = self.digests.parse_msg_id(app_id, msg_id, self._epoch)
        return found and found[0]

    def _find(self, app_id: int, msg_id: str) -> tuple[int, int] | None:
        """Return the number of a message and the pad of its code, as ``find_seq`` finds it."""
        found = self.digests.parse_msg_id(app_id, msg_id, self._epoch)
        return found if found and found[0] > self.emptied.get(app_id, 0) else None

    def _epoch(self, seq: int) -> str:
        return self._epochs[bisect_right(self._epoch_starts, seq) - 1]

    def record(self, seq: int) -> Record | None:
        """Return the record of a message; None if it has expired or was never sent."""
        packed = self.records.get(seq)
        return Record.unpack(packed) if packed else None

    def _keep_page_until(self, seq: int, expires_ms: int) -> None:
        page = seq // PAGE
        if expires_ms > self._expires_ms.get(page, 0):
            self._expires_ms[page] = expires_ms

    # Accounts.

    def new_id(self, of: str) -> int:
        """Return an unused number for an "app" or a "template"."""
        self._last_ids[of] = 1 + max([self._last_ids[of], *(self.apps if of == "app" else self.templates)])
        return self._last_ids[of]

    def put_app(self, app: App, credit: int = 0, credit_key: str = "") -> None:
        """Add or change an app, and its balance by ``credit`` messages; with a ``credit_key`` once for that key.

        Raises:
            InputError: if the balance would fall below zero, or if the key was given to another top-up.
        """
        top_up = TopUpRow(credit_key, app.app_id, credit)
        earlier = self.top_ups.get(credit_key)
        if earlier == top_up:
            credit = 0
        elif earlier:
            raise used_key_error(credit_key)
        balance = self.balances.get(app.app_id, 0)
        if balance + credit < 0:
            raise InputError(f"app {app.app_key}: its balance is {balance} messages, so {-credit} can't be taken away")
        self.batch.set(self.apps, app.app_id, app)
        self.batch.set(self.app_ids, app.app_key, app.app_id)
        self.credit(app.app_id, credit)
        if credit_key and not earlier:
            self.batch.set(self.top_ups, credit_key, top_up)
            self.batch.top_ups.append(top_up)

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

    # Expiry.

    def empty(self, app_id: int) -> None:
        """Remove all messages, windows and tries of an app; its balance stays."""
        first, end = window_key(app_id, 0), window_key(app_id + 1, 0)
        for windows in (self.sends, self.failures):
            for key in windows.keys(first, end):
                self.batch.remove(windows, key)
        if app_id in self.app_sends:
            self.batch.set(self.app_sends, app_id, SendTimes())
        self.batch.set(self.emptied, app_id, self.seq)
        self.batch.emptied.append(EmptiedRow(self.seq, app_id))

    def forget_expired(self, now_ms: int) -> None:
        """Drop a part of the messages that have expired, and of the times that have left every window."""
        self.sends.forget_expired(now_ms)
        self.failures.forget_expired(now_ms)
        for times in self.app_sends.values():
            times.forget_before(now_ms - max(rule.window_ms for rule in self.policy.app_rules))
        expired = (page for page, expires_ms in self._expires_ms.items() if expires_ms + _GRACE_MS <= now_ms)
        for page in list(islice(expired, _PAGES_A_SWEEP)):
            self._verified[page] = self._page_expires_ms(page), self._verified_bits(page)
            del self._expires_ms[page]
            self.records.drop(page)
        forgotten = (
            page
            for page, (expires_ms, _) in self._verified.items()
            if expires_ms + VERIFIED_KEPT_MS <= now_ms and page not in self._expires_ms
        )
        for page in list(islice(forgotten, _PAGES_A_SWEEP)):
            del self._verified[page]

    def _page_expires_ms(self, page: int) -> int:
        return max(self._expires_ms.get(page, 0), self._verified.get(page, (0, 0))[0])

    def _verified_bits(self, page: int) -> int:
        _, verified = self._verified.get(page, (0, 0))
        if page in self._expires_ms:
            verified |= _bits(self.records.column(page, VERIFIED_AT))
        return verified

    def page_row(self, page: int, last_seq: int) -> PageRow:
        """Return the bits to keep when the rows of a page's messages up to ``last_seq`` are deleted."""
        upto = (1 << min(PAGE, last_seq + 1 - page * PAGE)) - 1
        verified = self._verified_bits(page) & upto
        return PageRow(page, self._page_expires_ms(page), verified.to_bytes(PAGE // 8, "little"))

    @property
    def first_page(self) -> int:
        """The first page with a message or a bit."""
        return min([*self._expires_ms, *self._verified], default=self.seq // PAGE)

    # Recovery.

    def load_app(self, row: AppRow) -> None:
        """Load an app and its balance."""
        rights = (row.app_id, row.app_key, row.secret_digest, bool(row.suspended), bool(row.permitted))
        app = App(*rights, row.old_digest, row.old_until_ms)
        self.apps[app.app_id], self.app_ids[app.app_key] = app, app.app_id
        self.balances[app.app_id] = row.balance

    def load_epoch(self, first_seq: int, epoch: str) -> None:
        """Load an epoch of msg_ids. Call it in the order of ``first_seq``, before any send."""
        self._epoch_starts.append(first_seq)
        self._epochs.append(epoch)

    def load_template(self, row: TemplateRow) -> None:
        """Load a template."""
        self.templates[row.temp_id] = Template(*row[:4], enabled=bool(row.enabled))

    def load_page(self, row: PageRow) -> None:
        """Load the bits of messages whose rows were deleted."""
        self._verified[row.page] = row.expires_ms, int.from_bytes(row.verified, "little")

    def load_messages(self, seqs: Sequence[int], records: bytes, rate_limited: str, verified: bytes) -> None:
        """Load the packed records of all messages on a page. Call it in the order of ``seq``.

        Args:
            rate_limited: a digit for each message: 1 if the rate limits count it.
            verified: 1 or 0 for each number from the first message to the last.
        """
        page, self.seq = seqs[0] // PAGE, seqs[-1]
        expires_ms = max(expires_ms for _, expires_ms, _ in times_of(records))
        if expires_ms + HOUR_MS > self.newest_ms:
            if len(seqs) == seqs[-1] - seqs[0] + 1:
                self.records[seqs[0]] = records
            else:  # numbers are missing, because a commit failed
                for place, seq in enumerate(seqs):
                    self.records[seq] = records[place * SIZE : (place + 1) * SIZE]
            self.records.set_column(seqs[0], VERIFIED_AT, verified)
            self._keep_page_until(self.seq, expires_ms)
        else:  # nobody can verify it, and no failure counts any more
            bits = self._verified_bits(page) | _bits(verified) << seqs[0] % PAGE
            self._verified[page] = max(expires_ms, self._page_expires_ms(page)), bits
        is_limited = repeat(True) if "0" not in rate_limited else map("1".__eq__, rate_limited)
        if self.emptied:
            keys = (key for key, _, _ in times_of(records))
            is_left = (seq > self.emptied.get(app_of(key), 0) for seq, key in zip(seqs, keys, strict=True))
            is_limited = map(and_, is_limited, is_left)
        sends: Iterable[tuple[int, int]]
        sends = ((key, expires_ms - ttl_ms) for key, expires_ms, ttl_ms in compress(times_of(records), is_limited))
        if self.policy.app_rules:
            sends = list(sends)
            for key, sent_ms in sends:
                app_times = self.app_sends[app_of(key)]
                app_times[app_times.end] = sent_ms
        self.sends.load(sends)

    def load_failures(self, tries: Iterable[tuple[int, int]]) -> None:
        """Load wrong codes as (seq, tried_ms), the earliest first. Call it after all messages were loaded."""
        for seq, tried_ms in tries:
            if record := self.record(seq):
                self.records[seq] = record._replace(tries=record.tries + 1).pack()
                if seq > self.emptied.get(record.app_id, 0):
                    self.failures.load([(record.key, tried_ms)])
