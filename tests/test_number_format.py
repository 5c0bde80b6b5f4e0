from datetime import datetime
from decimal import Decimal

import pytest

from toolkit import number_format


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (0, "0.00 %"),
        (0.00001, "< 0.01 %"),
        (0.1234, "12.34 %"),
        (0.99999, "> 99.99 %"),
        (1, "100.00 %"),
        (None, "–"),
    ],
)
def test_a_share_is_shown_as_0_or_100_percent_only_if_it_is_exact(ratio, words):
    assert number_format.share(ratio) == words


@pytest.mark.parametrize(("ms", "words"), [(0, "0.00"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234")])
def test_milliseconds_have_at_least_three_digits(ms, words):
    assert number_format.milliseconds(ms) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(12.3456789, "12.3457"), (100, "100"), (99.9999999, "99.9999999"), (1_234_567.0, "1,234,567")],
)
def test_a_precise_number_looks_whole_only_if_it_is(value, words):
    assert number_format.precise_number(value) == words


@pytest.mark.parametrize(
    ("per_s", "words"), [(None, "–"), (0.004, "0.004"), (1, "1.00"), (12.34, "12.3"), (9e3, "9,000.0")]
)
def test_a_rate_above_0_is_never_shown_as_0(per_s, words):
    assert number_format.rate(per_s) == words


@pytest.mark.parametrize(("per_s", "unit"), [(None, "second"), (0, "second"), (0.1, "second"), (0.02, "hour")])
def test_a_rate_below_a_call_in_ten_seconds_is_shown_per_hour(per_s, unit):
    assert number_format.rate_scale(per_s)[1] == unit


@pytest.mark.parametrize(
    ("value", "unit", "limit", "words"),
    [
        (None, "%", 1, "–"),
        (0.0, "%", 1, "0.00 %"),
        (0.003, "%", 1, "< 0.01 %"),
        (0.003, "%", 0.002, "0.003 %"),
        (0.999, "%", 1, "0.999 %"),
        (1.0, "%", 1, "1.00 %"),
        (99.9985, "%", 99, "> 99.99 %"),
        (99.9985, "%", 99.999, "99.9985 %"),
        (99.99999999, "%", 100, "99.99999999 %"),
        (31.57, "ms", 250, "31.6 ms"),
        (250.4, "ms", 250, "250.4 ms"),
        (1234.5, "ms", 250, "1,234 ms"),
        (49.98, "/s", 50, "49.98 /s"),
    ],
)
def test_a_measured_value_has_the_usual_digits_unless_they_contradict_its_verdict(value, unit, limit, words):
    assert number_format.measured(value, unit, limit) == words


@pytest.mark.parametrize("second", [0, 7])
def test_a_moment_has_seconds_only_if_it_needs_them(second):
    words = "2026-11-06 12:30" + (":07" if second else "")
    assert number_format.moment(datetime(2026, 11, 6, 12, 30, second)) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (0.5, "500 ms"),
        (12.34, "12.3 s"),
        (30, "30 s"),
        (59.99, "1 min"),
        (63, "1 min 03 s"),
        (3600, "1 h"),
        (7500, "2 h 05 min"),
        (100_000, "27 h 47 min"),
        (200_000, "2 days 08 h"),
    ],
)
def test_a_duration_has_a_suitable_unit(seconds, words):
    assert number_format.duration(seconds) == words


@pytest.mark.parametrize(
    ("amount", "currency", "words"),
    [
        (0, "CNY", "0.00 CNY"),
        (Decimal("1234.565"), "CNY", "1,234.57 CNY"),
        (1234.565, "CNY", "1,234.57 CNY"),
        (1234.5, "JPY", "1,235 JPY"),
        (1.5, "KWD", "1.500 KWD"),
        (-0.098, "CNY", "-0.10 CNY"),
        (0.0045, "CNY", "0.0045 CNY"),
        (Decimal("1E+3"), "", "1,000.00"),
    ],
)
def test_money_has_the_decimal_places_of_its_currency_and_is_never_shown_as_0(amount, currency, words):
    assert number_format.money(amount, currency) == words


@pytest.mark.parametrize(("price", "words"), [(Decimal("0.045"), "0.045"), (0.5, "0.50"), (1e-6, "0.000001")])
def test_the_price_of_a_message_is_shown_to_the_millionth(price, words):
    assert number_format.unit_price(price, "CNY") == f"{words} CNY"
