"""Test the sandbox's additions through real sockets, and that production has none of them."""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.service import Running, basic, running, smscode, smscode_process

from toolkit.api.errors import InputError
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.service.sandbox import Faults, Latency, Stall, magic_return_code

VERDICTS = [row for row in ReturnCode if row.kind is Kind.VERDICT]


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


def test_mobiles_with_an_unknown_return_code_are_not_magic() -> None:
    assert magic_return_code("19900050020") is None
    assert magic_return_code("19900100000") is None
    assert magic_return_code("13800050014") is None


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
    assert (posted.code, posted.headers["allow"]) == (50018, "GET")


def test_production_has_no_peeking_and_no_magic_mobiles(start: Callable[..., Running], tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--production", "--provider", "outbox", "--store", store)
    assert (service.app_key, service.master_secret) == ("", "")
    made = json.loads(smscode("app", "create", "--balance", "5", "--store", store, "--json").stdout)
    service.app_key, service.master_secret, service.temp_id = made["app_key"], made["master_secret"], made["temp_id"]
    msg_id = service.send("19900050014")
    for path in (f"/sandbox/messages/{msg_id}", "/sandbox/state"):
        assert service.call("GET", path, headers=service.auth).code == 50016
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


@given(st.floats(0, 1e6))
def test_a_stall_lasts_for_its_length(now_s: float) -> None:
    stall = Stall.parse("200ms/2s")
    remaining_s = stall.remaining_s(now_s)
    assert 0 <= remaining_s <= 0.2
    assert (remaining_s > 0) == (now_s % 2 < 0.2)


def test_log_normal_latency_has_its_median() -> None:
    rng, latency = random.Random(1), Latency.parse("20ms~0.5")
    drawn = sorted(latency.draw(rng) for _ in range(4001))
    assert drawn[2000] == pytest.approx(0.020, rel=0.05)
    assert drawn[3000] / drawn[2000] == pytest.approx(1.401, rel=0.08)
    assert Latency.parse("20ms").draw(rng) == 0.020


@pytest.mark.parametrize(
    "text", ["", "20", "ms", "-5ms", "20ms~x", "1d", "20ms~nan", "20ms~inf", "20ms~-1", "20ms~800"]
)
def test_an_invalid_latency_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"expected a duration, e\.g\. 20ms"):
        Latency.parse(text)


@pytest.mark.parametrize("text", ["", "200ms", "2s/200ms", "2s/2s", "x/y"])
def test_an_invalid_stall_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="invalid stall"):
        Stall.parse(text)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_from_0_to_1(share: float) -> None:
    with pytest.raises(InputError, match="expected a share from 0 to 1"):
        Faults(error_share=share)
