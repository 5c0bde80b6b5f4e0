"""A collector: it receives spans and metrics over OTLP/HTTP, and reads them with OpenTelemetry's own proto package."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue


class Collector(ThreadingHTTPServer):
    """Keeps all it receives.

    ``spans``: each with its resource. ``metrics``: those of the last export, by name, with its resource under "".
    ``refuse``: the HTTP status that every export gets. ``stall``: no export is answered until it is cleared.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[tuple[Any, dict[str, Any]]] = []
        self.metrics: dict[str, Any] = {}
        self.metric_exports = 0
        self.refuse = 0
        self.stall = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def receive(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = attributes(of_resource.resource)
                spans = [span for scope in of_resource.scope_spans for span in scope.spans]
                self.spans += [(span, resource) for span in spans]
        else:
            (of_process,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
            (scope,) = of_process.scope_metrics
            self.metrics = {metric.name: metric for metric in scope.metrics} | {"": attributes(of_process.resource)}
            self.metric_exports += 1


class _Handler(BaseHTTPRequestHandler):
    server: Collector
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        while self.server.stall.is_set():
            if self.server.stall.wait(0.05) and self.wfile.closed:
                return
        if not self.server.refuse:
            self.server.receive(self.path, body)
        self.send_response(self.server.refuse or 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Be silent."""


def attributes(holder: Any) -> dict[str, Any]:
    """Return the attributes of a span, a resource or a data point as a dictionary."""
    return {it.key: _value(it.value) for it in holder.attributes}


def _value(value: AnyValue) -> Any:
    return getattr(value, str(value.WhichOneof("value")))


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector until the block ends."""
    collector = Collector()
    thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        collector.stall.clear()
        collector.shutdown()
        collector.server_close()
        thread.join()
