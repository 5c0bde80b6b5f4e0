"""Write batches to the tables of a SQLite store, load the state from them, and find rows that can be deleted.

Rows are appended under ascending integer keys, so that a commit touches few pages. They are deleted from the other end,
so that their pages are used again.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import cache
from itertools import chain, takewhile
from pathlib import Path
from typing import Any, NamedTuple

from toolkit.api.errors import RunError
from toolkit.service.core.clock import Anchor
from toolkit.service.core.digests import Digests
from toolkit.service.core.message_record import Record
from toolkit.service.core.messages import Delivery, DeliveryState, Job, Message, SentMessage
from toolkit.service.core.policy import Policy
from toolkit.service.core.record_pages import PAGE
from toolkit.service.core.rows import (
    AppRow,
    DeliveryRow,
    EmptiedRow,
    MessageRow,
    PageRow,
    Refund,
    TemplateRow,
    TopUpRow,
    TryRow,
)
from toolkit.service.core.state import Batch, ServiceState
from toolkit.service.stores.base import LoadProgress

log = logging.getLogger(__name__)

_ROWS_A_STATEMENT = 64
_STATEMENTS = 1024  # kept ready for use: an INSERT for each number of rows and table
_VERSION = 7
_EPOCH_BYTES = 8
_SCHEMA = """
CREATE TABLE clock (wall_ms INTEGER, clock_ms INTEGER, speed REAL);
CREATE TABLE epochs (first_seq INTEGER PRIMARY KEY, epoch TEXT);
CREATE TABLE apps (app_id INTEGER PRIMARY KEY, app_key TEXT, secret_digest BLOB, suspended INTEGER, permitted INTEGER,
    balance INTEGER, old_digest BLOB, old_until_ms INTEGER);
CREATE TABLE templates (temp_id INTEGER PRIMARY KEY, app_id INTEGER, text TEXT, ttl_s INTEGER, enabled INTEGER);
CREATE TABLE messages (seq INTEGER PRIMARY KEY, temp_id INTEGER, segments INTEGER, rate_limited INTEGER, record BLOB,
    is_job INTEGER);
CREATE TABLE pages (page INTEGER PRIMARY KEY, expires_ms INTEGER, verified BLOB);
CREATE TABLE tries (try_seq INTEGER PRIMARY KEY, seq INTEGER, tried_ms INTEGER, right INTEGER);
CREATE TABLE deliveries (seq INTEGER PRIMARY KEY, state TEXT, carrier_code TEXT, carrier_id TEXT, attempts INTEGER,
    settled_ms INTEGER);
CREATE INDEX awaited ON deliveries (carrier_id) WHERE state = 'sent';
"""
_TOP_UPS = "CREATE TABLE IF NOT EXISTS top_ups (top_up_key TEXT PRIMARY KEY, app_id INTEGER, messages INTEGER)"
_EMPTIED = "CREATE TABLE IF NOT EXISTS emptied (seq INTEGER, app_id INTEGER, PRIMARY KEY (app_id, seq))"
_JOBS = "SELECT seq, temp_id, record, messages.segments, coalesce(carrier_code, '')"
_WITH_FAULTS = "FROM messages LEFT JOIN deliveries USING (seq)"
_RECORDS = "SELECT seq, record, rate_limited FROM messages WHERE seq BETWEEN ? AND ? ORDER BY seq"
# One row a page: creating Python objects for a million rows takes longer than all else.
_PAGE_OF_RECORDS = (
    "SELECT count(*), min(seq), max(seq), CAST(group_concat(record, '') AS BLOB), group_concat(rate_limited, '')"
    f" FROM ({_RECORDS})"
)


def connect(path: Path, is_durable: bool = True) -> sqlite3.Connection:
    """Open a store's database, and create the tables of a new one.

    A commit waits for the disk if ``is_durable``.

    Raises:
        RunError: if the file is not a store of this version.
    """
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0, cached_statements=_STATEMENTS)
    with ExitStack() as closing_it:
        closing_it.callback(db.close)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        is_new = version == 0 and not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not is_new and version != _VERSION:
            raise RunError(
                f"{path}: not a store of this version (schema {version}, expected {_VERSION}): choose another file"
            )
        db.execute(f"PRAGMA synchronous={'FULL' if is_durable else 'OFF'}")
        db.execute("PRAGMA journal_mode=WAL")
        if is_new:
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;")
        db.execute(_TOP_UPS)
        db.execute(_EMPTIED)
        closing_it.pop_all()
    return db


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open the database of an open store for reading. Unlike ``connect``, it never creates a file."""
    uri = f"{path.as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=0)


