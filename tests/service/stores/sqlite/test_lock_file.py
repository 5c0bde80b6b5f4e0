"""A service owns the file that it opened, whatever happens to the file's name or to its lock file."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.admin import AdminPort
from support.service import Running, running, smscode_process

from toolkit.api.errors import RunError
from toolkit.service.core.policy import Policy
from toolkit.service.stores.sqlite.store import SqliteStore


def delete(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").replace(path)


def delete_the_log(path: Path) -> None:
    path.with_name(path.name + "-wal").unlink()


@pytest.mark.parametrize(
    ("lose", "what"),
    [
        (delete, "store.db was deleted or moved"),
        (replace, "store.db was replaced"),
        (delete_the_log, "store.db-wal was deleted or moved"),
    ],
)
def test_a_lost_database_file_is_noticed_logged_once_and_no_call_succeeds(
    lose: Callable[[Path], None], what: str, tmp_path: Path
) -> None:
    path, log = tmp_path / "store.db", tmp_path / "log"
    with (
        log.open("w") as stderr,
        running("--store", f"sqlite:///{path}", "--admin-port", "0", stderr=stderr) as service,
    ):
        msg_id = service.send()
        code = service.peek(msg_id)
        lose(path)
        send = {"mobile": "13900000000", "temp_id": service.temp_id}
        assert [service.post("/v1/codes", send).code for _ in range(3)] == [50019] * 3
        assert service.verify(msg_id, code).code == 50019
        status, _, text = AdminPort(service.admin_url).get("/readyz")
        assert (status, what in text) == (503, True)
    assert service.process.returncode == 0
    assert log.read_text().count(f'"store: {what}') == 1


def test_an_idle_service_notices_that_its_file_is_gone(tmp_path: Path) -> None:
    path, log = tmp_path / "store.db", tmp_path / "log"
    with log.open("w") as stderr, running("--store", f"sqlite:///{path}", stderr=stderr):
        path.unlink()
        end = time.monotonic() + 240
        while "was deleted" not in log.read_text():
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_file_that_was_moved_away_and_back_is_used_again_with_nothing_lost(tmp_path: Path) -> None:
    path, away = tmp_path / "store.db", tmp_path / "away.db"
    with running("--store", f"sqlite:///{path}") as service:
        msg_id, mobile = service.send(), "13900000000"
        code = service.peek(msg_id)
        path.rename(away)
        assert service.post("/v1/codes", {"mobile": mobile, "temp_id": service.temp_id}).code == 50019
        away.rename(path)
        service.send(mobile)
        assert service.verify(msg_id, code).code == 50000
    with running("--store", f"sqlite:///{path}") as again:
        assert again.verify(msg_id, code).code == 50012


def test_a_second_service_is_refused_although_the_lock_file_was_deleted(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--store", store)
    (tmp_path / "store.db.lock").unlink()
    for _ in range(2):
        second = smscode_process("serve", "--port", "0", "--store", store)
        assert second.returncode == 2
        assert "in use by another process" in second.stderr
    msg_id = service.send()
    assert service.verify(msg_id, service.peek(msg_id)).code == 50000


def test_a_folder_is_refused_as_a_database(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is a folder; name a file in it, such as .*sms\.db"):
        SqliteStore.open(tmp_path, Policy())
