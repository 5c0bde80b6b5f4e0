"""The SQLite store survives restarts, rolls back failed commits, and has one owner."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.bench import Bench
from support.service import Running, smscode, smscode_process

from toolkit.api.errors import RunError, StoreError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Refusal, SendFields
from toolkit.service.core.deferred import Deferred
from toolkit.service.core.messages import Delivery, DeliveryState
from toolkit.service.core.policy import Policy
from toolkit.service.stores.sqlite.lock_file import OwnedError
from toolkit.service.stores.sqlite.store import SqliteStore

FAILED = Refusal(ReturnCode.SERVER_ERROR)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep the file from being written, as another program might."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Let every question to the database fail, as a broken disk might."""
    tables = ("messages", "deliveries")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for table in tables:
            db.execute(f"ALTER TABLE {table} RENAME TO no_{table}")
        yield
        for table in tables:
            db.execute(f"ALTER TABLE no_{table} RENAME TO {table}")


def test_a_restart_loses_nothing(bench: Bench) -> None:
    async def before() -> list[str]:
        verification = await bench.open()
        msg_ids = [await bench.send(verification, f"1380013800{n}") for n in range(3)]
        assert await verification.verify(bench.app, msg_ids[0], "123456") is None
        for _ in range(5):
            await verification.verify(bench.app, msg_ids[1], "0")
        await bench.store.close()
        return msg_ids

    async def after(msg_ids: list[str]) -> None:
        verification = await bench.open()
        assert bench.balance == 997
        answers = [await verification.verify(bench.app, it, "123456") for it in msg_ids]
        assert [it and it.return_code for it in answers] == [50012, 50011, None]
        refused = await verification.send(bench.app, SendFields("13800138000", 1))
        assert isinstance(refused, Refusal)
        assert refused.return_code == ReturnCode.OUT_OF_FREQ
        await bench.store.close()

    asyncio.run(after(asyncio.run(before())))


