"""The test against chance of ``--fail-if-worse``."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from toolkit.analysis.change_detection.worsening import WorseningTest, find_worsening
from toolkit.runs.worsening import parse_worsening

START_NS = 1_793_966_400_000_000_000
FAILED, RATE, OK = 50019, 50009, 50000


def calls(
    seed: int, *, slower: float = 1.0, failed: float = 0.02, per_s: float = 40, run_s: int = 300, burst: float = 0.0
) -> pd.DataFrame:
    """Make sends whose latency is log-normal; ``burst``: share of failures in 5 s of the run."""
    draw = np.random.default_rng(seed)
    at_s = np.sort(draw.random(draw.poisson(per_s * run_s)) * run_s)
    share = np.where((at_s > 100) & (at_s < 105), max(failed, burst), failed)
    return pd.DataFrame(
        {
            "started_ns": START_NS + (at_s * 1e9).astype(np.int64),
            "endpoint": "send",
            "latency_ns": (20e6 * slower * np.exp(draw.normal(0, 0.5, len(at_s)))).astype(np.int64),
            "return_code": np.where(draw.random(len(at_s)) < share, FAILED, OK),
        }
    )


def found(a: pd.DataFrame, b: pd.DataFrame, text: str, **options: object) -> WorseningTest:
    return find_worsening(a, b, parse_worsening(text), permutations=999, **options)  # type: ignore[arg-type]


TIMES = ["p99(send.caller_ms)", "p50(send.latency_ms)", "mean(send.latency_ms)"]


@pytest.mark.parametrize("metric", TIMES)
def test_a_time_is_worse_only_beyond_the_limit(metric: str) -> None:
    before, now = calls(1), calls(2, slower=1.3)
    assert found(before, now, f"{metric} by 10%").is_worse
    within = found(before, now, f"{metric} by 60%")
    assert within.p_value is not None
    assert not within.is_worse
    assert not found(now, before, f"{metric} by 0%").is_worse, "faster is not worse"


def test_the_limit_of_a_mean_is_not_rounded_to_bins() -> None:
    before = calls(1)
    steady = 10e6 + 30e6 * (np.arange(len(before)) * 0.6180339887 % 1)  # the mean is the same in each block
    before = before.assign(latency_ns=steady.astype(np.int64))
    now = before.assign(latency_ns=(steady * 1.012).astype(np.int64))
    for limit, is_worse in ((1, True), (1.4, False)):
        test = found(before, now, f"mean(send.latency_ms) by {limit}%")
        assert test.p_value is not None
        assert test.is_worse == is_worse, limit
    assert not found(before, before, "mean(send.latency_ms) by 0.4%").is_worse


@pytest.mark.parametrize("metric", ["failed", "failed(send)", f"share({FAILED})"])
def test_a_share_is_worse_if_it_is_higher(metric: str) -> None:
    before, now = calls(1), calls(2, failed=0.06)
    assert found(before, now, f"{metric} by 50%").is_worse
    assert not found(before, now, f"{metric} by 400%").is_worse
    assert not found(now, before, f"{metric} by 0%").is_worse


def test_a_share_that_was_0_is_worse_at_any_limit() -> None:
    assert found(calls(1, failed=0), calls(2, failed=0.05), "failed by 1000%").is_worse


def test_successes_and_calls_are_worse_if_there_are_fewer() -> None:
    before, now = calls(1), calls(2, failed=0.2, per_s=30)
    for text in ("ok_ratio(send) by 5%", "share(50000) by 5%", "rate(send) by 10%"):
        assert found(before, now, text).is_worse, text
        assert not found(now, before, text).is_worse, text
    assert not found(before, now, "rate(send) by 40%").is_worse


def test_an_expected_refusal_is_no_failure() -> None:
    before, now = (frame.replace({"return_code": {FAILED: RATE}}) for frame in (calls(1), calls(2, failed=0.2)))
    assert found(before, now, "failed by 10%").is_worse
    assert not found(before, now, "failed by 10%", expected=["RATE"]).is_worse


def test_one_burst_of_failures_is_chance() -> None:
    before, now = calls(1, failed=0.001), calls(2, failed=0.001, burst=1.0)
    assert now["return_code"].eq(FAILED).mean() > 5 * before["return_code"].eq(FAILED).mean()
    assert not found(before, now, "failed by 0%").is_worse


def test_too_few_calls_or_blocks_are_not_tested_and_the_note_says_what_is_needed() -> None:
    few = calls(1, per_s=2)
    assert found(few, calls(2), "p99.9(send.caller_ms) by 10%") == WorseningTest(
        note=f"too few calls: {len(few)} before and {len(calls(2)):,} now, of 10,000 that p99.9 needs"
    )
    gone = calls(1).iloc[[0, 1, -2, -1]]
    assert "too few blocks of time with calls: 2 before" in found(gone, calls(2), "failed by 0%").note
    nothing = calls(1).assign(endpoint="verify")
    for metric in ("p50(send.caller_ms)", "mean(send.latency_ms)", "rate(send)", "ok_ratio(send)"):
        test = found(nothing, nothing, f"{metric} by 10%")
        assert (test.is_worse, test.p_value) == (False, None), metric
        assert test.note.startswith("too few"), metric
