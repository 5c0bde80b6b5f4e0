"""Test the sandbox's additions through real sockets, and that production has none of them."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.admin import AdminPort
from support.redis import need_redis, redis_server
from support.service import Got, Running, basic, running, smscode, smscode_process
from support.waiting import wait_until

from toolkit.api.return_codes import Kind, ReturnCode

MOBILE, OTHER = "13800138000", "13800138001"
VERDICTS = [row for row in ReturnCode if row.kind is Kind.VERDICT]


@dataclass
class Inbox:
    """A sandbox, and its own calls."""

    service: Running
    store: str
    key_file: Path

    def call(self, method: str, path: str, fields: object = None) -> Got:
        body = None if fields is None else json.dumps(fields).encode()
        return self.service.call(method, path, body, self.service.auth)

    def messages(self, query: str = "") -> list[dict[str, Any]]:
        got = self.call("GET", f"/sandbox/messages?{query}")
        assert got.status == 200, got
        found: list[dict[str, Any]] = got.json["messages"]
        return found

    def try_send(self, mobile: str) -> int:
        return self.service.post("/v1/codes", {"mobile": mobile, "temp_id": self.service.temp_id}).code

    def balance(self) -> int:
        env = {**os.environ, "SMSCODE_KEY_FILE": str(self.key_file)}
        apps = json.loads(smscode("app", "list", "--store", self.store, "--json", env=env).stdout)
        return int(next(it["balance"] for it in apps if it["app_key"] == self.service.app_key))

    def other(self, made: dict[str, Any]) -> Inbox:
        """Return the same sandbox for another app."""
        keys = {name: made[name] for name in ("app_key", "master_secret", "temp_id")}
        return replace(self, service=replace(self.service, **keys))

    def restart(self, start: Callable[..., Running]) -> Inbox:
        return replace(self, service=start("--store", self.store, *key_options(self.store, self.key_file)))


@pytest.mark.parametrize("row", [row for row in ReturnCode if row not in VERDICTS])
def test_a_magic_mobile_always_gets_its_return_code(sandbox: Running, row: ReturnCode) -> None:
    fields = {"mobile": f"199000{int(row)}", "temp_id": sandbox.temp_id}
    for _ in range(2):
        got = sandbox.post("/v1/codes", fields)
        assert (got.code, got.status) == (row, row.http_status)


@pytest.mark.parametrize("row", VERDICTS)
def test_a_magic_mobile_of_a_verdict_is_sent_to_and_then_verifies_with_it(sandbox: Running, row: ReturnCode) -> None:
    msg_id = sandbox.send(f"199000{int(row)}")
    for code in (sandbox.peek(msg_id), "000000"):
        got = sandbox.verify(msg_id, code)
        assert (got.code, got.json["is_valid"]) == (row, False)


def test_peeking_shows_the_code_and_the_text(sandbox: Running) -> None:
    msg_id = sandbox.send()
    got = sandbox.call("GET", f"/sandbox/messages/{msg_id}", headers=sandbox.auth)
    assert got.status == 200
    assert set(got.json) == {"code", "text"}
    assert got.json["code"] in got.json["text"]


def test_only_its_own_app_can_peek_at_a_message(start: Callable[..., Running], tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--store", store)
    made = json.loads(smscode("app", "create", "--store", store, "--json").stdout)
    path = f"/sandbox/messages/{service.send()}"
    other = basic(made["app_key"], made["master_secret"])
    assert [service.call("GET", path, headers=it).code for it in ({}, basic("x", "y"), other)] == [50001, 50002, 50016]
    assert service.call("GET", "/sandbox/messages/unknown", headers=service.auth).code == 50016
    posted = service.call("POST", path, b"{}", service.auth)
    assert (posted.code, posted.headers["allow"]) == (50018, "GET")


def test_a_sandbox_says_that_it_is_one_to_its_app(sandbox: Running) -> None:
    got = sandbox.call("GET", "/sandbox/state", headers=sandbox.auth)
    assert (got.status, got.json) == (200, {"sandbox": True})
    refused = [sandbox.call("GET", "/sandbox/state", headers=it).code for it in ({}, basic("x", "y"))]
    assert refused == [50001, 50002]
    posted = sandbox.call("POST", "/sandbox/state", b"{}", sandbox.auth)
    assert (posted.code, posted.headers["allow"]) == (50018, "GET, DELETE")


def test_a_sandbox_that_delivers_does_not_say_that_its_messages_cost_nothing(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMSCODE_WEBHOOK_URL", "http://127.0.0.1:9/texts")
    monkeypatch.setenv("SMSCODE_WEBHOOK_SECRET", "secret")
    service = start("--provider", "webhook")
    assert service.call("GET", "/sandbox/state", headers=service.auth).json == {"sandbox": False}
    credentials = {"SMSCODE_APP_KEY": service.app_key, "SMSCODE_MASTER_SECRET": service.master_secret}
    loaded = smscode("load", "--target", service.url, "--duration", "1s", env=credentials)
    assert loaded.returncode == 2, loaded.stderr
    assert "it delivers its messages" in loaded.stderr


def test_production_has_no_peeking_and_no_magic_mobiles(start: Callable[..., Running], tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--production", "--provider", "outbox", "--store", store)
    assert (service.app_key, service.master_secret) == ("", "")
    made = json.loads(smscode("app", "create", "--balance", "5", "--store", store, "--json").stdout)
    service.app_key, service.master_secret, service.temp_id = made["app_key"], made["master_secret"], made["temp_id"]
    msg_id = service.send("19900050014")
    calls = [("GET", f"/sandbox/messages/{msg_id}"), ("GET", "/sandbox/state"), ("DELETE", "/sandbox/state")]
    calls += [("GET", "/sandbox"), ("GET", "/sandbox/messages"), ("POST", "/sandbox/clock"), ("PUT", "/sandbox/faults")]
    calls += [(method, "/sandbox/numbers/13800138000") for method in ("PUT", "DELETE")]
    for method, path in calls:
        got = service.call(method, path, b"{}", service.auth)
        assert (got.status, got.code) == (404, 50016), path
    assert service.verify(msg_id, "wrong").code == 50010


def test_a_production_service_refuses_the_store_of_a_sandbox(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    with running("--store", store):
        pass
    done = smscode_process("serve", "--port", "0", "--production", "--provider", "outbox", "--store", store)
    assert (done.returncode, done.stdout, "belongs to a sandbox" in done.stderr) == (2, "", True)


def test_a_sandbox_refuses_the_store_of_a_production_service(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    assert smscode("app", "create", "--store", store).returncode == 0
    done = smscode_process("serve", "--port", "0", "--store", store)
    assert (done.returncode, done.stdout, "belongs to a production service" in done.stderr) == (2, "", True)


def test_the_settings_file_can_turn_the_sandbox_off(tmp_path: Path) -> None:
    (tmp_path / "smscode.toml").write_text("[service]\nproduction = true\nprovider = 'outbox'\n")
    done = smscode_process("serve", "--port", "0", cwd=tmp_path)
    assert (done.returncode, "production needs a store" in done.stderr) == (2, True)


def test_a_faster_clock_shortens_rate_limit_windows(start: Callable[..., Running]) -> None:
    service = start("--speed", "1000000")
    mobile = next(service.mobiles)
    accepted = 0
    while accepted < 12:  # which is two more than a day allows
        got = service.post("/v1/codes", {"mobile": mobile, "temp_id": service.temp_id})
        assert got.code in (50000, 50009)
        accepted += got.code == 50000


def test_a_share_of_server_errors_charges_nothing(start: Callable[..., Running], tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--store", store, "--error-share", "1")
    assert service.post("/v1/codes", {"mobile": "13800138000", "temp_id": 1}).code == 50019
    apps = json.loads(smscode("app", "list", "--store", store, "--json").stdout)
    assert apps[0]["balance"] == 10**9


def test_a_dropped_connection_gets_no_response_though_the_message_was_sent(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--store", store, "--drop-share", "1")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        service.post("/v1/codes", {"mobile": "13800138000", "temp_id": 1})
    apps = json.loads(smscode("app", "list", "--store", store, "--json").stdout)
    assert apps[0]["balance"] == 10**9 - 1


# The inbox and its controls, on both stores.


@pytest.fixture(scope="module")
def redis_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The URL of a Redis, and its key file."""
    need_redis()
    folder = tmp_path_factory.mktemp("redis")
    with redis_server(folder) as server:
        yield server.url, folder / "key"


