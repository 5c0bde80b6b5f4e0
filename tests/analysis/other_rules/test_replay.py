"""The replay decides as the service's own window model does, one send after another."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.analysis.other_rules.replay import Played, SortedSends, replay
from toolkit.api.rate_rules import Rule
from toolkit.service.core.policy import wait_ms

PATIENCE_MS = 20_000

Send = tuple[int, int, bool, bool]  # mobile, ms, was accepted, was verified


def sorted_sends(sends: list[Send]) -> SortedSends:
    mobile, time_ms, was_sent, verified = (np.array(it) for it in zip(*sends, strict=True))
    is_first = np.concatenate([[True], mobile[1:] != mobile[:-1]])
    return SortedSends(is_first, time_ms, was_sent, was_sent & verified)


def by_hand(rules: list[Rule], sends: list[Send], patience_ms: int, *, retries: bool) -> list[tuple[bool, bool]]:
    """Decide the sends to one mobile as plainly as can be; patience_ms is 0 for the sends as recorded."""
    accepted: list[int] = []
    outcomes = {row: [False, False] for row in range(len(sends))}
    silent_until, has_code = -1, False
    pending: tuple[int, int] | None = None

    def retry_until(now_ms: int) -> None:
        nonlocal pending
        if pending and pending[0] <= now_ms:
            accepted.append(pending[0])
            outcomes[pending[1]][0] = True
            pending = None

    for row, (_, now_ms, was_sent, verified) in enumerate(sends):
        is_success = was_sent and verified
        if retries:
            retry_until(now_ms)
        elif now_ms < silent_until:
            outcomes[row][1] = is_success and not has_code
            continue
        wait = wait_ms(accepted, rules, now_ms)
        if wait <= 0:
            accepted.append(now_ms)
            outcomes[row][0] = True
        elif retries:
            outcomes[row][1] = is_success and wait > patience_ms
            if was_sent and not pending:
                pending = (now_ms + wait, row)
        else:
            outcomes[row][1] = is_success
        if not retries and (wait <= 0) != was_sent:
            silent_until, has_code = now_ms + patience_ms, wait <= 0
    retry_until(1 << 60)
    return [(sent, lost) for sent, lost in outcomes.values()]


def expected(rules: list[Rule], sends: list[Send], patience_ms: int, *, retries: bool = False) -> Played:
    found: list[tuple[bool, bool]] = []
    for _, group in groupby(sends, key=lambda it: it[0]):
        found += by_hand(rules, list(group), patience_ms, retries=retries)
    sent, lost = zip(*found, strict=True)
    return Played(np.array(sent), np.array(lost))


times = st.one_of(st.integers(0, 400_000), st.sampled_from([0, 10_000, 9_999, 20_000, 30_000, 60_000, 60_001]))
sends = st.lists(st.tuples(st.integers(0, 4), times, st.booleans(), st.booleans()), min_size=1, max_size=60)
rules = st.lists(st.builds(Rule, st.integers(1, 5), st.integers(1, 120)), max_size=3)


@settings(deadline=None, max_examples=300)
@given(given_sends=sends, given_rules=rules, patience_ms=st.sampled_from([1, 5_000, PATIENCE_MS, 300_000]))
def test_each_outcome_is_that_of_deciding_one_send_after_another(
    given_sends: list[Send], given_rules: list[Rule], patience_ms: int
) -> None:
    ordered = sorted(given_sends, key=lambda it: it[:2])
    found = replay(given_rules, sorted_sends(ordered), patience_ms)
    for played, by_plain_means in zip(
        found.all(),
        (
            expected(given_rules, ordered, 0),
            expected(given_rules, ordered, patience_ms),
            expected(given_rules, ordered, patience_ms, retries=True),
        ),
        strict=True,
    ):
        np.testing.assert_array_equal(played.sent, by_plain_means.sent)
        np.testing.assert_array_equal(played.lost, by_plain_means.lost)


@settings(deadline=None, max_examples=200)
@given(given_sends=sends, given_rules=rules)
def test_fewest_and_most_bound_the_number_of_messages(given_sends: list[Send], given_rules: list[Rule]) -> None:
    found = replay(given_rules, sorted_sends(sorted(given_sends, key=lambda it: it[:2])), PATIENCE_MS)
    assert found.fewest.sent.sum() <= found.as_recorded.sent.sum() <= found.most.sent.sum()


def test_a_send_leaves_a_window_after_exactly_its_length() -> None:
    sends = sorted_sends([(0, 0, True, True), (0, 59_999, True, True), (0, 60_000, True, True)])
    assert replay([Rule(1, 60)], sends, PATIENCE_MS).as_recorded.sent.tolist() == [True, False, True]


def test_no_sends_have_no_outcomes() -> None:
    nothing = np.zeros(0, np.bool_)
    empty = SortedSends(nothing, np.zeros(0, np.int64), nothing, nothing)
    assert [len(it.sent) for it in replay([Rule(1, 60)], empty, PATIENCE_MS).all()] == [0, 0, 0]
