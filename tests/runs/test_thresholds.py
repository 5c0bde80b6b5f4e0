from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.runs import thresholds
from toolkit.runs.thresholds import (
    Dropped,
    Failed,
    Measure,
    OkRatio,
    Rate,
    ResponseTime,
    RunFigures,
    Share,
    Status,
    Threshold,
    Verdict,
    judge,
    parse_threshold,
)

EXAMPLES = [
    "p99(send.caller_ms) < 250",
    "failed(send) < 1%",
    "dropped < 1%",
    "share(50019) < 0.1%",
    "share(timeout) <= 0.5%",
    "ok_ratio(send) >= 99.9%",
    "rate(verify) >= 900/s abort after 30s",
    "p99(send.caller_ms, 5m) < 250",
]

endpoints, measures = st.sampled_from(Endpoint), st.sampled_from(Measure)
percentiles = st.floats(0, 100, exclude_min=True, exclude_max=True).map(lambda it: f"p{thresholds.plain_number(it)}")
metrics = st.one_of(
    st.builds(ResponseTime, st.sampled_from(["mean", "max"]) | percentiles, endpoints, measures),
    st.builds(Failed, endpoints | st.none()),
    st.builds(Dropped),
    st.builds(
        Share, st.sampled_from(ReturnCode) | st.integers(10_000, 10**18 - 1) | st.sampled_from(thresholds._FAILURES)
    ),
    st.builds(OkRatio, endpoints),
    st.builds(Rate, endpoints),
)
lines = st.builds(
    Threshold,
    metrics,
    st.sampled_from(["<", "<=", ">", ">="]),
    st.floats(0, 100),
    st.none() | st.integers(0, 999_999),
)
windowed = st.builds(
    Threshold,
    metrics.filter(lambda it: str(it).endswith(")")),
    st.sampled_from(["<", "<=", ">", ">="]),
    st.floats(0, 100),
    st.none() | st.integers(0, 999_999),
    st.integers(1, 999_999).map(float),
)


@dataclass(frozen=True)
class Listed:
    """The times of some calls."""

    ms: tuple[float, ...]

    def percentile(self, percentile: float) -> float:
        return sorted(self.ms)[int(len(self.ms) * percentile / 100)]

    def mean(self) -> float:
        return sum(self.ms) / len(self.ms)

    def max(self) -> float:
        return max(self.ms)


RUN = RunFigures(
    duration_s=2.0,
    outcomes={
        (Endpoint.SEND, 50000): 996,
        (Endpoint.SEND, 50009): 3,
        (Endpoint.SEND, "timeout"): 1,
        (Endpoint.VERIFY, 50009): 1000,
    },
    times={(Endpoint.SEND, Measure.CALLER_MS): Listed((1, 2, 3, 4))},
    failed={Endpoint.SEND: 4, Endpoint.VERIFY: 1},
    arrivals=400,
    dropped=6,
)
NOTHING = RunFigures(0.0, {}, {})


@given(lines | windowed)
def test_a_threshold_reads_as_it_is_written(threshold: Threshold) -> None:
    assert parse_threshold(str(threshold)) == threshold


@pytest.mark.parametrize(
    "text", ["rate(verify)>=900/s abort after 30s", "\trate ( verify )  >= 900 /s\n abort  after 30s "]
)
def test_blanks_between_words_are_ignored(text: str) -> None:
    assert parse_threshold(text) == parse_threshold("rate(verify) >= 900/s abort after 30s")


