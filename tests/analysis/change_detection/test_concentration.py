import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engines import in_an_engine

from toolkit import analysis
from toolkit.api.errors import InputError
from toolkit.api.return_codes import Kind, ReturnCode

DAY_NS = 86_400_000_000_000
START_NS = 1_793_923_200_000_000_000  # 2026-11-06 00:00:00 UTC
FIVE_PAST_TWO_NS = START_NS + (14 * 60 + 5) * 60_000_000_000


def _sends(calls=60_000, seed=1):
    """Sends of a day, of which template 3 is refused more than the others."""
    draw = np.random.default_rng(seed)
    temp_id = draw.integers(1, 5, calls)
    return _answered(
        draw,
        np.where(temp_id == 3, 0.09, 0.03),
        started_ns=START_NS + draw.integers(0, DAY_NS, calls),
        prefix=[f"138{1000 + it}" for it in draw.integers(0, 400, calls)],
        temp_id=temp_id,
        app_key=draw.choice(["app-1", "app-2", "app-3"], calls, p=[0.6, 0.3, 0.1]),
        source=draw.choice(["host-1", "host-2"], calls),
    )


def _pumped(calls=2_000):
    """Sends to numbers of one prefix, most of which are refused."""
    draw = np.random.default_rng(2)
    times = FIVE_PAST_TWO_NS + draw.integers(0, 3_600_000_000_000, calls)
    fixed = {"prefix": "1391234", "temp_id": 2, "app_key": "app-1", "source": draw.choice(["host-1", "host-2"], calls)}
    return _answered(draw, np.full(calls, 0.8), started_ns=times, **fixed)


def _answered(draw, refused, **columns):
    code = np.where(draw.random(len(refused)) < refused, 50009, 50000)
    answers = {"return_code": code, "kind": np.where(code == 50000, "OK", "RATE"), "latency_ns": 5, "endpoint": "send"}
    return pd.DataFrame(columns | answers)


@pytest.fixture(scope="module")
def day():
    return pd.concat([_sends(), _pumped()], ignore_index=True)


def _values(table):
    return list(zip(table["dimension"], table["value"], strict=True))


def test_a_pumped_prefix_is_named_without_the_values_that_it_shares_with_others(day):
    table = analysis.explain(day, 50009, since="2026-11-06T14:05")
    assert _values(table) == [("prefix", "1391234")]
    first = table.iloc[0]
    assert (first["calls"], first["lift_low"] > 5) == (2_000, True)
    assert first["coverage_ratio"] == pytest.approx(0.6, abs=0.05)
    assert first["found_ratio"] == pytest.approx(0.8, abs=0.03)
    assert pd.isna(first["found_ratio_before"])


def test_a_constant_excess_is_reported_only_without_since(day):
    always = ("temp_id", "3")
    assert always in _values(analysis.explain(day, 50009))
    assert always not in _values(analysis.explain(day, 50009, since="2026-11-06T14:05"))
    assert _values(analysis.explain(day, 50009, until="2026-11-06T14:05")) == [always]
    assert _values(analysis.explain(day, 50009, since="2026-11-06T06:00", until="2026-11-06T14:05")) == []


def test_other_calls_can_show_a_constant_excess(day):
    table = analysis.explain(day, 50009, since="2026-11-06T14:05", against=_sends(seed=5))
    assert _values(table)[0] == ("prefix", "1391234")
    assert ("temp_id", "3") not in _values(table)
    assert analysis.explain(day, 50009, against=day).empty


def test_an_outcome_is_a_code_a_kind_or_an_error(day):
    by_code = analysis.explain(day, 50009)
    for outcome in (ReturnCode.OUT_OF_FREQ, Kind.RATE, "RATE"):
        pd.testing.assert_frame_equal(analysis.explain(day, outcome), by_code)
    lost = day.assign(error=np.where((day["source"] == "host-2") & (day.index % 7 == 0), "timeout", None))
    assert _values(analysis.explain(lost, "timeout")) == [("source", "host-2")]


