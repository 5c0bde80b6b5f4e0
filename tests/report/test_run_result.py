import json

import pytest

from toolkit import analysis
from toolkit.api.wire import Endpoint
from toolkit.report.run_result import RunResult

SECOND = 1_000_000_000


def test_a_run_is_counted_and_timed(call):
    records = [
        call(Endpoint.SEND, 50000),
        call(Endpoint.SEND, 50009, started_ns=call(Endpoint.SEND, 50000).started_ns + SECOND),
        call(Endpoint.SEND, None, error="timeout", latency_ns=4 * SECOND),
        call(Endpoint.VERIFY, 50010, wait_ns=1_000_000),
    ]
    run = RunResult("friday", analysis.from_records(records), {"rate_per_s": 2}).summary
    assert {name: run[name] for name in ("schema", "settings", "started", "duration_s", "calls")} == {
        "schema": 2,
        "settings": {"rate_per_s": 2},
        "started": "2026-11-06T12:00:00+00:00",
        "duration_s": 4.0,
        "calls": 4,
    }
    send, verify = run["endpoints"]["send"], run["endpoints"]["verify"]
    assert (send["calls"], send["rate_per_s"]) == (3, 0.75)
    assert (send["return_codes"], send["errors"]) == ({"50000": 1, "50009": 1}, {"timeout": 1})
    assert send["latency_ms"]["p50"] == 2.0
    assert send["latency_ms"]["max"] == 4000.0
    assert verify["return_codes"] == {"50010": 1}
    assert verify["latency_ms"] == dict.fromkeys(("p50", "p90", "p95", "p99", "p99.9", "max"), 2.0)
    assert verify["caller_ms"] == dict.fromkeys(("p50", "p90", "p95", "p99", "p99.9", "max"), 3.0)


@pytest.mark.parametrize("records", ["none", "one without duration", "all"])
def test_the_summary_is_json_without_nan_and_always_of_the_same_shape(records, call, traffic):
    chosen = {"none": [], "one without duration": [call(Endpoint.SEND, 50000, latency_ns=0)], "all": traffic}
    run = RunResult("friday", analysis.from_records(chosen[records]), {"rate": float("nan")}).summary
    assert json.loads(json.dumps(run, allow_nan=False)) == run
    assert set(run) == {
        "schema",
        "exit_code",
        "exit_reasons",
        "remarks",
        "settings",
        "started",
        "ended",
        "duration_s",
        "calls",
        "endpoints",
        "spent",
        "verdicts",
        "checks",
    }
    for endpoint in (run["endpoints"]["send"], run["endpoints"]["verify"]):
        assert set(endpoint) == {"calls", "failed", "rate_per_s", "return_codes", "errors", "latency_ms", "caller_ms"}
        assert set(endpoint["latency_ms"]) == {"p50", "p90", "p95", "p99", "p99.9", "max"}


def test_an_empty_run_has_no_start_no_rate_and_no_percentiles():
    run = RunResult("friday", analysis.from_records([]), {}).summary
    assert (run["started"], run["duration_s"], run["calls"]) == (None, 0.0, 0)
    assert run["endpoints"]["send"]["rate_per_s"] is None
    assert set(run["endpoints"]["send"]["latency_ms"].values()) == {None}


def test_every_call_is_in_one_return_code_or_one_error(traffic):
    run = RunResult("friday", analysis.from_records(traffic), {}).summary
    for endpoint in run["endpoints"].values():
        assert sum(endpoint["return_codes"].values()) + sum(endpoint["errors"].values()) == endpoint["calls"]


def test_secrets_of_the_settings_are_not_in_the_summary():
    assert "hunter2" not in json.dumps(
        RunResult("friday", analysis.from_records([]), {"load": {"master_secret": "hunter2"}}).summary
    )


PRICE = {"price_per_send": "0.045", "currency": "CNY"}


def spent(call, *outcomes, **settings):
    records = [call(Endpoint.SEND, code, error=error) for code, error in outcomes]
    return RunResult("friday", analysis.from_records([*records, call(Endpoint.VERIFY, 50000)]), settings).summary[
        "spent"
    ]


