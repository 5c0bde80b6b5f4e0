"""Rebuild the files of a SQLite store as a power cut may leave them, and check that each holds what was answered.

A preloaded library (write_journal.c) notes each write and fsync of a service under load. An image of a moment holds all
writes up to the last fsync of each file. Each later write is there whole, in part (512-byte sectors), or not at all.
"""

import asyncio
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from crash import CALLERS, Caller
from side_by_side import UnavailableError

from toolkit.api.errors import RunError
from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode
from toolkit.service.core.messages import NewMessage
from toolkit.service.core.policy import Policy
from toolkit.service.stores.sqlite.store import SqliteStore

SOURCE = Path(__file__).with_name("write_journal.c")
SECTOR = 512
RECORD = struct.Struct("<QIIQQ")
WRITE, TRUNCATE, SYNC = range(3)
SUCCESS = 50000


class Change(NamedTuple):
    """A record of the journal."""

    time_ns: int
    operation: int
    is_log: int
    offset: int
    data: bytes


@dataclass(slots=True)
class TimedBook:
    """The answers with the time of their arrival, and all mobiles that were tried."""

    tried: list[tuple[int, str]] = field(default_factory=list)
    accepted: list[tuple[int, str, str]] = field(default_factory=list)  # time, mobile, msg_id
    codes: dict[str, str] = field(default_factory=dict)
    verifying: dict[str, int] = field(default_factory=dict)
    verified: dict[str, int] = field(default_factory=dict)


def compile_library(folder: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise UnavailableError("a C compiler isn't installed (Debian: apt-get install gcc)")
    library = folder / "write_journal.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


async def load(caller: Caller, book: TimedBook, mobiles: Iterator[str], seconds: float) -> None:
    end_s = time.monotonic() + seconds

    async def work() -> None:
        while time.monotonic() < end_s:
            mobile = next(mobiles)
            book.tried.append((time.monotonic_ns(), mobile))
            code, msg_id = await caller.send(mobile)
            if code != SUCCESS:
                continue
            book.accepted.append((time.monotonic_ns(), mobile, msg_id))
            typed = await caller.peek(msg_id)
            if typed:
                book.codes[msg_id] = typed
                if int(typed) % 2:
                    book.verifying[msg_id] = time.monotonic_ns()
                    if await caller.verify(msg_id, typed) == SUCCESS:
                        book.verified[msg_id] = time.monotonic_ns()

    await asyncio.gather(*(work() for _ in range(CALLERS)))


def read_journal(path: Path) -> list[Change]:
    data, start, changes = path.read_bytes(), 0, list[Change]()
    while start + RECORD.size <= len(data):
        time_ns, operation, is_log, offset, length = RECORD.unpack_from(data, start)
        start += RECORD.size
        written = data[start : start + length] if operation == WRITE else b""
        start += len(written)
        changes.append(Change(time_ns, operation, is_log, offset, written))
    return changes


def image(changes: list[Change], draw: random.Random) -> tuple[bytes, bytes]:
    """Return a database and its write-ahead log after a power cut behind these changes."""
    files = (bytearray(), bytearray())
    for is_log, content in enumerate(files):
        own = [it for it in changes if it.is_log == is_log]
        synced = max((place for place, it in enumerate(own) if it.operation == SYNC), default=-1)
        for place, change in enumerate(own):
            kept = 1.0 if place <= synced else draw.choice([0, 0.5, 1])
            if change.operation == TRUNCATE and draw.random() < kept:
                del content[change.offset :]
                content.extend(bytes(change.offset - len(content)))
            if change.operation == WRITE and kept:
                apply_write(content, change, kept, draw)
    return bytes(files[0]), bytes(files[1])


def apply_write(content: bytearray, change: Change, kept: float, draw: random.Random) -> None:
    for start in range(0, len(change.data), SECTOR):
        if draw.random() < kept:
            part, offset = change.data[start : start + SECTOR], change.offset + start
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + len(part)] = part


async def check_image(path: Path, temp_id: int, book: TimedBook, cut_ns: int, balance: int) -> dict[str, int]:
    """Open an image, and compare it with the answers that had arrived before the cut."""
    before = [(mobile, msg_id) for at_ns, mobile, msg_id in book.accepted if at_ns < cut_ns]
    try:
        store = SqliteStore.open(path, Policy((Rule(1, 86_400),)))
    except RunError:
        return {"lost": 1 + len(before)}
    charged = balance - store.state.balances.get(1, balance)
    try:
        lost = twice = 0
        for msg_id, first, second in await in_groups(verify_twice(store, msg_id, book.codes) for _, msg_id in before):
            is_used = book.verified.get(msg_id, cut_ns) < cut_ns
            may_be_used = book.verifying.get(msg_id, cut_ns) < cut_ns
            twice += second != ReturnCode.VERIFIED_CODE or (is_used and first == ReturnCode.SUCCESS)
            allowed = [ReturnCode.SUCCESS] if not may_be_used else [ReturnCode.SUCCESS, ReturnCode.VERIFIED_CODE]
            lost += first not in allowed
        mobiles = [mobile for at_ns, mobile in book.tried if at_ns < cut_ns]
        again = dict(await in_groups(send_again(store, temp_id, mobile) for mobile in mobiles))
        given = {msg_id for *_, msg_id in book.accepted}
        counted = sum(not msg_id for msg_id in again.values())
        return {
            "tried": len(before),
            "lost": lost,
            "doubled": twice + len(given & set(again.values())),
            "over-admitted": sum(bool(again[mobile]) for mobile, _ in before),
            "mischarged": abs(charged - counted),
        }
    finally:
        await store.close()


async def in_groups(tasks: Iterable[Any]) -> list[Any]:
    """Run tasks, some hundreds at a time."""
    tasks, results = list(tasks), list[Any]()
    for start in range(0, len(tasks), 500):
        results += await asyncio.gather(*tasks[start : start + 500])
    return results


async def verify_twice(store: SqliteStore, msg_id: str, codes: dict[str, str]) -> tuple[str, ReturnCode, ReturnCode]:
    job = await store.pending_job(1, msg_id)
    code = codes.get(msg_id) or (job.code if job else "000000")
    first = await store.verify(1, msg_id, code)
    second = await store.verify(1, msg_id, code)
    return msg_id, first.return_code, second.return_code


async def send_again(store: SqliteStore, temp_id: int, mobile: str) -> tuple[str, str]:
    decision = await store.send(NewMessage(1, int(mobile), temp_id, "123456", 60_000, 1))
    assert decision.return_code in (ReturnCode.SUCCESS, ReturnCode.OUT_OF_FREQ), decision
    return mobile, decision.msg_id
