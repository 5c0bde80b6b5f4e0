"""The grammar of a worsening, and the text of its verdict."""

from __future__ import annotations

import pytest

from toolkit.api.errors import InputError
from toolkit.runs.thresholds import Status
from toolkit.runs.worsening import WorseningVerdict, parse_worsening


@pytest.mark.parametrize(
    ("text", "factor"),
    [
        ("p99(send.caller_ms) by 10%", 1.1),
        ("mean(verify.latency_ms) by 0%", 1.0),
        ("mean(verify.latency_ms) by 0.5%", 1.005),
        ("p50(verify.latency_ms) by 0%", 1.0),
        ("p50(verify.latency_ms) by 1%", 1.01),
        ("failed by 50%", 1.5),
        ("share(50019) by 200%", 3.0),
        ("share(50000) by 1%", 0.99),
        ("ok_ratio(send) by 0.5%", 0.995),
        ("rate(send) by 10%", 0.9),
    ],
)
def test_a_worsening_reads_as_it_is_written_and_knows_which_way_is_worse(text: str, factor: float) -> None:
    worsening = parse_worsening(text.replace(" by ", "  by ").replace("(", " ( "))
    assert str(worsening) == text
    assert worsening.factor == pytest.approx(factor)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("p99(send.caller_ms) < 250", "invalid worsening 'p99(send.caller_ms) < 250', at '< 250': expected by"),
        ("p99(send.caller_ms) by 10", "at its end: expected %"),
        ("p99(send.caller_ms) by ten%", "expected a number"),
        ("p99(send.caller_ms) by 10% abort after 1m", "at 'abort after 1m': expected the end"),
        (
            "max(send.caller_ms) by 10%",
            "cannot be tested against chance; a form that works: p99(send.caller_ms) by 10%",
        ),
        ("dropped by 10%", "cannot be tested against chance"),
        (
            "p50(send.caller_ms) by 0.5%",
            "at '0.5%': p50(send.caller_ms) is tested in steps of 1 %: give 0% or at least 1%",
        ),
        ("ok_ratio(send) by 100%", "cannot fall by that much"),
        ("speed by 10%", "expected a metric"),
    ],
)
def test_a_wrong_worsening_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_worsening(text)
    assert words in str(caught.value)


def test_a_verdict_shows_both_values_the_change_and_its_probability_or_the_reason() -> None:
    slower = WorseningVerdict(parse_worsening("p99(send.caller_ms) by 10%"), Status.FAIL, 45.12, 56.4, 0.0123)
    assert slower.measured == "45.1 ms → 56.4 ms (+25 %); p 0.012"
    assert slower.value == pytest.approx(25)
    new = WorseningVerdict(parse_worsening("failed by 10%"), Status.NO_DATA, 0.0, None, note="no data in after")
    assert (new.measured, new.value) == ("0.00 % → –; no data in after", None)