def is_empty(db: sqlite3.Connection) -> bool:
    """Return whether the store has no app yet."""
    return not db.execute("SELECT EXISTS (SELECT 1 FROM apps)").fetchone()[0]


def check_key(db: sqlite3.Connection, digests: Digests) -> None:
    """Store a check value of the key; raise RunError if the store was created with another key."""
    mark = int(digests.derive("store check")[:7], 16)
    stored = db.execute("PRAGMA application_id").fetchone()[0]
    if stored not in (0, mark) and not is_empty(db):
        raise RunError("the key file holds another key than the store was created with: restore it from a backup")
    if stored != mark:
        db.execute(f"PRAGMA application_id={mark}")


# Writing.


def write(
    db: sqlite3.Connection,
    batch: Batch,
    revoked: Iterable[Batch] = (),
    before_commit: Callable[[], object] = lambda: None,
) -> None:
    """Write a batch in one transaction, and delete the rows of revoked batches.

    ``before_commit`` is called when only the commit, which waits for the disk, is left to do.
    """
    try:
        db.execute("BEGIN IMMEDIATE")
        for late in revoked:
            keys: dict[str, Iterable[int | str]] = {
                "messages": [row.seq for row in late.messages],
                "tries": [row.try_seq for row in late.tries],
                "apps": late.app_ids,
                "templates": late.temp_ids,
                "top_ups": [row.top_up_key for row in late.top_ups],
            }
            for table, numbers in keys.items():
                db.executemany(f"DELETE FROM {table} WHERE {_key(table)} = ?", [(number,) for number in numbers])
            db.executemany("DELETE FROM emptied WHERE seq = ? AND app_id = ?", late.emptied)
        _put(db, "apps", AppRow._fields, batch.app_rows)
        _put(db, "templates", TemplateRow._fields, batch.template_rows)
        _put(db, "top_ups", TopUpRow._fields, batch.top_ups)
        _put(db, "emptied", EmptiedRow._fields, batch.emptied)
        _put(db, "messages", MessageRow._fields, batch.messages)
        _put(db, "pages", PageRow._fields, batch.pages)
        _put(db, "tries", TryRow._fields, batch.tries)
        _put(db, "deliveries", DeliveryRow._fields, batch.deliveries)
        if batch.anchor:
            _put_anchor(db, batch.anchor)
        if batch.deliveries:
            settled = [(row.seq,) for row in batch.deliveries if row.state != DeliveryState.WAITING]
            db.executemany("UPDATE messages SET is_job = 0 WHERE seq = ?", settled)
        for table, first, last in batch.deletions:
            if table == "jobs":
                db.execute("UPDATE messages SET is_job = 0 WHERE seq BETWEEN ? AND ?", (first, last))
            else:
                db.execute(f"DELETE FROM {table} WHERE {_key(table)} BETWEEN ? AND ?", (first, last))
            if table == "messages":
                db.execute("DELETE FROM deliveries WHERE seq <= ?", (last,))
        before_commit()
        db.execute("COMMIT")
    except sqlite3.Error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        _overwrite_failed(db)
        raise