def key_options(store: str, key_file: Path) -> list[str]:
    """Return the option of the key file, which a SQLite store does not take."""
    return ["--key-file", str(key_file)] if store.startswith("redis") else []


@pytest.fixture(params=["sqlite", "redis"])
def inbox(request: pytest.FixtureRequest, start: Callable[..., Running], tmp_path: Path) -> Inbox:
    """A sandbox of its own; all tests on Redis share one store, which each empties first."""
    store, key_file = f"sqlite:///{tmp_path}/store.db", tmp_path / "unused.key"
    if request.param == "redis":
        store, key_file = request.getfixturevalue("redis_store")
    inbox = Inbox(start("--store", store, *key_options(store, key_file), "--admin-port", "0"), store, key_file)
    inbox.call("DELETE", "/sandbox/state")
    return inbox


def test_the_inbox_lists_what_was_sent_the_oldest_first(inbox: Inbox) -> None:
    service = inbox.service
    first, second, third = (service.send(mobile) for mobile in (MOBILE, OTHER, "13800138002"))
    (message, *_) = inbox.messages()
    assert [it["msg_id"] for it in inbox.messages()] == [first, second, third]
    assert message == message | {"mobile": MOBILE, "temp_id": service.temp_id, "code": service.peek(first)}
    assert message["code"] in message["text"]
    assert datetime.fromisoformat(message["sent_at"]).tzinfo is UTC
    assert [it["msg_id"] for it in inbox.messages(f"after={first}&limit=1")] == [second]
    assert [it["msg_id"] for it in inbox.messages(f"mobile=%2B86{OTHER}")] == [second]
    assert inbox.messages(f"after={third}") == []
    assert len(inbox.messages("after=unknown")) == 3
    assert service.verify(first, message["code"]).code == 50000


