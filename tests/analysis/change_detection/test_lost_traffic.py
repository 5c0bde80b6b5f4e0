"""Lost messages, missing calls, faults in one segment, and outages in small traffic."""

import numpy as np
import pandas as pd
import pytest
from support.messages import NS_PER_HOUR, START_NS, at, messages

from toolkit import analysis

HOUR = pd.Timedelta("1h")


def _rows(calls, measure):
    found = analysis.changes(calls)
    return found[found["measure"] == measure]


def _one(calls, measure):
    (row,) = _rows(calls, measure).to_dict("records")
    return row


@pytest.fixture(scope="module")
def quiet():
    return messages(1)


def test_quiet_days_have_no_changes(quiet):
    assert analysis.changes(quiet).empty


def test_twelve_hours_in_which_nobody_verified_are_a_change_of_all_sends():
    row = _one(messages(1, is_lost=lambda it: it["hour"].between(150, 162)), "conversion")
    assert abs(row["changed_at"] - at(150)) <= HOUR
    assert abs(row["until"] - at(162)) <= HOUR
    assert pd.isna(row["dimension"])
    assert (row["before"], row["after"]) == (pytest.approx(0.85, abs=0.02), pytest.approx(0, abs=0.02))


def test_messages_that_one_carrier_loses_are_a_change_of_that_carrier():
    lost = _one(messages(1, is_lost=lambda it: (it["prefix"] < "1390001") & it["hour"].between(150, 198)), "conversion")
    assert (lost["dimension"], lost["value"]) == ("carrier", "China Mobile")
    assert abs(lost["changed_at"] - at(150)) <= HOUR
    assert abs(lost["until"] - at(198)) <= HOUR


def test_messages_to_one_prefix_of_two_are_a_change_of_that_prefix():
    lost = _one(
        messages(1, is_lost=lambda it: (it["prefix"] == "1390000") & it["hour"].between(150, 198)), "conversion"
    )
    assert (lost["dimension"], lost["value"]) == ("prefix", "1390000")


def test_a_template_whose_codes_nobody_types_is_a_change_of_that_template():
    lost = _one(messages(1, is_lost=lambda it: (it["temp_id"] == 2) & (it["hour"] >= 150)), "conversion")
    assert (lost["dimension"], lost["value"], pd.isna(lost["until"])) == ("temp_id", "2", True)


def test_codes_that_are_still_typed_at_the_end_of_the_log_are_not_lost(quiet):
    end_ns = START_NS + 200 * NS_PER_HOUR
    assert _rows(quiet[quiet["started_ns"] < end_ns], "conversion").empty


def test_without_message_ids_there_is_no_conversion(quiet):
    assert analysis.changes(quiet.drop(columns="msg_key")).empty


@pytest.mark.parametrize("first", [150, 66])
def test_twelve_hours_without_a_call_are_a_silence(first):
    calls = messages(1, is_left_out=lambda it: it["hour"].between(first, first + 12))
    row = _one(calls, "calls")
    assert pd.isna(row["endpoint"])
    assert abs(row["changed_at"] - at(first)) <= pd.Timedelta("10min")
    assert abs(row["until"] - at(first + 12)) <= pd.Timedelta("10min")
    assert row["after"] == 0
    assert row["before"] > 20


def test_an_endpoint_without_calls_is_named(quiet):
    during = quiet["started_ns"].between(START_NS + 150 * NS_PER_HOUR, START_NS + 162 * NS_PER_HOUR)
    silent = quiet[~(during & (quiet["endpoint"] == "verify"))]
    assert _rows(silent, "calls")["endpoint"].tolist() == ["verify"]