@given(st.text(alphabet="p9.m() send_verify50019%<>=/abortfte30", max_size=40))
def test_any_text_is_a_threshold_or_an_input_error(text: str) -> None:
    with suppress(InputError):
        assert parse_threshold(str(parse_threshold(text))) == parse_threshold(text)


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_of_the_grammar_are_in_it(text: str) -> None:
    assert text in (thresholds.__doc__ or "")
    assert str(parse_threshold(text)) == text.replace("5m", "300s")


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("", "at its end", "a metric"),
        ("p99", "at its end", "expected brackets, e.g. p99(send.caller_ms)"),
        ("p50(send.latency) < 1", "at 'latency) < 1'", "one of latency_ms, caller_ms"),
        ("p50(send) < 1", "at ') < 1'", ". and one of latency_ms, caller_ms"),
        ("p99(sent.caller_ms) < 1", "at 'sent.caller_ms) < 1'", "one of send, verify"),
        ("p100(send.caller_ms) < 1", "at 'p100(send.caller_ms) < 1'", "below 100"),
        ("p0(send.caller_ms) < 1", "at 'p0(", "above 0"),
        ("median(send.caller_ms) < 1", "at 'median", "a metric"),
        ("maximum(send.caller_ms) < 1", "at 'maximum", "a metric"),
        ("max(send.caller_ms) = 1", "at '= 1'", "a comparison"),
        ("max(send.caller_ms) < 250ms", "at 'ms'", "the end, or: abort after"),
        ("max(send.caller_ms) < -1", "at '-1'", "a number"),
        ("max(send.caller_ms) < 1" + "0" * 400, "at '1000", "no metric reaches that"),
        ("failed(both) < 1%", "at 'both) < 1%'", "one of send, verify"),
        ("dropped(send) < 1%", "at '(send) < 1%'", "a comparison"),
        ("failed() < 1%", "at ') < 1%'", "one of send, verify"),
        ("share(cancelled) < 1%", "at 'cancelled) < 1%'", "one of connect, timeout, reset, protocol"),
        ("share(5009) < 1%", "at '5009) < 1%'", "a return code of five digits"),
        ("share(1e5) < 1%", "at '1e5) < 1%'", "a return code"),
        (f"share({10**18}) < 1%", f"at '{10**18}) < 1%'", "a return code"),
        ("share(send) < 1%", "at 'send) < 1%'", "a return code"),
        ("share(50019) < 0.001", "at its end", "the unit %"),
        ("ok_ratio(send) >= 101%", "at '101%'", "no metric reaches that"),
        ("ok_ratio(send) >= 99/s", "at '/s'", "the unit %"),
        ("rate(verify) >= 900", "at its end", "the unit /s"),
        ("rate(verify.caller_ms) >= 900/s", "at '.caller_ms", "expected )"),
        ("max(send.caller_ms, 5) < 1", "at '5) < 1'", "a duration"),
        ("max(send.caller_ms, 500ms) < 1", "at '500ms) < 1'", "at least 1s long"),
        ("max(send.caller_ms, 5s, 6s) < 1", "at ', 6s) < 1'", "expected )"),
        ("dropped, 5m < 1%", "at ', 5m < 1%'", "a comparison"),
        ("rate(verify) >= 900/s abort", "at 'abort'", "abort after"),
        ("rate(verify) >= 900/s abort after 30", "at '30'", "a duration"),
        ("rate(verify) >= 900/s abort after 30sec", "at '30sec'", "a duration"),
        ("rate(verify) >= 900/s abort after 30s or so", "at 'or so'", "expected the end"),
    ],
)
def test_an_error_points_at_the_place(text: str, place: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_threshold(text)
    assert str(caught.value).startswith(f"invalid threshold {text!r}, {place}")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "after_s"), [("30s", 30), ("2m", 120), ("1h", 3600), ("1500ms", 1.5), ("1h30m", 5400)]
)
def test_an_abort_comes_after_a_duration(text: str, after_s: float) -> None:
    assert parse_threshold(f"max(send.caller_ms) < 1 abort after {text}").abort_after_s == after_s


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("p75(send.caller_ms) < 9", 4),
        ("p50(send.caller_ms) < 9", 3),
        ("mean(send.caller_ms) < 9", 2.5),
        ("max(send.caller_ms) < 9", 4),
        ("share(50009) < 9%", 50.15),
        ("share(50019) < 9%", 0),
        ("share(50036) < 9%", 0),
        ("share(timeout) < 9%", 0.05),
        ("share(connect) < 9%", 0),
        ("failed < 9%", 0.25),
        ("failed(send) < 9%", 0.4),
        ("failed(verify) < 9%", 0.1),
        ("dropped < 9%", 1.5),
        ("ok_ratio(send) < 9%", 99.6),
        ("ok_ratio(verify) < 9%", 0),
        ("rate(send) < 9/s", 500),
    ],
)
def test_a_metric_has_its_value(metric: str, value: float) -> None:
    assert judge(parse_threshold(metric), RUN).value == pytest.approx(value)