def test_a_caller_who_waits_gets_the_next_message_and_only_that(inbox: Inbox) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(inbox.messages, f"mobile={OTHER}&wait_s=60")
        inbox.service.send(MOBILE)
        msg_id = inbox.service.send(OTHER)
        assert [it["msg_id"] for it in waiting.result()] == [msg_id]
    assert inbox.messages("mobile=13800138009&wait_s=0.01") == []


def test_a_shutdown_answers_those_who_wait(inbox: Inbox) -> None:
    admin = AdminPort(inbox.service.admin_url)
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(inbox.messages, "wait_s=60") for _ in range(3)]
        wait_until(lambda: admin.samples()["smscode_calls_in_flight"] == [({}, 3)])
        inbox.service.process.terminate()
        assert [it.result() for it in waiting] == [[]] * 3
    assert inbox.service.process.wait(240) == 0


def test_a_number_has_a_fixed_code_until_it_is_lifted(inbox: Inbox) -> None:
    service = inbox.service
    assert inbox.call("PUT", f"/sandbox/numbers/+86{MOBILE}", {"code": "000042"}).code == 50000
    msg_id = service.send(MOBILE)
    assert (service.peek(msg_id), service.verify(msg_id, "000042").code) == ("000042", 50000)
    assert inbox.try_send(MOBILE) == 50009  # the rules count it
    inbox.call("DELETE", f"/sandbox/numbers/{MOBILE}")
    inbox.call("POST", "/sandbox/clock", {"advance_s": 61})
    assert service.peek(service.send(MOBILE)) != "000042"


def test_a_number_refuses_sends_and_verify_calls_as_often_as_it_was_told(inbox: Inbox) -> None:
    service = inbox.service
    inbox.call("PUT", f"/sandbox/numbers/{MOBILE}", {"send": 50014, "times": 2})
    assert [inbox.try_send(MOBILE) for _ in range(4)] == [50014, 50014, 50000, 50009]
    msg_id = service.send(OTHER)
    inbox.call("PUT", f"/sandbox/numbers/{OTHER}", {"verify": 50011, "times": 1})
    code = service.peek(msg_id)
    assert [service.verify(msg_id, it).code for it in (code, "wrong", code, code)] == [50011, 50010, 50000, 50012]
    inbox.call("PUT", f"/sandbox/numbers/{MOBILE}", {"send": 50009})
    got = service.post("/v1/codes", {"mobile": MOBILE, "temp_id": service.temp_id})
    assert (got.code, got.headers["retry-after"]) == (50009, "1")