def test_answered_calls_survive_kill_9(start: Callable[..., Running], tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--store", store)
    msg_ids = [service.send() for _ in range(20)]
    service.process.kill()
    service.process.wait()
    again = start("--store", store)
    assert (again.app_key, again.master_secret) == (service.app_key, service.master_secret)
    assert [again.verify(it, again.peek(it)).code for it in msg_ids] == [50000] * 20
    balance = json.loads(smscode("app", "list", "--store", store, "--json").stdout)[0]["balance"]
    assert balance == 10**9 - 20


def test_a_failing_store_returns_a_server_error_charges_nothing_and_recovers(bench: Bench) -> None:
    async def claim() -> None:
        verification = await bench.open()
        msg_id = await bench.send(verification, "13800138001")
        with locked(bench.path):
            sends = [verification.send(bench.app, SendFields(f"1390000000{n}", 1)) for n in range(5)]
            assert await asyncio.gather(*sends, verification.verify(bench.app, msg_id, "123456")) == [FAILED] * 6
        assert bench.balance == 999
        await bench.send(verification, "13900000000")
        assert await verification.verify(bench.app, msg_id, "123456") is None
        await bench.store.close()
        await bench.open()
        assert bench.balance == 998
        await bench.store.close()

    asyncio.run(claim())


def test_a_call_made_as_soon_as_a_commit_has_failed_is_answered(bench: Bench) -> None:
    """The second request of a connection is decided while the first one's failure is answered."""

    async def claim() -> None:
        verification = await bench.open()
        sends: list[Deferred[str | Refusal]] = []

        def send_again(answer: str | Refusal) -> str | Refusal:
            sends.append(verification.send(bench.app, SendFields("13900000001", 1)))
            return answer

        with locked(bench.path):
            assert await verification.send(bench.app, SendFields("13900000000", 1)).then(send_again) == FAILED
        async with asyncio.timeout(60):
            second = await sends[0]
        assert bench.balance == (999 if isinstance(second, str) else 1000)
        await bench.store.close()

    asyncio.run(claim())


def test_a_commit_that_comes_too_late_is_revoked(bench: Bench) -> None:
    bench.timeout_s = 30

    async def claim() -> None:
        verification = await bench.open()
        bench.store.commits.timeout_s = 0.05
        gate = threading.Event()
        bench.store.commits._thread.submit(gate.wait)
        assert await verification.send(bench.app, SendFields("13800138000", 1)) == FAILED
        assert await verification.send(bench.app, SendFields("13800138001", 1)) == FAILED
        bench.store.commits.timeout_s = 30
        gate.set()
        while isinstance(await verification.send(bench.app, SendFields("13800138000", 1)), Refusal):
            await asyncio.sleep(0)
        assert bench.balance == 999
        await bench.store.close()
        await bench.open()
        assert (bench.balance, len(list(bench.rows("messages")))) == (999, 1)
        await bench.store.close()

    asyncio.run(claim())


def test_an_error_of_sqlite_becomes_a_store_error(bench: Bench) -> None:
    async def claim() -> None:
        msg_id = await bench.send(await bench.open())
        store = bench.store
        with unreadable(bench.path):
            asked: list[Coroutine[Any, Any, Any]] = [
                store.pending_job(1, msg_id),
                store.take_jobs(1),
                store.record_receipt("carrier-7", Delivery(DeliveryState.DELIVERED)),
                store.message(msg_id),
                store.backlog(),
                store.prune(),
            ]
            for asking in asked:
                with pytest.raises(StoreError, match="no such table"):
                    await asking
        await store.close()

    asyncio.run(claim())


def test_due_jobs_that_could_not_be_read_are_taken_later(bench: Bench) -> None:
    async def claim() -> None:
        msg_id = await bench.send(await bench.open())
        [job] = await bench.store.take_jobs(1)
        await bench.store.postpone(job, 0)
        with unreadable(bench.path), pytest.raises(StoreError):
            await bench.store.take_jobs(1)
        assert [(it.msg_id, it.attempts) for it in await bench.store.take_jobs(1)] == [(msg_id, 1)]
        await bench.store.close()

    asyncio.run(claim())


def test_counting_jobs_does_not_recreate_a_deleted_file(bench: Bench) -> None:
    async def claim() -> None:
        await bench.open()
        bench.path.unlink()
        with pytest.raises(StoreError, match="unable to open"):
            await bench.store.backlog()
        assert not bench.path.exists()
        await bench.store.close()

    asyncio.run(claim())


def test_a_second_process_learns_the_pid_of_the_owner(start: Callable[..., Running], tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--store", store)
    second = smscode_process("serve", "--port", "0", "--store", store)
    assert second.returncode == 2
    assert f"in use by another process (pid {service.process.pid})" in second.stderr
    assert "Traceback" not in second.stderr
    with pytest.raises(OwnedError):
        SqliteStore.open(tmp_path / "store.db", Policy())


def test_a_file_that_is_not_a_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database, whatever its name says" * 100)
    with pytest.raises(RunError, match="can't be used as a store"):
        SqliteStore.open(tmp_path / "text.db", Policy())
    with closing(sqlite3.connect(tmp_path / "foreign.db")) as db:
        db.execute("CREATE TABLE users (name)")
    with pytest.raises(RunError, match="not a store of this version"):
        SqliteStore.open(tmp_path / "foreign.db", Policy())
    with pytest.raises(RunError, match="create a store there"):
        SqliteStore.open(tmp_path / "missing" / "store.db", Policy())


def test_an_unreadable_key_file_is_named_in_the_error(bench: Bench) -> None:
    bench.path.with_name("store.db.key").mkdir()
    with pytest.raises(RunError, match=r"store\.db\.key: can't read or create the key"):
        asyncio.run(bench.open())


def test_a_store_without_its_key_is_refused(bench: Bench) -> None:
    async def fill() -> None:
        await bench.open()
        await bench.store.close()

    asyncio.run(fill())
    key = bench.path.with_name("store.db.key")
    assert key.stat().st_mode & 0o777 == 0o600
    key.unlink()
    with pytest.raises(RunError, match=r"store\.db\.key: missing"):
        SqliteStore.open(bench.path, Policy())


def test_a_store_with_another_key_is_refused(bench: Bench) -> None:
    async def fill() -> None:
        await bench.open()
        await bench.store.close()

    asyncio.run(fill())
    bench.path.with_name("store.db.key").write_bytes(b"x" * 32)
    with pytest.raises(RunError, match="holds another key than the store was created with"):
        SqliteStore.open(bench.path, Policy())


def test_an_empty_store_accepts_any_key(tmp_path: Path) -> None:
    for _ in range(2):
        asyncio.run(SqliteStore.open(tmp_path / "store.db", Policy()).close())
        (tmp_path / "store.db.key").unlink()


def test_no_code_and_no_secret_is_in_any_row(bench: Bench) -> None:
    async def fill() -> None:
        verification = await bench.open()
        await bench.send(verification)
        await bench.store.close()

    asyncio.run(fill())
    with closing(sqlite3.connect(bench.path)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in names}
    assert rows["messages"]
    assert "123456" not in repr(rows)
    assert "'secret'" not in repr(rows)


def send_some(bench: Bench, count: int) -> list[str]:
    """Open the store, send, and close it; return the msg_ids."""

    async def send() -> list[str]:
        verification = await bench.open()
        sent = [await bench.send(verification, f"138{len(rows) + n:08d}") for n in range(count)]
        await bench.store.close()
        return sent

    rows = bench.rows("messages") if bench.path.exists() and bench.path.stat().st_size else []
    return asyncio.run(send())


def test_a_restored_backup_gives_out_new_msg_ids(bench: Bench, tmp_path: Path) -> None:
    before = send_some(bench, 2)
    backup = bench.path.read_bytes()
    lost = send_some(bench, 3)
    bench.path.write_bytes(backup)
    after = send_some(bench, 3)
    assert len({*before, *lost, *after}) == 8

    async def verify() -> list[Refusal | None]:
        verification = await bench.open()
        codes = [await verification.verify(bench.app, it, "123456") for it in (*before, *after, *lost)]
        await bench.store.close()
        return codes

    assert asyncio.run(verify()) == [None] * 5 + [Refusal(ReturnCode.INVALID_CODE)] * 3


def test_a_store_that_was_emptied_gives_out_new_msg_ids_under_the_same_key(bench: Bench) -> None:
    before = send_some(bench, 2)
    bench.path.unlink()
    assert not set(before) & set(send_some(bench, 2))


def test_an_emptied_file_beside_its_key_is_refused(bench: Bench) -> None:
    send_some(bench, 1)
    bench.path.write_bytes(b"")
    with pytest.raises(RunError, match=r"store\.db: is empty although it has a key.*restore it from a backup"):
        asyncio.run(bench.open())


def test_a_number_that_was_pruned_is_not_given_out_again(bench: Bench) -> None:
    async def prune_all(sent: list[str]) -> None:
        await bench.open()
        bench.wall.now_ms += 90_000_000
        bench.store.state.seq += 1  # a message of which the commit failed
        while await bench.store.prune():
            pass
        await bench.store.close()

    before = send_some(bench, 2)
    asyncio.run(prune_all(before))
    assert not set(before) & set(send_some(bench, 3))


def test_old_rows_are_deleted_and_rows_that_still_count_stay(bench: Bench) -> None:
    async def fill() -> None:
        verification = await bench.open()
        await bench.send(verification)
        bench.wall.now_ms += 90_000_000
        await bench.send(verification)
        bench.wall.now_ms += 360_001
        assert await bench.store.prune()
        assert not await bench.store.prune()
        await bench.store.close()

    asyncio.run(fill())
    with closing(sqlite3.connect(bench.path)) as db:
        assert db.execute("SELECT count(*) FROM messages").fetchone() == (1,)
        assert db.execute("SELECT sum(is_job) FROM messages").fetchone() == (0,)


def test_the_clock_is_not_turned_back_by_a_restart(bench: Bench) -> None:
    async def claim() -> None:
        bench.speed = 3600
        await bench.open()
        bench.wall.now_ms += 1000
        ahead = bench.store.clock.now_ms()
        await bench.store.close()
        bench.speed = 1
        await bench.open()
        assert bench.store.clock.now_ms() >= ahead
        await bench.store.close()

    asyncio.run(claim())


def test_processes_leave_no_lock_behind(start: Callable[..., Running], tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--store", store)
    service.process.terminate()
    service.process.wait()
    assert service.process.returncode == 0
    done: subprocess.CompletedProcess[str] = smscode("app", "list", "--store", store, "--json")
    assert done.returncode == 0, done.stderr
