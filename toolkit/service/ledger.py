"""The state in memory, and the two decisions over it: may this be sent, is this code right.

No I/O, no clock: each decision is one uninterrupted step that changes the state, and notes in a batch what to write and
how to take it back. A store writes the batch; where it can't, it takes it back. Messages and windows are kept as bytes
in dicts: that costs little memory, and nothing in garbage collection.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from toolkit.codes import ReturnCode, find
from toolkit.service.accounts import App, Template
from toolkit.service.policy import HOUR_MS, Policy, Rule, wait_ms

K = TypeVar("K")
V = TypeVar("V")

EXPIRED_KEPT_MS = 24 * HOUR_MS  # for this long an expired code is still known as expired
_EVERYONE = 0  # in a window's key, in place of a mobile: the app's sends to whomever
_MOBILES = 10**11
_MESSAGE = struct.Struct("<QIQQ16sB?H")


class Order(NamedTuple):
    """A message to be sent. ``forced``: what verifying it will answer, whatever is typed; None outside a sandbox."""

    app_id: int
    mobile: int
    temp_id: int
    msg_id: str
    code: str
    digest: bytes
    expires_ms: int
    segments: int
    forced: ReturnCode | None = None
    ruled: bool = True


class Decision(NamedTuple):
    """What was decided; ``wait_ms`` says for OUT_OF_FREQ after how many service milliseconds it would be otherwise."""

    return_code: ReturnCode
    wait_ms: int = 0


class Message(NamedTuple):
    """What is kept of an accepted send."""

    seq: int
    app_id: int
    mobile: int
    expires_ms: int
    digest: bytes
    tries: int
    verified: bool
    forced: int


class MessageRow(NamedTuple):
    """An accepted send as it is written."""

    seq: int
    msg_id: str
    app_id: int
    mobile: int
    temp_id: int
    sent_ms: int
    expires_ms: int
    segments: int
    digest: bytes
    forced: int


class TryRow(NamedTuple):
    """A typed code as it is written; ``right`` 1 or 0."""

    try_seq: int
    seq: int
    tried_ms: int
    right: int


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


@dataclass(slots=True)
class Batch:
    """What was decided since the last one: what to write, and the earlier values that take it back.

    Of apps and templates it notes which changed; ``Ledger.swap`` adds their rows as they then are.
    """

    messages: list[MessageRow] = field(default_factory=list)
    jobs: list[tuple[int, str]] = field(default_factory=list)
    tries: list[TryRow] = field(default_factory=list)
    app_ids: set[int] = field(default_factory=set)
    temp_ids: set[int] = field(default_factory=set)
    app_rows: list[AppRow] = field(default_factory=list)
    template_rows: list[TemplateRow] = field(default_factory=list)
    _before: list[tuple[MutableMapping, object, object]] = field(default_factory=list)  # type: ignore[type-arg]

    def set(self, state: MutableMapping[K, V], key: K, value: V) -> None:
        """Change the state, and note how it was."""
        self._before.append((state, key, state.get(key)))
        state[key] = value

    def take_back(self) -> None:
        """Undo every change, the last one first."""
        while self._before:
            state, key, value = self._before.pop()
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value

    def __bool__(self) -> bool:
        return bool(self._before or self.app_ids or self.temp_ids)


ACCEPTED = Decision(ReturnCode.SUCCESS)


class Ledger:
    """The state of every app: accounts, balances, messages, windows. All times are the service clock's."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.apps: dict[int, App] = {}
        self.app_ids: dict[str, int] = {}
        self.templates: dict[int, Template] = {}
        self.balances: dict[int, int] = {}
        self.messages: dict[str, bytes] = {}
        self.seq = self.try_seq = 0
        self.batch = Batch()
        self._sends: dict[int, bytes] = {}
        self._failures: dict[int, bytes] = {}
        self._failure_rules = (Rule(policy.failures_per_hour, HOUR_MS // 1000),)

    def swap(self) -> Batch:
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

    def send(self, order: Order, now_ms: int) -> Decision:
        """Accept a message, or refuse it for frequency or balance; a refusal changes nothing."""
        windows = self._windows(order) if order.ruled else []
        wait = max((wait_ms(_unpack(times), rules, now_ms) for _, rules, times in windows if times), default=0)
        if wait > 0:
            return Decision(ReturnCode.OUT_OF_FREQ, wait)
        if self.balances[order.app_id] < order.segments:
            return Decision(ReturnCode.NO_MONEY)
        for key, rules, times in windows:
            self.batch.set(self._sends, key, _append(times, now_ms, rules))
        self.credit(order.app_id, -order.segments)
        self._add(order, now_ms)
        return ACCEPTED

    def verify(self, app_id: int, msg_id: str, digest: bytes, now_ms: int) -> Decision:
        """Judge a typed code by its digest. A wrong one uses up a try, a right one the message."""
        message = self._find(app_id, msg_id)
        if message is None:
            return Decision(ReturnCode.INVALID_CODE)
        key = _key(app_id, message.mobile)
        failures = self._failures.get(key, b"")
        if (wait := wait_ms(_unpack(failures), self._failure_rules, now_ms)) > 0:
            return Decision(ReturnCode.OUT_OF_FREQ, wait)
        if (verdict := self._verdict(message, digest, now_ms)) is ReturnCode.INVALID_CODE and not message.forced:
            self.batch.set(self._failures, key, _append(failures, now_ms, self._failure_rules))
            self._tried(msg_id, message._replace(tries=message.tries + 1), now_ms)
        elif verdict is ReturnCode.SUCCESS:
            self._tried(msg_id, message._replace(verified=True), now_ms)
        return Decision(verdict)

    def _verdict(self, message: Message, digest: bytes, now_ms: int) -> ReturnCode:
        if row := find(message.forced):
            return row
        if message.verified:
            return ReturnCode.VERIFIED_CODE
        if now_ms >= message.expires_ms or message.tries >= self.policy.tries:
            return ReturnCode.EXPIRED_CODE
        right = hmac.compare_digest(message.digest, digest)
        return ReturnCode.SUCCESS if right else ReturnCode.INVALID_CODE

    def _find(self, app_id: int, msg_id: str) -> Message | None:
        packed = self.messages.get(msg_id)
        message = Message._make(_MESSAGE.unpack(packed)) if packed else None
        return message if message and message.app_id == app_id else None

    def _windows(self, order: Order) -> list[tuple[int, Sequence[Rule], bytes]]:
        counted = ((order.mobile, self.policy.rules), (_EVERYONE, self.policy.app_rules))
        keys = [(_key(order.app_id, mobile), rules) for mobile, rules in counted if rules]
        return [(key, rules, self._sends.get(key, b"")) for key, rules in keys]

    def _add(self, order: Order, now_ms: int) -> None:
        self.seq += 1
        app_id, mobile, temp_id, msg_id, code, digest, expires_ms, segments, demanded, _ = order
        forced = int(demanded or 0)
        self.batch.set(self.messages, msg_id, _MESSAGE.pack(self.seq, app_id, mobile, expires_ms, digest, 0, 0, forced))
        self.batch.jobs.append((self.seq, code))
        row = (self.seq, msg_id, app_id, mobile, temp_id, now_ms, expires_ms, segments, digest, forced)
        self.batch.messages.append(MessageRow._make(row))

    def _tried(self, msg_id: str, message: Message, now_ms: int) -> None:
        self.try_seq += 1
        self.batch.set(self.messages, msg_id, _MESSAGE.pack(*message))
        self.batch.tries.append(TryRow(self.try_seq, message.seq, now_ms, int(message.verified)))

    # Accounts.

    def put_app(self, app: App, credit: int = 0) -> None:
        """Add or change an app, and change its balance by a number of messages."""
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

    def seq_of(self, msg_id: str) -> int | None:
        """Return the number under which a message is written."""
        packed = self.messages.get(msg_id)
        return _MESSAGE.unpack(packed)[0] if packed else None

    # Loading back what was written, and forgetting what no decision needs.

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
        self.seq = row.seq
        message = Message(row.seq, row.app_id, row.mobile, row.expires_ms, row.digest, 0, False, row.forced)
        self.messages[row.msg_id] = _MESSAGE.pack(*message)
        for mobile in (row.mobile, _EVERYONE):
            key = _key(row.app_id, mobile)
            rules = self.policy.rules if mobile else self.policy.app_rules
            if rules:
                self._sends[key] = _append(self._sends.get(key, b""), row.sent_ms, rules)

    def load_try(self, msg_id: str, row: TryRow) -> None:
        """Take in a typed code; in the order of ``try_seq``."""
        self.try_seq = row.try_seq
        packed = self.messages.get(msg_id)
        if packed is None:
            return
        message = Message._make(_MESSAGE.unpack(packed))
        if row.right:
            self.messages[msg_id] = _MESSAGE.pack(*message._replace(verified=True))
            return
        self.messages[msg_id] = _MESSAGE.pack(*message._replace(tries=message.tries + 1))
        key = _key(message.app_id, message.mobile)
        self._failures[key] = _append(self._failures.get(key, b""), row.tried_ms, self._failure_rules)


def _key(app_id: int, mobile: int) -> int:
    return app_id * _MOBILES + mobile


def _append(times: bytes, time_ms: int, rules: Sequence[Rule]) -> bytes:
    """Add a time to those of a window, and let go of those that no rule can count any more."""
    return (times + time_ms.to_bytes(8, "little"))[-8 * max([rule.count for rule in rules]) :]


def _unpack(times: bytes) -> Sequence[int]:
    return struct.unpack(f"<{len(times) // 8}Q", times)
