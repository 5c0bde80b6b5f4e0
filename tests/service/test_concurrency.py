"""Simultaneous calls through real sockets succeed exactly as often as the contract allows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import TypeVar

from support.service import Running, basic, smscode

T = TypeVar("T")


def at_once(calls: list[Callable[[], T]]) -> Counter[T]:
    """Make calls from as many threads, all let go at the same moment, and count what they return."""
    barrier = Barrier(len(calls))

    def go(call: Callable[[], T]) -> T:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return Counter(pool.map(go, calls))


def test_a_right_code_is_right_once_for_any_number_of_simultaneous_calls(sandbox: Running) -> None:
    msg_id = sandbox.send()
    code = sandbox.peek(msg_id)
    assert at_once([lambda: sandbox.verify(msg_id, code).code] * 50) == {50000: 1, 50012: 49}


def test_a_mobile_gets_one_message_a_minute_for_any_number_of_simultaneous_calls(start: Callable[..., Running]) -> None:
    service = start("--rule", "1/60s")
    fields = {"mobile": "13800138000", "temp_id": 1}
    assert at_once([lambda: service.post("/v1/codes", fields).code] * 50) == {50000: 1, 50009: 49}


def test_simultaneous_sends_never_exceed_the_balance(start: Callable[..., Running], tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--store", store)
    made = json.loads(smscode("app", "create", "--balance", "10", "--store", store, "--json").stdout)
    auth = basic(made["app_key"], made["master_secret"])
    bodies = [{"mobile": next(service.mobiles), "temp_id": made["temp_id"]} for _ in range(100)]
    calls = [lambda body=body: service.post("/v1/codes", body, auth).code for body in bodies]
    assert at_once(calls) == {50000: 10, 50014: 90}
    apps = json.loads(smscode("app", "list", "--store", store, "--json").stdout)
    assert [app["balance"] for app in apps if app["app_key"] == made["app_key"]] == [0]


def test_simultaneous_guesses_never_exceed_the_tries(sandbox: Running) -> None:
    msg_id = sandbox.send()
    code = sandbox.peek(msg_id)
    wrong = f"{(int(code) + 1) % 10**6:06d}"
    answers = at_once([lambda: sandbox.verify(msg_id, wrong).code] * 40)
    assert answers == {50010: 5, 50011: 35}
    assert sandbox.verify(msg_id, code).code == 50011


def test_simultaneous_guesses_over_a_mobiles_messages_never_exceed_its_failures(
    start: Callable[..., Running],
) -> None:
    service = start("--rule", "100/1s")
    msg_ids = [service.send("13800138000") for _ in range(10)]
    codes = {msg_id: service.peek(msg_id) for msg_id in msg_ids}
    answers: Counter[tuple[str, int]] = Counter()

    def guess(msg_id: str, step: int) -> tuple[str, int]:
        return msg_id, service.verify(msg_id, f"{(int(codes[msg_id]) + step) % 10**6:06d}").code

    for first in range(1, 30, 10):
        answers += at_once([partial(guess, it, step) for step in range(first, first + 10) for it in msg_ids])
    judged = {msg_id: count for (msg_id, code), count in answers.items() if code == 50010}
    assert {code for _, code in answers} <= {50009, 50010, 50011}
    assert max(judged.values()) <= 5
    assert sum(judged.values()) == 30
    assert {service.verify(msg_id, codes[msg_id]).code for msg_id in msg_ids} == {50009}
    other = service.send("13800138001")
    assert service.verify(other, service.peek(other)).code == 50000
