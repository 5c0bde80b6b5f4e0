"""Write the service's log to stderr as JSON, one object a line.

Codes, secrets and whole mobiles are in no line. A background thread writes the lines in batches, so a slow reader
delays no call: up to 4 MiB is buffered, then lines are dropped and counted (``smscode_log_lines_lost_total``).
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from select import PIPE_BUF
from typing import Protocol

from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.service.metrics.counters import Counters

LOG_FIELDS = "fields"  # the key of ``extra`` under which a module passes more fields for its log line
FLUSH_INTERVAL_S = 0.1
BUFFER_BYTES = 4 * 1024 * 1024  # about 12,000 calls
CLOSE_TIMEOUT_S = 1.0
_STDERR = 2

_encode = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would create an encoder for each line
# Eleven digits with no other digit beside them, except a leading 86. Starting with a literal 1 makes the search fast.
_MOBILE = re.compile(r"(1(?:(?<![0-9]1)|(?<=861)(?<![0-9]861))[3-9][0-9]{5})[0-9]{4}(?![0-9])")
_RETURN_CODE_FIELDS = {
    row: f'"level":"{"error" if row.kind is Kind.SERVER else "info"}","http_status":{row.http_status},'
    f'"return_code":{int(row)},"kind":"{row.kind}"'
    for row in ReturnCode
}
_MSG_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def open_stderr() -> int:
    """Return the file descriptor of stderr, after opening those of stdin, stdout and stderr that are closed.

    Closed ones are opened on /dev/null. Call this before anything else is opened: the next file or socket would get
    the free descriptor, and uvloop aborts if it is a socket.
    """
    while (spare := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(spare)
    return _STDERR


class LineWriter:
    """Writes lines to a file descriptor from a background thread, at most every FLUSH_INTERVAL_S. Thread-safe."""

    def __init__(self, descriptor: int, counters: Counters) -> None:
        self._descriptor = descriptor
        self._counters = counters
        self._lines: list[bytes] = []
        self._buffered_bytes = 0
        self._lock = threading.Lock()
        self._has_lines, self._closing = threading.Event(), threading.Event()
        # A daemon thread, so that the process ends even if stderr is blocked for good.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Queue a line for writing; drop and count it if the buffer is full."""
        with self._lock:
            if self._buffered_bytes >= BUFFER_BYTES:
                self._counters.lost_lines += 1
                return
            self._lines.append(line)
            self._buffered_bytes += len(line)
        if not self._has_lines.is_set():
            self._has_lines.set()

    def close(self) -> None:
        """Write the remaining lines; give up after CLOSE_TIMEOUT_S if nobody reads them."""
        self._closing.set()
        self._has_lines.set()
        self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._has_lines.wait()
            self._closing.wait(FLUSH_INTERVAL_S)
            self._has_lines.clear()
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
        lost = sum(_write(self._descriptor, batch).count(b"\n") for batch in _batches(lines))
        with self._lock:
            self._buffered_bytes -= sum(map(len, lines))
            self._counters.lost_lines += lost


def _batches(lines: list[bytes]) -> Iterator[bytes]:
    """Join lines into batches that a pipe accepts atomically, because other workers write to the same pipe.

    A line that is longer than PIPE_BUF is a separate batch.
    """
    batch = b""
    for line in lines:
        if batch and len(batch) + len(line) > PIPE_BUF:
            yield batch
            batch = b""
        batch += line
    yield batch


def _write(descriptor: int, batch: bytes) -> bytes:
    """Write a batch; return the rest that could not be written, for example because the reader has gone."""
    done = 0
    try:
        while done < len(batch):
            done += os.write(descriptor, batch[done:])
    except OSError:
        return batch[done:]
    return b""


class LoggedCall(Protocol):
    """The fields of a call that its log line shows; None for those that are not known."""

    request_id: bytes
    peer: str
    endpoint: str
    app_key: str | None
    mobile: str | None
    msg_id: str | None
    trace_id: str | None


def call_line(call: LoggedCall, return_code: ReturnCode, latency_s: float) -> bytes:
    """Return the log line of an answered call. Unknown fields are null; an unknown ``trace_id`` is left out."""
    # A caller may send a code or a mobile in place of a msg_id, so only a UUID is logged.
    msg_id = call.msg_id if call.msg_id and _MSG_ID.fullmatch(call.msg_id) else None
    mobile = call.mobile and f"{call.mobile[:7]}****"
    trace = f',"trace_id":"{mask_mobiles(call.trace_id)}"' if call.trace_id else ""
    # An f-string takes half the time of a JSON encoder.
    return (
        f'{{"time":"{_iso(time.time())}",{_RETURN_CODE_FIELDS[return_code]},'
        f'"request_id":{_encode(mask_mobiles(call.request_id.decode()))},'
        f'"endpoint":"{call.endpoint}","latency_ms":{latency_s * 1000:.3f},"app_key":{_encode_optional(call.app_key)},'
        f'"msg_id":{_encode_optional(msg_id)},"mobile":{_encode_optional(mobile)},"peer":{_encode(call.peer)}{trace}}}\n'
    ).encode()


def _encode_optional(value: str | None) -> str:
    return "null" if value is None else _encode(value)  # the encoder takes eight times as long for None


def mask_mobiles(text: str) -> str:
    """Replace the last four digits of every mobile in a text.

    >>> mask_mobiles("to +8613800138000")
    'to +861380013****'
    """
    return _MOBILE.sub(r"\1****", text) if _MOBILE.search(text) else text


class JsonHandler(logging.Handler):
    """Writes the log records of modules as JSON lines.

    An exception is logged by its type and traceback. Its text is left out, because it may contain a caller's data.
    """

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        fields: dict[str, object] = {
            "time": _iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": mask_mobiles(record.getMessage()),
        }
        for name, value in getattr(record, LOG_FIELDS, {}).items():
            fields[name] = mask_mobiles(value) if isinstance(value, str) else value
        if record.exc_info and record.exc_info[0]:
            exception, _, trace = record.exc_info
            fields |= {"exception": exception.__qualname__, "stack": "".join(traceback.format_tb(trace))}
        self._writer.write(_encode(fields).encode() + b"\n")


@contextmanager
def logging_json(writer: LineWriter, level: int = logging.WARNING) -> Iterator[None]:
    """Send log records to a writer until the block ends, then close it. ``level`` applies to the toolkit's loggers."""
    handler, root, toolkit = JsonHandler(writer), logging.getLogger(), logging.getLogger("toolkit")
    previous_level = toolkit.level
    root.addHandler(handler)
    toolkit.setLevel(level)
    try:
        yield
    finally:
        toolkit.setLevel(previous_level)
        root.removeHandler(handler)
        writer.close()


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds")
