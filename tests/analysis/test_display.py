"""Frames as people read them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from toolkit.analysis import readable

INT, UTC = pd.Int64Dtype(), pd.DatetimeTZDtype("ns", "UTC")


def word(name: str, values: list[Any], dtype: Any = "float64") -> list[str]:
    return list(readable(pd.DataFrame({name: pd.Series(values, dtype=dtype)}))[name])


@pytest.mark.parametrize(
    ("name", "values", "dtype", "words"),
    [
        ("calls_ratio", [0.957398, 0.99994, 1], "float64", ["95.74 %", "> 99.99 %", "100.00 %"]),
        ("calls_ratio", [0, 0.0000599], "float64", ["0.00 %", "< 0.01 %"]),
        ("found_ratio_before", [0.5, None], "float64", ["50.00 %", "–"]),
        ("spent_ratio", [2.34], "float64", ["234.00 %"]),
        ("conversion_ratio", [0.77], "float64", ["77.00 %"]),
        ("conversion_score", [33.6019], "float64", ["33.6"]),
        ("ratio", [3.7328, float("inf"), float("-inf")], "float64", ["3.73", "∞", "-∞"]),
        ("p99_ms", [48.62513, 9886.4, 0.0, 999.7], "float64", ["48.6", "9,886", "0", "1,000"]),
        ("calls", [159827, 3], "int64", ["159,827", "3"]),
        ("return_code", [50009, None], INT, ["50009", "–"]),
        ("mobile_key", [-514679761962745226], "int64", ["-514679761962745226"]),
        ("flagged", [True, False], "bool", ["yes", "no"]),
        ("kind", ["SERVER", None], "category", ["SERVER", ""]),
        ("message", ["server error", None], "string", ["server error", ""]),
    ],
)
def test_a_value_is_formatted_by_its_column(name: str, values: list[Any], dtype: Any, words: list[str]) -> None:
    assert word(name, values, dtype) == words


@pytest.mark.parametrize(
    ("name", "currency", "values", "words"),
    [
        ("money", "CNY", [9342.565, 0.1, None], ["9,342.57", "0.10", "–"]),
        ("wasted_money", "JPY", [9342.5, 100.0, 0.0], ["9,343", "100", "0"]),
        ("money_low", "CNY", [0.0045, -0.098], ["0.0045", "-0.10"]),
        ("billed_price", "CNY", [0.045, 0.5], ["0.045", "0.50"]),
        ("in_dispute", "CNY", [0.139976, -0.01], ["0.139976", "-0.01"]),
        ("money_per_verified_user", "KWD", [0.5], ["0.500"]),
    ],
)
def test_money_has_the_places_of_its_currency_and_prices_as_many_as_needed(
    name: str, currency: str, values: list[float | None], words: list[str]
) -> None:
    assert list(readable(pd.DataFrame({name: values, "currency": currency}), name)[name]) == words


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["2026-11-12", None], ["2026-11-12", "–"]),
        (["2026-11-12T11:45", "2026-11-12"], ["2026-11-12 11:45", "2026-11-12 00:00"]),
        (["2026-11-12T11:45:59.999"], ["2026-11-12 11:45:59"]),
    ],
)
def test_times_of_a_column_share_the_shortest_exact_format(values: list[str | None], words: list[str]) -> None:
    assert word("first_seen", [value and pd.Timestamp(value, tz="UTC") for value in values], UTC) == words


def test_latencies_are_in_ms_and_differences_of_shares_in_points() -> None:
    measures = ["share", "latency_ms", "share"]
    frame = pd.DataFrame({"measure": measures, "before": [0.031, 48.5, 0.5], "difference": [0.0307, 9801.7, None]})
    assert list(readable(frame, "before")["before"]) == ["3.10 %", "48.5 ms", "50.00 %"]
    assert list(readable(frame, "difference")["difference"]) == ["+3.07 pp", "+9,802 ms", "–"]


def test_the_result_has_the_requested_columns_in_order_and_no_index() -> None:
    frame = pd.DataFrame({"calls": [1, 2], "kind": ["OK", "RATE"]})
    assert list(readable(frame, "kind", "calls").columns) == ["kind", "calls"]
    assert list(readable(frame).index) == ["", ""]


def test_an_empty_frame_keeps_its_columns() -> None:
    assert list(readable(pd.DataFrame({"calls": pd.Series([], dtype="int64")})).columns) == ["calls"]


def test_texts_are_displayed_in_full() -> None:
    text = "no answer: " + "x" * 200
    found = readable(pd.DataFrame({"reason": [text], "calls": [1]}))
    for frame in (found, found.head(), found[["reason"]], found.query("calls == '1'")):
        assert text in repr(frame)
        assert text in frame._repr_html_()
    assert text not in repr(pd.DataFrame(found))
