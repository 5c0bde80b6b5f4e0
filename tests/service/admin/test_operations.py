"""Administer a store from the shell, with and without a running service."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.service import Running, basic, smscode

from toolkit.service.admin.control_socket import MAX_CLIENTS, MAX_REQUEST_BYTES, listen
from toolkit.service.admin.operations import Admin
from toolkit.service.core.accounts import App
from toolkit.service.core.policy import Policy
from toolkit.service.metrics.call_log import LOG_FIELDS
from toolkit.service.stores.sqlite.store import SqliteStore


@pytest.fixture(params=["beside a running service", "without one"])
def store(request: pytest.FixtureRequest, start: Callable[..., Running], tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/store.db"
    if request.param == "beside a running service":
        start("--production", "--provider", "outbox", "--store", url)
    else:
        asyncio.run(SqliteStore.open(tmp_path / "store.db", Policy()).close())
    return url


def administer(store: str, *arguments: str) -> Any:
    done = smscode(*arguments, "--store", store, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_apps_are_created_listed_and_changed(store: str) -> None:
    made = administer(store, "app", "create", "--balance", "7")
    assert set(made) == {"app_key", "master_secret", "temp_id", "balance"}
    key = made["app_key"]
    first = {"app_key": key, "balance": 7, "suspended": False, "permitted": True}
    assert administer(store, "app", "list") == [first]
    assert administer(store, "app", "topup", key, "5") == [first | {"balance": 12}]
    assert administer(store, "app", "suspend", key)[0]["suspended"] is True
    assert administer(store, "app", "resume", key)[0]["suspended"] is False
    assert administer(store, "app", "permit", "--revoke", key)[0]["permitted"] is False
    assert administer(store, "app", "permit", key) == [first | {"balance": 12}]


def test_templates_are_added_listed_and_disabled(store: str) -> None:
    key = administer(store, "app", "create")["app_key"]
    added = administer(store, "template", "add", key, "【示例】验证码 {code}" + "。" * 70, "--ttl", "60")[0]
    assert (added["temp_id"], added["ttl_s"], added["segments"], added["enabled"]) == (2, 60, 2, True)
    assert [it["temp_id"] for it in administer(store, "template", "list", "--app-key", key)] == [1, 2]
    assert administer(store, "template", "disable", "2")[0]["enabled"] is False
    assert [it["enabled"] for it in administer(store, "template", "list")] == [True, False]
    assert administer(store, "template", "enable", "2")[0]["enabled"] is True
    edited = administer(store, "template", "edit", "2", "--text", "Code {code}")[0]
    assert (edited["text"], edited["ttl_s"], edited["segments"], edited["enabled"]) == ("Code {code}", 60, 1, True)
    assert administer(store, "template", "edit", "2", "--ttl", "90")[0] == edited | {"ttl_s": 90}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["app", "topup", "nobody", "1"], "unknown app 'nobody'"),
        (["app", "suspend", "nobody"], "unknown app 'nobody'"),
        (["app", "create", "--balance", "-1"], "invalid --balance -1: expected a number of messages from 0"),
        (["app", "create", "--ttl", "86401"], "1 to 86400 seconds"),
        (["app", "create", "--text", "no place"], "{code} exactly once"),
        (
            ["app", "create", "--text", "{code}" + "x" * 66_000],
            "invalid --text of 66006 characters: expected at most 1000",
        ),
        (["app", "create", "--text", "{code}\udcff"], "invalid --text: expected valid Unicode"),
        (["app", "create", "--balance", "1" + "0" * 23], "at most 1000000000000 messages"),
        (["template", "add", "nobody", "{code}"], "unknown app 'nobody'"),
        (["template", "disable", "9"], "unknown template 9"),
        (["template", "edit", "9", "--text", "{code}"], "unknown template 9"),
    ],
)
def test_a_refused_operation_gives_its_reason_and_changes_nothing(
    store: str, arguments: list[str], reason: str
) -> None:
    done = smscode(*arguments, "--store", store)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert administer(store, "app", "list") == []


def test_a_top_up_that_is_repeated_with_its_key_is_credited_once(store: str) -> None:
    key = administer(store, "app", "create", "--balance", "3")["app_key"]
    for _ in range(2):
        done = administer(store, "app", "topup", key, "5", "--idempotency-key", "inv-17")
        assert done[0]["balance"] == 8
    refused = smscode("app", "topup", key, "6", "--idempotency-key", "inv-17", "--store", store)
    assert (refused.returncode, "was used for another top-up" in refused.stderr) == (2, True)
    refused = smscode("app", "topup", key, "6", "--idempotency-key", "a b", "--store", store)
    assert (refused.returncode, "invalid idempotency key 'a b'" in refused.stderr) == (2, True)
    assert administer(store, "app", "list")[0]["balance"] == 8


def test_a_negative_top_up_does_not_go_below_zero(store: str) -> None:
    key = administer(store, "app", "create", "--balance", "3")["app_key"]
    assert administer(store, "app", "topup", key, "-1")[0]["balance"] == 2
    done = smscode("app", "topup", key, "-4", "--store", store)
    assert (done.returncode, "its balance is 2 messages" in done.stderr) == (2, True)
    assert administer(store, "app", "list")[0]["balance"] == 2


@pytest.mark.parametrize("messages", ["9223372036854775807", "-9223372036854775809", "1" + "0" * 23])
def test_a_top_up_beyond_the_maximum_is_refused(store: str, messages: str) -> None:
    key = administer(store, "app", "create", "--balance", "3")["app_key"]
    done = smscode("app", "topup", key, "--store", store, "--", messages)
    assert (done.returncode, "at most 1000000000000 messages" in done.stderr) == (2, True)
    assert administer(store, "app", "list")[0]["balance"] == 3


def test_a_long_lifetime_prints_a_warning(store: str) -> None:
    done = smscode("app", "create", "--ttl", "601", "--store", store)
    assert done.returncode == 0
    assert "NIST SP 800-63B" in done.stderr
    assert "NIST" not in smscode("app", "create", "--ttl", "600", "--store", store).stderr


def test_a_change_takes_effect_at_once(start: Callable[..., Running], tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--store", store)
    made = administer(store, "app", "create", "--balance", "1")
    auth, fields = basic(made["app_key"], made["master_secret"]), {"mobile": "13800138000", "temp_id": made["temp_id"]}
    administer(store, "app", "suspend", made["app_key"])
    assert service.post("/v1/codes", fields, auth).code == 50002
    administer(store, "app", "resume", made["app_key"])
    assert service.post("/v1/codes", fields, auth).code == 50000


def test_the_old_secret_stays_valid_during_the_overlap_of_a_rotation(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--production", "--provider", "outbox", "--store", store)
    made = administer(store, "app", "create", "--balance", "9")
    key, secrets = made["app_key"], [made["master_secret"]]

    def codes() -> list[int]:
        return [service.post("/v1/codes", {"mobile": 1}, basic(key, secret)).code for secret in secrets]

    assert codes() == [50005]
    for overlap_s, expected in [("600", [50005, 50005]), ("600", [50002, 50005, 50005]), ("0", [50002] * 3 + [50005])]:
        secrets.append(administer(store, "app", "rotate", key, "--overlap", overlap_s)["master_secret"])
        assert [codes(), codes()] == [expected, expected]
    refused = smscode("app", "rotate", key, "--overlap", "-1", "--store", store)
    assert (refused.returncode, "invalid --overlap -1" in refused.stderr) == (2, True)


def test_only_creating_an_app_creates_a_store(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    done = smscode("app", "list", "--store", store)
    assert (done.returncode, "no such store" in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []
    assert smscode("app", "create", "--store", store).returncode == 0
    assert smscode("app", "list", "--store", store).returncode == 0


def test_a_store_must_be_named(tmp_path: Path) -> None:
    done = smscode("app", "list", cwd=tmp_path)
    assert (done.returncode, "--store" in done.stderr) == (2, True)


def test_a_request_with_a_wrong_token_is_refused(start: Callable[..., Running], tmp_path: Path) -> None:
    start("--store", f"sqlite:///{tmp_path}/store.db")
    assert (tmp_path / "store.db.lock").stat().st_mode & 0o077 == 0
    question = json.dumps({"token": "x", "operation": "list_apps", "arguments": {}}).encode() + b"\n"
    assert ask(tmp_path, question) == {"error": "wrong token"}


@pytest.mark.parametrize(
    ("operation", "arguments", "reason"),
    [
        ("create_app", {"balance": 1.5}, "Expected `int`, got `float`"),
        ("create_app", {"balance": True}, "Expected `int`, got `bool`"),
        ("create_app", {"balance": "7"}, "Expected `int`, got `str`"),
        ("create_app", {"colour": 1}, "unknown field `colour`"),
        ("top_up", {"app_key": "key"}, "missing required field `messages`"),
        ("change_app", {"app_key": 7}, "Expected `str`, got `int`"),
        ("list_apps", [], "got `array`"),
    ],
)
def test_arguments_of_another_type_are_refused(
    start: Callable[..., Running], tmp_path: Path, operation: str, arguments: Any, reason: str
) -> None:
    start("--production", "--provider", "outbox", "--store", f"sqlite:///{tmp_path}/store.db")
    token = json.loads((tmp_path / "store.db.lock").read_text())["token"]
    question = {"token": token, "operation": operation, "arguments": arguments}
    assert reason in ask(tmp_path, json.dumps(question).encode() + b"\n")["error"]
    assert administer(f"sqlite:///{tmp_path}/store.db", "app", "list") == []


def test_operations_are_logged_with_their_user_and_without_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = SqliteStore.open(tmp_path / "store.db", Policy())

    async def claim() -> None:
        async with listen(Admin(store)) as owner:
            store.write_owner(pid=1, **owner)
            create = {"app_key": "key", "master_secret": "s3cret", "balance": 5}
            for operation, arguments in [("create_app", create), ("top_up", {"app_key": "key", "messages": -9})]:
                question = {"token": owner["token"], "user": "ann", "operation": operation, "arguments": arguments}
                await asyncio.to_thread(ask, tmp_path, json.dumps(question).encode() + b"\n")
        await store.close()

    with caplog.at_level(logging.INFO):
        asyncio.run(claim())
    created, refused = [it.__dict__[LOG_FIELDS] for it in caplog.records if it.getMessage().startswith("admin: ")]
    assert created == {"operation": "create_app", "user": "ann", "app_key": "key", "balance": 5}
    assert (refused["operation"], refused["messages"]) == ("top_up", -9)
    assert "its balance is 5 messages" in refused["error"]


def test_silent_clients_are_limited_and_told_when_their_time_is_up(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "store.db", Policy())

    async def claim() -> None:
        async with listen(Admin(store), timeout_s=5) as owner:
            clients = [await asyncio.open_connection("127.0.0.1", owner["port"]) for _ in range(MAX_CLIENTS + 1)]
            answers = [await reader.read() for reader, _ in clients]
            for _, writer in clients:
                writer.close()
        await store.close()
        assert [json.loads(it) for it in answers if it] == [{"error": "no request arrived within 5 s"}] * MAX_CLIENTS

    asyncio.run(claim())


def ask(folder: Path, question: bytes) -> Any:
    """Ask the service that owns a folder's store.db."""
    owner = json.loads((folder / "store.db.lock").read_text())
    with socket.create_connection(("127.0.0.1", owner["port"]), timeout=240) as peer, peer.makefile("rb") as file:
        peer.sendall(question)
        return json.loads(file.readline())