def test_the_hour_is_that_of_the_day_in_utc(day):
    hour = day["started_ns"] % DAY_NS // 3_600_000_000_000
    table = analysis.explain(day.assign(return_code=np.where((hour == 5) & (day.index % 3 == 0), 50019, 50000)), 50019)
    assert _values(table) == [("hour", "5")]


def test_hour_since_and_until_are_read_in_the_time_zone(day):
    hour = day["started_ns"] % DAY_NS // 3_600_000_000_000
    calls = day.assign(return_code=np.where((hour == 5) & (day.index % 3 == 0), 50019, 50000))
    period = {"until": "2026-11-06T20:00", "timezone": "Asia/Shanghai"}  # 12:00 UTC
    found = analysis.explain(calls, 50019, **period)
    assert _values(found) == [("hour", "13")]
    assert found["calls"].tolist() == [(hour == 5).sum()]
    utc = analysis.explain(calls, 50019, until="2026-11-06T12:00")
    assert found.drop(columns="value").equals(utc.drop(columns="value"))


def _with_verifies(day):
    """Accepted sends with a verify each; those of template 4 are too late more often."""
    draw = np.random.default_rng(3)
    keys = pd.array(np.arange(len(day)), "Int64")
    sent = day.assign(msg_key=pd.Series(keys).mask(day["return_code"] != 50000))
    accepted = sent[sent["return_code"] == 50000]
    late = draw.random(len(accepted)) < np.where(accepted["temp_id"] == 4, 0.3, 0.02)
    codes = {"endpoint": "verify", "return_code": np.where(late, 50011, 50000), "kind": np.where(late, "VERDICT", "OK")}
    verifies = accepted.drop(columns=["prefix", "temp_id"]).assign(**codes)
    return pd.concat([sent, verifies], ignore_index=True).astype({"temp_id": "Int64"})


def test_a_verify_has_the_template_and_the_prefix_of_its_send(day):
    table = analysis.explain(_with_verifies(day), ReturnCode.EXPIRED_CODE)
    assert _values(table) == [("temp_id", "4")]
    accepted = day[(day["return_code"] == 50000) & (day["temp_id"] == 4)]
    assert table["calls"].tolist() == [len(accepted)]


def test_a_verify_has_its_send_also_from_before_the_period(day):
    calls = _with_verifies(day)
    sends = calls["endpoint"] == "send"
    calls = calls.assign(started_ns=calls["started_ns"].mask(sends, START_NS))
    before = _with_verifies(_sends()).assign(return_code=50000)
    assert _values(analysis.explain(calls, 50011, since="2026-11-06T12:00", against=before))[0] == ("temp_id", "4")


def test_a_send_in_two_records_is_one_send(day):
    calls = _with_verifies(day)
    twice = pd.concat([calls, calls[calls["endpoint"] == "send"].drop(columns=["prefix"])], ignore_index=True)
    table = analysis.explain(twice, 50011)
    assert table["calls"].tolist() == analysis.explain(calls, 50011)["calls"].tolist()


def test_verifies_without_a_send_are_a_value_of_their_own(day):
    calls = _with_verifies(day)
    lost = (calls["endpoint"] == "verify") & (calls.index % 10 == 0)
    codes = calls["return_code"].mask(calls["return_code"] == 50011, 50000).mask(lost, 50010)
    table = analysis.explain(calls.assign(return_code=codes, msg_key=calls["msg_key"].mask(lost, -1)), 50010)
    assert _values(table.fillna({"value": "none"})) == [("temp_id", "none")]


def test_msg_key_is_required_if_a_verify_had_the_outcome(day):
    calls = _with_verifies(day).drop(columns="msg_key")
    with pytest.raises(InputError, match="lacks msg_key"):
        analysis.explain(calls, 50011)
    assert len(analysis.explain(calls, 50009))