def test_sends_that_were_or_may_have_been_billed_are_counted_exactly(call):
    maybe = [(50000, None), (50000, None), (50019, None), (59104, None), (None, "timeout"), (None, "reset")]
    assert spent(call, *maybe, **PRICE) == {"messages": 6, "cost": "0.270", "currency": "CNY"}


@pytest.mark.parametrize("outcome", [(50009, None), (50014, None), (50006, None), (None, "connect")])
def test_sends_that_were_free_are_not_counted(call, outcome):
    assert spent(call, outcome, **PRICE) == {"messages": 0, "cost": "0.000", "currency": "CNY"}


def failed(call, *outcomes, **settings):
    records = [call(Endpoint.SEND, code, error=error) for code, error in outcomes]
    result = RunResult("friday", analysis.from_records(records), settings)
    assert result.figures.failed == result.failed
    return result.failed[Endpoint.SEND]


def test_failed_calls_are_counted_by_kind_and_by_what_the_scenario_expects(call):
    fine = [(50000, None), (50010, None), (None, "cancelled")]
    broken = [(50019, None), (59104, None), (50014, None), *((None, it) for it in ("timeout", "connect", "reset"))]
    refused = [(50009, None)] * 10
    assert failed(call, *fine, *broken, *refused) == 16
    assert failed(call, *fine, *broken, *refused, expected=["RATE"]) == 6
    assert failed(call, *fine, *broken, *refused, expected=[50009, 50014, 59104]) == 4


def test_a_rate_is_over_the_time_in_which_calls_were_due_not_until_the_last_answer(call):
    starts_ns = [1_793_966_400 * 10**9 + at * 50_000_000 for at in range(60)]
    records = [call(Endpoint.SEND, 50000, started_ns=it, latency_ns=3_000_000_000) for it in starts_ns]
    calls = analysis.from_records(records)
    pacing = {"pacing": {"elapsed_s": 3.0}, "thresholds": ["rate(send) >= 20/s", "rate(send) <= 20/s"]}
    run = RunResult("friday", calls, {"rate_per_s": 20, "duration_s": 3, **pacing})
    assert run.summary["endpoints"]["send"]["rate_per_s"] == 20.0
    assert [it.status for it in run.verdicts] == ["PASS", "PASS"]
    closed = RunResult("friday", calls, {"users": 5, "duration_s": 4})
    assert closed.summary["endpoints"]["send"]["rate_per_s"] == 15.0
    hung = RunResult("friday", calls, {"users": 5, "duration_s": 12, "generator": {"elapsed_s": 12.5}})
    assert hung.summary["endpoints"]["send"]["rate_per_s"] == 5.0  # no call was answered after 6 s
    warm = RunResult("friday", calls, {"users": 5, "duration_s": 12, "warm_up_s": 1, "generator": {"elapsed_s": 11}})
    assert warm.after_warm_up.sending_s == 10.0
    log = RunResult("friday", calls)
    assert log.summary["endpoints"]["send"]["rate_per_s"] == pytest.approx(60 / 5.95)


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"pacing": {"due": 200, "dropped": 1}}, "PASS"),
        ({"pacing": {"due": 200, "dropped": 2}}, "FAIL"),
        ({"pacing": {"due": 200, "dropped": 2}, "bottleneck": "it got too little CPU time"}, "NO_DATA"),
        ({}, "NO_DATA"),
    ],
)
def test_a_run_that_dropped_a_share_of_its_arrivals_does_not_pass(call, settings, status):
    settings = {"thresholds": ["dropped < 1%"], **settings}
    run = RunResult("friday", analysis.from_records([call(Endpoint.SEND, 50000)]), settings)
    assert [it.status for it in run.verdicts] == [status]
    assert bool(run.reasons) == (status != "PASS")


def test_a_run_in_which_no_call_connected_has_no_times(call):
    result = RunResult(
        "friday", analysis.from_records([call(Endpoint.SEND, None, error="connect")]), {"thresholds": ["failed <= 0%"]}
    )
    assert (result.figures.times, result.summary["endpoints"]["send"]["latency_ms"]["max"]) == ({}, None)
    assert result.verdicts[0].status == "FAIL"


def test_without_a_price_the_cost_is_null(call):
    assert spent(call, (50000, None)) == {"messages": 1, "cost": None, "currency": None}
