"""Write spans and metrics to the exporter, ``load_test.otlp_exporter``, which runs in a process of its own."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import gevent
import msgpack
from gevent import subprocess
from gevent.event import Event
from gevent.socket import wait_write

from toolkit.api.wire import CODES_PATH, verify_path
from toolkit.load_test.generator.http.call_outcome import classify
from toolkit.load_test.generator.results.prometheus import LoadState, to_rows
from toolkit.load_test.generator.steps import CallResult, Send
from toolkit.masking import mask_text
from toolkit.records.call_record import is_failed

_EXPORTER = (sys.executable, "-m", "toolkit.load_test.otlp_exporter")
_MAX_UNSENT_BYTES = 1 << 20  # in addition to the 64 KiB of the pipe
_NICENESS = 10
_READY_S = 10.0
_GRACE_S = 1.5  # for the exporter, beyond the time of its last exports
_ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
_DEFAULT_ENDPOINT = "http://localhost:4318"

logger = logging.getLogger(__name__)


class Telemetry:
    """Exports the spans and metrics of one process, and never waits for the collector while calls are made.

    Args:
        close_s: the time for the last exports, when the calls have ended.
        command: the exporter; another one in a test.
    """

    def __init__(self, close_s: float, command: Sequence[str] = _EXPORTER) -> None:
        self._close_s = close_s
        read_fd, self._write_fd = os.pipe()
        try:
            self._process = subprocess.Popen(command, stdin=read_fd, stdout=subprocess.PIPE)
        finally:
            os.close(read_fd)
        with suppress(ProcessLookupError):
            niceness = os.getpriority(os.PRIO_PROCESS, self._process.pid) + _NICENESS
            os.setpriority(os.PRIO_PROCESS, self._process.pid, niceness)  # calls come first
        os.set_blocking(self._write_fd, False)
        self._pack = msgpack.Packer().pack
        self._unsent = b""
        self._spans = self._exported_spans = self._exported_metrics = 0
        self._has_last_metrics = False
        self._has_offered_metrics = False
        self._problem = ""
        self._is_ready = Event()
        self._reader = gevent.spawn(self._read_replies)
        name = f"{socket.gethostname()}-{os.getpid()}"
        resource = {"service.name": "smscode-load", "service.version": version("sms-code-toolkit")}
        self._offer(["resource", resource | {"service.instance.id": name}, close_s])

    def await_ready(self) -> None:
        """Wait until the exporter has been imported, so that it doesn't take the time of the first calls."""
        self._is_ready.wait(_READY_S)

    def export_spans(self, results: Sequence[CallResult], base_url: str, run: str, expected: Collection[Any]) -> None:
        """Export the spans of the calls that are sampled.

        Args:
            results: the results of calls.
            base_url: of the target.
            run: the name of the run.
            expected: the outcomes that are not failures, see ``call_record.is_failed``.
        """
        spans = [_span(result, base_url, run, expected) for result in results if result[1].trace is not None]
        if spans:
            self._spans += len(spans)
            self._offer(["spans", spans])

    def export_metrics(self, state: LoadState, began_s: float) -> None:
        """Export the figures of a load test, which began at ``began_s``, in s since 1970."""
        self._has_offered_metrics = True
        self._offer(["metrics", int(began_s * 1e9), time.time_ns(), to_rows(state)])

    def close(self) -> str:
        """Export the rest for a few seconds at most. Return a note on losses, "" without any."""
        with gevent.Timeout(self._close_s + _GRACE_S, False):
            while self._unsent and self._process.poll() is None:
                wait_write(self._write_fd)
                self._flush()
            os.close(self._write_fd)
            self._write_fd = -1
            self._process.wait()
            self._reader.join()
        if self._write_fd >= 0:
            os.close(self._write_fd)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        return self._note()

    def _note(self) -> str:
        lost = self._spans - self._exported_spans
        losses = []
        if lost:
            losses.append(f"{lost:,} of {self._spans:,} spans were not exported")
        if self._has_offered_metrics and not self._exported_metrics:
            losses.append("no metrics were exported")
        elif self._has_offered_metrics and not self._has_last_metrics:
            losses.append("the last metrics were not exported")
        if not losses:
            return ""
        return f"OpenTelemetry: {' and '.join(losses)}: {self._problem or 'the exporter could not keep up'}"

    def _offer(self, message: list[Any]) -> None:
        """Write a message to the exporter, or drop it if the exporter has not read a lot of earlier ones."""
        if len(self._unsent) < _MAX_UNSENT_BYTES:
            self._unsent += self._pack(message)
            self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._write_fd, self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent = b""  # the exporter has ended
            self._problem = self._problem or "the exporter has ended"

    def _read_replies(self) -> None:
        """Read the exporter's lines until its end."""
        for line in self._process.stdout:
            reply: dict[str, Any] = json.loads(line)
            if "ready" in reply:
                self._is_ready.set()
            elif "problem" in reply:
                endpoint = mask_text(next(filter(None, map(os.environ.get, _ENDPOINTS)), _DEFAULT_ENDPOINT))
                self._problem = f"{endpoint}: {reply['problem']}"
                logger.warning("OpenTelemetry: %s; the load test goes on", self._problem)
            else:
                self._exported_spans, self._exported_metrics = reply["exported"], reply["metrics"]
                self._has_last_metrics = reply["last_metrics"]
        self._is_ready.set()


def _span(result: CallResult, base_url: str, run: str, expected: Collection[Any]) -> list[Any]:
    """Return the values of an ``otlp_exporter.Span``."""
    call, outcome = result
    assert outcome.trace is not None
    path = CODES_PATH if isinstance(call, Send) else verify_path(call.msg_id)
    status = code = error = kind = request_id = None
    if (response := outcome.response) is not None:
        status, code, kind, request_id = (
            response.http_status,
            int(response.return_code),
            response.kind,
            response.request_id,
        )
    elif outcome.error is not None:
        error = classify(outcome.error)
        status = getattr(outcome.error, "http_status", None)
    return [
        *(outcome.trace.trace_id, outcome.trace.span_id, outcome.endpoint, mask_text(f"{base_url}{path}")),
        *(outcome.started_ns, outcome.latency_ns, outcome.wait_ns, status, code, error),
        *(is_failed(code, kind, error, expected), request_id and mask_text(request_id), run),
    ]
