"""Split lines of text into columns: rows of CSV, and access logs of nginx, Apache, gunicorn and AWS load balancers.

A line is split in one pass from left to right, so its cost grows with its length and not with its content: callers
choose parts of a line, such as their User-Agent.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from toolkit.api.errors import InputError

Split: TypeAlias = Callable[[str], list[str] | None]
"""Returns the values of a line, or None if it is not in the format."""

ColumnMap: TypeAlias = Mapping[str, str | tuple[str, ...]]
"""Names of a log's columns by field."""

_UNITS = ("ns", "us", "ms", "s")

TIMES = tuple(f"{name}{unit}" for name in ("started", "ended") for unit in ("", *(f"_{it}" for it in _UNITS)))
LATENCIES = tuple(f"latency_{unit}" for unit in _UNITS)
WAITS = tuple(f"wait_{unit}" for unit in _UNITS)
REQUESTS = ("endpoint", "request", "path")
# The fields that a column can be mapped to. A call needs a time, and an endpoint, a request or a path.
FIELDS = (
    *TIMES,
    *LATENCIES,
    *WAITS,
    *REQUESTS,  # a request is "POST /v1/codes HTTP/1.1"
    *(
        "method",
        "http_status",
        "return_code",
        "error",
        "run",
        "source",
        "app_key",
        "segments",
        "request_id",
        "trace_id",
    ),
    *("mobile", "mobile_key", "prefix", "temp_id", "msg_id"),
    *("body", "answer"),  # the JSON bodies of the request and of the response
)

KNOWN_COLUMNS: Mapping[str, tuple[str, ...]] = {field: (field,) for field in FIELDS} | {
    # "time" is the service's and ALB's, the others are nginx's variables. All log a request after its response.
    "ended": ("ended", "time", "time_iso8601", "time_local"),
    "ended_s": ("ended_s", "msec"),
    "latency_s": ("latency_s", "request_time"),
    "method": ("method", "request_method"),
    "path": ("path", "request_uri", "uri"),
    "http_status": ("http_status", "status"),
    "return_code": ("return_code", "sent_http_x_return_code", "upstream_http_x_return_code"),
    "app_key": ("app_key", "remote_user"),
    "source": ("source", "hostname", "server_name"),
    "body": ("body", "request_body"),
    "answer": ("answer", "response_body"),
    "request_id": ("request_id", "sent_http_x_request_id"),
    "trace_id": ("trace_id", "otel_trace_id"),  # the second is a variable of nginx's OpenTelemetry module
}
"""The columns that are known to hold a field, the first one that has a value counts."""

# The service's own messages are JSON too. These columns distinguish them from calls.
MESSAGE_COLUMNS = ("logger", "message")

_HOST = '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent'
COMBINED = f'{_HOST} "$http_referer" "$http_user_agent"'
"""The predefined log format of nginx, Apache and gunicorn."""
COMMON = _HOST
ALB = (
    "$type $time $elb $client $target $target_wait_s $target_s $response_s $status $target_status"
    ' $received_bytes $sent_bytes "$request" "$user_agent" $rest'
)
"""The access log of an AWS application load balancer, whose latency is the sum of three times."""
ALB_LATENCIES = ("target_wait_s", "target_s", "response_s")

_ALB_TYPES = ("http ", "https ", "h2 ", "grpcs ", "ws ", "wss ")

_ESCAPED = re.compile(r"(?:\\x[0-9A-Fa-f]{2})+")


@dataclass(frozen=True, slots=True)
class LineFormat:
    """The names of a line's columns, and the function that splits it."""

    names: tuple[str, ...]
    split: Split


def parse_log_format(log_format: str) -> LineFormat:
    r"""Return the columns of an access log by nginx's ``log_format``.

    Raise InputError for a format without variables, or with the same variable twice.

    >>> parse_log_format('$status "$request" $request_time').split('200 "GET /" 0.5')
    ['200', 'GET /', '0.5']
    """
    parts = re.split(r"\$(\w+)", log_format)
    names = tuple(parts[1::2])
    if not names or len(set(names)) < len(names):
        raise InputError(f"invalid log_format {log_format!r}: copy it from nginx.conf, with each $variable once")
    first, *between, last = parts[::2]

    def split(line: str) -> list[str] | None:
        if not line.startswith(first):
            return None
        at, values = len(first), []
        for text in between:
            end = line.find(text, at)
            if end > at and line[end - 1] == "\\" and text[:1] == '"':
                end = _find_unescaped(line, text, at, end)
            if end < 0:
                return None
            values.append(line[at:end])
            at = end + len(text)
        end = len(line) - len(last)
        if end < at or not line.endswith(last):
            return None
        values.append(line[at:end])
        return [unescape(value) for value in values] if "\\x" in line else values

    return LineFormat(names, split)


