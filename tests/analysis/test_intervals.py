import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from toolkit.analysis import wilson


@given(calls=st.integers(1, 10_000), data=st.data())
def test_the_interval_is_the_score_interval(calls, data):
    found = data.draw(st.integers(0, calls))
    expected = binomtest(found, calls).proportion_ci(method="wilson")
    low, high = wilson(found, calls)
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_without_calls_the_interval_is_nan():
    assert all(math.isnan(end) for end in wilson(0, 0))


def test_the_interval_of_0_of_a_thousand_has_a_positive_end():
    low, high = wilson([0], [1000])
    assert (low.tolist(), high.tolist()) == ([0.0], [pytest.approx(0.00383, abs=1e-5)])
