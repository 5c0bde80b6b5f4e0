"""Measure how long a service takes to load its state from SQLite: `python benchmarks/reload.py`.

Needs 1 GB of disk; takes a few minutes, most of them to write two stores: a million messages whose codes are all still
valid, and four million of a day, with codes that are valid for five minutes. Each message went to one of fifty million
mobiles at random. Seven of ten were verified, a seventh of these after a wrong code. Each store is opened in a new
process, several times; the seconds are the median. `RSS`: how much the process had grown by the end of the load.
"""

import argparse
import json
import random
import secrets
import sqlite3
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from side_by_side import interpreter

from toolkit.api.defaults import CODES
from toolkit.service.core.accounts import App
from toolkit.service.core.digests import Digests
from toolkit.service.core.message_record import Record, window_key
from toolkit.service.core.policy import HOUR_MS, Policy
from toolkit.service.core.rows import MessageRow, TryRow
from toolkit.service.core.state import ServiceState
from toolkit.service.stores.sqlite import tables
from toolkit.service.stores.sqlite.lock_file import beside
from toolkit.service.stores.sqlite.store import SqliteStore

STORES = {  # messages, milliseconds in which they were sent, milliseconds for which a code is valid
    "1 million, all valid": (1_000_000, HOUR_MS // 2, HOUR_MS),
    "4 million of a day": (4_000_000, 24 * HOUR_MS, HOUR_MS // 12),
}
MOBILES = 50_000_000
ROWS_A_COMMIT = 50_000


def write_store(path: Path, messages: int, span_ms: int, ttl_ms: int, seed: int) -> None:
    """Write a store whose newest message was sent now."""
    draw, now_ms = random.Random(seed), time.time_ns() // 1_000_000
    digests = Digests(secrets.token_bytes(32))
    beside(path, ".key").write_bytes(digests.key)
    db = tables.connect(path)
    tables.check_key(db, digests)
    state = ServiceState(Policy(), digests)
    state.put_app(App(1, "key", digests.secret("secret")), 10**9)
    for seq in range(1, messages + 1):
        sent_ms = now_ms - span_ms + seq * span_ms // messages
        key = window_key(1, 13_000_000_000 + draw.randrange(MOBILES))
        record = Record(key, sent_ms + ttl_ms, draw.randrange(CODES), ttl_ms, 0, 0, False)
        state.batch.messages.append(MessageRow(seq, 1, 1, True, record.pack()))
        for right in [0, 1] if seq % 10 == 0 else [1] if seq % 10 < 7 else []:
            state.try_seq += 1
            state.batch.tries.append(TryRow(state.try_seq, seq, sent_ms, right))
        if not seq % ROWS_A_COMMIT:
            tables.write(db, state.start_next_batch())
            print(f"{seq} of {messages} messages written", file=sys.stderr, flush=True)
    tables.write(db, state.start_next_batch())
    db.close()


def open_store(path: Path) -> None:
    """Open a store, and print the seconds and the growth of the process in bytes."""
    process, began_s = psutil.Process(), time.perf_counter()
    before = process.memory_info().rss
    store = SqliteStore.open(path, Policy())
    print(json.dumps([time.perf_counter() - began_s, process.memory_info().rss - before]))
    store.commits.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.open:
        return open_store(chosen.open)
    print(f"{'store':<22}{'seconds':>8}{'µs a message':>14}{'RSS MB':>8}{'bytes a message':>17}")
    for name, (messages, span_ms, ttl_ms) in STORES.items():
        with TemporaryDirectory(prefix="smscode-reload-") as folder:
            path = Path(folder) / "store.db"
            write_store(path, messages, span_ms, ttl_ms, chosen.seed)
            opening = [sys.executable, __file__, "--open", str(path)]
            outputs = [subprocess.run(opening, capture_output=True, check=True).stdout for _ in range(chosen.rounds)]
        seconds, grown = map(statistics.median, zip(*map(json.loads, outputs), strict=True))
        print(f"{name:<22}{seconds:>8.2f}{seconds / messages * 1e6:>14.2f}{grown / 1e6:>8.0f}{grown / messages:>17.0f}")
    return print(f"{interpreter()}, SQLite {sqlite3.sqlite_version}, seed {chosen.seed}")


if __name__ == "__main__":
    main()
