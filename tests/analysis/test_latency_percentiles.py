import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engines import in_an_engine

from toolkit import analysis
from toolkit.api.wire import Endpoint


def _percentile(values, percentile):
    """Hyndman and Fan's type 7, from its definition."""
    values = sorted(values)
    place = (len(values) - 1) * percentile / 100
    low, high = math.floor(place), math.ceil(place)
    return values[low] + (values[high] - values[low]) * (place - low)


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_percentiles_agree_with_sorting_by_hand(data, runs):
    records = data.draw(runs)
    table = analysis.latency(in_an_engine(records))
    assert len(table) == 2 * len({r.endpoint for r in records})
    for row in table.to_dict("records"):
        mine = [r for r in records if r.endpoint == row["endpoint"]]
        waits = [r.wait_ns if row["measure"] == "caller_ms" else 0 for r in mine]
        times_ms = [(r.latency_ns + wait) / 1e6 for r, wait in zip(mine, waits, strict=True)]
        assert row["calls"] == len(mine)
        assert row["max_ms"] == pytest.approx(max(times_ms))
        for percentile in (50, 90, 95, 99, 99.9):
            column = f"p{percentile}_ms".replace(".", "_")
            assert row[column] == pytest.approx(_percentile(times_ms, percentile))


def test_one_call_is_every_percentile(call):
    table = analysis.latency(analysis.from_records([call(latency_ns=3_000_000, wait_ns=1_000_000)]))
    assert table["measure"].tolist() == ["latency_ms", "caller_ms"]
    assert table.loc[0, "p50_ms":"max_ms"].tolist() == [3.0] * 7
    assert table.loc[1, "p50_ms":"max_ms"].tolist() == [4.0] * 7


def test_calls_that_never_connected_are_in_no_percentile(call):
    records = [call(latency_ns=5_000_000), *[call(error="connect", latency_ns=1_000)] * 99]
    table = analysis.latency(analysis.from_records(records))
    assert table["p50_ms"].tolist() == table["max_ms"].tolist() == [5.0, 5.0]
    assert table["calls"].tolist() == [1, 1]
    assert analysis.latency(analysis.from_records(records[1:])).empty


def test_calls_that_the_end_cut_off_count_with_the_time_until_then(call):
    table = analysis.latency(analysis.from_records([call(error="cancelled", latency_ns=7_000_000)]))
    assert table["max_ms"].tolist() == [7.0, 7.0]


def test_the_caller_latency_shows_a_stall_that_the_server_latency_hides(call):
    stalled = [call(wait_ns=200_000_000) for _ in range(10)]
    table = analysis.latency(analysis.from_records([*[call() for _ in range(90)], *stalled])).set_index("measure")
    assert table.loc["latency_ms", "p95_ms"] == 2.0
    assert table.loc["caller_ms", "p95_ms"] == 202.0


def test_a_call_that_failed_counts_with_its_time(call):
    table = analysis.latency(analysis.from_records([call(error="timeout", latency_ns=5_000_000_000)]))
    assert table["p50_ms"].tolist() == [5000.0, 5000.0]


def test_groups_may_be_any_columns_and_null_is_one_of_them(call):
    records = [call(), call(code=50009, latency_ns=7_000_000), call(error="timeout"), call(Endpoint.VERIFY, 50010)]
    table = analysis.latency(analysis.from_records(records), by=("endpoint", "kind"))
    server = table[table["measure"] == "latency_ms"]
    kinds = [None if pd.isna(kind) else kind for kind in server["kind"]]
    assert list(zip(server["endpoint"], kinds, server["p50_ms"], strict=True)) == [
        ("send", "OK", 2.0),
        ("send", "RATE", 7.0),
        ("send", None, 2.0),
        ("verify", "VERDICT", 2.0),
    ]


def test_other_percentiles_have_columns_of_their_names(call):
    table = analysis.latency(analysis.from_records([call()]), at=(0, 99.99))
    assert list(table) == ["endpoint", "measure", "calls", "p0_ms", "p99_99_ms", "mean_ms", "max_ms", "error_ratio"]


def test_without_calls_the_frame_is_empty_with_the_same_columns(call):
    none, one = (analysis.latency(analysis.from_records(records)) for records in ([], [call()]))
    assert none.empty
    assert none.dtypes.astype(str).tolist() == one.dtypes.astype(str).tolist()