def _app_with_a_broken_template(seed, odds_of_app_b, calls=20_000):
    """Sends of which template 2 fails in 30 %. App b makes 80 % of its calls with it, the others 10 %."""
    draw = np.random.default_rng(seed)
    app = draw.choice(["a", "b", "c"], calls, p=[0.6, 0.3, 0.1])
    temp_id = np.where(draw.random(calls) < np.where(app == "b", 0.8, 0.1), 2, 1)
    columns = {"app_key": app, "temp_id": temp_id, "prefix": [f"138{1000 + it}" for it in draw.integers(0, 400, calls)]}
    failed = np.where(temp_id == 2, 0.3, 0.01) * np.where(app == "b", odds_of_app_b, 1.0)
    return _answered(draw, failed, started_ns=START_NS + draw.integers(0, DAY_NS, calls), **columns)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_app_that_uses_a_broken_template_more_is_named_only_if_it_is_worse_with_each_template(seed):
    blamed = ("app_key", "b")
    better = _app_with_a_broken_template(seed, 0.5)
    refused = (better["return_code"] == 50009).groupby(better["app_key"]).mean()
    assert refused["b"] > 2 * refused["a"]  # in all calls, it is worse
    assert _values(analysis.explain(better, 50009))[0] == ("temp_id", "2")
    assert blamed not in _values(analysis.explain(better, 50009))
    assert _values(analysis.explain(_app_with_a_broken_template(seed, 1.0), 50009)) == [("temp_id", "2")]
    worse = analysis.explain(_app_with_a_broken_template(seed, 3.0), 50009)
    assert _values(worse) == [("temp_id", "2"), blamed]
    assert worse["lift"].iloc[1] == pytest.approx(3, rel=0.2)


def test_a_mobile_that_is_refused_again_and_again_is_named_by_its_key(day):
    draw = np.random.default_rng(4)
    mobiles = pd.Series(draw.integers(1, 30_000, len(day)), dtype="Int64")
    assert "mobile_key" not in set(analysis.explain(day.assign(mobile_key=mobiles), 50009)["dimension"])
    is_bombed = day["prefix"] == "1391234"
    spread = day["prefix"].mask(is_bombed, "138" + pd.Series(draw.integers(1000, 1400, len(day))).astype(str))
    calls = day.assign(mobile_key=mobiles.mask(is_bombed, 77), prefix=spread)
    table = analysis.explain(calls, 50009, since="2026-11-06T14:05")
    assert _values(table) == [("mobile_key", "77")]


def test_a_dimension_has_at_most_top_rows(day):
    hot = day["prefix"].isin(sorted(set(day["prefix"]))[:10]) & (day.index % 2 == 0)
    calls = day.assign(return_code=np.where(hot, 50019, 50000))
    for top in (3, 5, 20):
        assert (analysis.explain(calls, 50019, top=top)["dimension"] == "prefix").sum() == min(top, 10)


def test_the_first_dimension_comes_first_and_rows_do_not_depend_on_the_order_of_calls(day):
    table = analysis.explain(day, 50009)
    assert table["score"].idxmax() == 0
    pd.testing.assert_frame_equal(analysis.explain(day.sample(frac=1, random_state=1), 50009), table)


@settings(max_examples=20)
@given(data=st.data())
def test_a_few_calls_can_be_explained(data, runs):
    calls = in_an_engine(data.draw(runs))
    for outcome in (50000, "VERDICT", "timeout"):
        table = analysis.explain(calls, outcome, since="2026-11-06T12:00:02")
        assert (table["found"] <= table["calls"]).all()


def test_without_the_outcome_the_frame_is_empty_with_the_same_columns(day):
    table = analysis.explain(day, 50009)
    for none in (analysis.explain(day, 50018), analysis.explain(analysis.from_records([]), 50009)):
        assert none.empty
        assert none.dtypes.astype(str).tolist() == table.dtypes.astype(str).tolist()


def test_an_invalid_time_is_an_input_error(day):
    with pytest.raises(InputError, match="invalid time"):
        analysis.explain(day, 50009, since="noon")


@pytest.mark.parametrize("outcome", ["50009x", "50009", 50020])
def test_an_unknown_outcome_is_an_input_error(outcome, call):
    with pytest.raises(InputError, match="no call ended with"):
        analysis.explain(analysis.from_records([call()]), outcome)


@pytest.mark.parametrize("outcome", [50009, Kind.RATE, "timeout"])
def test_a_known_outcome_without_calls_has_no_rows(outcome, call):
    assert analysis.explain(analysis.from_records([call()]), outcome).empty
