from collections import Counter, defaultdict
from datetime import date
from decimal import Decimal

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engines import in_an_engine

from toolkit import analysis
from toolkit.api.wire import Endpoint
from toolkit.price_list import PriceList, PriceRow

SECOND = 1_000_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
START = 1_793_923_200 * SECOND  # 2026-11-06 00:00:00 UTC
FIGURES = [
    *("failed", "messages", "most_on_a_message", "refused", "got_in"),
    *("most_per_minute", "most_per_hour", "most_per_day", "first_seen", "last_seen"),
]


def _slow_guessers(records, least):
    """Each figure by itself, from its definition."""
    mobile_of = {it.msg_key: it.mobile_key for it in records if it.endpoint == "send" and it.return_code == 50000}
    tries = defaultdict(list)
    for it in records:
        if it.endpoint == "verify" and it.msg_key in mobile_of and it.return_code in (50000, 50009, 50010, 50011):
            tries[mobile_of[it.msg_key]].append(it)
    found = {}
    for mobile, theirs in tries.items():
        failed = [it for it in theirs if it.return_code in (50010, 50011)]
        bad = [it.started_ns for it in theirs if it.return_code != 50000]
        if len(failed) < least:
            continue
        of_message = Counter(it.msg_key for it in failed)
        of_message |= {it.msg_key: 0 for it in theirs if it.return_code == 50009} | of_message
        most = [max(Counter(it.started_ns // width for it in rows).values()) for width, rows in
                ((MINUTE, theirs), (HOUR, failed), (DAY, failed))]  # fmt: skip
        got_in = sum(it.return_code == 50000 and it.started_ns > min(bad) for it in theirs)
        messages = len({it.msg_key for it in theirs if it.return_code != 50000})
        refused = sum(it.return_code == 50009 for it in theirs)
        figures = [len(failed), messages, max(of_message.values()), refused, got_in, *most, min(bad), max(bad)]
        found[mobile] = figures
    return found


@st.composite
def _logs(draw, call):
    """Verifies of a few messages to a few mobiles, at the edges of minutes, hours and days."""
    mobiles = draw(st.lists(st.integers(1, 3), min_size=1, max_size=6))
    records = [
        call(mobile_key=2**60 + mobile, msg_key=2**61 + key, prefix=f"138000{mobile}")
        for key, mobile in enumerate(mobiles)
    ]
    edges = st.sampled_from([0, MINUTE - 1, MINUTE, HOUR - 1, HOUR, DAY - 1, DAY])
    verifies = st.tuples(st.integers(0, 6), edges, st.sampled_from([50000, 50009, 50010, 50011, 50012, 50019]))
    for number, (key, after_ns, code) in enumerate(draw(st.lists(verifies, max_size=40))):
        source = f"host-{number}"  # else two of the same time would be one call that was recorded twice
        records.append(call(Endpoint.VERIFY, code, msg_key=2**61 + key, started_ns=START + after_ns, source=source))
    return records


@settings(deadline=None, max_examples=25)
@given(data=st.data(), least=st.integers(1, 4))
def test_guessers_equal_a_slow_computation_of_each_figure(data, least, call):
    records = data.draw(_logs(call))
    found = analysis.guessers(in_an_engine(records), least)
    whole = found.astype({"first_seen": "int64", "last_seen": "int64"}).set_index("mobile_key")
    assert {key: [int(row[name]) for name in FIGURES] for key, row in whole.iterrows()} == _slow_guessers(
        records, least
    )
    assert found["failed"].is_monotonic_decreasing


def _tried(call, plan, mobile=1):
    """Make messages to a mobile and their verifies: (when in s, how many failed, refused, right)."""
    records = []
    for key, (after_s, *counts) in enumerate(plan):
        key += mobile * 1000
        at = START + after_s * SECOND
        records.append(call(mobile_key=mobile, prefix="1380000", msg_key=key, started_ns=at))
        for code, count in zip((50010, 50009, 50000), counts, strict=True):
            records += [
                call(Endpoint.VERIFY, code, msg_key=key, started_ns=at + (1 + place) * SECOND) for place in range(count)
            ]
    return records


def _flagged(call, plan):
    return analysis.guessers(analysis.from_records(_tried(call, plan)))["flagged"].tolist()


def test_verifies_beyond_the_tries_of_a_message_are_flagged(call):
    assert _flagged(call, [(0, 10, 0, 0)]) == [True]


def test_verifies_refused_for_frequency_are_flagged(call):
    assert _flagged(call, [(day * 86_400, 2, day == 3, 0) for day in range(5)]) == [True]


def test_staying_below_the_limits_with_several_messages_is_flagged(call):
    assert _flagged(call, [(hour * 3600, 5, 0, 0) for hour in range(3)]) == [True]


def test_typing_errors_over_a_month_are_not_flagged(call):
    assert _flagged(call, [(day * 86_400, 2, 0, 1) for day in range(30)]) == [False]


def test_a_few_failed_verifies_have_no_row(call):
    assert _flagged(call, [(0, 5, 0, 0), (3600, 4, 0, 0)]) == []


def test_a_verify_without_a_send_belongs_to_no_mobile(call):
    records = [call(Endpoint.VERIFY, 50010, msg_key=5) for _ in range(20)]
    assert analysis.guessers(analysis.from_records([call(mobile_key=1, msg_key=1), *records])).empty


def test_no_calls_give_no_rows_and_the_same_columns(call):
    none = analysis.guessers(analysis.from_records([]))
    some = analysis.guessers(analysis.from_records(_tried(call, [(0, 12, 0, 1)])))
    assert none.empty
    assert none.dtypes.astype(str).tolist() == some.dtypes.astype(str).tolist()


def test_the_cost_of_a_mobile_is_that_of_all_its_messages(call):
    calls = analysis.from_records(
        _tried(call, [(0, 10, 0, 0), (60, 1, 0, 0)]) + _tried(call, [(0, 10, 0, 0)], mobile=2)
    )
    prices = PriceList((PriceRow(date(2026, 1, 1), Decimal("0.045"), "CNY"),))
    found = analysis.guessers(calls, prices=prices)
    assert found[["mobile_key", "money", "currency"]].values.tolist() == [[1, 0.09, "CNY"], [2, 0.045, "CNY"]]
    for unpriced in (None, PriceList()):
        assert analysis.guessers(calls, prices=unpriced)[["money", "currency"]].isna().all(axis=None)
    late = PriceList((PriceRow(date(2026, 12, 1), Decimal("0.045"), "CNY"),))
    assert pd.isna(analysis.guessers(calls, prices=late)["money"]).all()


def test_the_days_of_guesses_are_those_of_the_time_zone(call):
    records = [call(mobile_key=2**60, msg_key=key, prefix="1380001", started_ns=START) for key in range(3)]
    for number in range(15):  # from 19:00 to 02:00 UTC, a day in Shanghai
        at_ns = START + 19 * HOUR + number * HOUR // 2
        records.append(call(Endpoint.VERIFY, 50010, msg_key=number % 3, started_ns=at_ns))
    found = {
        zone: analysis.guessers(analysis.from_records(records), timezone=zone) for zone in ("UTC", "Asia/Shanghai")
    }
    assert [it["most_per_day"].tolist() for it in found.values()] == [[10], [15]]
    assert [it["flagged"].tolist() for it in found.values()] == [[False], [True]]
    first, last = (pd.Timestamp(START + hours * HOUR, tz="UTC") for hours in (19, 26))
    assert [it[["first_seen", "last_seen"]].values.tolist() for it in found.values()] == [[[first, last]]] * 2
