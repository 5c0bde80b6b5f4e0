"""Metrics and their history are values: they need neither locust nor a clock."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.api.errors import NotConnectedError, TransportError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.load_test.generator.results.metrics import History, Metrics
from toolkit.load_test.generator.steps import CallResult, Outcome, Send, Verify
from toolkit.runs.thresholds import judge, parse_threshold


def counted(calls: int) -> Metrics:
    """Return the metrics of sends that took 1 ms and waited 249 ms, and of a verify without an answer."""
    sent, timeout = ApiResponse(200, ReturnCode.SUCCESS, "success"), TransportError("no response")
    timeout.__cause__ = TimeoutError()
    results: list[CallResult] = [
        (Send("13800138000"), Outcome(Endpoint.SEND, 0, 1_000_000, sent, wait_ns=249_000_000))
    ] * calls
    metrics = Metrics()
    metrics.count(results)
    metrics.count([(Verify("m", "123456"), Outcome(Endpoint.VERIFY, 0, 10**10, error=timeout))])
    metrics.arrivals.late += 1
    return metrics


@pytest.mark.parametrize(
    ("threshold", "status"),
    [
        ("p99(send.caller_ms) < 249", "FAIL"),
        ("p99(send.latency_ms) < 2", "PASS"),
        ("max(verify.latency_ms) <= 10000", "PASS"),
        ("ok_ratio(verify) > 0%", "FAIL"),
        ("rate(send) >= 900/s", "PASS"),
        ("share(50019) < 0.1%", "PASS"),
    ],
)
def test_thresholds_are_checked_against_metrics(threshold: str, status: str) -> None:
    assert judge(parse_threshold(threshold), counted(9000).figures(10.0)).status == status


def test_a_master_sums_the_latest_report_of_each_worker() -> None:
    master = Metrics()
    for worker, calls in (("a", 1), ("b", 20), ("a", 300), ("a", 300)):
        master.merge(worker, counted(calls).pack())
    assert master.calls == {(Endpoint.SEND, 50000): 320, (Endpoint.VERIFY, "timeout"): 2}
    assert master.arrivals.late == 2


def answered(code: int, http_status: int = 403, is_valid: bool | None = None) -> CallResult:
    answer = ApiResponse(http_status, code, "", is_valid=is_valid)
    return Verify("m", "123456"), Outcome(Endpoint.VERIFY, 0, 1_000_000, answer)


def unconnected() -> CallResult:
    return Send("13800138000"), Outcome(Endpoint.SEND, 0, 1_000, error=NotConnectedError("refused"))


@pytest.mark.parametrize(
    ("result", "failed"),
    [
        (answered(50000, 200), 0),
        (answered(50010), 0),
        (answered(59026, is_valid=False), 0),
        (answered(50009), 0),
        (answered(50013), 1),
        (answered(59026), 1),
        (answered(50009, 503), 1),
        (answered(50019, 500), 1),
    ],
)
def test_a_call_failed_by_the_kind_of_its_answer_and_what_the_scenario_expects(result: CallResult, failed: int) -> None:
    metrics = Metrics({"RATE"})
    metrics.count([result])
    assert metrics.figures(1.0).failed.get(Endpoint.VERIFY, 0) == failed


def test_a_master_sums_the_failed_calls_of_its_workers() -> None:
    worker, master = Metrics(), Metrics()
    for total in (1, 2):
        worker.count([unconnected(), answered(50000, 200)])
        master.merge("a", worker.pack())
        master.merge("b", worker.pack())
        assert master.figures(1.0).failed == {Endpoint.SEND: 2 * total}


def test_calls_that_never_connected_have_no_latency() -> None:
    metrics = counted(1)
    metrics.count([unconnected()] * 99)
    figures = metrics.figures(1.0)
    assert judge(parse_threshold("p50(send.latency_ms) >= 1"), figures).status == "PASS"
    assert judge(parse_threshold("p50(send.caller_ms) >= 250"), figures).status == "PASS"
    assert judge(parse_threshold("share(connect) > 98%"), figures).status == "PASS"
    assert judge(parse_threshold("failed(send) >= 99%"), figures).value == 99


SENT = (Endpoint.SEND, 50000)
REFUSED = (Endpoint.SEND, 50009)


def history(*counts: tuple[float, int], every_s: float = 1) -> History:
    history = History(every_s)
    history.begin(0)
    for at_s, calls in counts:
        history.add(at_s, {SENT: calls})
    return history


def test_calls_are_those_between_two_points() -> None:
    assert history((1, 10), (3, 14)).calls() == {SENT: [10, 4]}
    assert history((1, 10), (3, 14)).times_s() == [0, 1, 3]


def test_an_outcome_that_comes_later_was_zero_before() -> None:
    late = history((1, 10))
    late.add(2, {SENT: 10, REFUSED: 5})
    assert late.calls() == {SENT: [10, 0], REFUSED: [0, 5]}


def test_a_point_that_comes_too_soon_is_left_out() -> None:
    assert history((5, 1), (6, 2), (10, 3), every_s=5).times_s() == [0, 5, 10]


def test_a_test_that_starts_anew_has_no_past() -> None:
    again = history((1, 10))
    again.begin(7)
    assert (again.times_s(), again.calls()) == ([7], {})


def test_before_a_test_there_is_nothing() -> None:
    before = History(1)
    before.end(1, {})
    assert (before.times_s(), before.calls(), before.partial()) == ([], {}, [])


def test_a_last_time_goes_on_until_it_is_as_long_as_the_others() -> None:
    long = history(*((at_s, at_s) for at_s in range(1, 243)))  # 1 to 240 s, every 2 s since the 241st point
    assert (long.times_s()[-2:], long.partial()[-2:]) == ([240, 242], [False, False])
    long.add(243, {SENT: 243})
    assert (long.times_s()[-2:], long.partial()[-2:], long.calls()[SENT][-1]) == ([242, 243], [False, True], 1)


@pytest.mark.parametrize(("ended_s", "times_s"), [(2.5, [0, 1, 2.5]), (3, [0, 1, 2, 3]), (0.5, [0, 0.5])])
def test_all_calls_of_a_test_that_has_ended_are_shown(ended_s: float, times_s: list[float]) -> None:
    ended = history(*((at_s, 10 * at_s) for at_s in (1, 2) if at_s <= ended_s))
    ended.end(ended_s, {SENT: 27})
    assert ended.times_s() == times_s
    assert sum(ended.calls()[SENT]) == 27
    assert not any(ended.partial())
    ended.end(ended_s + 4, {SENT: 30})  # the last report of a worker
    assert ended.times_s() == times_s
    assert sum(ended.calls()[SENT]) == 30


def test_the_first_calls_of_workers_are_counted_late() -> None:
    late = History(6, is_late=True)
    late.begin(0)
    for at_s in (6, 12):
        late.add(at_s, {SENT: at_s})
    assert late.partial() == [True, False]


@given(st.integers(1, 5_000))
def test_a_long_history_has_few_points_evenly_apart_and_loses_no_call(seconds: int) -> None:
    long = history(*((at_s, 3 * at_s) for at_s in range(1, seconds + 1)))
    times_s, (calls,) = long.times_s(), long.calls().values()
    gaps = [after - before for before, after in pairwise(times_s)]
    assert len(times_s) <= 241
    assert len(set(gaps[:-1])) <= 1
    assert gaps[-1] <= gaps[0]
    assert times_s[-1] == seconds
    assert calls == [3 * gap for gap in gaps]
