import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engines import in_an_engine

from toolkit import analysis
from toolkit.api.errors import InputError
from toolkit.api.wire import Endpoint

MINUTE = 60_000_000_000
START = 1_793_966_400_000_000_000  # 2026-11-06 12:00:00 UTC
PAIRS = [(60, 5, 14.4), (360, 30, 6.0), (4320, 360, 1.0)]
FIGURES = ["burn_long", "burn_short", "firing", "worst_burn", "worst_at", "first_fired", "firing_s"]


def _slow_burn(records, pair, allowed_ratio):
    """Each window by itself, minute by minute, from the definition."""
    long, short, threshold = pair
    minutes = [(it.started_ns // MINUTE, it.kind == "SERVER" or it.error is not None) for it in records]
    first, last = min(it for it, _ in minutes) + 1, max(it for it, _ in minutes) + 1
    ends = range(min(first + short - 1, last), last + 1)

    def burn(end, length):
        bad = [is_bad for it, is_bad in minutes if end - length <= it < end]
        return sum(bad) / len(bad) / allowed_ratio if bad else 0.0

    rates = [(end, burn(end, long), burn(end, short)) for end in ends]
    firing = [end for end, *both in rates if min(both) > threshold]
    worst = max(it[1] for it in rates)
    worst_at = next(end for end, it, _ in rates if it == worst)
    return [
        *rates[-1][1:],
        ends[-1] in firing,
        worst,
        worst_at * MINUTE,
        firing[0] * MINUTE if firing else None,
        len(firing) * 60,
    ]


@st.composite
def _logs(draw, call):
    """Calls at some minutes of a few days, some minutes all bad."""
    minutes = draw(
        st.lists(
            st.tuples(st.integers(0, 800), st.integers(1, 4), st.integers(0, 4)),
            min_size=1,
            max_size=15,
            unique_by=lambda it: it[0],  # a call of the same time again would be the same call
        )
    )
    return [
        call(code=50019 if place < bad else 50009, started_ns=START + minute * MINUTE + place)
        for minute, calls, bad in minutes
        for place in range(calls)
    ]


@settings(deadline=None, max_examples=25)
@given(data=st.data(), slo=st.sampled_from(["99.9%", "90%", "50%"]))
def test_burn_rates_equal_a_slow_computation_of_each_window(data, slo, call):
    records = data.draw(_logs(call))
    found = analysis.burn_rates(in_an_engine(records), slo)
    for pair, row in zip(PAIRS, found[FIGURES].itertuples(index=False), strict=True):
        figures = [None if pd.isna(it) else it.value if isinstance(it, pd.Timestamp) else it for it in row]
        expected = _slow_burn(records, pair, {"99.9%": 0.001, "90%": 0.1, "50%": 0.5}[slo])
        assert figures == [pytest.approx(it, rel=1e-9) if isinstance(it, float) else it for it in expected]


def test_the_windows_are_those_of_the_workbook(call):
    found = analysis.burn_rates(analysis.from_records([call()]))
    assert found[["long_s", "short_s", "threshold", "action"]].to_numpy().tolist() == [
        [3600, 300, 14.4, "page"],
        [21_600, 1800, 6.0, "page"],
        [259_200, 21_600, 1.0, "ticket"],
    ]


def test_the_windows_scale_with_the_period(call):
    found = analysis.burn_rates(analysis.from_records([call()]), period="3D")
    assert found["long_s"].tolist() == [360, 2160, 25_920]
    assert found["threshold"].tolist() == [14.4, 6.0, 1.0]


def test_an_outage_pages_within_minutes_and_stops_when_it_is_over(call):
    records = [call(started_ns=START + place * MINUTE) for place in range(600)]
    records += [call(code=50019, started_ns=START + (300 + place) * MINUTE) for place in range(20)]
    page = analysis.burn_rates(analysis.from_records(records)).iloc[0]
    assert page["first_fired"].value <= START + 302 * MINUTE
    assert not page["firing"]
    assert 20 * 60 <= page["firing_s"] <= 26 * 60


def test_an_alert_that_one_bad_call_can_cause_has_a_note(call):
    few = [call(started_ns=START + place * 10 * MINUTE) for place in range(60)]
    few += [call(code=50019, started_ns=START + 300 * MINUTE)]
    many = [call(started_ns=START + place * MINUTE // 100) for place in range(20_000)]
    many += [call(code=50019, started_ns=START + (100 + place) * MINUTE) for place in range(90)]
    quiet, busy = (analysis.burn_rates(analysis.from_records(records))["note"].tolist() for records in (few, many))
    assert quiet[0] == "low traffic: 1 bad call of 2 in the short window exceeds the threshold"
    assert busy[0] == ""


def test_the_budget_counts_only_failures_of_the_provider(call):
    records = [call(), call(code=50019), call(error="timeout"), call(error="cancelled"), call(code=50009)]
    records += [call(code=50002), call(Endpoint.VERIFY, 50010), call(code=59031), call(latency_ns=10**10)]
    row = analysis.error_budget(analysis.from_records(records), "90%").iloc[0]
    assert row["calls":"slow"].tolist() == [9, 2, 1, 1, 0]
    assert row["allowed":"left"].tolist() == pytest.approx([0.9, 2 / 0.9, -1.1])


def test_calls_of_unknown_kind_are_neither_good_nor_bad_and_5xx_is_the_servers(call):
    server = [call(code=50105, http_status=500, kind=None) for _ in range(3)]
    unknown = [call(code=59031) for _ in range(2)] + [call(code=None, http_status=403, kind=None)]
    row = analysis.error_budget(analysis.from_records([call() for _ in range(94)] + server + unknown), "90%").iloc[0]
    assert row[["calls", "bad", "server", "unknown"]].tolist() == [100, 3, 3, 3]
    assert row[["spent_ratio", "spent_ratio_high"]].tolist() == pytest.approx([0.3, 0.6])


def test_a_slow_call_that_failed_is_bad_only_once(call):
    slow = {"latency_ns": 500_000_001}
    records = [call(**slow), call(code=50019, **slow), call(latency_ns=500_000_000)]
    row = analysis.error_budget(analysis.from_records(records), "50%", within_ms=500).iloc[0]
    assert row[["calls", "bad", "server", "slow"]].tolist() == [3, 2, 1, 1]


def test_the_budget_is_that_of_the_last_period(call):
    day = 1440 * MINUTE
    records = [call(code=50019, started_ns=START - 30 * day), call(started_ns=START - 30 * day + MINUTE)]
    row = analysis.error_budget(analysis.from_records([*records, call(started_ns=START)])).iloc[0]
    assert row[["calls", "bad"]].tolist() == [2, 0]
    assert row["until"] - row["since"] == pd.Timedelta("30D")


def test_an_slo_may_be_a_ratio_or_a_percentage(call):
    calls = analysis.from_records([call(code=50019), *[call()] * 9])
    assert analysis.error_budget(calls, "80 %")["left"].tolist() == pytest.approx([1.0])
    assert analysis.error_budget(calls, 0.8)["left"].tolist() == pytest.approx([1.0])


@pytest.mark.parametrize("slo", ["100%", "0%", "99.9", "most", 1, float("nan"), "-5%"])
def test_an_invalid_slo_is_an_input_error(slo):
    with pytest.raises(InputError, match=r"expected a ratio of good calls between 0 and 1, e.g. 99\.9%"):
        analysis.error_budget(analysis.from_records([]), slo)


def test_no_calls_give_burn_rates_of_0_and_no_budget(call):
    none, some = analysis.from_records([]), analysis.from_records([call(code=50019)])
    assert analysis.error_budget(none).empty
    assert analysis.burn_rates(none)["worst_burn"].tolist() == [0, 0, 0]
    for table in (analysis.error_budget, analysis.burn_rates):
        assert table(none).dtypes.astype(str).tolist() == table(some).dtypes.astype(str).tolist()
