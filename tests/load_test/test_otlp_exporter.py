"""Messages to the exporter reach a collector; what doesn't reach it is counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import msgpack
import pytest
from support.otlp import Collector, attributes, collecting
from support.redis import free_port

from toolkit.load_test.otlp_exporter import ExportQueue, Span

ATTRIBUTES = {"service.name": "smscode-load", "service.instance.id": "here-1"}
ENOUGH_S = 120.0  # for the last exports, on the slowest machine
START_NS = 1_796_044_342_000_000_000


def span(number: int = 1, **values: Any) -> Span:
    url = "http://api.example:8018/v1/codes"
    found = Span(f"{number:032x}", f"{number:016x}", "send", url, START_NS, 5, 0, 200, 50000, None, False, None, "r1")
    return found._replace(**values)


def export(url: str, messages: Iterable[Any], close_s: float = ENOUGH_S, **settings: str) -> list[dict[str, Any]]:
    """Run the exporter over some messages and return its answers."""
    data = b"".join(map(msgpack.packb, [["resource", ATTRIBUTES, close_s], *messages]))
    done = subprocess.run(
        [sys.executable, "-m", "toolkit.load_test.otlp_exporter"],
        input=data,
        stdout=subprocess.PIPE,
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": url, **settings},
        timeout=240,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_span_has_the_attributes_of_the_conventions_for_http() -> None:
    slow = span(2, latency_ns=3_000_000_000, wait_ns=2_500_000, http_status=None, return_code=None, error="timeout")
    url = "http://api.example:8018/v1/codes/m-1/valid"
    refused = span(3, endpoint="verify", url=url, http_status=403, return_code=50010, request_id="id-1")
    spans = [span(), slow._replace(failed=True), refused]
    with collecting() as collector:
        answers = export(collector.url, [["spans", spans]])
        (good, _), (bad, _), (wrong, resource) = collector.spans
    assert answers == [{"ready": True}, {"offered": 3, "exported": 3, "metrics": 0, "last_metrics": False}]
    assert resource == ATTRIBUTES
    assert (good.trace_id.hex(), good.span_id.hex(), good.name) == (f"{1:032x}", f"{1:016x}", "POST /v1/codes")
    assert (good.kind, good.status.code, good.parent_span_id) == (3, 0, b"")
    assert attributes(good) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "url.full": "http://api.example:8018/v1/codes",
        "url.template": "/v1/codes",
        "server.address": "api.example",
        "server.port": 8018,
        "network.protocol.version": "1.1",
        "smscode.return_code": 50000,
        "smscode.wait_ms": 0.0,
        "smscode.run": "r1",
    }
    assert (bad.start_time_unix_nano, bad.end_time_unix_nano) == (START_NS, START_NS + 3_000_000_000)
    assert bad.status.code == 2
    assert (attributes(bad)["error.type"], attributes(bad)["smscode.wait_ms"]) == ("timeout", 2.5)
    assert "http.response.status_code" not in attributes(bad)
    assert (wrong.name, wrong.status.code) == ("POST /v1/codes/{msg_id}/valid", 0)
    assert attributes(wrong)["smscode.request_id"] == "id-1"


def test_the_standard_variables_name_the_service() -> None:
    with collecting() as collector:
        names = {"OTEL_SERVICE_NAME": "nightly", "OTEL_RESOURCE_ATTRIBUTES": "team=sms,service.name=other"}
        export(collector.url, [["spans", [span()]]], **names)
        ((_, resource),) = collector.spans
    assert resource == ATTRIBUTES | {"service.name": "nightly", "team": "sms"}


def test_counters_gauges_and_histograms_keep_their_kinds_and_values() -> None:
    labels = {"endpoint": "send", "outcome": "50000"}
    families = [
        ["smscode_load_calls", "counter", "Calls.", [[labels, 7.0]]],
        ["smscode_load_workers", "gauge", "Processes.", [[{}, 2.0]]],
        ["smscode_load_latency_seconds", "histogram", "Time.", [[labels, 0.25, [0.01, 0.1], [4, 2, 1]]]],
    ]
    with collecting() as collector:
        answers = export(collector.url, [["metrics", START_NS, START_NS + 9, families]])
        calls, workers, latency = (collector.metrics[name] for name, *_ in families)
    assert answers[-1] == {"offered": 0, "exported": 0, "metrics": 1, "last_metrics": True}
    (point,) = calls.sum.data_points
    assert (calls.sum.is_monotonic, calls.sum.aggregation_temporality) == (True, 2)
    assert (point.as_double, attributes(point)) == (7.0, labels)
    assert (point.start_time_unix_nano, point.time_unix_nano) == (START_NS, START_NS + 9)
    assert [it.as_double for it in workers.gauge.data_points] == [2.0]
    (times,) = latency.histogram.data_points
    assert (latency.unit, latency.histogram.aggregation_temporality) == ("s", 2)
    assert (times.count, times.sum, list(times.bucket_counts)) == (7, 0.25, [4, 2, 1])
    assert (list(times.explicit_bounds), times.HasField("min"), times.HasField("max")) == ([0.01, 0.1], False, False)


def test_a_collector_that_is_not_there_is_told_once_and_ends_nothing() -> None:
    messages = [["spans", [span(number)]] for number in range(1, 4)]
    ready, problem, end = export(f"http://127.0.0.1:{free_port()}", messages, close_s=0.5)
    assert ready == {"ready": True}
    assert problem == {"problem": "connection refused"}
    assert end == {"offered": 3, "exported": 0, "metrics": 0, "last_metrics": False}


def test_a_collector_that_does_not_answer_keeps_nobody() -> None:
    with collecting() as collector:
        collector.stall.set()
        *_, end = export(collector.url, [["spans", [span(number) for number in range(1, 10_001)]]], close_s=0.5)
    assert end == {"offered": 10_000, "exported": 0, "metrics": 0, "last_metrics": False}


def test_a_collector_that_refuses_is_told() -> None:
    with collecting() as collector:
        collector.refuse = 403
        _, problem, end = export(collector.url, [["spans", [span()]]])
    assert "403" in problem["problem"]
    assert end["exported"] == 0


def test_all_spans_of_many_messages_arrive() -> None:
    messages = [["spans", [span(1000 * number + it) for it in range(100)]] for number in range(1, 21)]
    with collecting() as collector:
        *_, end = export(collector.url, messages)
        check_spans(collector, 2_000)
    assert end == {"offered": 2_000, "exported": 2_000, "metrics": 0, "last_metrics": False}


def check_spans(collector: Collector, number: int) -> None:
    assert len({it.span_id for it, _ in collector.spans}) == len(collector.spans) == number


@pytest.mark.parametrize(("last", "is_last"), [(True, True), (False, False)])
def test_a_queue_keeps_the_newest_items_and_knows_whether_they_were_exported(last: bool, is_last: bool) -> None:
    batches: list[list[int]] = []

    def export_batch(batch: list[int]) -> bool:
        batches.append(batch)
        return last

    queue = ExportQueue(export_batch, max_queued=2, max_batch=2, delay_s=0.0)
    queue.put([1, 2, 3])
    queue.close()
    queue.run()
    assert batches == [[2, 3]]
    assert (queue.offered, queue.exported, queue.has_exported_last) == (3, 2 * last, is_last)
