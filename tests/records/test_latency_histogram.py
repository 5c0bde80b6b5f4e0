"""A histogram is a value."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.records.latency_histogram import Histogram

times_ns = st.lists(st.integers(0, 2**40 - 1), min_size=1, max_size=50)
HOUR_NS = 3600 * 10**9


@given(times_ns, st.floats(0, 100))
def test_a_percentile_is_that_of_the_sorted_times_to_a_thousandth(times: list[int], percentile: float) -> None:
    rank = max(1, math.ceil(percentile / 100 * len(times)))
    true_ms = sorted(times)[rank - 1] / 1e6
    assert Histogram.of(times).percentile(percentile) == pytest.approx(true_ms, rel=1e-3)


@given(times_ns)
def test_mean_and_longest_are_exact(times: list[int]) -> None:
    histogram = Histogram.of(times)
    assert histogram.max() == max(times) / 1e6
    assert histogram.mean() == pytest.approx(sum(times) / len(times) / 1e6)


@given(times_ns, times_ns)
def test_histograms_of_two_processes_add_up_to_that_of_both(one: list[int], other: list[int]) -> None:
    sums = Histogram.of(one) + Histogram.of(other)
    assert sums.pack() == Histogram.of([*one, *other]).pack()


@given(times_ns)
def test_what_is_packed_is_unpacked(times: list[int]) -> None:
    histogram = Histogram.of(times)
    assert Histogram.unpack(histogram.pack()).pack() == histogram.pack()
    assert histogram.buckets()[1].sum() == len(histogram) == len(times)


def test_times_beyond_the_buckets_count_in_the_last_one() -> None:
    histogram = Histogram.of([-5, 0, HOUR_NS])
    assert histogram.percentile(50) == 0
    assert histogram.percentile(100) == pytest.approx(2**40 / 1e6, rel=1e-3)
    assert histogram.max() == HOUR_NS / 1e6


def test_no_times_are_zero() -> None:
    histogram = Histogram.of([])
    assert (histogram.percentile(99), histogram.mean(), histogram.max(), len(histogram)) == (0, 0, 0, 0)
