"""Spans and metrics of a load test reach a collector, and no collector can hold the load test up."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from support.api import Api
from support.locust import run_locust
from support.otlp import attributes, collecting
from support.redis import free_port
from support.service import running

from toolkit import analysis
from toolkit.api.return_codes import ReturnCode
from toolkit.api.trace_context import TraceContext
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.load_test.generator.results.metrics import Metrics
from toolkit.load_test.generator.results.prometheus import LoadState, to_rows
from toolkit.load_test.generator.results.telemetry import Telemetry
from toolkit.load_test.generator.steps import CallResult, Outcome, Send, Verify
from toolkit.runs import run_folder
from toolkit.settings import Target

MS = 10**6
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = ApiResponse(200, ReturnCode.SUCCESS, "success", msg_id="m-1")


def traced(call: Send | Verify, outcome: Outcome) -> CallResult:
    return call, replace(outcome, trace=TraceContext(TRACE, SPAN, True))


def test_only_sampled_calls_have_spans_and_no_span_holds_a_mobile_or_a_code(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [
        (Send("13800138000"), Outcome(Endpoint.SEND, 10**18, 5, SENT)),
        traced(Send("13800138000"), Outcome(Endpoint.SEND, 10**18, 5, SENT, wait_ns=2 * MS)),
        traced(Verify("13800138000", "123456"), Outcome(Endpoint.VERIFY, 10**18, 7, SENT)),
    ]
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        telemetry = Telemetry(120.0)
        telemetry.await_ready()
        telemetry.export_spans(results, "http://api.example:8018", "r1", ())
        assert telemetry.close() == ""
        (send, verify) = (attributes(span) for span, _ in collector.spans)
        assert {span.trace_id.hex() for span, _ in collector.spans} == {TRACE}
        assert [span.span_id.hex() for span, _ in collector.spans] == [SPAN, SPAN]
    assert (send["url.full"], send["smscode.wait_ms"]) == ("http://api.example:8018/v1/codes", 2.0)
    assert verify["url.full"] == "http://api.example:8018/v1/codes/1380013****/valid"
    assert not [it for it in (*send.values(), *verify.values()) if "13800138000" in str(it) or "123456" in str(it)]


@pytest.mark.parametrize(
    ("program", "reason"),
    [("import time; time.sleep(240)", "the exporter could not keep up"), ("", "the exporter has ended")],
)
def test_an_exporter_that_reads_nothing_holds_up_no_call_and_the_note_tells_the_loss(program: str, reason: str) -> None:
    telemetry = Telemetry(0.1, [sys.executable, "-c", program])
    if not program:
        telemetry.await_ready()
    results = [traced(Send("13800138000"), Outcome(Endpoint.SEND, 10**18, 5, SENT)) for _ in range(1_000)]
    for _ in range(50):  # 8 MB
        telemetry.export_spans(results, "http://api.example:8018", "r1", ())
    assert telemetry.close() == f"OpenTelemetry: 50,000 of 50,000 spans were not exported: {reason}"


def test_a_histogram_has_the_calls_between_its_bounds() -> None:
    metrics = Metrics()
    for latency_ms in (0.5, 4, 4, 90_000):
        metrics.count([(Send("1"), Outcome(Endpoint.SEND, 1, int(latency_ms * MS), SENT))])
    rows = {name: (kind, samples) for name, kind, _, samples in to_rows(LoadState.of(metrics, None, (), 1, ""))}
    kind, samples = rows["smscode_load_latency_seconds"]
    ((_, total, bounds, counts),) = [it for it in samples if it[0]["endpoint"] == "send"]
    assert (kind, len(counts), sum(counts)) == ("histogram", len(bounds) + 1, 4)
    assert (counts[0], counts[bounds.index(0.005)], counts[-1]) == (1, 2, 1)
    assert total == pytest.approx(90.0085, rel=0.01)


@pytest.mark.parametrize(
    "options",
    [("--rate", "40", "--processes", "2", "--max-dropped", "100%"), ("-u", "3", "-r", "3")],
    ids=["open loop, two workers", "users"],
)
def test_a_sampled_call_has_one_trace_id_in_its_span_its_record_and_the_log_of_the_service(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    with log.open("w") as file, collecting() as collector, running("--log-calls", stderr=file) as service:
        done = run_locust(
            Target(service.url, service.app_key, service.master_secret, 1),
            *(*options, "-t", "6", "--sms-otel", "--max-bottleneck", "100%"),
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_TRACES_SAMPLER_ARG="0.3",
            OTEL_BSP_EXPORT_TIMEOUT="120000",
            SMSCODE_RUN_DIR=str(run),
        )
        assert "Traceback" not in done.stderr  # a slow machine may be the bottleneck, so that nothing passes
        spans = {span.trace_id.hex(): span for span, _ in collector.spans}
        metrics = collector.metrics
    calls = analysis.read(run).to_pandas()
    sampled = calls.dropna(subset="trace_id").set_index("trace_id")
    assert 0 < len(sampled) < len(calls)
    latencies_ns = {trace: it.end_time_unix_nano - it.start_time_unix_nano for trace, it in spans.items()}
    assert latencies_ns == sampled["latency_ns"].to_dict()
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    codes = {line["trace_id"]: line["return_code"] for line in logged if "trace_id" in line}
    answered = sampled["return_code"].dropna().to_dict()  # without the calls that the end of the run cut off
    assert answered == {trace: code for trace, code in codes.items() if trace in answered}
    assert answered == {
        trace: known["smscode.return_code"]
        for trace, known in ((trace, attributes(span)) for trace, span in spans.items())
        if "smscode.return_code" in known
    }
    assert codes.keys() <= spans.keys()
    counted = {
        (point["endpoint"], point["outcome"]): value for point, value in points(metrics["smscode_load_calls"]) if value
    }
    outcomes = calls["return_code"].astype("string").fillna(calls["error"].astype("string"))
    assert counted == Counter(zip(calls["endpoint"], outcomes, strict=True))
    assert not (run / run_folder.NOTES_NAME).exists()


def points(metric: Any) -> list[tuple[dict[str, Any], int]]:
    return [(attributes(it), it.as_int) for it in metric.sum.data_points]


def test_a_collector_that_is_not_there_is_noted_and_the_load_test_passes(api: Api, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run_locust(
        api.target,
        *("-t", "2", "--sms-otel"),
        OTEL_EXPORTER_OTLP_ENDPOINT=url,
        OTEL_TRACES_SAMPLER="always_on",
        SMSCODE_RUN_DIR=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    (note,) = (tmp_path / run_folder.NOTES_NAME).read_text().splitlines()
    assert note.startswith("OpenTelemetry: ")
    assert note.endswith(f" spans were not exported and no metrics were exported: {url}: connection refused")
    assert done.stderr.count("connection refused; the load test goes on") == 1
    calls = analysis.read(tmp_path).to_pandas().dropna(subset="return_code")  # the end cuts the last ones off
    recorded = Counter(zip(calls["endpoint"], calls["return_code"], strict=True))
    assert recorded <= api.answered
    assert recorded.total() > 0


def test_settings_that_cannot_be_used_cost_nothing(api: Api) -> None:
    done = run_locust(api.target, "-t", "2", "--sms-otel", OTEL_TRACES_SAMPLER_ARG="many")
    assert done.returncode == 1
    assert "invalid OTEL_TRACES_SAMPLER_ARG 'many': expected a ratio from 0 to 1" in done.stderr
    assert "Traceback" not in done.stderr
    assert not api.connections
