from datetime import date, timedelta
from decimal import Decimal
from itertools import accumulate

import numpy as np
import pandas as pd
import pytest

from toolkit import analysis
from toolkit.analysis.billing.forecast import HORIZON_DAYS
from toolkit.api.errors import InputError
from toolkit.price_list import PricedTemplate, PriceList, PriceRow, Unit

DAY_NS = 86_400_000_000_000
FIRST = date(2026, 10, 5)  # a Monday
FIRST_NS = 1_791_158_400_000_000_000
WEEK = (100, 90, 80, 70, 60, 20, 10)
CENT = PriceRow(FIRST - timedelta(9), Decimal("0.01"), "CNY")
PRICES = PriceList((CENT,), (PricedTemplate(1, "code"), PricedTemplate(2, "notice", 2)))


def _days(counts, temp_id=1):
    """Make calls: so many accepted sends on each day, evenly spread over it."""
    started = [FIRST_NS + day * DAY_NS + np.arange(count) * (DAY_NS // count) for day, count in enumerate(counts)]
    frame = pd.DataFrame({"started_ns": np.concatenate(started).astype("int64")})
    return frame.assign(endpoint="send", latency_ns=1, return_code=50000, temp_id=temp_id, msg_key=range(len(frame)))


def _weeks(days):
    return [WEEK[day % 7] for day in range(days)]


def _only(calls, prices=PRICES, **how):
    (row,) = analysis.forecast(calls, prices, **how).to_dict("records")
    return row


def test_the_first_day_of_the_tests_is_a_monday():
    assert (FIRST.weekday(), pd.Timestamp(FIRST, tz="UTC").as_unit("ns").value) == (0, FIRST_NS)


def test_identical_weeks_give_an_exact_forecast():
    row = _only(_days(_weeks(21)))  # 5 to 25 October, of which the last day's last send is at 21:36
    month = sum(_weeks(27))
    assert (row["whole_days"], row["messages"], row["reason"]) == (20, sum(_weeks(21)), "")
    assert row["messages_forecast"] == pytest.approx(month, abs=1)
    assert row["money"] == pytest.approx(sum(_weeks(21)) / 100)
    assert float(row["money_forecast"]) == pytest.approx(month / 100, abs=0.01)
    assert (row["as_of"].day, row["since"].day, row["until"]) == (25, 5, pd.Timestamp("2026-11-01", tz="UTC"))


def test_a_month_that_is_over_is_not_forecast():
    noisy = [count + day % 5 for day, count in enumerate(_weeks(27))]  # 5 to 31 October
    calls = _days([*noisy[:-1], 48])
    row, days = _only(calls), analysis.forecast_by_day(calls, PRICES)
    assert (row["as_of"].day, row["as_of"].hour, row["reason"]) == (31, 23, "2026-10 is over")
    assert row["messages"] == len(calls)
    assert row["messages_forecast"] == row["messages_low"] == row["messages"]
    assert not days["ahead"].any()
    assert days["messages_to_date"].iloc[-1] == days["messages_to_date_high"].iloc[-1] == len(calls)


def test_a_public_holiday_ahead_widens_the_interval():
    draw = np.random.default_rng(1)
    calls = _days(draw.poisson(_weeks(27)) + 100)  # up to 31 October; in May there are holidays
    in_april = calls.assign(started_ns=calls["started_ns"] - 185 * DAY_NS)  # to 29 April 2026
    widths = [_only(it, until=until) for it, until in ((calls, "2026-11-10"), (in_april, "2026-05-09"))]
    quiet, holidays = (int(it["messages_high"] - it["messages_low"]) for it in widths)
    assert holidays > 1.3 * quiet


def test_only_messages_accepted_since_the_month_began_are_spent():
    row = _only(_days(_weeks(35)))
    assert (row["since"], row["messages"]) == (pd.Timestamp("2026-11-01", tz="UTC"), sum(_weeks(35)[27:]))
    assert row["until"] == pd.Timestamp("2026-12-01", tz="UTC")
    assert row["messages_forecast"] == pytest.approx(sum(_weeks(57)[27:]), abs=1)


def test_the_rest_of_today_is_forecast_from_the_same_hours_of_other_days():
    calls = _days([96] * 21)
    noon = FIRST_NS + 20 * DAY_NS + DAY_NS // 2
    row = _only(calls[calls["started_ns"] <= noon], until="2026-10-26")
    assert (row["messages"], row["messages_forecast"]) == (20 * 96 + 49, 21 * 96)


def test_noise_in_the_past_widens_the_interval():
    draw = np.random.default_rng(1)
    row = _only(_days(draw.poisson(_weeks(21)) + 1))
    for name in ("messages", "segments", "money"):
        assert row[name] < row[f"{name}_low"] < row[f"{name}_forecast"] < row[f"{name}_high"]


def test_a_future_price_change_affects_the_money_and_not_the_messages():
    dearer = PriceRow(date(2026, 10, 28), Decimal("0.02"), "CNY")
    calls = _days([100] * 21)
    row, changed = _only(calls), _only(calls, PriceList((CENT, dearer), PRICES.templates))
    assert changed["messages_forecast"] == row["messages_forecast"]
    assert changed["money"] == row["money"]
    assert float(changed["money_forecast"] - row["money_forecast"]) == pytest.approx(4 * 100 * 0.01, abs=0.01)


def test_past_days_count_at_the_new_price():
    cheaper = PriceRow(date(2026, 10, 22), Decimal("0.005"), "CNY")
    row = _only(_days([100] * 21), PriceList((CENT, cheaper), PRICES.templates))
    assert row["money"] == 17 + 2
    assert float(row["money_forecast"]) == pytest.approx(17 + 10 * 0.5, abs=0.01)


def test_a_balance_lasts_until_its_segments_or_money_are_spent():
    calls = _days([100] * 21, temp_id=2)
    left = 1 / 100  # of the last day, behind its last send
    by_segments, by_money = _only(calls, balance=1_000), _only(calls, balance=Decimal("10.00"))
    assert by_segments["days_left"] == pytest.approx(5 + left, abs=0.011)
    assert by_money["days_left"] == pytest.approx(by_segments["days_left"])
    assert by_money["days_left_low"] == pytest.approx(by_money["days_left_high"])
    assert _only(calls, balance=0)["days_left"] == 0
    assert _only(calls, balance=10**9)["days_left"] == HORIZON_DAYS


def test_days_left_have_an_interval():
    draw = np.random.default_rng(1)
    row = _only(_days(draw.poisson(_weeks(28)) + 1), balance=2_000)
    assert row["days_left_low"] < row["days_left"] < row["days_left_high"]


def test_the_price_of_a_send_is_for_all_its_segments():
    row = _only(_days([100] * 21, temp_id=2), PriceList((CENT,), PRICES.templates, Unit.SEND))
    assert (row["segments"], row["money"]) == (4_200, 21)
    assert float(row["money_forecast"]) == pytest.approx(27, abs=0.01)


def test_fewer_than_two_weeks_give_a_reason_and_no_forecast():
    row = _only(_days(_weeks(14)), balance=100)
    assert row["reason"] == "a forecast needs 14 whole days of calls, but there are 13"
    assert (row["messages"], row["money"]) == (sum(_weeks(14)), sum(_weeks(14)) / 100)
    ahead = [name for name in row if name.endswith(("_forecast", "_low", "_high")) or name == "days_left"]
    assert all(pd.isna(row[name]) for name in ahead)
    assert not _only(_days(_weeks(15)))["reason"]


def test_a_first_day_that_was_not_recorded_from_its_start_is_not_whole():
    calls = _days(_weeks(21))
    assert _only(calls[calls["started_ns"] >= FIRST_NS + DAY_NS // 2])["whole_days"] == 19


def test_days_older_than_eight_weeks_are_ignored():
    assert _only(_days(_weeks(100)))["whole_days"] == 56


def test_a_day_without_sends_counts_as_a_day_without_messages():
    calls = _days(_weeks(21))
    gap = calls[calls["started_ns"].sub(FIRST_NS).floordiv(DAY_NS) != 9]
    assert _only(gap)["whole_days"] == 20
    assert _only(gap)["messages_forecast"] < _only(calls)["messages_forecast"]


def test_unpriced_segments_are_counted_and_unknown_money_is_null():
    calls = _days(_weeks(21))
    row = _only(calls, PriceList(), balance=Decimal(5))
    assert (row["unpriced"], row["messages"]) == (sum(_weeks(21)), sum(_weeks(21)))
    for name in ("money", "money_forecast", "money_low", "currency", "days_left"):
        assert pd.isna(row[name])
    assert row["messages_forecast"] > 0
    half = PriceList((PriceRow(date(2026, 10, 12), Decimal("0.01"), "CNY"),))
    assert _only(calls, half)["unpriced"] == sum(WEEK)


def test_the_days_add_up_to_the_forecast_and_to_the_cost():
    draw = np.random.default_rng(1)
    calls = _days(draw.poisson(_weeks(40)) + 1)
    days, row = analysis.forecast_by_day(calls, PRICES), _only(calls)
    last, recorded = days.iloc[-1], days[~days["ahead"]]
    for name in ("messages", "money"):
        assert days[name].sum() == pytest.approx(row[name])
        ends = {end: last[f"{name}_to_date{end}"] for end in ("", "_low", "_high")}
        assert ends == {"": row[f"{name}_forecast"], "_low": row[f"{name}_low"], "_high": row[f"{name}_high"]}
        assert recorded[f"{name}_to_date"].tolist() == pytest.approx(list(accumulate(recorded[name])))
    costs = analysis.cost(calls, PRICES, by="day").set_index("day")["money"]
    assert recorded["money"].tolist() == costs[recorded["day"]].tolist()
    assert days["day"].tolist() == list(pd.date_range("2026-11-01", "2026-11-30", tz="UTC"))


def test_days_ahead_are_null_without_a_forecast():
    days = analysis.forecast_by_day(_days(_weeks(10)), PRICES)
    assert days["ahead"].tolist() == [False] * 9 + [True] * 18
    assert days["messages_to_date"].isna().tolist() == days["ahead"].tolist()
    assert days["messages"].sum() == sum(_weeks(10))


@pytest.mark.parametrize("until", ["2026-10-25", "2026-11-01T08:00", "2025-01-01"])
def test_an_invalid_end_of_a_forecast_is_an_input_error(until):
    with pytest.raises(InputError, match="give a day after the last send"):
        analysis.forecast(_days(_weeks(21)), PRICES, until=until)


@pytest.mark.parametrize("balance", [1.5, "100", True])
def test_an_invalid_balance_is_an_input_error(balance):
    with pytest.raises(InputError, match="give messages as an int, or money as a Decimal"):
        analysis.forecast(_days(_weeks(21)), PRICES, balance)


@pytest.mark.parametrize("function", [analysis.forecast, analysis.forecast_by_day])
def test_no_calls_give_no_rows_and_the_same_columns(function):
    none, some = function(analysis.from_records([]), PRICES), function(_days(_weeks(21)), PRICES)
    assert none.empty
    assert none.dtypes.astype(str).to_dict() == some.dtypes.astype(str).to_dict()
    assert "object" not in some.dtypes.astype(str).tolist()
