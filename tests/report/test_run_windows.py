"""Parts of a run against the same figures by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from toolkit import analysis
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import CallRecord
from toolkit.report.run_result import RunResult
from toolkit.runs.thresholds import Measure, Status

SECOND = 1_000_000_000


def due_ns(record: CallRecord) -> int:
    return record.started_ns - (record.wait_ns or 0)


def result(records: list[CallRecord], *thresholds: str, **settings: Any) -> RunResult:
    return RunResult("friday", analysis.from_records(records), {"thresholds": thresholds, **settings})


@pytest.mark.parametrize("window_s", [1.0, 4.0])
def test_a_part_has_the_calls_that_were_due_in_it(traffic: list[CallRecord], window_s: float) -> None:
    first_ns = min(map(due_ns, traffic))
    parts = result(traffic).figures.windows(window_s)
    assert len(parts) == math.ceil((max(map(due_ns, traffic)) + 1 - first_ns) / SECOND / window_s * 10) - 9
    for number, part in enumerate(parts):
        from_ns = first_ns + number * window_s / 10 * SECOND
        own = [it for it in traffic if from_ns <= due_ns(it) < from_ns + window_s * SECOND]
        sends = [it for it in own if it.endpoint == Endpoint.SEND]
        assert part.calls(Endpoint.SEND) == len(sends)
        assert part.outcomes[Endpoint.SEND, 50000] == sum(it.return_code == 50000 for it in sends)
        assert part.outcomes.get((Endpoint.SEND, "timeout"), 0) == sum(it.error == "timeout" for it in sends)
        waits_ms = sorted((it.latency_ns + (it.wait_ns or 0)) / 1e6 for it in sends if it.error != "connect")
        times = part.times[Endpoint.SEND, Measure.CALLER_MS]
        assert times.max() == pytest.approx(waits_ms[-1])
        assert times.mean() == pytest.approx(sum(waits_ms) / len(waits_ms))
        assert times.percentile(99) == pytest.approx(waits_ms[math.ceil(0.99 * len(waits_ms)) - 1], rel=0.001)


def test_failed_calls_of_the_parts_add_up_as_in_the_whole_run(traffic: list[CallRecord]) -> None:
    run = result(traffic, expected=["RATE"])
    whole = math.floor(run.duration_s)
    (part, *_) = run.figures.windows(float(whole))
    last_ns = min(map(due_ns, traffic)) + whole * SECOND
    assert part.failed == result([it for it in traffic if due_ns(it) < last_ns], expected=["RATE"]).failed


def test_a_slow_minute_misses_a_threshold_that_the_whole_run_meets(call: Callable[..., CallRecord]) -> None:
    start_ns = call(Endpoint.SEND, 50000).started_ns
    records = [
        call(
            Endpoint.SEND,
            50000,
            started_ns=start_ns + second * SECOND,
            latency_ns=(900 if 300 <= second < 360 else 5) * 10**6,
        )
        for second in range(7200)
    ]
    whole, windowed, longer = result(
        records, "p99(send.caller_ms) < 250", "p99(send.caller_ms, 1m) < 250", "p99(send.caller_ms, 3h) < 250"
    ).verdicts
    assert (whole.status, windowed.status, longer.status) == (Status.PASS, Status.FAIL, Status.NO_DATA)
    assert windowed.value == pytest.approx(900, rel=0.001)


def test_a_rate_counts_only_the_time_in_which_calls_were_due(call: Callable[..., CallRecord]) -> None:
    start_ns = call(Endpoint.SEND, 50000).started_ns
    records = [call(Endpoint.SEND, 50000, started_ns=start_ns + number * SECOND // 10) for number in range(105)]
    (verdict,) = result(records, "rate(send, 5s) >= 9.9/s", duration_s=10.5, ended="finished").verdicts
    assert (verdict.status, verdict.value) == (Status.PASS, pytest.approx(10.0))


def test_the_calls_of_the_warm_up_count_for_no_threshold(call: Callable[..., CallRecord]) -> None:
    start_ns = call(Endpoint.SEND, 50000).started_ns
    slow = [call(Endpoint.SEND, 50019, started_ns=start_ns + n * SECOND, latency_ns=SECOND) for n in range(3)]
    # It was due in the warm-up, but sent later.
    slow.append(call(Endpoint.SEND, 50019, started_ns=start_ns + 4 * SECOND, wait_ns=2 * SECOND, latency_ns=SECOND))
    fast = [call(Endpoint.SEND, 50000, started_ns=start_ns + n * SECOND, latency_ns=10**6) for n in range(3, 13)]
    given = ("failed <= 0%", "max(send.caller_ms) < 100", "rate(send) >= 1/s")
    warm = result(slow + fast, *given, warm_up_s=3.0, pacing={"elapsed_s": 13.0})
    assert [it.status for it in warm.verdicts] == [Status.PASS] * 3
    assert warm.verdicts[2].value == pytest.approx(1.0)
    assert warm.summary["calls"] == 14
    assert [it.status for it in result(slow + fast, *given, duration_s=13.0).verdicts[:2]] == [Status.FAIL] * 2


def test_a_run_that_ended_in_its_warm_up_has_no_data(call: Callable[..., CallRecord]) -> None:
    (verdict,) = result([call(Endpoint.SEND, 50000)], "failed < 1%", warm_up_s=60.0).verdicts
    assert verdict.status is Status.NO_DATA


def test_a_minute_without_calls_misses_a_rate_that_the_whole_run_meets(call: Callable[..., CallRecord]) -> None:
    start_ns = call(Endpoint.SEND, 50000).started_ns
    records = [
        call(Endpoint.SEND, 50000, started_ns=start_ns + second * SECOND)
        for second in range(3600)
        if not 300 <= second < 361
    ]
    whole, windowed, upper = result(
        records, "rate(send) > 0.5/s", "rate(send, 1m) > 0.5/s", "rate(send, 1m) < 2/s"
    ).verdicts
    assert (whole.status, windowed.status, upper.status) == (Status.PASS, Status.FAIL, Status.PASS)
    assert windowed.value == 0


def test_a_call_without_a_known_wait_counts_from_its_start(call: Callable[..., CallRecord]) -> None:
    start_ns = call(Endpoint.SEND, 50000).started_ns
    records = [
        call(
            Endpoint.SEND,
            50000,
            started_ns=start_ns + second * SECOND,
            latency_ns=(5_000 if second >= 90 else 5) * 10**6,
            wait_ns=None if second >= 90 else 0,
        )
        for second in range(120)
    ]
    (verdict,) = result(records, "p99(send.latency_ms, 20s) < 250").verdicts
    assert verdict.status is Status.FAIL


@pytest.mark.parametrize(("seconds", "status"), [(91, Status.NO_DATA), (99, Status.NO_DATA), (100, Status.PASS)])
def test_a_run_must_be_as_long_as_the_window(call: Callable[..., CallRecord], seconds: int, status: Status) -> None:
    start_ns = call(Endpoint.SEND, 50000).started_ns
    records = [call(Endpoint.SEND, 50000, started_ns=start_ns + second * SECOND) for second in range(seconds)]
    (verdict,) = result(records, "p99(send.latency_ms, 100s) < 250").verdicts
    assert verdict.status is status
