"""Export the spans and metrics of a load test over OTLP, in a process of its own.

Problem
-------
Encoding and posting a batch of spans takes tens of milliseconds, and a collector that doesn't answer takes seconds. The
open loop has 5 ms for a turn. A thread of its process would not help: it would hold the interpreter's lock, and gevent
turns threads into greenlets of the same thread.

Method
------
``results.telemetry`` starts this program and writes messages to its stdin, which never blocks: a message that the pipe
has no room for is dropped and counted. This program never stops reading either. Each signal has a bounded queue and a
thread, which exports the queued items:

    load generator --pipe--> read --+--> queue of spans --> thread --> POST /v1/traces
                                    +--> queue of metrics -> thread --> POST /v1/metrics

Messages are msgpack arrays. The first one is ``["resource", attributes, close_s]``. OTEL_RESOURCE_ATTRIBUTES and
OTEL_SERVICE_NAME have priority over these attributes.

    ["spans", [[trace id, span id, endpoint, url, started_ns, latency_ns, ...], ...]]       see ``Span``
    ["metrics", started_ns, time_ns, [[name, type, help, [[labels, value], ...]], ...]]     see ``to_metrics``

Replies are lines of JSON on stdout: ``{"ready": true}`` at the start, ``{"problem": "..."}`` once, when an export fails
for the first time, and at the end the numbers of exported spans and metrics. At the end of stdin the queues are
exported for at most ``close_s``; the rest is lost.

This is the only module that imports OpenTelemetry.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgpack
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from toolkit.masking import mask_text

_READ_BYTES = 1 << 16
_BATCH = 512  # spans in one request, as the SDK's own processor
_MAX_QUEUE = 8192  # spans: a third of a second at 25,000 calls a second, all sampled
_DELAY_S = 1.0  # a batch that is not full waits for more
_STOP_S = 0.5
_MAX_PROBLEM = 200  # characters
_SCOPE = InstrumentationScope("toolkit.load_test")
_ERRNO = re.compile(r"\[Errno -?\d+\] ([\w ]+)")
_TEMPLATES = {"send": "/v1/codes", "verify": "/v1/codes/{msg_id}/valid"}
T = TypeVar("T")


class Span(NamedTuple):
    """The span of one call, as it is packed. ``error`` is a ``Failure``; ``failed``: whether thresholds count it so."""

    trace_id: str
    span_id: str
    endpoint: str
    url: str
    started_ns: int
    latency_ns: int
    wait_ns: int
    http_status: int | None
    return_code: int | None
    error: str | None
    failed: bool
    request_id: str | None
    run: str


def to_span(span: Span, resource: Resource) -> ReadableSpan:
    """Return a client span with the attributes of OpenTelemetry's semantic conventions for HTTP.

    Its status is an error if the call failed for the thresholds: a 403 for a wrong code is a right answer.
    """
    url = urlsplit(span.url)
    attributes = {
        "http.request.method": "POST",
        "http.response.status_code": span.http_status,
        "url.full": span.url,
        "url.template": _TEMPLATES[span.endpoint],
        "server.address": url.hostname,
        "server.port": url.port or (443 if url.scheme == "https" else 80),
        "network.protocol.version": "1.1",
        "error.type": (span.error or str(span.return_code)) if span.failed else None,
        "smscode.return_code": span.return_code,
        "smscode.wait_ms": span.wait_ns / 1e6,
        "smscode.request_id": span.request_id,
        "smscode.run": span.run or None,
    }
    context = SpanContext(int(span.trace_id, 16), int(span.span_id, 16), False, TraceFlags(TraceFlags.SAMPLED))
    return ReadableSpan(
        f"POST {_TEMPLATES[span.endpoint]}",
        context,
        resource=resource,
        attributes={name: value for name, value in attributes.items() if value is not None},
        kind=SpanKind.CLIENT,
        status=Status(StatusCode.ERROR) if span.failed else Status(StatusCode.UNSET),
        start_time=span.started_ns,
        end_time=span.started_ns + span.latency_ns,
        instrumentation_scope=_SCOPE,
    )


def to_metrics(started_ns: int, time_ns: int, families: Iterable[Sequence[Any]], resource: Resource) -> MetricsData:
    """Return families as metrics with cumulative counts since ``started_ns``.

    Args:
        started_ns, time_ns: the start of the load test and the time of the values, in ns since 1970.
        families: name, type of Prometheus, help and samples of each. A sample is its labels and value; of a histogram,
            its labels, the sum, the upper bounds without the infinite one, and the calls in each bucket.
        resource: the attributes of the process.
    """

    def number(labels: Mapping[str, str], value: float) -> NumberDataPoint:
        return NumberDataPoint(labels, started_ns, time_ns, value)

    def histogram(
        labels: Mapping[str, str], total: float, bounds: list[float], counts: list[int]
    ) -> HistogramDataPoint:
        unknown: Any = (None, None)  # the minimum and the maximum
        return HistogramDataPoint(labels, started_ns, time_ns, sum(counts), total, counts, bounds, *unknown)

    metrics, cumulative = [], AggregationTemporality.CUMULATIVE
    for name, kind, text, samples in families:
        data: Sum | Gauge | Histogram
        if kind == "histogram":
            data = Histogram([histogram(*it) for it in samples], cumulative)
        elif kind == "counter":
            data = Sum([number(*it) for it in samples], cumulative, is_monotonic=True)
        else:
            data = Gauge([number(*it) for it in samples])
        metrics.append(Metric(name, text, "s" if name.endswith("_seconds") else "1", data))
    scope = ScopeMetrics(_SCOPE, metrics, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


class ExportQueue(threading.Thread, Generic[T]):
    """Exports items in a thread of its own.

    Args:
        export: exports some items and returns whether it succeeded; it may block.
        max_queued: the most items that wait; further ones are dropped.
        max_batch: the most items of one export.
        delay_s: the time that a batch waits for more items.

    Attributes:
        offered, exported: the numbers of items so far.
        has_exported_last: whether the newest item was exported.
    """

    def __init__(self, export: Callable[[list[T]], bool], max_queued: int, max_batch: int, delay_s: float) -> None:
        super().__init__(daemon=True)
        self._export, self._max_batch, self._delay_s = export, max_batch, delay_s
        self._items: deque[T] = deque(maxlen=max_queued)  # the oldest are dropped
        self._changed = threading.Condition()
        self._is_closing = False
        self.offered = self.exported = 0
        self.has_exported_last = False

    def put(self, items: Sequence[T]) -> None:
        """Queue items, and drop the oldest if there is no room."""
        with self._changed:
            self.offered += len(items)
            self.has_exported_last = False
            self._items.extend(items)
            self._changed.notify()

    def close(self) -> None:
        """End the thread once the queued items are exported; ``join`` waits for that."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()

    def run(self) -> None:
        """Export until the queue is closed and empty."""
        while batch := self._next_batch():
            is_exported = self._export(batch)
            with self._changed:
                self.exported += len(batch) * is_exported
                self.has_exported_last = is_exported and not self._items

    def _next_batch(self) -> list[T]:
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._is_closing)
            self._changed.wait_for(lambda: len(self._items) >= self._max_batch or self._is_closing, self._delay_s)
            return [self._items.popleft() for _ in range(min(self._max_batch, len(self._items)))]


