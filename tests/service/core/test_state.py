"""Decisions of the service state match a naive model, in any order of sends, guesses and clock steps."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode
from toolkit.service.core.accounts import App, Template
from toolkit.service.core.digests import Digests
from toolkit.service.core.messages import NewMessage
from toolkit.service.core.policy import HOUR_MS, Policy
from toolkit.service.core.state import VERIFIED_KEPT_MS, ServiceState

MOBILES = (13800138000, 13800138001)
RULES = st.lists(st.builds(Rule, st.integers(1, 4), st.integers(1, 40)), max_size=3).map(tuple)
STEPS = st.lists(st.tuples(st.sampled_from(MOBILES), st.integers(0, 25_000)), max_size=60)


def new_state(policy: Policy, balance: int = 10**6) -> ServiceState:
    state = ServiceState(policy, Digests(b"key"))
    state.put_app(App(1, "key", b"secret"), balance)
    state.put_template(Template(1, 1, "code {code}"))
    return state


def new_message(mobile: int = MOBILES[0], ttl_ms: int = 10**9, segments: int = 1, app_id: int = 1) -> NewMessage:
    return NewMessage(app_id, mobile, 1, "123456", ttl_ms, segments)


def snapshot(state: ServiceState) -> Any:
    windows = [[state.sends.get(mobile), state.failures.get(mobile)] for mobile in map(state_key, MOBILES)]
    records = [state.records.get(seq) for seq in range(state.seq + 1)]
    return dict(state.balances), windows, [it for it in records if it], state.app_sends[1].end


def state_key(mobile: int) -> int:
    return 10**11 + mobile


@given(RULES, RULES, STEPS)
def test_windows_hold_for_any_interleaving_of_sends_and_clock_steps(
    rules: tuple[Rule, ...], app_rules: tuple[Rule, ...], steps: list[tuple[int, int]]
) -> None:
    state, now_ms = new_state(Policy(rules, app_rules)), 0
    accepted: dict[int, list[int]] = defaultdict(list)
    for mobile, step_ms in steps:
        now_ms += step_ms
        everyone = [time for times in accepted.values() for time in times]
        free = all(
            sum(time > now_ms - rule.window_ms for time in times) < rule.count
            for times, its_rules in ((accepted[mobile], rules), (everyone, app_rules))
            for rule in its_rules
        )
        decision = state.send(new_message(mobile), now_ms)
        assert (decision.return_code is ReturnCode.SUCCESS) == free
        assert (decision.wait_ms > 0) != free
        if free:
            accepted[mobile].append(now_ms)
    assert state.balances[1] == 10**6 - sum(map(len, accepted.values()))


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 20 * 60_000)), max_size=40), st.integers(1, 6), st.integers(1, 6)
)
def test_a_message_allows_its_tries_and_a_mobile_its_failures(
    guesses: list[tuple[bool, int]], tries: int, failures_per_hour: int
) -> None:
    state, now_ms, failed = new_state(Policy((), (), tries, failures_per_hour)), 0, list[int]()
    msg_id = state.send(new_message(ttl_ms=2 * HOUR_MS), 0).msg_id
    verified = False
    for right, step_ms in guesses:
        now_ms += step_ms
        got = state.verify(1, msg_id, "123456" if right else "654321", now_ms).return_code
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
def test_a_batch_that_cannot_be_written_is_fully_rolled_back(steps: list[tuple[int, bool, int]], kept: int) -> None:
    state, now_ms, before = new_state(Policy(app_rules=(Rule(9, 60),)), balance=12), 0, None
    msg_ids: dict[int, str] = {}
    for n, (message, send, step_ms) in enumerate(steps):
        if n == kept:
            state.start_next_batch()
            before = snapshot(state)
        now_ms += step_ms
        if send:
            msg_ids[message] = state.send(new_message(MOBILES[message % 2]), now_ms).msg_id
        else:
            state.verify(1, msg_ids.get(message, ""), "654321", now_ms)
    if before is not None:
        state.start_next_batch().rollback()
        assert snapshot(state) == before


def test_an_emptying_that_cannot_be_written_is_rolled_back() -> None:
    state = new_state(Policy(app_rules=(Rule(9, 60),)))
    msg_id = state.send(new_message(), 0).msg_id
    state.verify(1, msg_id, "654321", 1)
    state.start_next_batch()
    before = snapshot(state)
    state.empty(1)
    assert state.verify(1, msg_id, "123456", 2).return_code == ReturnCode.INVALID_CODE
    assert state.send(new_message(), 2).return_code == ReturnCode.SUCCESS
    state.start_next_batch().rollback()
    assert snapshot(state) == before
    assert state.verify(1, msg_id, "123456", 3).return_code == ReturnCode.SUCCESS


def test_a_longer_text_costs_its_segments() -> None:
    state = new_state(Policy(()), balance=5)
    assert [state.send(new_message(segments=2), 0).return_code for n in range(3)] == [50000, 50000, 50014]
    assert state.balances[1] == 1
    assert state.send(new_message(), 0).return_code == 50000


def test_an_expired_message_is_dropped_and_still_known_as_sent_and_as_verified() -> None:
    state = new_state(Policy(()))
    verified, unverified = (state.send(new_message(ttl_ms=1000), 0).msg_id for _ in range(2))
    assert state.verify(1, verified, "123456", 10).return_code == ReturnCode.SUCCESS
    state.start_next_batch()
    for later_ms in (62_000, 64_000):
        state.forget_expired(later_ms)
        assert state.record(1) is None
        assert state.verify(1, verified, "123456", later_ms).return_code == ReturnCode.VERIFIED_CODE
        assert state.verify(1, unverified, "123456", later_ms).return_code == ReturnCode.EXPIRED_CODE
        assert state.verify(2, unverified, "123456", later_ms).return_code == ReturnCode.INVALID_CODE
        third = state.send(new_message(ttl_ms=1000), later_ms).msg_id  # on the page that was let go
        assert state.verify(1, third, "123456", later_ms).return_code == ReturnCode.SUCCESS
    state.forget_expired(VERIFIED_KEPT_MS + 2 * 62_000)
    state.forget_expired(2 * VERIFIED_KEPT_MS + 2 * 62_000)
    assert state.verify(1, verified, "123456", 2 * VERIFIED_KEPT_MS).return_code == ReturnCode.EXPIRED_CODE


def test_a_send_that_left_its_apps_window_is_still_rolled_back() -> None:
    state = new_state(Policy(rules=(), app_rules=(Rule(1, 1),)))
    state.start_next_batch()
    state.send(new_message(), 0)
    state.forget_expired(1001)
    state.start_next_batch().rollback()
    assert state.balances[1] == 10**6
    assert [state.send(new_message(), 1001).return_code for _ in range(2)] == [
        ReturnCode.SUCCESS,
        ReturnCode.OUT_OF_FREQ,
    ]


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=20))
def test_preparing_sends_changes_no_msg_id(steps: list[tuple[int, bool]]) -> None:
    prepared, plain = new_state(Policy(())), new_state(Policy(()))
    for state in (prepared, plain):
        state.put_app(App(2, "other", b"secret"), 100)
    for count, is_other in steps:
        prepared.prepare_sends(count)
        message = new_message(app_id=2 if is_other else 1)
        assert prepared.send(message, 0) == plain.send(message, 0)
