"""A lasting change of latency in a log of a few seconds."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit import analysis
from toolkit.analysis.change_detection.short_logs import find_single_change
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import CallRecord

START_NS = 1_793_966_400_000_000_000  # 2026-11-06 12:00:00 UTC
MS = 1_000_000


def _sends(latencies_ms, every_ms=100):
    return analysis.from_records(
        CallRecord(START_NS + n * every_ms * MS, "run", "w", Endpoint.SEND, 200, 50000, None, round(latency * MS))
        for n, latency in enumerate(latencies_ms)
    )


def _changes(latencies_ms, **options):
    found = analysis.changes(_sends(latencies_ms), **options)
    return found[found["measure"] == "latency_ms"]


@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_a_target_that_becomes_ten_times_slower_is_found_in_a_run_of_seconds(jitter):
    chance = np.random.default_rng(1)
    latencies = np.concatenate([np.full(10, 50.0), np.full(18, 500.0)])
    (row,) = _changes(latencies * chance.lognormal(0, jitter, len(latencies))).to_dict("records")
    assert row["percentile"] == 50
    assert row["ratio"] == pytest.approx(10, rel=0.05 + jitter)
    assert row["changed_at"] == pd.Timestamp(START_NS, tz="UTC") + pd.Timedelta("1s")
    assert pd.isna(row["until"])
    assert pd.isna(row["difference_low"])


def test_a_fall_is_found_too():
    (row,) = _changes([500] * 18 + [50] * 10).to_dict("records")
    assert row["ratio"] == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(
    "latencies",
    [
        [50] * 28,
        [50] * 27 + [5000],  # one slow call
        [50] * 3 + [500] * 18,  # too few calls before
        [50] * 14 + [80] * 14,  # less than twice
        [50, 500] * 14,  # no order
        [50],
    ],
    ids=["even", "one slow", "few before", "slight", "mixed", "one call"],
)
def test_no_change_is_reported_that_chance_or_a_few_calls_explain(latencies):
    assert _changes(latencies).empty


def test_noise_is_seldom_taken_for_a_change():
    chance = np.random.default_rng(7)
    calls = np.eye(40)  # one in each row of time, all different
    assert sum(find_single_change(chance.permutation(calls)) is not None for _ in range(5_000)) <= 1
    assert all(_changes(50 * chance.lognormal(0, 1.0, 40)).empty for _ in range(10))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_statistic_is_that_of_comparing_all_pairs(rows):
    calls = np.array(rows, float)
    times = [[bin_ for bin_ in (0, 1) for _ in range(int(row[bin_]))] for row in calls]
    pairs = [
        sum(np.sign(late - early) for before in times[:k] for early in before for after in times[k:] for late in after)
        for k in range(1, len(times))
    ]
    found = find_single_change(calls)
    if found:
        assert abs(pairs[found.start - 1]) == max(map(abs, pairs))