def test_nights_and_weekends_without_calls_and_two_runs_are_no_silence(quiet):
    hour = (quiet["started_ns"] - START_NS) // NS_PER_HOUR
    assert _rows(quiet[hour % 24 < 14], "calls").empty
    assert _rows(quiet[~(hour // 24 % 7).isin([1, 2])], "calls").empty
    assert _rows(quiet[hour.isin([30, 50])], "calls").empty


def test_a_run_that_stops_for_half_a_minute_has_a_silence():
    second = np.repeat(np.arange(600), 20)
    second = second[(second < 300) | (second >= 330)]
    calls = pd.DataFrame({"started_ns": START_NS + second * 10**9, "endpoint": "send"})
    row = _one(calls.assign(latency_ns=5_000_000, return_code=50000), "calls")
    assert (row["until"] - row["changed_at"]).total_seconds() == pytest.approx(30, abs=2)


def _broken(it):
    """Template 4, a tenth of the traffic, fails from hour 100 on."""
    return (it["temp_id"] == 4) & (it["hour"] >= 100) & (it.index % 5 > 0)


def test_a_fault_that_a_campaign_dilutes_has_no_end():
    calls = messages(
        3, is_failed=_broken, more=lambda it: 1 + 4.0 * ((it["temp_id"] < 4) & it["hour"].between(140, 200))
    )
    found = analysis.changes(calls)
    (row,) = found[(found["return_code"] == 50019) & (found["difference"] > 0)].to_dict("records")
    assert abs(row["changed_at"] - at(100)) <= HOUR
    assert (pd.isna(row["until"]), row["dimension"], row["value"]) == (True, "temp_id", "4")


def test_a_diluted_fault_that_is_repaired_has_its_own_end():
    calls = messages(
        3,
        is_failed=lambda it: _broken(it) & (it["hour"] < 180),
        more=lambda it: 1 + 4.0 * ((it["temp_id"] < 4) & it["hour"].between(120, 200)),
    )
    found = analysis.changes(calls)
    (row,) = found[(found["return_code"] == 50019) & (found["difference"] > 0)].to_dict("records")
    assert (row["dimension"], row["value"], row["after"]) == ("temp_id", "4", pytest.approx(0.8, abs=0.05))
    assert abs(row["changed_at"] - at(100)) <= HOUR
    assert abs(row["until"] - at(180)) <= HOUR


def test_more_calls_with_a_low_conversion_are_no_change_of_the_conversion():
    calls = messages(
        3,
        is_lost=lambda it: it["temp_id"] == 4,
        more=lambda it: 1 + 4.0 * ((it["temp_id"] == 4) & it["hour"].between(120, 200)),
    )
    assert _rows(calls, "conversion").empty


def test_a_fault_that_is_repaired_has_an_end():
    calls = messages(3, is_failed=lambda it: _broken(it) & (it["hour"] < 140))
    found = analysis.changes(calls)
    (row,) = found[(found["return_code"] == 50019) & (found["difference"] > 0)].to_dict("records")
    assert abs(row["until"] - at(140)) <= HOUR


def test_an_outage_of_12_minutes_in_small_traffic_is_found():
    calls = messages(1, days=30, per_hour=45)
    during = calls["started_ns"].between(START_NS + 400 * NS_PER_HOUR, START_NS + int(400.2 * NS_PER_HOUR))
    codes = calls.assign(error=pd.Series(pd.NA, calls.index, "string"))
    kind_of_failure = np.arange(len(calls)) % 4
    codes.loc[during & (kind_of_failure == 0), ["return_code", "error"]] = [pd.NA, "timeout"]
    codes.loc[during & (kind_of_failure == 1), ["return_code", "error"]] = [pd.NA, "connect"]
    codes.loc[during & (kind_of_failure == 2), ["return_code", "kind"]] = [50019, "SERVER"]
    assert 8 <= during.sum() <= 40
    row = _one(codes.astype({"return_code": "Int64"}), "failed")
    assert abs(row["changed_at"] - at(400)) <= pd.Timedelta("10min")
    assert row["until"] - row["changed_at"] <= pd.Timedelta("20min")
    assert row["after"] > 0.5


def test_sends_that_are_never_verified_can_be_explained(quiet):
    lost = messages(1, is_lost=lambda it: (it["prefix"] < "1390001") & it["hour"].between(150, 198))
    why = analysis.explain(lost, "unverified", since=str(at(150)), until=str(at(198)))
    assert (why["dimension"].iloc[0], why["value"].iloc[0]) == ("carrier", "China Mobile")
    assert len(why) == 1  # the prefixes of the carrier are equally bad
    assert why["found_ratio"].iloc[0] == 1
    assert why["found_ratio_elsewhere"].iloc[0] == pytest.approx(0.15, abs=0.03)
    assert analysis.explain(quiet, "unverified").empty