class ProblemHandler(logging.Handler):
    """Reports the first problem that OpenTelemetry logs, such as an unreachable collector.

    ``reported_s``: when it was reported, by a monotonic clock; None before.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._report = report
        self.reported_s: float | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Report the first record: the system's text for a network error, else the record's text without secrets."""
        if self.reported_s is None:
            self.reported_s = time.monotonic()
            text = record.getMessage()
            match = _ERRNO.search(text)
            self._report(match[1].lower() if match else mask_text(text)[:_MAX_PROBLEM])


def export_all(source: IO[bytes], reply: Callable[[Mapping[str, object]], None]) -> None:
    """Export the messages of a stream until its end.

    Args:
        source: the messages.
        reply: sends a reply.
    """
    logger = logging.getLogger("opentelemetry")
    problems = ProblemHandler(lambda text: reply({"problem": text}))
    logger.addHandler(problems)
    logger.propagate = False
    span_exporter, metric_exporter = OTLPSpanExporter(), OTLPMetricExporter()
    unpacker, resource, close_s = msgpack.Unpacker(), Resource.get_empty(), 0.0

    def export_spans(spans: list[list[Any]]) -> bool:
        return span_exporter.export([to_span(Span(*it), resource) for it in spans]) is SpanExportResult.SUCCESS

    def export_metrics(snapshots: list[list[Any]]) -> bool:
        started_ns, time_ns, families = snapshots[-1]
        metrics = to_metrics(started_ns, time_ns, families, resource)
        return metric_exporter.export(metrics) is MetricExportResult.SUCCESS

    spans = ExportQueue(export_spans, _MAX_QUEUE, _BATCH, _DELAY_S)
    snapshots = ExportQueue(export_metrics, 2, 2, 0.0)
    queues = (spans, snapshots)
    for queue in queues:
        queue.start()
    reply({"ready": True})
    while data := os.read(source.fileno(), _READ_BYTES):
        unpacker.feed(data)
        for kind, *content in unpacker:
            if kind == "resource":
                resource, close_s = Resource(content[0]).merge(OTELResourceDetector().detect()), content[1]
            elif kind == "spans":
                spans.put(content[0])
            else:
                snapshots.put([content])
    began_s = time.monotonic()
    if problems.reported_s is not None and not any(queue.exported for queue in queues):
        began_s = problems.reported_s  # a collector that was never there has had its time
    until_s = began_s + close_s
    for queue in queues:
        queue.close()
    for queue in queues:
        queue.join(max(0.0, until_s - time.monotonic()))
    if any(queue.is_alive() for queue in queues):
        for exporter in (span_exporter, metric_exporter):
            exporter.shutdown()  # ends a wait for the next attempt
        for queue in queues:
            queue.join(_STOP_S)
    figures = {"metrics": snapshots.exported, "last_metrics": snapshots.has_exported_last}
    reply({"offered": spans.offered, "exported": spans.exported, **figures})


def main() -> None:
    """Export from stdin. Ctrl-C in the terminal is for the load generator, which then ends the input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def reply(message: Mapping[str, object]) -> None:
        with suppress(OSError):  # the load generator has been killed
            print(json.dumps(message), flush=True)

    export_all(sys.stdin.buffer, reply)
    os._exit(0)  # a request that still waits for the collector doesn't keep the process


if __name__ == "__main__":
    main()
