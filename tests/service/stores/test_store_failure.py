"""A store that fails while the service runs: 50019, nothing charged, and recovery without a restart.

The failures are real: a disk that is full, read-only or stands still, a lock, a Redis that is stopped, dead or slow.
They last until the calls are answered, so a service that waited for its store would never answer.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.programs import require
from support.redis import RedisServer
from support.service import Got, Running, smscode

SERVER_ERROR = 50019
RECOVERED_WITHIN_S = 240

Start = Callable[..., Running]


def send(service: Running, mobile: str) -> Got:
    return service.post("/v1/codes", {"mobile": mobile, "temp_id": service.temp_id})


def balance(store: str) -> int:
    done = smscode("app", "list", "--store", store, "--json")
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)[0]["balance"])


@dataclass
class Failing:
    """Calls that meet a store's failure, and what has to be true of them afterwards."""

    service: Running
    store: str

    def __post_init__(self) -> None:
        self.msg_id = self.service.send()
        self.code = self.service.peek(self.msg_id)
        self.balance = balance(self.store)
        self.refused = [next(self.service.mobiles) for _ in range(8)]

    def send_until_refused(self) -> None:
        """Use up what the store has in reserve."""
        for mobile in self.service.mobiles:
            if (got := send(self.service, mobile)).code == SERVER_ERROR:
                return self.refused.append(mobile)
            assert got.code == 50000
            self.balance -= 1
        return None

    def assert_refused(self) -> None:
        """Make calls at once: each is answered 50019."""
        with ThreadPoolExecutor(len(self.refused) + 1) as pool:
            sends = pool.map(lambda mobile: send(self.service, mobile), self.refused)
            verify = pool.submit(self.service.verify, self.msg_id, self.code)
            assert {got.code for got in sends} == {SERVER_ERROR}
            assert verify.result().code == SERVER_ERROR

    def assert_recovered(self) -> None:
        """What was refused is accepted now: no window counted it, no balance was charged, no code is spent."""
        end = time.monotonic() + RECOVERED_WITHIN_S
        while (got := send(self.service, self.refused[0])).code == SERVER_ERROR:
            assert time.monotonic() < end
        assert got.code == 50000
        assert {send(self.service, mobile).code for mobile in self.refused[1:]} == {50000}
        assert self.service.verify(self.msg_id, self.code).code == 50000
        assert balance(self.store) == self.balance - len(self.refused)
        assert self.service.process.poll() is None


# SQLite.


@contextmanager
def mounted(folder: Path, *what: str) -> Iterator[None]:
    """Mount a file system until the block ends; skip where that isn't permitted."""
    done = subprocess.run(["mount", *what, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting needs root and a kernel that lets it: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, "-t", "tmpfs", "-o", "size=4m", "tmpfs"):
        yield folder


def test_a_full_disk_charges_nothing_and_the_service_recovers(disk: Path, start: Start) -> None:
    store = f"sqlite:///{disk}/store.db"
    failing = Failing(start("--store", store), store)
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(b"x" * 4096):
            pass
    failing.send_until_refused()
    failing.assert_refused()
    (disk / "filler").unlink()
    failing.assert_recovered()


def test_a_stalled_disk_charges_nothing_and_the_service_recovers(tmp_path: Path, start: Start) -> None:
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(32 << 20)
    if not shutil.which("mkfs.ext4") or not shutil.which("fsfreeze"):
        pytest.skip("mkfs.ext4 and fsfreeze aren't installed")
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    with mounted(folder, "-o", "loop", str(image)):
        store = f"sqlite:///{folder}/store.db"
        failing = Failing(start("--store", store), store)
        subprocess.run(["fsfreeze", "--freeze", str(folder)], check=True)
        try:
            failing.assert_refused()
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", str(folder)], check=True)
        failing.assert_recovered()
        failing.service.process.terminate()
        failing.service.process.wait(240)


def test_files_made_read_only_charge_nothing_and_the_service_recovers(tmp_path: Path, start: Start) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    failing = Failing(start("--store", store), store)
    with immutable([path for path in tmp_path.iterdir() if path.suffix != ".key"]):
        failing.assert_refused()
    failing.assert_recovered()


@contextmanager
def immutable(paths: list[Path]) -> Iterator[None]:
    """Let nobody write to files, not even who has them open; skip where the file system can't."""
    files = [str(path) for path in paths]
    done = subprocess.run(["chattr", "+i", *files], capture_output=True, text=True, check=False)
    try:
        if done.returncode:
            pytest.skip(f"making files immutable needs root and a file system that can: {done.stderr.strip()}")
        yield
    finally:
        subprocess.run(["chattr", "-i", *files], capture_output=True, check=False)


def test_a_lock_of_another_process_charges_nothing_and_the_service_recovers(tmp_path: Path, start: Start) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    failing = Failing(start("--store", store), store)
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        failing.assert_refused()
    failing.assert_recovered()


@pytest.fixture
def broken_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let fsync fail in services that are started from now on, while the file exists that is returned."""
    library, flag = tmp_path / "broken_fsync.so", tmp_path / "fsync-fails"
    source = Path(__file__).parents[2] / "support" / "broken_fsync.c"
    subprocess.run([require("cc", "gcc"), "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("FSYNC_FAILS", str(flag))
    return flag


@pytest.mark.parametrize("killed", [False, True])
def test_a_failed_fsync_charges_nothing_also_if_the_service_is_killed_then(
    killed: bool, tmp_path: Path, start: Start, broken_fsync: Path
) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    failing = Failing(start("--store", store), store)
    broken_fsync.touch()
    failing.assert_refused()
    if killed:
        failing.service.process.kill()
        failing.service.process.wait()
    broken_fsync.unlink()
    if killed:
        failing.service = start("--store", store)
    failing.assert_recovered()


# Redis.


@pytest.fixture
def failing_redis(own: RedisServer, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> Failing:
    monkeypatch.setenv("SMSCODE_KEY_FILE", str(tmp_path / "smscode.key"))
    return Failing(start("--store", own.url), own.url)


def test_a_stopped_redis_charges_nothing_and_the_service_recovers(own: RedisServer, failing_redis: Failing) -> None:
    own.freeze()
    try:
        failing_redis.assert_refused()
    finally:
        own.thaw()
    failing_redis.assert_recovered()


def test_a_dead_redis_charges_nothing_and_the_service_recovers(own: RedisServer, failing_redis: Failing) -> None:
    own.kill()
    failing_redis.assert_refused()
    own.start()
    failing_redis.assert_recovered()


def test_a_slow_redis_charges_nothing_and_the_service_recovers(own: RedisServer, failing_redis: Failing) -> None:
    with own.client() as client:
        client.client_pause(15_000, all=True)  # longer than the slowest machine takes for the calls
    failing_redis.assert_refused()
    failing_redis.assert_recovered()
