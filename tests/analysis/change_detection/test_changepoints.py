import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cpu import cpu_limit_s
from support.traffic import A_DAY, BUCKET_NS, START_NS, sends, starts

from toolkit import analysis
from toolkit.api.errors import InputError

SHARES = {50009: 0.06, 50006: 0.01, 50014: 0.002, 50019: 0.0005, 50013: 0.00002}


def _bucket(time_):
    return None if pd.isna(time_) else (time_.value - START_NS) / BUCKET_NS


def _found(table, **labels):
    for name, value in labels.items():
        table = table[table[name].astype(object) == value]
    return [(_bucket(row.changed_at), _bucket(row.until)) for row in table.itertuples()]


@pytest.fixture(scope="module")
def planted():
    """A month with short incidents, lasting changes and a new code."""
    return analysis.changes(
        sends(
            3,
            SHARES | {50002: 0.0, 50018: 0.0},
            per_bucket=100,
            rhythm=0.2,
            planted=[
                (50019, 1000, 1004, 0.3),
                (50014, 2500, 2508, 0.2),
                (50009, 4000, 4000 + 5 * A_DAY, 0.12),
                (50006, 7000, 30 * A_DAY, 0.03),
                (50002, 6000, 6006, 0.25),
                (50018, 3000, 30 * A_DAY, 0.002),
            ],
            slow=[(1000, 1004, 4.0), (5000, 5000 + 2 * A_DAY, 1.7)],
        )
    )


def test_short_incidents_of_a_month_are_found_within_a_bucket(planted):
    assert _found(planted, return_code=50019) == [(pytest.approx(1000, abs=1), pytest.approx(1004, abs=1))]
    assert _found(planted, return_code=50014) == [(pytest.approx(2500, abs=1), pytest.approx(2508, abs=1))]


def test_lasting_changes_are_found_with_their_end(planted):
    assert _found(planted, return_code=50009) == [(pytest.approx(4000, abs=2), pytest.approx(4000 + 5 * A_DAY, abs=2))]
    assert _found(planted, return_code=50006) == [(pytest.approx(7000, abs=6), None)]