def test_the_clock_moves_windows_and_lifetimes_ahead_also_for_a_restart(
    inbox: Inbox, start: Callable[..., Running]
) -> None:
    service = inbox.service
    msg_id = service.send(MOBILE)
    assert inbox.try_send(MOBILE) == 50009
    before = datetime.fromisoformat(inbox.call("POST", "/sandbox/clock", {"advance_s": 0}).json["now"])
    after = datetime.fromisoformat(inbox.call("POST", "/sandbox/clock", {"advance_s": 301}).json["now"])
    assert (after - before).total_seconds() >= 301
    assert service.verify(msg_id, service.peek(msg_id)).code == 50011
    assert inbox.try_send(MOBILE) == 50000
    assert [it["msg_id"] for it in inbox.messages(f"after={msg_id}")] == [inbox.messages()[-1]["msg_id"]]
    service.process.terminate()
    service.process.wait(240)
    again = inbox.restart(start)
    now = datetime.fromisoformat(again.call("POST", "/sandbox/clock", {"advance_s": 0}).json["now"])
    assert now >= after
    assert again.try_send(MOBILE) == 50009


def test_emptying_forgets_messages_windows_tries_numbers_and_faults_for_good(
    inbox: Inbox, start: Callable[..., Running]
) -> None:
    service = inbox.service
    msg_ids = [service.send(mobile) for mobile in (MOBILE, OTHER)]
    code = service.peek(msg_ids[0])
    for _ in range(5):
        service.verify(msg_ids[1], "wrong")
    inbox.call("PUT", f"/sandbox/numbers/{MOBILE}", {"send": 50014})
    inbox.call("PUT", "/sandbox/faults", {"error_share": 1})
    assert inbox.try_send("13800138003") == 50019
    now = inbox.call("POST", "/sandbox/clock", {"advance_s": 0}).json["now"]
    assert inbox.call("DELETE", "/sandbox/state").json == {"sandbox": True}
    assert (inbox.messages(), inbox.balance()) == ([], 10**9)
    assert [service.verify(msg_ids[0], it).code for it in (code, "wrong")] == [50010, 50010]
    assert inbox.call("GET", f"/sandbox/messages/{msg_ids[0]}").code == 50016
    assert inbox.call("POST", "/sandbox/clock", {"advance_s": 0}).json["now"] >= now
    later = [service.send(MOBILE) for _ in range(1)]
    assert later[0] not in msg_ids
    service.process.terminate()
    service.process.wait(240)
    again = inbox.restart(start)
    assert [again.try_send(mobile) for mobile in (MOBILE, OTHER)] == [50009, 50000]
    assert again.service.verify(msg_ids[0], code).code == 50010
    assert [it["msg_id"] for it in again.messages(f"mobile={MOBILE}")] == later


def test_an_app_sees_and_empties_its_own_messages_only(inbox: Inbox) -> None:
    store, key_file = ("--store", inbox.store), {"SMSCODE_KEY_FILE": str(inbox.key_file)}
    env = {**os.environ, **key_file}
    made = json.loads(smscode("app", "create", "--balance", "7", *store, "--json", env=env).stdout)
    own, other = inbox.service, inbox.other(made)
    msg_id = own.send(MOBILE)
    wait_until(lambda: other.call("GET", "/sandbox/state").code == 50000)  # a Redis store's accounts are read in turn
    assert other.messages() == []
    assert other.try_send(MOBILE) == 50000
    inbox.call("PUT", f"/sandbox/numbers/{OTHER}", {"send": 50014})
    assert other.try_send(OTHER) == 50000
    assert other.balance() == 5
    assert other.call("DELETE", "/sandbox/state").code == 50000
    assert (other.messages(), other.balance()) == ([], 7)
    assert [it["msg_id"] for it in inbox.messages()] == [msg_id]
    assert (inbox.try_send(MOBILE), inbox.try_send(OTHER)) == (50009, 50014)


