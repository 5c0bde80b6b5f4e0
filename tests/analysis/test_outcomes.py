from collections import Counter

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engines import in_an_engine, in_polars

from toolkit import analysis
from toolkit.api.errors import InputError
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Endpoint


def _plain(values):
    return tuple(None if pd.isna(value) else value for value in values)


def test_success_has_a_row_with_the_apis_message(call):
    row = analysis.return_codes(analysis.from_records([call()])).iloc[0]
    assert row["endpoint":"error"].tolist()[:6] == ["send", 200, 50000, "success", "请求成功", "OK"]
    assert (row["calls"], row["calls_ratio"]) == (1, 1.0)


def test_every_code_of_the_api_is_described(call):
    records = [call(code=int(code)) for code in ReturnCode]
    rows = analysis.return_codes(analysis.from_records(records)).itertuples()
    assert [(row.return_code, row.http_status, row.message, row.meaning, row.kind) for row in rows] == [
        (int(code), code.http_status, code.message, code.meaning, code.kind) for code in ReturnCode
    ]


def test_an_unknown_code_has_the_message_of_its_calls(call):
    records = [call(code=59031, message="app in grey"), call(code=59031), call(code=50009)]
    found = analysis.return_codes(analysis.from_records(records)).set_index("return_code")
    assert (found.loc[59031, "message"], found.loc[59031, "calls"]) == ("app in grey", 2)
    assert found.loc[50009, "message"] == "out of freq"


def test_a_code_whose_body_judged_the_typed_code_is_a_verdict(call):
    records = [call(code=59031, kind=Kind.VERDICT), call(code=59031), call(Endpoint.VERIFY, 50010, kind=None)]
    found = analysis.return_codes(analysis.from_records(records))
    assert sorted(found["kind"].astype(object).fillna("")) == ["", "VERDICT", "VERDICT"]


def test_an_http_status_of_5xx_is_the_servers_failure_whatever_the_code(call):
    found = analysis.return_codes(analysis.from_records([call(code=50009, http_status=503), call(code=50009)]))
    assert sorted(zip(found["http_status"], found["kind"], strict=True)) == [(403, "RATE"), (503, "SERVER")]


def test_the_kinds_over_time_and_of_errors_are_those_of_the_responses(call):
    calls = [call(code=50009, http_status=503), call(code=50009), call(code=59031, kind=Kind.VERDICT)]
    for records in (analysis.from_records(calls), in_polars(calls)):
        assert sorted(analysis.over_time(records)["kind"].astype(str)) == ["RATE", "SERVER", "VERDICT"]
        found = analysis.errors(records)
        assert sorted(zip(found["kind"].astype(str), found["payer"].astype(str), strict=True)) == [
            ("RATE", "policy"),
            ("SERVER", "provider"),
            ("VERDICT", "nobody"),
        ]


def test_an_unknown_code_has_a_row_without_a_description(call):
    row = analysis.return_codes(analysis.from_records([call(code=59031)])).iloc[0]
    assert (row["return_code"], row["message"], row["meaning"]) == (59031, "", "")
    assert pd.isna(row["kind"])
    assert pd.isna(row["error"])


def test_calls_without_a_response_have_a_row_for_each_error(call):
    records = [call(error="timeout"), call(error="refused"), call(error="timeout"), call()]
    table = analysis.return_codes(analysis.from_records(records))
    assert _plain(table["error"]) == (None, "refused", "timeout")
    assert table["calls"].tolist() == [1, 1, 2]
    assert _plain(table["http_status"]) == (200, None, None)


def test_a_response_of_another_server_keeps_its_http_status(call):
    table = analysis.return_codes(analysis.from_records([call(error="not_api", http_status=502)]))
    assert (table["http_status"][0], table["return_code"].isna()[0]) == (502, True)


def test_rows_are_sorted_by_endpoint_and_return_code_with_errors_last(call):
    records = [call(Endpoint.VERIFY, 50010), call(error="reset"), call(code=50014), call(Endpoint.VERIFY), call()]
    table = analysis.return_codes(analysis.from_records(records))
    assert table["endpoint"].tolist() == ["send", "send", "send", "verify", "verify"]
    assert _plain(table["return_code"]) == (50000, 50014, None, 50000, 50010)


def test_the_order_of_rows_does_not_depend_on_the_order_of_calls(call):
    records = [call(error="timeout"), call(error="refused"), call(code=50019), call()]
    one, other = (analysis.return_codes(analysis.from_records(each)) for each in (records, records[::-1]))
    assert one["error"].tolist()[2:] == other["error"].tolist()[2:] == ["refused", "timeout"]


