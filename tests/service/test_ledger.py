"""The ledger's decisions, against a naive model, whatever the order of sends, guesses and steps of the clock."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from toolkit.codes import ReturnCode
from toolkit.service.accounts import App, Template
from toolkit.service.ledger import Ledger, Order
from toolkit.service.policy import HOUR_MS, Policy, Rule

MOBILES = (13800138000, 13800138001)
RULES = st.lists(st.builds(Rule, st.integers(1, 4), st.integers(1, 40)), max_size=3).map(tuple)
STEPS = st.lists(st.tuples(st.sampled_from(MOBILES), st.integers(0, 25_000)), max_size=60)


def ledger_of(policy: Policy, balance: int = 10**6) -> Ledger:
    ledger = Ledger(policy)
    ledger.put_app(App(1, "key", b"secret"), balance)
    ledger.put_template(Template(1, 1, "code {code}"))
    return ledger


def order(msg_id: str, mobile: int = MOBILES[0], expires_ms: int = 10**12, segments: int = 1) -> Order:
    return Order(1, mobile, 1, msg_id, "123456", b"right".ljust(16), expires_ms, segments)


def state(ledger: Ledger) -> Any:
    return [dict(it) for it in (ledger.balances, ledger.messages, ledger._sends, ledger._failures)]


@given(RULES, RULES, STEPS)
def test_windows_hold_for_any_interleaving_of_sends_and_clock_steps(
    rules: tuple[Rule, ...], app_rules: tuple[Rule, ...], steps: list[tuple[int, int]]
) -> None:
    ledger, now_ms = ledger_of(Policy(rules, app_rules)), 0
    accepted: dict[int, list[int]] = defaultdict(list)
    for n, (mobile, step_ms) in enumerate(steps):
        now_ms += step_ms
        everyone = [time for times in accepted.values() for time in times]
        free = all(
            sum(time > now_ms - rule.window_ms for time in times) < rule.count
            for times, its_rules in ((accepted[mobile], rules), (everyone, app_rules))
            for rule in its_rules
        )
        decision = ledger.send(order(str(n), mobile), now_ms)
        assert (decision.return_code is ReturnCode.SUCCESS) == free
        assert (decision.wait_ms > 0) != free
        if free:
            accepted[mobile].append(now_ms)
    assert ledger.balances[1] == 10**6 - sum(map(len, accepted.values()))


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 20 * 60_000)), max_size=40), st.integers(1, 6), st.integers(1, 6)
)
def test_a_message_stands_its_tries_and_a_mobile_its_failures(
    guesses: list[tuple[bool, int]], tries: int, failures_per_hour: int
) -> None:
    ledger, now_ms, failed = ledger_of(Policy((), (), tries, failures_per_hour)), 0, list[int]()
    ledger.send(order("m", expires_ms=2 * HOUR_MS), 0)
    verified = False
    for right, step_ms in guesses:
        now_ms += step_ms
        got = ledger.verify(1, "m", (b"right" if right else b"wrong").ljust(16), now_ms).return_code
        if sum(time > now_ms - HOUR_MS for time in failed) >= failures_per_hour:
            due = ReturnCode.OUT_OF_FREQ
        elif verified:
            due = ReturnCode.VERIFIED_CODE
        elif now_ms >= 2 * HOUR_MS or len(failed) >= tries:
            due = ReturnCode.EXPIRED_CODE
        else:
            due = ReturnCode.SUCCESS if right else ReturnCode.INVALID_CODE
        assert got is due
        verified = verified or due is ReturnCode.SUCCESS
        failed += [now_ms] if due is ReturnCode.INVALID_CODE else []


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 70_000)), max_size=40), st.integers(0, 40))
def test_what_cannot_be_written_is_taken_back_whole(steps: list[tuple[int, bool, int]], kept: int) -> None:
    ledger, now_ms, before = ledger_of(Policy(), balance=12), 0, None
    for n, (message, send, step_ms) in enumerate(steps):
        if n == kept:
            ledger.swap()
            before = state(ledger)
        now_ms += step_ms
        if send:
            ledger.send(order(f"{message}", MOBILES[message % 2]), now_ms)
        else:
            ledger.verify(1, f"{message}", b"wrong".ljust(16), now_ms)
    if before is not None:
        ledger.swap().take_back()
        assert state(ledger) == before


def test_a_longer_text_costs_its_segments() -> None:
    ledger = ledger_of(Policy(()), balance=5)
    assert [ledger.send(order(str(n), segments=2), 0).return_code for n in range(3)] == [50000, 50000, 50014]
    assert ledger.balances[1] == 1
    assert ledger.send(order("short"), 0).return_code == 50000
