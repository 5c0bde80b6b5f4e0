import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engines import in_an_engine
from support.traffic import BUCKET_NS, START_NS, sends

from toolkit import analysis
from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode

OUTCOME = ["endpoint", "return_code", "error"]


def _of(table, **labels):
    """Return the one row that has these labels."""
    for name, value in labels.items():
        table = table[table[name].astype(object) == value]
    (row,) = table.to_dict("records")
    return row


@pytest.fixture(scope="module")
def quiet():
    return sends(1, {50009: 0.05, 50019: 0.002}, days=2)


@pytest.fixture(scope="module")
def other():
    return sends(2, {50009: 0.10, 50019: 0.002}, days=2, slow=[(0, 576, 1.3)])


@settings(max_examples=25)
@given(data=st.data())
def test_shares_and_calls_agree_with_counting_by_hand(data, runs):
    a, b = data.draw(runs), data.draw(runs)
    table = analysis.compare(in_an_engine(a), in_an_engine(b), "1s", permutations=9)
    shares = table[table["measure"] == "share"]
    assert len(shares) == len({(r.endpoint, r.return_code, r.error) for r in [*a, *b]})
    for row in shares.to_dict("records"):
        wanted = [None if pd.isna(row[name]) else row[name] for name in OUTCOME]
        for side, records in (("a", a), ("b", b)):
            mine = [r for r in records if r.endpoint == row["endpoint"]]
            found = [r for r in mine if [r.endpoint, r.return_code, r.error] == wanted]
            assert row[f"calls_{side}"] == len(mine)
            assert row[f"blocks_{side}"] <= len({r.started_ns // 10**9 for r in mine})
            assert row[side] == pytest.approx(len(found) / len(mine) if mine else np.nan, nan_ok=True)


def test_percentiles_are_within_half_a_percent_of_the_exact_ones(quiet, other):
    table = analysis.compare(quiet, other, permutations=9)
    for side, calls in (("a", quiet), ("b", other)):
        for at in (50, 90, 95, 99):
            exact = np.percentile(calls["latency_ns"], at) / 1e6
            assert _of(table, measure="latency_ms", percentile=at)[side] == pytest.approx(exact, rel=0.005)


def test_a_difference_is_reported_with_its_size_and_equal_sides_are_not(quiet, other):
    table = analysis.compare(quiet, other)
    assert table[table["differs"]]["measure"].tolist() == ["share", "share", *["latency_ms"] * 5]
    limited = _of(table, return_code=ReturnCode.OUT_OF_FREQ)
    assert limited["message"] == "out of freq"
    assert limited["difference_low"] < 0.05 < limited["difference_high"]
    assert limited["ratio"] == pytest.approx(2, rel=0.1)
    assert limited["effect"] == pytest.approx(2 * (np.arcsin(0.1**0.5) - np.arcsin(0.05**0.5)), abs=0.02)
    slower = _of(table, measure="latency_ms", percentile=95.0)
    assert slower["ratio"] == pytest.approx(1.3, rel=0.03)
    assert slower["difference_low"] <= slower["b"] - slower["a"] <= slower["difference_high"]
    assert not _of(table, return_code=ReturnCode.SERVER_ERROR)["differs"]


def test_a_period_and_itself_do_not_differ(quiet):
    table = analysis.compare(quiet, quiet, permutations=199)
    assert table["difference"].tolist() == [0.0] * len(table)
    assert table["p_corrected"].tolist() == [1.0] * len(table)


def test_a_single_incident_in_a_day_is_no_significant_difference():
    calm = sends(1, {50019: 0.002}, days=1)
    table = analysis.compare(calm, sends(2, {50019: 0.002}, days=1, planted=[(50019, 99, 105, 0.5)]))
    assert _of(table, return_code=ReturnCode.SERVER_ERROR)["ratio"] > 4
    assert not table["differs"].any()


def test_p_is_corrected_for_the_number_of_rows(quiet, other):
    table = analysis.compare(quiet, other)
    assert table["p_corrected"].min() == pytest.approx(table["p_value"].min() * len(table))
    assert (table["p_corrected"] >= table["p_value"]).all()


@pytest.mark.parametrize("days", [1, 2, 4, 30])
def test_without_a_width_the_shorter_side_has_at_most_24_blocks(days):
    long, short = (sends(1, {}, days=it, per_bucket=5) for it in (30, days))
    table = analysis.compare(long, short, permutations=9)
    assert set(table["blocks_b"]) <= {24, 16, 11, 8}
    assert table["blocks_b"].max() == 24
    assert (table["block_s"] * 24 >= days * 86_000).all()


def test_too_few_blocks_have_a_note_and_no_p_value_or_interval(quiet, other):
    table = analysis.compare(quiet, other, every="8h", permutations=9)
    assert set(table["blocks_a"]) == {6}
    assert table[["p_value", "p_corrected", "difference_low", "difference_high", "differs"]].isna().all(axis=None)
    assert table["difference"].notna().all()
    assert set(table["note"]) == {"too few blocks of time with calls: a has 6 and b has 6 of 8"}


def test_an_endpoint_on_one_side_only_has_rows_with_nulls(quiet):
    verifies = quiet.assign(endpoint="verify")
    table = analysis.compare(quiet, verifies, permutations=9)
    assert table[table["endpoint"] == "send"]["b"].isna().all()
    assert set(table["note"]) == {
        "too few blocks of time with calls: b has 0 of 8",
        "too few blocks of time with calls: a has 0 of 8",
    }


def test_a_percentile_is_compared_if_10_calls_are_beyond_it():
    few = sends(1, {}, days=1, per_bucket=1)
    table = analysis.compare(few, few, permutations=9)
    beyond = {at: len(few) * (100 - at) / 100 for at in (50, 90, 95, 99, 99.9)}
    assert table["percentile"].dropna().tolist() == [at for at, calls in beyond.items() if calls >= 10]


def test_caller_latency_has_rows_if_any_call_waited(quiet):
    waiting = quiet.assign(wait_ns=[5_000_000, *[0] * (len(quiet) - 1)])
    assert "caller_ms" not in analysis.compare(quiet, quiet, permutations=9)["measure"].tolist()
    assert "caller_ms" in analysis.compare(quiet, waiting, permutations=9)["measure"].tolist()


def test_the_result_depends_on_the_seed_and_not_on_the_order_of_calls(quiet, other):
    table = analysis.compare(quiet, other, permutations=99)
    shuffled = analysis.compare(quiet.sample(frac=1, random_state=1), other[::-1], permutations=99)
    pd.testing.assert_frame_equal(shuffled, table)
    assert analysis.compare(quiet, other, permutations=99, seed=2)["p_value"].tolist() != table["p_value"].tolist()


def test_runs_at_the_same_time_can_be_compared(quiet, other):
    later = other.assign(started_ns=other["started_ns"] + 7 * 288 * BUCKET_NS)
    same, apart = (analysis.compare(quiet, it, every="2h", permutations=99) for it in (other, later))
    pd.testing.assert_frame_equal(same, apart)


def test_without_calls_the_frame_is_empty_with_the_same_columns(quiet):
    none = analysis.from_records([])
    table, empty = analysis.compare(quiet, quiet, permutations=9), analysis.compare(none, none)
    assert empty.empty
    assert empty.dtypes.astype(str).tolist() == table.dtypes.astype(str).tolist()


def test_an_invalid_width_is_an_input_error(quiet):
    with pytest.raises(InputError, match="invalid bucket width"):
        analysis.compare(quiet, quiet, every="soon")


def _wandering(seed, memory_s=22, run_s=600):
    """Sends of a run, 200 a second, whose latencies wander by 20 % with a memory."""
    draw = np.random.default_rng(seed)
    kept = np.exp(-1 / memory_s)
    level = [draw.normal()]
    for step in draw.normal(0, np.sqrt(1 - kept**2), run_s - 1):
        level.append(kept * level[-1] + step)
    second = np.repeat(np.arange(run_s), draw.poisson(200, run_s))
    times = 20e6 * np.exp(0.2 * np.array(level)[second] + draw.normal(0, 0.5, len(second)))
    started_ns = START_NS + second * 10**9 + draw.integers(0, 10**9, len(second))
    codes = {"return_code": 50000, "latency_ns": times.astype("int64")}
    return pd.DataFrame({"started_ns": started_ns, "endpoint": "send"} | codes)


def test_equal_runs_whose_latency_wanders_do_not_differ():
    table = analysis.compare(_wandering(2), _wandering(14), permutations=999)
    assert table["ratio"].max() > 1.1
    assert not table["differs"].any()
    latencies = table[table["percentile"] <= 99]
    assert (latencies["block_s"] > 40).all()
    assert ((latencies["difference_low"] < 0) & (latencies["difference_high"] > 0)).all()


def test_a_p99_that_is_10_percent_slower_is_found_in_runs_of_10_minutes():
    runs = [_wandering(seed, memory_s=1e-9) for seed in (1, 2)]
    slower = runs[1].assign(latency_ns=(runs[1]["latency_ns"] * 1.1).astype("int64"))
    table = analysis.compare(runs[0], slower, permutations=999)
    assert _of(table, measure="latency_ms", percentile=99.0)["differs"]
