"""Many at once, through real sockets: exactly as many successes as the contract allows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from support.service import Running, basic, smscode


def at_once(calls: list[Callable[[], int]]) -> Counter[int]:
    """Make calls from as many threads, all let go at the same moment, and count their return codes."""
    barrier = Barrier(len(calls))

    def go(call: Callable[[], int]) -> int:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return Counter(pool.map(go, calls))


def test_a_right_code_is_right_once_however_many_ask(sandbox: Running) -> None:
    msg_id = sandbox.send()
    code = sandbox.peek(msg_id)
    assert at_once([lambda: sandbox.verify(msg_id, code).code] * 50) == {50000: 1, 50012: 49}


def test_a_mobile_gets_one_message_a_minute_however_many_ask(start: Callable[..., Running]) -> None:
    service = start("--rule", "1/60s")
    fields = {"mobile": "13800138000", "temp_id": 1}
    assert at_once([lambda: service.post("/v1/codes", fields).code] * 50) == {50000: 1, 50009: 49}


def test_a_balance_pays_for_as_many_messages_as_it_has(start: Callable[..., Running], tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--store", store)
    made = json.loads(smscode("app", "create", "--balance", "10", "--store", store, "--json").stdout)
    auth = basic(made["app_key"], made["master_secret"])
    bodies = [{"mobile": next(service.mobiles), "temp_id": made["temp_id"]} for _ in range(100)]
    calls = [lambda body=body: service.post("/v1/codes", body, auth).code for body in bodies]
    assert at_once(calls) == {50000: 10, 50014: 90}
    apps = json.loads(smscode("app", "list", "--store", store, "--json").stdout)
    assert [app["balance"] for app in apps if app["app_key"] == made["app_key"]] == [0]


def test_no_guessing_gets_in_more_often_than_the_tries_allow(sandbox: Running) -> None:
    msg_id = sandbox.send()
    code = sandbox.peek(msg_id)
    wrong = f"{(int(code) + 1) % 10**6:06d}"
    answers = at_once([lambda: sandbox.verify(msg_id, wrong).code] * 40)
    assert answers == {50010: 5, 50011: 35}
    assert sandbox.verify(msg_id, code).code == 50011
