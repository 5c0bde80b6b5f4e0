"""Compare the exported metrics with what was counted and with docs/reference/load-metrics.md."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.api import Api
from support.locust import run_locust
from support.redis import free_port

from toolkit.api.errors import TransportError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.load_test.generator.results.metrics import Metrics
from toolkit.load_test.generator.results.prometheus import LoadState, render
from toolkit.load_test.generator.steps import CallResult, Outcome, Send
from toolkit.load_test.plan.schedule import ArrivalCounts
from toolkit.runs.thresholds import judge, parse_threshold

DOCS = (Path(__file__).parents[4] / "docs/reference/load-metrics.md").read_text(encoding="utf-8")
MS = 10**6


def sent(code: ReturnCode | None, latency_ms: float, wait_ms: float = 0.0) -> CallResult:
    times = {"latency_ns": int(latency_ms * MS), "wait_ns": int(wait_ms * MS)}
    if code is None:
        error = TransportError("no response")
        error.__cause__ = TimeoutError()
        return Send("13800138000"), Outcome(Endpoint.SEND, 1, error=error, **times)
    answer = ApiResponse(code.http_status, code, "", "id")
    return Send("13800138000"), Outcome(Endpoint.SEND, 1, response=answer, **times)


def state(bottleneck: str | None = "") -> LoadState:
    metrics = Metrics()
    metrics.count([sent(ReturnCode.SUCCESS, 4, 3), sent(ReturnCode.SUCCESS, 200), sent(ReturnCode.OUT_OF_FREQ, 1)])
    metrics.count([sent(None, 10_000)])
    metrics.arrivals = ArrivalCounts(due=9, late=1, queued=2, dropped=3)
    texts = ("failed < 1%", "ok_ratio(verify) > 1%", "ok_ratio(send) > 1%")
    verdicts = [judge(parse_threshold(it), metrics.figures(2.0)) for it in texts]
    return LoadState.of(metrics, 10, verdicts, 2, bottleneck)


def samples(text: bytes) -> dict[str, float]:
    found = [line.rsplit(" ", 1) for line in text.decode().splitlines() if line.startswith("smscode_")]
    return {name: float(value) for name, value in found}


def test_calls_arrivals_budget_and_thresholds_have_their_values() -> None:
    found = samples(render(state())[0])
    expected = {
        'smscode_load_calls_total{endpoint="send",outcome="50000"}': 2,
        'smscode_load_calls_total{endpoint="send",outcome="timeout"}': 1,
        'smscode_load_calls_total{endpoint="verify",outcome="50012"}': 0,
        'smscode_load_failed_calls_total{endpoint="send"}': 2,
        'smscode_load_failed_calls_total{endpoint="verify"}': 0,
        'smscode_load_latency_seconds_bucket{endpoint="send",le="0.005",outcome="50000"}': 1,
        'smscode_load_caller_seconds_bucket{endpoint="send",le="0.005",outcome="50000"}': 0,
        'smscode_load_caller_seconds_bucket{endpoint="send",le="0.01",outcome="50000"}': 1,
        'smscode_load_caller_seconds_count{endpoint="send",outcome="50000"}': 2,
        'smscode_load_caller_seconds_count{endpoint="verify",outcome="50000"}': 0,
        "smscode_load_messages_total": 3,
        "smscode_load_budget_messages_left": 7,
        "smscode_load_arrivals_due_total": 9,
        "smscode_load_arrivals_dropped": 3,
        'smscode_load_threshold_status{status="FAIL",threshold="failed < 1%"}': 1,
        'smscode_load_threshold_status{status="PASS",threshold="failed < 1%"}': 0,
        'smscode_load_threshold_status{status="NO_DATA",threshold="ok_ratio(verify) > 1%"}': 1,
        'smscode_load_threshold_value{threshold="failed < 1%"}': 50,
        'smscode_load_threshold_limit{threshold="failed < 1%"}': 1,
        "smscode_load_workers": 2,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found['smscode_load_caller_seconds_sum{endpoint="send",outcome="50000"}'] == pytest.approx(0.207)


@pytest.mark.parametrize(("bottleneck", "shown"), [(None, None), ("", 0), ("busy", 1)])
def test_a_bottleneck_is_shown_once_it_is_known_and_nothing_passes_before_or_beside_one(
    bottleneck: str | None, shown: int | None
) -> None:
    found = samples(render(state(bottleneck))[0])
    assert found.get("smscode_load_bottleneck") == shown
    passes = {name for name, value in found.items() if 'status="PASS"' in name and value}
    threshold = 'smscode_load_threshold_status{status="PASS",threshold="ok_ratio(send) > 1%"}'
    assert passes == ({threshold} if shown == 0 else set())


def test_arrivals_that_have_not_begun_are_a_gauge_because_their_number_falls() -> None:
    families = {it.name: it.type for it in text_string_to_metric_families(render(state())[0].decode())}
    assert families["smscode_load_arrivals_dropped"] == "gauge"
    assert families["smscode_load_arrivals_due"] == "counter"


def test_after_the_end_the_figures_stay_but_no_test_is_running() -> None:
    found = [samples(render(replace(state(), is_running=it))[0]) for it in (True, False)]
    assert [it.pop("smscode_load_running") for it in found] == [1, 0]
    assert found[0] == found[1]


def test_before_the_first_test_nothing_else_is_exported() -> None:
    assert samples(render(None)[0]) == {"smscode_load_running": 0.0}


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    told = re.findall(r"^\| `(smscode_\w+)` \| (\w+) \| (.*?) \|", DOCS, re.MULTILINE)
    shown = []
    for family in text_string_to_metric_families(render(state())[0].decode()):
        if family.name.startswith("smscode_"):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
            shown.append((name, family.type, ", ".join(labels)))
    assert sorted(told) == sorted(shown)


def test_a_port_that_is_taken_costs_nothing(api: Api) -> None:
    done = run_locust(api.target, "--metrics-port", str(api.server_port), "-t", "2")
    assert (done.returncode, "choose another --metrics-port" in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not api.connections


def test_several_workers_share_one_port(api: Api) -> None:
    done = run_locust(api.target, "--metrics-port", str(free_port()), "--processes", "2", "-t", "2")
    assert done.returncode == 0, done.stderr
