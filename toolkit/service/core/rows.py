"""Define the rows that a store writes, and loads at the next start. A field is a column of the SQLite store."""

from __future__ import annotations

from typing import NamedTuple


class MessageRow(NamedTuple):
    """An accepted send, and its delivery job. SQLite's module takes three times as long for a bool as for an int.

    Attributes:
        rate_limited: 1 or 0, see ``NewMessage``.
        record: a packed ``message_record.Record``.
        is_job: 0 once the job is completed or given up.
    """

    seq: int
    temp_id: int
    segments: int
    rate_limited: int
    record: bytes
    is_job: int = 1


class TryRow(NamedTuple):
    """A typed code that was judged; ``right`` is 1 or 0."""

    try_seq: int
    seq: int
    tried_ms: int
    right: int


class PageRow(NamedTuple):
    """The rest of a page of messages whose rows were deleted. Bit n of ``verified``: was message n verified?"""

    page: int
    expires_ms: int
    verified: bytes


class DeliveryRow(NamedTuple):
    """The result of a delivery job; while the job waits, the fault of its last attempt."""

    seq: int
    state: str
    carrier_code: str
    carrier_id: str
    attempts: int
    settled_ms: int


class Refund(NamedTuple):
    """The price of a message, which its app gets back."""

    seq: int
    app_id: int
    messages: int


class TopUpRow(NamedTuple):
    """A top-up with the key that its operator gave it, so that it is carried out once."""

    top_up_key: str
    app_id: int
    messages: int


class EmptiedRow(NamedTuple):
    """The last message that a sandbox forgot for an app: it and all earlier ones of the app are unknown."""

    seq: int
    app_id: int


class AppRow(NamedTuple):
    """An app with its balance in messages."""

    app_id: int
    app_key: str
    secret_digest: bytes
    suspended: bool
    permitted: bool
    balance: int
    old_digest: bytes
    old_until_ms: int


class TemplateRow(NamedTuple):
    """A template of an app."""

    temp_id: int
    app_id: int
    text: str
    ttl_s: int
    enabled: bool