def test_any_number_of_apps_is_listed_by_the_service_that_owns_them(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    """800 make an answer of more than 64 KiB, which is as much as an asyncio stream reads in a line by default."""
    url = f"sqlite:///{tmp_path}/store.db"

    async def fill() -> None:
        store = SqliteStore.open(tmp_path / "store.db", Policy())
        for app_id in range(1, 801):
            await store.put(app=App(app_id, f"{app_id:024}", b""))
        await store.close()

    asyncio.run(fill())
    start("--production", "--provider", "outbox", "--store", url)
    assert len(administer(url, "app", "list")) == 800


@pytest.mark.parametrize("question", [b"x" * 66_000 + b"\n", b"[" * 66_000 + b"\n", b"x" * (MAX_REQUEST_BYTES + 1)])
def test_an_invalid_request_gets_an_error_and_breaks_nothing(tmp_path: Path, question: bytes) -> None:
    command = [sys.executable, "-m", "toolkit", "serve", "--port", "0", "--store", f"sqlite:///{tmp_path}/store.db"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline()
            assert ask(tmp_path, question)["error"].startswith("invalid request")
        finally:
            process.terminate()
        _, stderr = process.communicate(timeout=240)
    assert "Traceback" not in stderr


def test_a_silent_client_does_not_delay_the_end(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "toolkit", "serve", "--port", "0", "--store", f"sqlite:///{tmp_path}/store.db"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline()
        owner = json.loads((tmp_path / "store.db.lock").read_text())
        with socket.create_connection(("127.0.0.1", owner["port"]), timeout=240):
            ask(tmp_path, b"{}\n")  # so that the one before it is taken in
            process.terminate()
            _, stderr = process.communicate(timeout=240)
    assert (process.returncode, "Traceback" in stderr) == (0, False)