def test_days_begin_at_midnight_of_the_time_zone():
    midnights = pd.date_range("2026-11-01", periods=41, freq="D", tz="Asia/Shanghai")
    frames = []
    for day, midnight in enumerate(midnights[:-1]):
        code = np.where(np.arange(400) % 100 < (30 if 20 <= day < 30 else 10), 50009, 50000)
        started = midnight.value + np.arange(400) * (86_400 * 10**9 // 400)
        frames.append(
            pd.DataFrame({"started_ns": started, "return_code": code, "endpoint": "send", "latency_ns": 10**6})
        )
    found = analysis.changes(pd.concat(frames), every="1D", timezone="Asia/Shanghai")
    refused = found[(found["return_code"] == 50009) & (found["measure"] == "share")]
    assert refused[["changed_at", "until"]].values.tolist() == [[midnights[20], midnights[30]]]
    assert refused[["before", "after"]].values.tolist() == [pytest.approx([0.1, 0.3])]
    assert str(found["changed_at"].dtype) == "datetime64[ns, UTC]"


def test_a_new_code_is_a_change_from_zero(planted):
    assert _found(planted, return_code=50002) == [(pytest.approx(6000, abs=1), pytest.approx(6006, abs=1))]
    assert _found(planted, return_code=50018) == [(pytest.approx(3000, abs=15), None)]
    row = planted[planted["return_code"] == 50002].iloc[0]
    assert (row["before"], pd.isna(row["ratio"])) == (0, True)
    assert row["difference_low"] < 0.25 < row["difference_high"]


@pytest.mark.parametrize("percentile", [50.0, 95.0])
def test_slow_calls_are_found_within_a_bucket(planted, percentile):
    times = planted[planted["measure"] == "latency_ms"]
    assert _found(times, percentile=percentile) == [
        (pytest.approx(1000, abs=1), pytest.approx(1004, abs=1)),
        (pytest.approx(5000, abs=1), pytest.approx(5000 + 2 * A_DAY, abs=1)),
    ]
    ratios = times[times["percentile"] == percentile]["ratio"]
    assert ratios.tolist() == pytest.approx([4.0, 1.7], rel=0.15)


def test_nothing_else_is_reported_of_that_month(planted):
    rest = planted[(planted["measure"] == "share") & (planted["return_code"] != 50000)]
    assert len(rest) == 6


def test_rows_are_sorted_by_time_and_describe_the_code(planted):
    assert planted["changed_at"].is_monotonic_increasing
    assert planted.loc[planted["return_code"] == 50009, "message"].tolist() == ["out of freq"]


def test_differences_lie_in_their_intervals_and_the_intervals_exclude_0(planted):
    assert (planted["difference_low"] < planted["difference"]).all()
    assert (planted["difference"] < planted["difference_high"]).all()
    assert (np.sign(planted["difference_low"]) == np.sign(planted["difference_high"])).all()
    assert (planted["score"] > 6).all()


@pytest.mark.parametrize("seed", range(6))
def test_quiet_months_with_a_daily_pattern_and_clusters_have_no_changes(seed):
    calls = sends(seed, SHARES, per_bucket=[10, 60, 200][seed % 3], rhythm=0.3, clusters=0.1, rests=seed % 2 == 0)
    assert analysis.changes(calls).empty


def test_a_quiet_day_has_no_changes():
    assert all(analysis.changes(sends(seed, SHARES, days=1, rhythm=0.15)).empty for seed in range(5))


@pytest.mark.parametrize("days", [3, 8])
def test_shares_and_latencies_that_follow_the_hour_have_no_changes(days):
    assert analysis.changes(sends(1, {50009: 0.06}, days=days, per_bucket=200, rhythm=0.7)).empty


def test_a_change_is_found_in_a_share_that_follows_the_hour():
    calls = sends(1, {50009: 0.06}, days=20, per_bucket=200, rhythm=0.7)
    bucket = (calls["started_ns"] - START_NS) // BUCKET_NS
    more = (bucket >= 3000) & (np.arange(len(calls)) % 20 == 0)
    table = analysis.changes(calls.assign(return_code=calls["return_code"].mask(more, 50009)))
    assert _found(table, return_code=50009) == [(pytest.approx(3000, abs=6), None)]


def test_after_a_night_without_calls_a_change_begins_with_the_first_call():
    night = 4 * A_DAY + 12 * 18  # the deepest hour of the night
    calls = sends(1, {50009: 0.02}, days=8, planted=[(50009, night, 8 * A_DAY, 0.2)], rests=True)
    ((changed_at, until),) = _found(analysis.changes(calls, "5min"), return_code=50009)
    bucket = (calls["started_ns"] - START_NS) // BUCKET_NS
    assert (changed_at, until) == (pytest.approx(bucket[bucket >= night].min(), abs=1), None)


def test_a_larger_ratio_reports_fewer_changes():
    calls = sends(1, {50009: 0.04}, planted=[(50009, 4000, 8640, 0.07)])
    tables = [analysis.changes(calls, least_ratio=ratio) for ratio in (1.2, 1.5, 2.5)]
    assert [len(_found(table, return_code=50009)) for table in tables] == [1, 1, 0]


@pytest.mark.parametrize(("days", "every_s"), [(0.25, 5), (1, 10), (8, 120), (30, 300)])
def test_without_a_width_there_are_at_most_10000_buckets(days, every_s):
    whole_ns = int(days * A_DAY * BUCKET_NS)
    calls = sends(1, {}, days=max(1, int(days)), per_bucket=400 if days < 2 else 60)
    calls = calls[calls["started_ns"] < START_NS + whole_ns]
    late = calls["started_ns"] >= START_NS + whole_ns // 2
    calls = calls.assign(return_code=calls["return_code"].mask(late & (np.arange(len(calls)) % 3 == 0), 50019))
    found = analysis.changes(calls)["changed_at"].iloc[0].value
    assert abs(found - START_NS - whole_ns // 2) <= 30 * every_s * 10**9
    assert found % (every_s * 10**9) == 0


def test_too_many_buckets_are_an_input_error():
    with pytest.raises(InputError, match=r"more than 50,000 buckets: give a larger every"):
        analysis.changes(sends(1, {}, days=2, per_bucket=200), every="1s")


def test_calls_that_waited_have_changes_of_the_caller_latency():
    calls = sends(1, {}, days=1, slow=[(100, 110, 3.0)])
    bucket = (calls["started_ns"] - START_NS) // BUCKET_NS
    waiting = calls.assign(wait_ns=np.where((bucket >= 200) & (bucket < 210), 500_000_000, 0))
    measures = analysis.changes(waiting, "5min").groupby("measure", observed=True)["changed_at"].unique()
    assert [_bucket(it) for it in measures["latency_ms"]] == [100]
    assert [_bucket(it) for it in measures["caller_ms"]] == [100, 200]


@settings(max_examples=20)
@given(data=st.data())
def test_a_few_calls_have_no_changes(data, runs):
    assert analysis.changes(analysis.from_records(data.draw(runs))).empty


def test_without_changes_the_frame_is_empty_with_the_same_columns(planted):
    none = analysis.changes(analysis.from_records([]))
    assert none.empty
    assert none.dtypes.astype(str).tolist() == planted.dtypes.astype(str).tolist()
    assert starts(0) == pd.Timestamp("2026-11-06", tz="UTC")


def test_the_result_does_not_depend_on_the_order_of_calls():
    calls = sends(1, {50009: 0.05}, days=2, planted=[(50009, 100, 120, 0.4)])
    table = analysis.changes(calls)
    assert len(table)
    pd.testing.assert_frame_equal(analysis.changes(calls.sample(frac=1, random_state=1)), table)


def test_a_month_of_25_series_takes_seconds():
    calls = sends(1, {50001 + it: 0.002 for it in range(18)} | {50019: 0.01})
    both = pd.concat([calls, calls.assign(endpoint="verify")[::20]])
    started = time.process_time()
    analysis.changes(both)
    assert time.process_time() - started < cpu_limit_s(30)
