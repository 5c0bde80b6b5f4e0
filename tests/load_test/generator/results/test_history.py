"""A history is a value: it needs neither locust nor a clock."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.results.history import History

SENT = (Endpoint.SEND, 50000)
REFUSED = (Endpoint.SEND, 50009)


def history(*counts: tuple[float, int], every_s: float = 1) -> History:
    history = History(every_s)
    history.begin(0)
    for at_s, calls in counts:
        history.add(at_s, {SENT: calls})
    return history


def test_a_rate_is_what_came_between_two_points() -> None:
    assert history((1, 10), (3, 14)).calls_per_s() == {SENT: [10, 2]}
    assert history((1, 10), (3, 14)).times_s() == [0, 1, 3]


def test_an_outcome_that_comes_later_was_zero_before() -> None:
    late = history((1, 10))
    late.add(2, {SENT: 10, REFUSED: 5})
    assert late.calls_per_s() == {SENT: [10, 0], REFUSED: [0, 5]}


def test_a_point_that_comes_too_soon_is_left_out() -> None:
    assert history((5, 1), (6, 2), (10, 3), every_s=5).times_s() == [0, 5, 10]


def test_a_test_that_starts_anew_has_no_past() -> None:
    again = history((1, 10))
    again.begin(7)
    assert (again.times_s(), again.calls_per_s()) == ([7], {})


def test_before_a_test_there_is_nothing() -> None:
    assert (History(1).times_s(), History(1).calls_per_s()) == ([], {})


@given(st.integers(1, 5_000))
def test_a_long_history_has_few_points_evenly_apart_and_loses_no_call(seconds: int) -> None:
    long = history(*((at_s, 3 * at_s) for at_s in range(1, seconds + 1)))
    times_s, (rates,) = long.times_s(), long.calls_per_s().values()
    gaps = {after - before for before, after in pairwise(times_s)}
    assert len(times_s) <= 240
    assert len(gaps) == 1
    assert seconds - times_s[-1] < gaps.pop()
    assert rates == pytest.approx([3] * (len(times_s) - 1))
