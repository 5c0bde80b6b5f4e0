"""The service's log: one JSON object a line, on stderr. Decides what of a call is told, and what is masked.

Codes, secrets and whole mobiles are in no line. A thread of its own writes the lines, many at once, so that a slow
reader holds up no call; lines that nobody takes are lost, and counted.
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

LOG_FIELDS = "fields"  # what a module's message may bring with it, as ``extra``: fields of the line beside its text
GATHER_S = 0.1
KEPT_BYTES = 4 * 1024 * 1024  # of lines not yet written: some 12,000 calls
CLOSE_S = 1.0
_STDERR = 2

# json.dumps would make an encoder for each line.
_encode = json.JSONEncoder(separators=(",", ":")).encode
# Eleven digits that no other digit touches, but for 86; the search is quick since it begins with a 1.
_MOBILE = re.compile(r"(1(?:(?<![0-9]1)|(?<=861)(?<![0-9]861))[3-9][0-9]{5})[0-9]{4}(?![0-9])")
_FIXED = {
    row: f'"level":"{"error" if row.kind is Kind.SERVER else "info"}","http_status":{row.http_status},'
    f'"return_code":{int(row)},"kind":"{row.kind}"'
    for row in ReturnCode
}
_MSG_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def open_stderr() -> int:
    """Return the file descriptor of stderr; what of stdin, stdout and stderr is closed now takes all and keeps nothing.

    Call it before anything else is opened: the number of one that is closed goes to the next file, and uvloop aborts
    where that is a socket.
    """
    while (spare := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(spare)
    return _STDERR


class LineWriter:
    """Writes lines to a file descriptor from a thread of its own, at most every GATHER_S. Any thread may write."""

    def __init__(self, descriptor: int, counters: Counters) -> None:
        self._descriptor = descriptor
        self._counters = counters
        self._lines: list[bytes] = []
        self._kept_bytes = 0
        self._lock = threading.Lock()
        self._filled, self._closing = threading.Event(), threading.Event()
        # A daemon: where stderr is blocked for good, the process ends all the same.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Have a line written soon, or lose it where too many wait."""
        with self._lock:
            if self._kept_bytes >= KEPT_BYTES:
                self._counters.lost_lines += 1
                return
            self._lines.append(line)
            self._kept_bytes += len(line)
        if not self._filled.is_set():
            self._filled.set()

    def close(self) -> None:
        """Write what is left, unless nobody takes it within CLOSE_S."""
        self._closing.set()
        self._filled.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._filled.wait()
            self._closing.wait(GATHER_S)
            self._filled.clear()
            self._write_gathered()
        self._write_gathered()

    def _write_gathered(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
        lost = sum(_write(self._descriptor, batch).count(b"\n") for batch in _batches(lines))
        with self._lock:
            self._kept_bytes -= sum(map(len, lines))
            self._counters.lost_lines += lost


def _batches(lines: list[bytes]) -> Iterator[bytes]:
    """Join lines into what a pipe takes in one piece: other workers write to it too. A longer line goes alone."""
    batch = b""
    for line in lines:
        if batch and len(batch) + len(line) > PIPE_BUF:
            yield batch
            batch = b""
        batch += line
    yield batch


def _write(descriptor: int, batch: bytes) -> bytes:
    """Write all of a batch, and return what couldn't be: of a file that is closed, or whose reader has gone."""
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


def call_line(call: LoggedCall, return_code: ReturnCode, latency_s: float) -> bytes:
    """Make the line of an answered call; what isn't known of it is null."""
    # A caller may put anything in a msg_id's place, a code or a mobile too.
    msg_id = call.msg_id if call.msg_id and _MSG_ID.fullmatch(call.msg_id) else None
    mobile = call.mobile and f"{call.mobile[:7]}****"
    # Written out, since an encoder takes twice as long for the same.
    return (
        f'{{"time":"{_iso(time.time())}",{_FIXED[return_code]},"request_id":{_encode(mask(call.request_id.decode()))},'
        f'"endpoint":"{call.endpoint}","latency_ms":{latency_s * 1000:.3f},"app_key":{_text(call.app_key)},'
        f'"msg_id":{_text(msg_id)},"mobile":{_text(mobile)},"peer":{_encode(call.peer)}}}\n'
    ).encode()


def _text(value: str | None) -> str:
    return "null" if value is None else _encode(value)


def mask(text: str) -> str:
    """Hide the last four digits of every mobile that stands in a text."""
    return _MOBILE.sub(r"\1****", text) if _MOBILE.search(text) else text


class JsonHandler(logging.Handler):
    """Writes what modules log. Of an exception it tells type and place: its text may hold what a caller sent."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        fields: dict[str, object] = {
            "time": _iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": mask(record.getMessage()),
        }
        for name, value in getattr(record, LOG_FIELDS, {}).items():
            fields[name] = mask(value) if isinstance(value, str) else value
        if record.exc_info and record.exc_info[0]:
            kind, _, place = record.exc_info
            fields |= {"exception": kind.__qualname__, "stack": "".join(traceback.format_tb(place))}
        self._writer.write(_line(fields))


@contextmanager
def logging_json(writer: LineWriter, level: int = logging.WARNING) -> Iterator[None]:
    """Send what modules log to a writer until the block ends; what the toolkit's own do, from a level on."""
    handler, root, ours = JsonHandler(writer), logging.getLogger(), logging.getLogger("toolkit")
    before = ours.level
    root.addHandler(handler)
    ours.setLevel(level)
    try:
        yield
    finally:
        ours.setLevel(before)
        root.removeHandler(handler)
        writer.close()


def _line(fields: dict[str, object]) -> bytes:
    return _encode(fields).encode() + b"\n"


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds")
