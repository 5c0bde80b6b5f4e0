from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import chain, combinations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engines import in_an_engine
from support.priced import MIDNIGHT_NS, SECOND_NS, TODAY, YESTERDAY, calls, costs, prices, send, verify

from toolkit import analysis
from toolkit.analysis.billing.cost import BY
from toolkit.api.errors import InputError
from toolkit.price_list import PricedTemplate, PriceList, PriceRow, Unit

SUBSETS = list(chain.from_iterable(combinations(BY, count) for count in range(len(BY) + 1)))
PRICES = PriceList(
    (PriceRow(YESTERDAY, Decimal("0.045"), "CNY"),), (PricedTemplate(1, "code"), PricedTemplate(2, "notice", 2))
)
SENT = send(MIDNIGHT_NS, 1, 50000)


def _cost(records, of=PRICES, by=()):
    return analysis.cost(analysis.from_records(records), of, by)


def _only(records, of=PRICES):
    (row,) = _cost(records, of).to_dict("records")
    return row


@settings(deadline=None, max_examples=25)
@given(records=calls(), of=prices, by=st.sampled_from(SUBSETS))
def test_costs_equal_a_sum_by_hand(records, of, by):
    table = analysis.cost(in_an_engine(records), of, by)
    expected = costs(records, of, by)
    columns = list(next(iter(expected.values()), {}))
    found = {}
    for row in table.to_dict("records"):
        key = tuple(_plain(row[name].date() if name == "day" else row[name]) for name in by)
        found[key] = {name: _plain(row[name]) for name in columns}
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, abs=1e-6)
    assert len(table) == len(expected)


@pytest.mark.parametrize("timezone", ["Asia/Shanghai", "Europe/Berlin", "America/St_Johns"])
def test_days_and_prices_begin_at_midnight_of_the_time_zone(timezone):
    minute_ns = 60 * SECOND_NS
    stamps = pd.date_range("2026-10-24", "2026-10-27", freq="30min", tz=timezone)  # in Berlin the 25th has 25 hours
    records = [send(int(it.as_unit("ns").value) + minute_ns, 1, 50000) for it in stamps]
    of = PriceList((PriceRow(date(2026, 1, 1), Decimal("1"), "CNY"), PriceRow(date(2026, 10, 25), Decimal("3"), "CNY")))
    found = analysis.cost(analysis.from_records(records), of, by=["day"], timezone=timezone)
    days = (stamps + pd.Timedelta("1min")).normalize()
    assert found["day"].tolist() == sorted(set(days))
    assert found["sends"].tolist() == [int((days == day).sum()) for day in found["day"]]
    assert found["money"].astype(float).tolist() == (found["sends"] * [1, 3, 3, 3]).tolist()


def _plain(value):
    return None if pd.isna(value) else value


@settings(deadline=None, max_examples=10)
@given(records=calls(), of=prices)
def test_every_table_adds_up_to_the_same_money_to_the_last_cent(records, of):
    sums = ["sends", "accepted", "segments", "billed", "unpriced", "verified", "wasted", "resent", "refused"]
    frame = in_an_engine(records)
    tables = [analysis.cost(frame, of, by) for by in ([], ["day"], ["temp_id"], BY)]
    assert len({tuple(table[sums].sum()) for table in tables}) == 1
    for name in ("money", "wasted_money", "resent_money"):
        assert len({round(table[name].sum(), 6) for table in tables}) == 1


def test_a_message_without_a_price_is_not_free():
    before = send(MIDNIGHT_NS - 86_400 * SECOND_NS, 1, 50000, segments=3)
    later = PriceList((PriceRow(TODAY, Decimal("0.045"), "CNY"),))
    row = _only([before], later)
    assert (row["unpriced"], row["billed"], row["currency"]) == (3, 0, "CNY")
    assert pd.isna(row["money"])
    row = _only([before, SENT], later)
    assert (row["unpriced"], row["billed"], row["money"]) == (3, 1, 0.045)


def test_without_any_price_there_is_neither_money_nor_currency():
    row = _only([SENT], PriceList())
    assert (row["accepted"], row["unpriced"]) == (1, 1)
    assert pd.isna(row["money"])
    assert pd.isna(row["currency"])


def test_without_accepted_sends_the_money_is_zero():
    row = _only([send(MIDNIGHT_NS, 1, 50009)])
    assert (row["money"], row["refused"], row["accepted"]) == (0, 1, 0)
    assert pd.isna(row["conversion_ratio"])
    assert pd.isna(row["money_per_verified_user"])


def test_segments_are_those_of_the_record_else_of_the_template_else_1():
    records = [
        send(MIDNIGHT_NS, 1, 50000, temp_id=2, segments=3),
        send(MIDNIGHT_NS + 1, 2, 50000, temp_id=2),
        send(MIDNIGHT_NS + 2, 3, 50000, temp_id=7),
    ]
    assert [_only([it])["segments"] for it in records] == [3, 2, 1]


def test_the_price_of_a_send_is_for_all_its_segments():
    of_send = PriceList(PRICES.rows, PRICES.templates, Unit.SEND)
    row = _only([send(MIDNIGHT_NS, 1, 50000, segments=3)], of_send)
    assert (row["segments"], row["billed"], row["money"]) == (3, 3, 0.045)


def test_a_day_is_a_utc_day():
    table = _cost([send(MIDNIGHT_NS - 1, 1, 50000), SENT], by=["day"])
    assert table["day"].tolist() == [pd.Timestamp(YESTERDAY, tz="UTC"), pd.Timestamp(TODAY, tz="UTC")]


