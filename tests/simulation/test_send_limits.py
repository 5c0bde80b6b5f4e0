"""Rate limits on arrays of sends, compared with a loop over single sends."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toolkit.api.rate_rules import DEFAULT_RULES, Rule
from toolkit.simulation.send_limits import NO_SENDS, AcceptedSends, SendLimit, are_accepted

S = 1_000_000_000
RULES = st.lists(st.builds(Rule, st.integers(1, 4), st.integers(1, 30)), max_size=3)
SENDS = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 60 * S)), max_size=60).map(
    lambda sends: sorted(set(sends), key=lambda it: it[1])
)


def naive(limits: list[SendLimit], sends: list[tuple[int, int]]) -> list[bool]:
    accepted: list[tuple[int, int]] = []
    decisions = []
    for key, now_ns in sends:
        within = all(
            sum(to == key and at + limit.window_ns > now_ns for to, at in accepted)
            < (limit.lowered_count if now_ns >= limit.lowered_ns else limit.count)
            for limit in limits
        )
        decisions.append(within)
        accepted += [(key, now_ns)] * within
    return decisions


def arrays(sends: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.array(sends, np.int64).reshape(-1, 2).T)  # type: ignore[return-value]


@given(RULES, SENDS)
def test_a_send_is_accepted_unless_it_exceeds_a_rule(rules: list[Rule], sends: list[tuple[int, int]]) -> None:
    limits = [SendLimit.from_rule(rule) for rule in rules]
    assert are_accepted(limits, NO_SENDS, *arrays(sends)).tolist() == naive(limits, sends)


@given(RULES, SENDS, st.integers(0, 60 * S))
def test_a_day_boundary_between_two_sends_changes_nothing(
    rules: list[Rule], sends: list[tuple[int, int]], cut: int
) -> None:
    limits = [SendLimit.from_rule(rule) for rule in rules]
    keys, times_ns = arrays(sends)
    early = times_ns < cut
    before = are_accepted(limits, NO_SENDS, keys[early], times_ns[early])
    kept = AcceptedSends(keys[early][before], times_ns[early][before]).within(limits, cut)
    after = are_accepted(limits, kept, keys[~early], times_ns[~early])
    assert [*before.tolist(), *after.tolist()] == naive(limits, sends)


@given(SENDS, st.integers(0, 60 * S), st.integers(1, 3))
def test_a_lowered_limit_applies_from_its_time_on(
    sends: list[tuple[int, int]], lowered_ns: int, lowered_count: int
) -> None:
    limits = [SendLimit(3, 20 * S, lowered_count, lowered_ns)]
    assert are_accepted(limits, NO_SENDS, *arrays(sends)).tolist() == naive(limits, sends)


def test_a_send_at_t_leaves_its_window_at_t_plus_the_window() -> None:
    limits = [SendLimit.from_rule(rule) for rule in DEFAULT_RULES]
    times_ns = np.array([0, 60 * S - 1, 60 * S])
    assert are_accepted(limits, NO_SENDS, np.ones(3, np.int64), times_ns).tolist() == [True, False, True]


def test_without_rules_everything_is_accepted() -> None:
    assert are_accepted([], NO_SENDS, *arrays([(1, 0), (1, 0)])).all()
