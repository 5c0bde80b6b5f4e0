"""Rate limits match a naive model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from toolkit.api.rate_rules import Rule
from toolkit.service.core.policy import wait_ms

RULES = st.lists(st.builds(Rule, st.integers(1, 5), st.integers(1, 50)), max_size=3).map(tuple)


def within(times: list[int], rules: tuple[Rule, ...], now_ms: int) -> bool:
    """Whether one more is within every rule: count by looking at each time."""
    return all(sum(t > now_ms - rule.window_ms for t in times) < rule.count for rule in rules)


@given(RULES, st.lists(st.integers(0, 30_000), max_size=60))
def test_windows_hold_for_any_steps_of_the_clock(rules: tuple[Rule, ...], steps: list[int]) -> None:
    now_ms, accepted = 0, list[int]()
    for step in steps:
        now_ms += step
        wait = wait_ms(accepted, rules, now_ms)
        assert (wait <= 0) == within(accepted, rules, now_ms)
        if wait <= 0:
            accepted.append(now_ms)


@given(RULES, st.lists(st.integers(0, 5_000), min_size=1, max_size=30))
def test_the_wait_ends_exactly_when_the_rules_allow_one_more(rules: tuple[Rule, ...], steps: list[int]) -> None:
    now_ms, times = 0, list[int]()
    for step in steps:
        now_ms += step
        if wait_ms(times, rules, now_ms) <= 0:
            times.append(now_ms)
    if (wait := wait_ms(times, rules, now_ms)) > 0:
        assert not within(times, rules, now_ms + wait - 1)
        assert within(times, rules, now_ms + wait)
