"""The sliding windows, against the rule as it is said."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toolkit.api.rate_rules import DEFAULT_RULES, Rule
from toolkit.simulation.send_limits import NOTHING, Accepted, Limit, admit

S = 1_000_000_000
RULES = st.lists(st.builds(Rule, st.integers(1, 4), st.integers(1, 30)), max_size=3)
SENDS = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 60 * S)), max_size=60).map(
    lambda sends: sorted(set(sends), key=lambda it: it[1])
)


def naive(limits: list[Limit], sends: list[tuple[int, int]]) -> list[bool]:
    accepted: list[tuple[int, int]] = []
    told = []
    for key, now_ns in sends:
        within = all(
            sum(to == key and at + limit.window_ns > now_ns for to, at in accepted)
            < (limit.later if now_ns >= limit.since_ns else limit.count)
            for limit in limits
        )
        told.append(within)
        accepted += [(key, now_ns)] * within
    return told


def arrays(sends: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.array(sends, np.int64).reshape(-1, 2).T)  # type: ignore[return-value]


@given(RULES, SENDS)
def test_a_send_is_accepted_when_every_rule_has_room(rules: list[Rule], sends: list[tuple[int, int]]) -> None:
    limits = [Limit.of(rule) for rule in rules]
    assert admit(limits, NOTHING, *arrays(sends)).tolist() == naive(limits, sends)


@given(RULES, SENDS, st.integers(0, 60 * S))
def test_a_night_between_two_sends_changes_nothing(rules: list[Rule], sends: list[tuple[int, int]], cut: int) -> None:
    limits = [Limit.of(rule) for rule in rules]
    keys, times_ns = arrays(sends)
    early = times_ns < cut
    before = admit(limits, NOTHING, keys[early], times_ns[early])
    kept = Accepted(keys[early][before], times_ns[early][before]).since(limits, cut)
    after = admit(limits, kept, keys[~early], times_ns[~early])
    assert [*before.tolist(), *after.tolist()] == naive(limits, sends)


@given(SENDS, st.integers(0, 60 * S), st.integers(1, 3))
def test_a_rule_that_is_lowered_holds_from_then_on(sends: list[tuple[int, int]], since: int, later: int) -> None:
    limits = [Limit(3, 20 * S, later, since)]
    assert admit(limits, NOTHING, *arrays(sends)).tolist() == naive(limits, sends)


def test_one_at_t_has_left_its_window_at_t_plus_the_window() -> None:
    limits = [Limit.of(rule) for rule in DEFAULT_RULES]
    times_ns = np.array([0, 60 * S - 1, 60 * S])
    assert admit(limits, NOTHING, np.ones(3, np.int64), times_ns).tolist() == [True, False, True]


def test_without_rules_everything_is_accepted() -> None:
    assert admit([], NOTHING, *arrays([(1, 0), (1, 0)])).all()
