"""Bad calls under a limit, and how certain they are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from toolkit.api.errors import InputError
from toolkit.load_test.plan.expectations import check_limit
from toolkit.load_test.plan.limit_crossing import find_crossing
from toolkit.load_test.plan.trial_evidence import Evidence, TrialCalls, margin, measure, share_of_limit
from toolkit.runs.thresholds import parse_threshold

CALLS = TrialCalls(
    due_s=np.arange(8.0),
    endpoint=np.array(["send"] * 6 + ["verify"] * 2),
    outcome=np.array(["50000", "50000", "50019", "timeout", "connect", "50000", "50000", "50010"]),
    latency_ms=np.array([1.0, 2, 3, 100, 0, 4, 5, 6]),
    caller_ms=np.array([1.0, 2, 30, 100, 0, 4, 5, 6]),
    failed=np.array([False, False, True, True, True, False, False, False]),
    duration_s=8.0,
    due=10,
    dropped=1,
)


@pytest.mark.parametrize(
    ("limit", "bad", "calls", "allowed", "value"),
    [
        ("p90(send.caller_ms) < 30", 2, 5, 0.1, 100),  # a call that never connected has no time
        ("p90(send.caller_ms) <= 30", 1, 5, 0.1, 100),
        ("p50(send.latency_ms) < 30", 1, 5, 0.5, 3),
        ("mean(verify.latency_ms) < 11", 1, 2, 1, 5.5),
        ("max(send.caller_ms) < 100", 1, 5, 0, 100),
        ("failed < 5%", 3, 8, 0.05, 37.5),
        ("failed(send) < 5%", 3, 6, 0.05, 50),
        ("share(timeout) < 5%", 1, 8, 0.05, 12.5),
        ("share(50019) < 5%", 1, 8, 0.05, 12.5),
        ("ok_ratio(send) >= 99%", 3, 6, 0.01, 50),
        ("ok_ratio(verify) >= 50%", 1, 2, 0.5, 50),
        ("dropped < 5%", 1, 10, 0.05, 10),
    ],
)
def test_each_limit_counts_the_calls_that_spend_its_budget(
    limit: str, bad: float, calls: int, allowed: float, value: float
) -> None:
    found = measure(parse_threshold(limit), CALLS)
    assert (sum(found.bad), sum(found.calls)) == (pytest.approx(bad), calls)
    assert (found.allowed, found.value) == (pytest.approx(allowed), pytest.approx(value))


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ("rate(send) >= 900/s", "chooses the rate"),
        ("rate(send) < 900/s", "chooses the rate"),
        ("failed > 1%", "easier to meet"),
        ("p99(send.caller_ms) > 5", "easier to meet"),
        ("share(50000) < 5%", "easier to meet"),
        ("share(50009) < 1%", "rate limit"),
        ("share(50034) < 1%", "rate limit"),
        ("mean(send.caller_ms) < 0", "no trial can meet it"),
        ("mean(send.caller_ms) <= 0", "no trial can meet it"),
        ("p99(send.latency_ms) < 0", "no trial can meet it"),
        ("max(verify.caller_ms) <= 0", "no trial can meet it"),
        ("failed < 0%", "no trial can meet it"),
        ("dropped < 0%", "no trial can meet it"),
        ("share(timeout) < 0%", "no trial can meet it"),
        ("ok_ratio(send) > 100%", "no trial can meet it"),
        ("share(50000) > 100%", "no trial can meet it"),
        ("failed <= 100%", "no trial can miss it"),
        ("ok_ratio(send) >= 0%", "no trial can miss it"),
        ("failed < 1% abort after 5s", "fixed length"),
    ],
)
def test_a_limit_that_more_load_does_not_turn_from_met_to_missed_is_refused(limit: str, why: str) -> None:
    with pytest.raises(InputError, match=f"can't be searched: .*{why}"):
        check_limit(parse_threshold(limit))


@pytest.mark.parametrize(
    "limit",
    [
        "share(50000) >= 99%",
        "ok_ratio(send) > 99%",
        "dropped <= 1%",
        "max(send.caller_ms) < 9",
        "failed <= 0%",
        "ok_ratio(send) >= 100%",
        "share(timeout) <= 0%",
        "share(50024) < 1%",
        "share(59999) < 1%",
    ],
)
def test_a_limit_that_more_load_misses_is_accepted(limit: str) -> None:
    check_limit(parse_threshold(limit))


def test_few_calls_are_weak_evidence_although_none_was_bad() -> None:
    few, many = (Evidence("p99(send.caller_ms) < 50", 0.01, (0.0,) * 10, (calls,) * 10) for calls in (10, 1000))
    assert margin([few]) == pytest.approx(1, abs=0.1)
    assert margin([many]) > 9
    assert margin([few, few]) > margin([few])


def test_bad_calls_in_one_batch_are_weaker_evidence_than_spread_ones() -> None:
    spread = Evidence("failed < 1%", 0.01, (3.0,) * 10, (100,) * 10)
    burst = Evidence("failed < 1%", 0.01, (30.0, *(0.0,) * 9), (100,) * 10)
    assert margin([spread]) < margin([burst]) < 0
    assert share_of_limit([spread]) == share_of_limit([burst]) == pytest.approx(3)


def test_trials_that_contradict_each_other_are_weak_evidence() -> None:
    good, bad = (Evidence("failed < 1%", 0.01, (count,) * 10, (100,) * 10) for count in (0.0, 3.0))
    assert abs(margin([good, bad])) < min(abs(margin([good, good])), abs(margin([bad, bad])))


def test_a_maximum_is_missed_by_one_call_for_certain() -> None:
    assert margin([Evidence("max(send.caller_ms) < 9", 0.0, (0.0, 1.0), (50, 50))]) == -math.inf
    assert margin([Evidence("max(send.caller_ms) < 9", 0.0, (0.0, 0.0), (50, 50))]) == math.inf


def test_without_calls_there_is_no_margin() -> None:
    assert margin([Evidence("failed < 1%", 0.01, (0.0,), (0,))]) == 0


def trial(bad: float) -> Evidence:
    return Evidence("failed < 1%", 0.01, (bad / 10,) * 10, (1000,) * 10)


def test_the_crossing_is_between_the_loads_that_meet_and_miss_the_limit() -> None:
    crossing = find_crossing([(100.0, trial(30)), (110.0, trial(300))])
    assert crossing
    assert 103 < crossing.load < 107
    assert crossing.margin(100) > 0 > crossing.margin(110)


def test_trials_that_disagree_make_the_crossing_less_certain() -> None:
    steady = find_crossing([(100.0, trial(30)), (100.0, trial(30)), (110.0, trial(300)), (110.0, trial(300))])
    shaky = find_crossing([(100.0, trial(0)), (100.0, trial(60)), (110.0, trial(100)), (110.0, trial(500))])
    assert steady
    assert shaky
    assert shaky.error_ratio > 2 * steady.error_ratio


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [(100.0, trial(30))],
        [(100.0, trial(300)), (110.0, trial(30))],  # fewer bad calls at a higher load
        [(100.0, trial(0)), (110.0, trial(10_000))],  # of the second nothing but that it is beyond is known
    ],
)
def test_there_is_no_crossing_unless_bad_calls_grow_with_the_load(trials: list[tuple[float, Evidence]]) -> None:
    assert find_crossing(trials) is None
