from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engines import in_an_engine

from toolkit.analysis.calls_table import lazy
from toolkit.analysis.change_detection.time_buckets import count_latencies, count_outcomes, log_quantiles, pivot

SECOND_NS = 1_000_000_000


@settings(max_examples=25)
@given(data=st.data())
def test_a_matrix_has_each_count_at_its_labels_and_0_elsewhere(data, runs):
    records = data.draw(runs)
    counts = count_outcomes(lazy(in_an_engine(records)), SECOND_NS)
    matrix = pivot(counts, ["bucket_ns"], ["endpoint", "return_code", "error"])
    wanted = Counter((r.started_ns // SECOND_NS * SECOND_NS, r.endpoint, r.return_code, r.error) for r in records)
    found = {
        (row.bucket_ns, *(None if pd.isna(it) else it for it in column)): calls
        for row, line in zip(matrix.rows.itertuples(), matrix.calls, strict=True)
        for column, calls in zip(matrix.columns.itertuples(index=False), line, strict=True)
    }
    assert {key: calls for key, calls in found.items() if calls} == wanted


@settings(max_examples=25)
@given(data=st.data())
def test_a_latency_is_between_the_edges_of_its_bin(data, runs):
    records = data.draw(runs)
    counts = count_latencies(lazy(in_an_engine(records)), SECOND_NS, "caller_ms", 1.05)
    times = [max(1, r.latency_ns + r.wait_ns) for r in records]
    bins = [number for number, calls in zip(counts["bin"], counts["calls"], strict=True) for _ in range(calls)]
    for time, number in zip(sorted(times), sorted(bins), strict=True):
        assert 1.05**number <= time * (1 + 1e-9)
        assert time <= 1.05 ** (number + 1)


@pytest.mark.parametrize("at", [0.5, 0.95])
@pytest.mark.parametrize("calls", [20, 1000])
def test_a_percentile_of_few_calls_is_on_average_that_of_many(at, calls):
    draw = np.random.default_rng(1)
    logs = draw.normal(0, 0.5, (3000, calls)) + 16
    bins = np.floor(logs / np.log(1.05)).astype("int64")
    numbers = np.arange(bins.min(), bins.max() + 1)
    counts = np.zeros((len(logs), len(numbers)))
    np.add.at(counts, (np.arange(len(logs))[:, None], bins - bins.min()), 1)
    found = np.median(log_quantiles(counts, numbers, at, 1.05))
    assert found == pytest.approx({0.5: 16, 0.95: 16 + 0.5 * 1.6449}[at], abs=0.02)


def test_a_percentile_of_no_calls_is_nan():
    assert np.isnan(log_quantiles(np.zeros((1, 3)), np.arange(3), 0.5, 1.05)).all()