PARTS = [
    RunFigures(5.0, {(Endpoint.SEND, 50000): 10}, {(Endpoint.SEND, Measure.CALLER_MS): Listed((1, 2))}, sending_s=5),
    NOTHING,
    RunFigures(5.0, {(Endpoint.SEND, 50000): 30}, {(Endpoint.SEND, Measure.CALLER_MS): Listed((1, 9))}, sending_s=5),
]


@pytest.mark.parametrize(
    ("text", "status", "value"),
    [
        ("max(send.caller_ms, 5s) < 10", Status.PASS, 9),
        ("max(send.caller_ms, 5s) < 9", Status.FAIL, 9),
        ("rate(send, 5s) > 1/s", Status.FAIL, 0),  # the second part has no calls
        ("rate(send, 5s) < 7/s", Status.PASS, 6),
        ("rate(send, 5s) < 6/s", Status.FAIL, 6),
        ("rate(verify, 5s) < 6/s", Status.NO_DATA, None),
        ("max(verify.caller_ms, 5s) < 9", Status.NO_DATA, None),
    ],
)
def test_the_worst_part_of_a_run_decides_and_one_without_calls_only_misses_rates(
    text: str, status: Status, value: float | None
) -> None:
    asked: list[float] = []

    def windows(window_s: float) -> list[RunFigures]:
        asked.append(window_s)
        return PARTS

    verdict = judge(parse_threshold(text), RunFigures(60.0, {}, {}, windows=windows))
    assert (verdict.status, verdict.value, str(verdict.threshold)) == (status, value, text)
    assert asked == [5.0]


def test_a_part_with_calls_whose_code_is_unknown_has_no_verdict_to_pass() -> None:
    part = RunFigures(5.0, {(Endpoint.SEND, "HTTP 403"): 10}, {}, unknown={(Endpoint.SEND, 403): 10})
    figures = RunFigures(60.0, {}, {}, windows=lambda _: [PARTS[0], part])
    assert judge(parse_threshold("share(50009, 5s) < 1%"), figures).status is Status.NO_DATA


@pytest.mark.parametrize(
    ("comparison", "statuses"), [("<", "FFP"), ("<=", "FPP"), (">", "PFF"), (">=", "PPF")], ids=["<", "<=", ">", ">="]
)
def test_a_limit_is_compared_exactly(comparison: str, statuses: str) -> None:
    judged = [
        judge(parse_threshold(f"max(send.caller_ms) {comparison} {limit}"), RUN).status for limit in ("3.9", "4", "4.1")
    ]
    assert [status[0] for status in judged] == list(statuses)


@pytest.mark.parametrize(
    "text",
    [
        "p99(send.caller_ms) > 0",
        "share(50019) <= 100%",
        "failed <= 100%",
        "dropped <= 100%",
        "ok_ratio(send) >= 0%",
        "rate(verify) >= 0/s",
    ],
)
def test_without_calls_there_is_no_data(text: str) -> None:
    assert judge(parse_threshold(text), NOTHING) == Verdict(parse_threshold(text), Status.NO_DATA, None)


def test_a_measure_without_calls_has_no_data() -> None:
    assert judge(parse_threshold("max(verify.latency_ms) < 1"), RUN).status is Status.NO_DATA


def test_a_rate_needs_time() -> None:
    at_once = RunFigures(0.0, {(Endpoint.SEND, 50000): 1}, {})
    assert judge(parse_threshold("rate(send) > 0/s"), at_once).status is Status.NO_DATA