def test_faults_can_be_set_and_removed_while_it_runs(inbox: Inbox) -> None:
    inbox.call("PUT", "/sandbox/faults", {"error_share": 1, "latency": "1ms~0.5", "stall": "1ms/1s"})
    assert [inbox.try_send(next(inbox.service.mobiles)) for _ in range(3)] == [50019] * 3
    inbox.call("PUT", "/sandbox/faults", {"drop_share": 1})
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        inbox.try_send(MOBILE)
    inbox.call("PUT", "/sandbox/faults", {})
    assert inbox.try_send(OTHER) == 50000
    assert {it["mobile"] for it in inbox.messages()} == {MOBILE, OTHER}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/sandbox/messages?mobile=110", None),
        ("GET", "/sandbox/messages?limit=0", None),
        ("GET", "/sandbox/messages?limit=1001", None),
        ("GET", "/sandbox/messages?wait_s=61", None),
        ("GET", "/sandbox/messages?wait_s=nan", None),
        ("GET", "/sandbox/messages?after=a&after=b", None),
        ("GET", "/sandbox/messages?wait=5", None),
        ("GET", "/sandbox/messages?after=%ff", None),
        ("PUT", "/sandbox/numbers/110", {"code": "123456"}),
        ("DELETE", "/sandbox/numbers/110", None),
        ("PUT", f"/sandbox/numbers/{13800138000}", {}),
        ("PUT", f"/sandbox/numbers/{13800138000}", {"code": "12345"}),
        ("PUT", f"/sandbox/numbers/{13800138000}", {"code": 123456}),
        ("PUT", f"/sandbox/numbers/{13800138000}", {"send": 50000}),
        ("PUT", f"/sandbox/numbers/{13800138000}", {"send": 50010}),
        ("PUT", f"/sandbox/numbers/{13800138000}", {"verify": 50020}),
        ("PUT", f"/sandbox/numbers/{13800138000}", {"verify": None}),
        ("PUT", f"/sandbox/numbers/{13800138000}", {"code": "123456", "times": 1}),
        ("PUT", f"/sandbox/numbers/{13800138000}", {"send": 50014, "times": 0}),
        ("PUT", f"/sandbox/numbers/{13800138000}", {"sends": 50014}),
        ("POST", "/sandbox/clock", {}),
        ("POST", "/sandbox/clock", {"advance_s": -1}),
        ("POST", "/sandbox/clock", {"advance_s": True}),
        ("POST", "/sandbox/clock", {"advance_s": 10**9}),
        ("PUT", "/sandbox/faults", {"error_share": 1.1}),
        ("PUT", "/sandbox/faults", {"latency": "20"}),
        ("PUT", "/sandbox/faults", {"stall": ""}),
        ("PUT", "/sandbox/faults", {"latency": None}),
    ],
)
def test_a_parameter_that_cannot_be_read_is_an_invalid_body(
    sandbox: Running, method: str, path: str, body: object
) -> None:
    got = sandbox.call(method, path, None if body is None else json.dumps(body).encode(), sandbox.auth)
    assert (got.status, got.code) == (403, 50007)


def test_the_calls_are_checked_in_the_order_of_the_api(sandbox: Running) -> None:
    path, xml = f"/sandbox/numbers/{MOBILE}", {"Content-Type": "text/xml"}
    assert sandbox.call("POST", path).code == 50018
    assert sandbox.call("POST", path).headers["allow"] == "PUT, DELETE"
    assert sandbox.call("PUT", path).code == 50001
    assert sandbox.call("PUT", path, b"<a/>", basic("x", "y")).code == 50002
    assert sandbox.call("PUT", path, b"<a/>", sandbox.auth | xml).code == 50017
    assert sandbox.call("PUT", path, headers=sandbox.auth).code == 50003
    assert sandbox.call("PUT", path, b"[]", sandbox.auth).code == 50007


def test_several_workers_share_the_inbox_and_have_no_controls(start: Callable[..., Running], tmp_path: Path) -> None:
    need_redis()
    with redis_server(tmp_path) as server:
        options = ("--store", server.url, "--key-file", f"{tmp_path}/key", "--workers", "2")
        inbox = Inbox(start(*options), server.url, tmp_path / "key")
        with ThreadPoolExecutor() as pool:
            waiting = [pool.submit(inbox.messages, "wait_s=60") for _ in range(4)]
            msg_id = inbox.service.send(MOBILE)
            assert [[it["msg_id"] for it in each.result()] for each in waiting] == [[msg_id]] * 4
        for method, path in [("POST", "clock"), ("PUT", "faults"), ("PUT", f"numbers/{MOBILE}")]:
            assert inbox.call(method, f"/sandbox/{path}", {"advance_s": 1}).code == 50016
        assert inbox.call("DELETE", "/sandbox/state").code == 50018
        assert inbox.call("GET", "/sandbox/state").json == {"sandbox": True}


def test_the_secret_of_the_sandboxs_own_app_is_not_rotated(start: Callable[..., Running], tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--store", store)
    done = smscode("app", "rotate", service.app_key, "--overlap", "0", "--store", store)
    assert (done.returncode, "is the sandbox's own" in done.stderr) == (2, True)
    assert service.send()