def test_a_message_belongs_to_the_day_of_its_send():
    sent = send(MIDNIGHT_NS - 1, 1, 50000)
    right = verify(sent, 50000)
    assert pd.Timestamp(right.started_ns, tz="UTC").date() > YESTERDAY
    (row,) = _cost([sent, right], by=["day"]).to_dict("records")
    assert (row["day"].date(), row["verified"], row["conversion_ratio"]) == (YESTERDAY, 1, 1.0)


def test_a_send_counts_as_resent_up_to_five_minutes_after_another():
    apart = {300 * SECOND_NS: 1, 300 * SECOND_NS + 1: 0}
    for ns, resent in apart.items():
        assert _only([SENT, send(MIDNIGHT_NS + ns, 1, 50000)])["resent"] == resent


def test_of_two_sends_at_the_same_nanosecond_one_is_resent_in_every_table():
    twin = send(MIDNIGHT_NS, 1, 50000, temp_id=2, msg_id="twin")
    for records in ([SENT, twin], [twin, SENT]):
        assert _cost(records, by="temp_id")["resent"].tolist() == [0, 1]


def test_records_with_only_the_required_columns_are_counted():
    frame = pd.DataFrame({"started_ns": [5, 6], "endpoint": "send", "latency_ns": 1, "return_code": 50000})
    (row,) = analysis.cost(frame.assign(msg_key=[1, 2]), PRICES, by=()).to_dict("records")
    assert (row["accepted"], row["unpriced"], row["verified"], row["wasted"]) == (2, 2, 0, 2)
    assert len(analysis.cost(frame.assign(msg_key=[1, 2]), PRICES)) == 1


@pytest.mark.parametrize(
    ("lost", "unknown"),
    [
        ("mobile_key", {"resent", "resent_money", "verified_users", "money_per_verified_user"}),
        (
            "msg_key",
            {"verified", "conversion_ratio", "wasted", "wasted_money", "verified_users", "money_per_verified_user"},
        ),
    ],
)
def test_counts_that_need_a_key_which_no_record_has_are_null(lost, unknown):
    frame = analysis.from_records([SENT, send(MIDNIGHT_NS + 1, 1, 50000), verify(SENT, 50000)])
    before, after = (analysis.cost(it, PRICES, by=()).iloc[0] for it in (frame, frame.assign(**{lost: None})))
    assert set(before.index[before.isna()]) == set()
    assert set(after.index[after.isna()]) == unknown


def test_a_refused_send_or_one_of_another_app_makes_no_later_send_resent():
    later = send(MIDNIGHT_NS + SECOND_NS, 1, 50000)
    assert _only([send(MIDNIGHT_NS, 1, 50009), later])["resent"] == 0
    assert _only([send(MIDNIGHT_NS, 1, 50000, app_key="b"), later])["resent"] == 0


def test_a_refusal_with_a_status_of_5xx_is_possibly_charged():
    refused = send(MIDNIGHT_NS, 1, 50009)
    row = _only([replace(refused, http_status=503), replace(refused, http_status=403)])
    assert (row["possibly_charged"], row["refused"]) == (1, 1)


def test_a_later_code_for_a_wrong_request_is_free():
    assert _only([send(MIDNIGHT_NS, 1, 50026)])["refused"] == 1


def test_a_timed_out_send_is_possibly_charged_and_one_that_never_left_is_free():
    records = [send(MIDNIGHT_NS, 1, None), send(MIDNIGHT_NS + 1, 1, None, error="connect")]
    row = _only([*records, send(MIDNIGHT_NS + 2, 1, 50019)])
    assert (row["sends"], row["possibly_charged"], row["refused"], row["accepted"]) == (3, 2, 1, 0)


def test_by_may_be_one_name():
    assert _cost([SENT], by="day").columns[0] == "day"


def test_an_unknown_group_is_an_input_error():
    with pytest.raises(InputError, match=r"grouped by 'city' \(choose from day, app_key, temp_id, carrier, "):
        _cost([SENT], by=["day", "city"])


def test_a_price_for_an_unknown_carrier_is_an_input_error():
    of = PriceList((PriceRow(TODAY, Decimal(1), "CNY", carrier="China Mobil"),))
    with pytest.raises(InputError, match="unknown carrier 'China Mobil' in the price list: did you mean China Mobile"):
        _cost([SENT], of)
    of = PriceList((PriceRow(TODAY, Decimal(1), "CNY", carrier="x"),))
    with pytest.raises(InputError, match="choose from China Broadnet, China Mobile"):
        _cost([SENT], of)


def test_records_that_lack_keys_are_an_input_error():
    with pytest.raises(InputError, match="lacks msg_key"):
        analysis.cost(analysis.from_records([SENT]).drop(columns="msg_key"), PRICES)


@pytest.mark.parametrize("by", SUBSETS, ids=str)
def test_no_calls_give_no_rows_and_the_same_columns(by):
    none, one = _cost([], by=by), _cost([SENT], by=by)
    assert none.empty
    assert none.dtypes.astype(str).tolist() == one.dtypes.astype(str).tolist()
    assert none.columns.tolist() == one.columns.tolist()
    assert "object" not in one.dtypes.astype(str).tolist()


def test_money_has_no_rounding_errors():
    tenth = PriceList((PriceRow(TODAY - timedelta(1), Decimal("0.1"), "CNY"),))
    assert _only([send(MIDNIGHT_NS + it, 1, 50000) for it in range(3)], tenth)["money"] == 0.3
