"""A state that is loaded from the tables equals the state that wrote them."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode
from toolkit.service.core.accounts import App
from toolkit.service.core.digests import Digests
from toolkit.service.core.message_record import window_key
from toolkit.service.core.messages import NewMessage
from toolkit.service.core.policy import HOUR_MS, Policy
from toolkit.service.core.record_pages import PAGE
from toolkit.service.core.state import ServiceState
from toolkit.service.stores.base import LoadProgress
from toolkit.service.stores.sqlite import tables

POLICY = Policy((Rule(3, 60), Rule(4, 3600)), (Rule(10**6, 3600),), failures_per_hour=1)
MOBILES = range(13_000_000_000, 13_000_001_000)


def write_messages(state: ServiceState, draw: random.Random, now_ms: int, missing: int = 0) -> None:
    """Send to random mobiles until the state has more than a page of messages, and verify some of them."""
    last = state.seq + PAGE + 100
    while state.seq < last:
        now_ms += 10
        limited = draw.random() < 0.9
        forced = draw.choice([None, ReturnCode.EXPIRED_CODE])
        message = NewMessage(1, draw.choice(MOBILES), 1, "123456", 60_000, 1, forced, limited)
        msg_id = state.send(message, now_ms).msg_id
        if msg_id and draw.random() < 0.5:
            state.verify(1, msg_id, draw.choice(["123456", "654321"]), now_ms)
        if missing and state.seq % PAGE == 2000:
            state.seq += missing


def failure_waits(state: ServiceState, now_ms: int) -> list[int]:
    """Return how long each mobile has to wait for its next try."""
    failures = (state.failures.get(window_key(1, mobile)) for mobile in MOBILES)
    return [max(0, state.failures.wait_ms(times, now_ms)) for times in failures]


@pytest.mark.parametrize("missing", [0, 3])
def test_a_loaded_state_equals_the_one_that_wrote_the_rows(tmp_path: Path, missing: int) -> None:
    digests = Digests(b"key")
    live = ServiceState(POLICY, digests)
    live.put_app(App(1, "key", b"secret"), 10**6)
    for hours in (1, 4):
        write_messages(live, random.Random(hours), hours * HOUR_MS, missing)
    with closing(tables.connect(tmp_path / "store.db")) as db:
        tables.write(db, live.start_next_batch())
        progress = LoadProgress()
        loaded = tables.load(db, POLICY, digests, progress)
    assert progress.loaded == progress.total
    assert (loaded.seq, loaded.try_seq) == (live.seq, live.try_seq)
    live.forget_expired(loaded.newest_ms)  # loading leaves out the pages that have expired
    loaded.forget_expired(loaded.newest_ms)
    assert live.record(1) is None
    assert [loaded.page_row(page, live.seq) for page in range(3)] == [
        live.page_row(page, live.seq) for page in range(3)
    ]
    seqs = range(live.seq + 1)
    assert [loaded.record(seq) for seq in seqs] == [live.record(seq) for seq in seqs]
    keys = [window_key(1, mobile) for mobile in MOBILES]
    assert [loaded.sends.get(key) for key in keys] == [live.sends.get(key) for key in keys]
    assert failure_waits(loaded, loaded.newest_ms) == failure_waits(live, loaded.newest_ms)
    assert loaded.app_sends[1].end == live.app_sends[1].end


@pytest.mark.parametrize(("is_durable", "level"), [(True, 2), (False, 0)])
def test_a_commit_waits_for_the_disk_unless_the_store_is_for_one_process(
    tmp_path: Path, is_durable: bool, level: int
) -> None:
    with closing(tables.connect(tmp_path / "store.db", is_durable)) as db:
        assert db.execute("PRAGMA synchronous").fetchone()[0] == level