def _overwrite_failed(db: sqlite3.Connection) -> None:
    """Overwrite the transaction that a failed commit may have left in the write-ahead log.

    If fsync fails, the transaction is already in the log, whole and valid. SQLite ignores it from then on. But if the
    process is killed, the next one reads the log and finds it, and callers that got an error would be charged. The next
    transaction begins at the same place of the log, so a transaction that changes nothing overwrites it. That one needs
    no fsync, because written bytes survive the death of the process.
    """
    try:
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute(f"PRAGMA user_version={_VERSION}")  # an UPDATE that changes no value would write nothing
    except sqlite3.Error as problem:  # such as a lock, or a disk that takes no write either
        log.error("store: what a failed commit left in the log can't be overwritten: %s", problem)
    finally:
        db.execute("PRAGMA synchronous=FULL")


def _put(db: sqlite3.Connection, table: str, columns: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    """Insert or replace rows of a table, many in one statement."""
    # Few statements, because after each one this thread has to wait for the interpreter lock.
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        some = rows[start : start + _ROWS_A_STATEMENT]
        db.execute(_insert(table, columns, len(some)), list(chain.from_iterable(some)))


@cache
def _insert(table: str, columns: tuple[str, ...], rows: int) -> str:
    row = f"({', '.join('?' * len(columns))})"
    return f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)}"


def _key(table: str) -> str:
    keys = {"tries": "try_seq", "apps": "app_id", "templates": "temp_id", "pages": "page", "top_ups": "top_up_key"}
    return keys.get(table, "seq")


def write_anchor(db: sqlite3.Connection, anchor: Anchor) -> None:
    """Write the anchor of the service clock."""
    db.execute("BEGIN")
    _put_anchor(db, anchor)
    db.execute("COMMIT")


def _put_anchor(db: sqlite3.Connection, anchor: Anchor) -> None:
    db.execute("DELETE FROM clock")
    db.execute("INSERT INTO clock VALUES (?, ?, ?)", (anchor.wall_ms, anchor.clock_ms, anchor.speed))


def start_epoch(db: sqlite3.Connection, state: ServiceState) -> None:
    """Draw the epoch of the msg_ids from the next message on, and delete epochs that no stored message has."""
    first_seq, epoch = state.seq + 1, secrets.token_hex(_EPOCH_BYTES)
    db.execute("BEGIN")
    db.execute(
        "DELETE FROM epochs WHERE first_seq < (SELECT max(first_seq) FROM epochs WHERE first_seq <="
        " (SELECT min(seq) FROM messages))"
    )
    db.execute("INSERT OR REPLACE INTO epochs VALUES (?, ?)", (first_seq, epoch))
    db.execute("COMMIT")
    state.load_epoch(first_seq, epoch)


# Reading.


def read_anchor(db: sqlite3.Connection) -> Anchor | None:
    """Read the anchor that an earlier run wrote; None for a new store."""
    row = db.execute("SELECT wall_ms, clock_ms, speed FROM clock").fetchone()
    return row and Anchor(*row)