def test_shares_are_of_the_endpoints_calls(call):
    records = [call(), call(), call(), call(code=50009), call(Endpoint.VERIFY, 50010)]
    assert analysis.return_codes(analysis.from_records(records))["calls_ratio"].tolist() == [0.75, 0.25, 1.0]


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_return_codes_agree_with_counting_by_hand(data, runs):
    records = data.draw(runs)
    table = analysis.return_codes(in_an_engine(records))
    keys = ["endpoint", "http_status", "return_code", "error"]
    counted = Counter((r.endpoint, r.http_status, r.return_code, r.error) for r in records)
    assert {_plain(row[:4]): row[4] for row in table[[*keys, "calls"]].itertuples(index=False)} == counted
    assert len(table) == len(counted)
    for endpoint, total in Counter(r.endpoint for r in records).items():
        mine = table[table["endpoint"] == endpoint]
        assert (mine["calls_ratio"] * total).tolist() == pytest.approx(mine["calls"].tolist())


@settings(deadline=None, max_examples=25)
@given(data=st.data(), width_ms=st.sampled_from([1, 100, 1000, 3000, 60_000]))
def test_over_time_agrees_with_counting_by_hand(data, runs, width_ms):
    records = data.draw(runs)
    table = analysis.over_time(in_an_engine(records), f"{width_ms}ms")
    width_ns = width_ms * 1_000_000
    counted = Counter((r.started_ns // width_ns * width_ns, r.endpoint, r.return_code, r.error) for r in records)
    starts = table["started"].astype("int64")
    keys = zip(starts, *(map(_none, table[name]) for name in ("endpoint", "return_code", "error")), strict=True)
    assert dict(zip(keys, table["calls"], strict=True)) == counted
    assert (table["calls_per_s"] * width_ms / 1000).tolist() == pytest.approx(table["calls"].tolist())
    assert ((table["ended"] - table["started"]) == pd.Timedelta(milliseconds=width_ms)).all()


def _none(value):
    return None if pd.isna(value) else value


def test_a_bucket_includes_its_start_and_excludes_its_end(call):
    second = 1_000_000_000
    start = 1_793_966_400 * second
    records = [call(started_ns=start), call(started_ns=start + second - 1), call(started_ns=start + second)]
    table = analysis.over_time(analysis.from_records(records))
    assert table["calls"].tolist() == [2, 1]
    assert table["started"].astype("int64").tolist() == [start, start + second]


@pytest.mark.parametrize("every", ["", "0s", "-1s", "soon", "NaT"])
def test_an_invalid_bucket_width_is_an_input_error(every):
    with pytest.raises(InputError, match="invalid bucket width"):
        analysis.over_time(analysis.from_records([]), every)


def test_without_calls_the_frame_is_empty_with_the_same_columns(call):
    none, one = analysis.from_records([]), analysis.from_records([call()])
    for table in (analysis.return_codes, analysis.over_time):
        assert table(none).empty
        assert table(none).dtypes.astype(str).tolist() == table(one).dtypes.astype(str).tolist()
        assert "object" not in table(one).dtypes.astype(str).tolist()


@pytest.mark.parametrize("every", ["1h", "6h", "1D"])
@pytest.mark.parametrize(
    ("timezone", "first_day"),
    [
        ("Asia/Shanghai", "2026-10-24"),
        ("Asia/Kolkata", "2026-10-24"),
        ("Europe/Berlin", "2026-03-28"),  # the 29th has 23 hours
        ("Europe/Berlin", "2026-10-24"),  # the 25th has 25 hours
        ("America/St_Johns", "2026-10-31"),
    ],
)
def test_buckets_begin_at_midnight_of_the_time_zone(every, timezone, first_day, call):
    stamps = pd.date_range(first_day, periods=144, freq="30min", tz=timezone)
    records = [call(started_ns=it.as_unit("ns").value + 60 * 10**9) for it in stamps]
    if every == "1h":
        starts = [it - pd.Timedelta(minutes=it.minute) for it in stamps]
    else:
        walls = [it.tz_localize(None).floor(every) for it in stamps]
        starts = [it.tz_localize(timezone, ambiguous=True, nonexistent="shift_forward") for it in walls]
    found = analysis.over_time(analysis.from_records(records), every, timezone)
    assert found["started"].tolist() == sorted(set(starts))
    assert found["calls"].tolist() == [starts.count(it) for it in found["started"]]
    assert found["ended"].tolist()[:-1] == found["started"].tolist()[1:]
    assert (found["calls_per_s"] * (found["ended"] - found["started"]).dt.total_seconds()).tolist() == pytest.approx(
        found["calls"].tolist()
    )
    by_time = analysis.latency(analysis.from_records(records), every=every, timezone=timezone)
    assert by_time["started"].unique().tolist() == found["started"].tolist()
