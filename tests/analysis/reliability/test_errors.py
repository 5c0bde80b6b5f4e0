from collections import Counter, defaultdict
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engines import in_an_engine

from toolkit import analysis
from toolkit.analysis.reliability.errors import Payer
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import Failure

SECOND = 1_000_000_000
HOUR = 3600 * SECOND


def _none(value):
    return None if pd.isna(value) else value


def _errors(records, **options):
    return analysis.errors(analysis.from_records(records), **options)


def test_a_success_is_no_error(call):
    assert _errors([call(), call(Endpoint.VERIFY)]).empty


@pytest.mark.parametrize(
    ("kind", "payer"),
    [
        (Kind.SERVER, "provider"),
        (Kind.RATE, "policy"),
        (Kind.ACCOUNT, "account owner"),
        (Kind.REQUEST, "programmer"),
        (Kind.VERDICT, "nobody"),
    ],
)
def test_every_kind_of_error_has_a_payer(kind, payer, call):
    codes = [code for code in ReturnCode if code.kind is kind]
    found = _errors([call(code=int(code)) for code in codes])
    assert found["payer"].tolist() == [payer] * len(codes)


def test_the_provider_pays_for_transport_errors_but_not_for_cancelled_calls(call):
    found = _errors([call(error=error.value) for error in Failure]).set_index("error")["payer"]
    assert found.pop("cancelled") == "nobody"
    assert set(found) == {"provider"}


def test_an_unknown_return_code_is_an_error_whose_payer_is_unknown(call):
    row = _errors([call(code=59031)]).iloc[0]
    assert (row["return_code"], row["message"], row["payer"]) == (59031, "", Payer.UNKNOWN)


def test_a_status_of_5xx_is_the_providers_whatever_its_code(call):
    found = _errors(
        [call(code=code, http_status=status, kind=None) for code in (50105, 59031) for status in (500, 599)]
    )
    assert found["payer"].tolist() == [Payer.PROVIDER] * 4


def test_shares_are_relative_to_all_calls_of_the_endpoint(call):
    found = _errors([call(), call(), call(), call(code=50019), call(Endpoint.VERIFY, 50010)])
    assert found["calls_ratio"].tolist() == [0.25, 1.0]


def test_the_mobile_of_a_verify_is_that_of_its_send(call):
    sends = [call(mobile_key=2**60 + key, msg_key=key) for key in (1, 2)]
    verifies = [call(Endpoint.VERIFY, 50010, msg_key=key) for key in (1, 1, 2, 3)]
    assert _errors(sends + verifies)["mobiles"].tolist() == [2]


def test_the_mobiles_of_a_log_without_keys_are_unknown(call):
    records = [call(code=50013) for _ in range(3)]
    mobiles = _errors([replace(it, mobile_key=None) for it in records])["mobiles"]
    assert (mobiles.dtype, mobiles.isna().tolist()) == ("Int64", [True])


def test_adjacent_keys_are_different_mobiles(call):
    records = [call(code=50009, mobile_key=2**62 + place) for place in range(3)] + [call(code=50009)]
    assert _errors(records)["mobiles"].tolist() == [3]


def test_the_examples_are_the_first_the_last_and_the_slowest_call(call):
    start = call().started_ns
    records = [
        call(code=50019, started_ns=start + place, latency_ns=latency, request_id=name)
        for place, (latency, name) in enumerate([(1, None), (2, "b"), (9, "slow"), (8, "c"), (3, "a"), (99, None)])
    ]
    assert _errors(records)["example_request_ids"].tolist() == ["b a slow"]


def test_an_example_is_listed_once_and_is_null_without_request_ids(call):
    found = _errors([call(code=50019, request_id="a"), call(code=50009)])
    assert list(map(_none, found["example_request_ids"])) == [None, "a"]


def test_the_busiest_bucket_is_the_first_one_with_the_most_calls(call):
    day = call().started_ns // (24 * HOUR) * 24 * HOUR
    hours = [1, 3, 3, 2, 2, 5]
    found = _errors([call(code=50009, started_ns=day + hour * HOUR) for hour in hours]).iloc[0]
    assert (found["busiest"].value, found["busiest_calls"]) == (day + 2 * HOUR, 2)


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_errors_equal_a_count_by_hand(data, runs):
    records = data.draw(runs)
    found = analysis.errors(in_an_engine(records), every="2s")
    failed = defaultdict(list)
    for it in records:
        if it.return_code != 50000:
            failed[it.endpoint.value, it.http_status, it.return_code, it.error].append(it.started_ns)
    whole = Counter(it.endpoint.value for it in records)
    rows = found.astype(dict.fromkeys(("first_seen", "last_seen", "busiest"), "int64")).to_dict("records")
    assert len(rows) == len(failed)
    for row in rows:
        times = failed[tuple(_none(row[name]) for name in ("endpoint", "http_status", "return_code", "error"))]
        busy = Counter(it // (2 * SECOND) * 2 * SECOND for it in times)
        most = max(busy.values())
        assert (row["calls"], row["calls_ratio"]) == (len(times), pytest.approx(len(times) / whole[row["endpoint"]]))
        assert (row["first_seen"], row["last_seen"]) == (min(times), max(times))
        assert (row["busiest_calls"], row["busiest"]) == (most, min(it for it in busy if busy[it] == most))


def test_no_calls_give_no_rows_and_the_same_columns(call):
    none, some = _errors([]), _errors([call(code=50009, request_id="a")])
    assert none.empty
    assert none.dtypes.astype(str).tolist() == some.dtypes.astype(str).tolist()