def alb_format() -> LineFormat:
    """Return the columns of the access log of an AWS application load balancer.

    Its lines begin with one of six types. Other lines are recognised by that, without being split at 14 places.
    """
    whole = parse_log_format(ALB)
    return LineFormat(whole.names, lambda line: whole.split(line) if line.startswith(_ALB_TYPES) else None)


def _find_unescaped(line: str, text: str, at: int, end: int) -> int:
    r"""Return where a separator begins. A quote behind a backslash is part of the value: Apache writes ``\"``."""
    while end > at and line[end - 1] == "\\":
        first = end
        while first > at and line[first - 1] == "\\":
            first -= 1
        if (end - first) % 2 == 0:
            break
        end = line.find(text, end + 1)
    return end


def unescape(text: str) -> str:
    r"""Replace nginx's ``\xHH`` by the characters of these UTF-8 bytes.

    >>> unescape(r'{\x22code\x22:1}')
    '{"code":1}'
    """
    return _ESCAPED.sub(lambda found: _decode(found[0]), text)


def repair_json(line: str) -> str | None:
    r"""Return a line as valid JSON: nginx's ``\xHH`` in it, and halves of surrogate pairs, are replaced.

    Return None if that gives no JSON object.
    """
    line = _ESCAPED.sub(lambda found: json.dumps(_decode(found[0]))[1:-1], line)
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    text = json.dumps(fields, ensure_ascii=False) if isinstance(fields, dict) else None
    return text and text.encode("utf-8", "replace").decode()


def _decode(escaped: str) -> str:
    return bytes.fromhex(escaped.replace("\\x", "")).decode("utf-8", "replace")


def csv_format(header: str) -> LineFormat:
    """Return the columns of a CSV file by its header."""
    names = tuple(next(csv.reader([header]), ()))

    def split(row: str) -> list[str] | None:
        if '"' not in row:
            values = row.split(",")
        else:
            try:
                values = next(csv.reader([row], strict=True), [])
            except csv.Error:
                return None
        return values if len(values) == len(names) else None

    return LineFormat(names, split)


def is_csv_header(line: str, known: Mapping[str, Sequence[str]]) -> bool:
    """Return whether a line names a column with a time and one with an endpoint, a request or a path."""
    names = {name.strip().strip('"') for name in line.split(",")}
    return all(any(not names.isdisjoint(known[field]) for field in fields) for fields in (TIMES, REQUESTS))


# Lines of other programs around a log's own lines.

_PREFIX = re.compile(r"[0-9T:.+Z-]{20,40} (?:stdout|stderr) [FP] |[\w.-]{1,100} +\| ?")  # CRI; docker compose
_WRAPPED_IN = ("log", "MESSAGE")  # Docker's json-file; journalctl -o json


def unwrapper(lines: Sequence[str]) -> Callable[[str], str] | None:
    """Return the function that takes the log's own line out of a container's or journald's line, judged by samples.

    Return None if the lines are not wrapped.

    >>> unwrapper(["web-1  | hello"])("web-1  | hello")
    'hello'
    """
    if any(_PREFIX.match(line) for line in lines):
        return _strip_prefix
    if any(_unwrap_json(line) != line for line in lines):
        return _unwrap_json
    return None


def _strip_prefix(line: str) -> str:
    found = _PREFIX.match(line)
    return line[found.end() :] if found else line


def _unwrap_json(line: str) -> str:
    if not line.startswith("{"):
        return line
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return line
    inner = next((fields[name] for name in _WRAPPED_IN if isinstance(fields.get(name), str)), None)
    is_wrapped = inner is not None and ("stream" in fields or "__REALTIME_TIMESTAMP" in fields)
    return inner.rstrip("\r\n") if is_wrapped and inner is not None else line