def load(db: sqlite3.Connection, policy: Policy, digests: Digests, progress: LoadProgress) -> ServiceState:
    """Load the state of the service, and report the progress."""
    state = ServiceState(policy, digests)
    for app in _select(db, AppRow, "apps"):
        state.load_app(AppRow._make(app))
    for template in _select(db, TemplateRow, "templates"):
        state.load_template(TemplateRow._make(template))
    state.top_ups = {row[0]: TopUpRow._make(row) for row in _select(db, TopUpRow, "top_ups")}
    state.emptied = dict(db.execute("SELECT app_id, max(seq) FROM emptied GROUP BY app_id"))
    for epoch in db.execute("SELECT first_seq, epoch FROM epochs ORDER BY first_seq"):
        state.load_epoch(*epoch)
    for page in _select(db, PageRow, "pages"):
        state.load_page(PageRow._make(page))
    state.try_seq, tried_ms = _last(db, "tries", "tried_ms") or (0, 0)
    last_seq, record = _last(db, "messages", "record") or (0, b"")
    state.newest_ms = max(tried_ms, Record.unpack(record).sent_ms if record else 0)
    progress.total = db.execute("SELECT count(*) FROM messages").fetchone()[0]
    oldest = first_message(db, 1)
    verified = bytearray(last_seq + 1 - oldest)
    for (seq,) in db.execute("SELECT seq FROM tries WHERE right AND seq BETWEEN ? AND ?", (oldest, last_seq)):
        verified[seq - oldest] = 1
    for first in range(oldest // PAGE * PAGE, last_seq + 1, PAGE):
        span = (first, first + PAGE - 1)
        count, first_seq, newest, records, rate_limited = db.execute(_PAGE_OF_RECORDS, span).fetchone()
        if count:
            seqs: Sequence[int] = range(first_seq, newest + 1)
            if len(seqs) > count:
                seqs = [seq for seq, *_ in db.execute(_RECORDS, span)]
            used = bytes(verified[first_seq - oldest : newest + 1 - oldest])
            state.load_messages(seqs, records, rate_limited, used)
        progress.loaded += count
    state.load_failures(db.execute("SELECT seq, tried_ms FROM tries WHERE NOT right ORDER BY try_seq"))
    return state


def _last(db: sqlite3.Connection, table: str, column: str) -> tuple[int, Any] | None:
    """Return the key and a column of the newest row of a table."""
    key = _key(table)
    row: tuple[int, Any] | None = db.execute(f"SELECT {key}, {column} FROM {table} ORDER BY {key} DESC").fetchone()
    return row


def _select(db: sqlite3.Connection, row: type[NamedTuple], table: str) -> sqlite3.Cursor:
    return db.execute(f"SELECT {', '.join(row._fields)} FROM {table} ORDER BY {_key(table)}")


def read_jobs(db: sqlite3.Connection, state: ServiceState, after: int, upto: int, limit: int) -> dict[int, Job]:
    """Read the jobs with numbers above ``after`` and up to ``upto``, the oldest first, by number."""
    span = "is_job AND seq > ? AND seq <= ?"
    rows = db.execute(f"{_JOBS} {_WITH_FAULTS} WHERE {span} ORDER BY seq LIMIT ?", (after, upto, limit))
    jobs: dict[int, Job] = {}
    for seq, temp_id, packed, segments, fault in rows:
        record = Record.unpack(packed)
        app_id, mobile = record.app_id, record.mobile
        msg_id, code = state.read_message(app_id, seq, record.masked)
        jobs[seq] = Job(app_id, msg_id, mobile, temp_id, code, record.expires_ms, segments=segments, fault=fault)
    return jobs


def read_inbox(
    db: sqlite3.Connection, state: ServiceState, app_id: int, mobile: int | None, after: int, limit: int
) -> list[SentMessage]:
    """Read the messages of an app, and to a mobile if one is given, with numbers above ``after``, the oldest first."""
    found: list[SentMessage] = []
    for seq, temp_id, packed in db.execute(
        "SELECT seq, temp_id, record FROM messages WHERE is_job AND seq > ? ORDER BY seq", (after,)
    ):
        record = Record.unpack(packed)
        if record.app_id == app_id and mobile in (None, record.mobile):
            msg_id, code = state.read_message(app_id, seq, record.masked)
            found.append(SentMessage(msg_id, record.mobile, temp_id, code, record.sent_ms))
            if len(found) == limit:
                break
    return found


def sum_segments(db: sqlite3.Connection, app_id: int, first: int, last: int) -> int:
    """Return the sum that an app was charged for a range of messages."""
    rows = db.execute("SELECT record, segments FROM messages WHERE seq BETWEEN ? AND ?", (first, last))
    return sum(segments for packed, segments in rows if Record.unpack(packed).app_id == app_id)


def find_refunds(db: sqlite3.Connection, first: int, last: int) -> list[tuple[DeliveryRow, Refund]]:
    """Find the waiting jobs among a range of numbers whose last attempt failed by a fault of the operator."""
    rows = db.execute(
        f"SELECT {', '.join(DeliveryRow._fields)}, record, segments {_WITH_FAULTS}"
        f" WHERE is_job AND seq BETWEEN ? AND ? AND carrier_code != ''",
        (first, last),
    )
    return [
        (DeliveryRow._make(row), Refund(row[0], Record.unpack(packed).app_id, segments))
        for *row, packed, segments in rows
    ]


def count_jobs(db: sqlite3.Connection, first: int) -> int:
    """Return the number of jobs from the message ``first`` on that are not completed."""
    return int(db.execute("SELECT count(*) FROM messages WHERE is_job AND seq >= ?", (first,)).fetchone()[0])


def first_job(db: sqlite3.Connection, first: int, default: int) -> int:
    """Return the number of the first job from the message ``first`` on."""
    span = "is_job AND seq >= ?"
    return int(db.execute(f"SELECT coalesce(min(seq), ?) FROM messages WHERE {span}", (default, first)).fetchone()[0])


def read_message(db: sqlite3.Connection, seq: int, msg_id: str, now_ms: int) -> Message | None:
    """Read a message. If it has no result and its code is no longer valid, it has expired."""
    row = db.execute(
        "SELECT record, temp_id, segments, state, carrier_code, carrier_id, attempts, settled_ms"
        " FROM messages LEFT JOIN deliveries USING (seq) WHERE seq = ?",
        (seq,),
    ).fetchone()
    if row is None:
        return None
    packed, temp_id, segments, state, *carrier, attempts, settled_ms = row
    record = Record.unpack(packed)
    if state in (None, DeliveryState.WAITING):
        state = DeliveryState.WAITING if now_ms < record.expires_ms else DeliveryState.EXPIRED
    delivery = Delivery(DeliveryState(state), *(field or "" for field in carrier))
    sent = (record.app_id, msg_id, record.mobile, temp_id, segments, record.sent_ms, record.expires_ms)
    return Message(*sent, delivery, attempts or 0, settled_ms or 0)


def find_sent(db: sqlite3.Connection, carrier_id: str, mobile: int | None) -> DeliveryRow | None:
    """Find the message with a carrier's id, and to a mobile if one is given, that was sent and has no receipt yet."""
    rows = db.execute(
        f"SELECT {', '.join(DeliveryRow._fields)}, record FROM deliveries JOIN messages USING (seq)"
        " WHERE state = 'sent' AND carrier_id = ?",
        (carrier_id,),
    )
    found = (row for *row, packed in rows if mobile in (None, Record.unpack(packed).mobile))
    return next(map(DeliveryRow._make, found), None)


# Old rows. They are deleted from the first on. The newest row of a table stays, so that no number is used twice.

_AGES: dict[str, tuple[str, Callable[[Any], int]]] = {
    "messages": ("record FROM messages WHERE true", lambda packed: Record.unpack(packed).sent_ms),
    "tries": ("seq FROM tries WHERE true", int),
    "jobs": ("record FROM messages WHERE is_job", lambda packed: Record.unpack(packed).expires_ms),
    "pages": ("expires_ms FROM pages WHERE true", int),
}


def first_message(db: sqlite3.Connection, default: int) -> int:
    """Return the number of the first message that has a row."""
    return int(db.execute("SELECT coalesce(min(seq), ?) FROM messages", (default,)).fetchone()[0])


def find_old(db: sqlite3.Connection, table: str, before: int, keys: range, limit: int) -> tuple[str, int, int] | None:
    """Find the old rows at the start of a table, or the old jobs; None if the first row is not old.

    Args:
        db: the database.
        table: the table, or "jobs" for the messages whose code is still stored.
        before: rows with an earlier time are old; for "tries", rows of messages with a lower number.
        keys: the rows to look at. The search ends at the first one that is not old.
        limit: the most rows to find.

    Returns:
        The table, and the first and the last key of the old rows.
    """
    key, (source, age) = _key(table), _AGES[table]
    span = f"{key} >= ? AND {key} < ?"
    rows = db.execute(f"SELECT {key}, {source} AND {span} ORDER BY {key} LIMIT ?", (keys.start, keys.stop, limit))
    old = [number for number, _ in takewhile(lambda row: age(row[1]) < before, rows)]
    return (table, old[0], old[-1]) if old else None
