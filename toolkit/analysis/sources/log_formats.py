"""Parse the fields of one log line as one call: a call record, a line of the service's log, or of an access log.

Each log names its columns differently. A column map gives, for each field in ``FIELDS``, the columns that may hold it.
A value that the log lacks stays unknown: nothing is guessed, and a line that isn't a call is refused with a reason.
Whole mobiles don't leave this module: a call has a keyed digest of the mobile and its first seven digits.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeAlias

from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode, kind_of
from toolkit.api.wire import Endpoint, Refusal, parse_whole, read_path
from toolkit.records.call_record import RecordBuilder, hash64, replace_surrogates, unknown_message, valid_prefix

Fields: TypeAlias = Mapping[str, Any]
Values: TypeAlias = tuple[Any, ...]
"""The values of a call, in the order of CallRecord."""

# The fields that a column can be mapped to. A line needs one field of each of the first two rows, and of the fourth.
FIELDS = (
    *("started", "started_ns", "started_ms", "started_s", "ended", "ended_s"),
    *("latency_ns", "latency_ms", "latency_s"),
    *("wait_ns", "wait_ms", "wait_s"),
    *("endpoint", "request", "path"),  # a request is "POST /v1/codes HTTP/1.1"
    *("http_status", "return_code", "error", "run", "source", "app_key", "segments", "request_id"),
    *("mobile", "mobile_key", "prefix", "temp_id", "msg_id"),
    *("body", "answer"),  # the JSON bodies of the request and of the response
)
_UNIT_NS = {"ns": 1, "ms": 1_000_000, "s": 1_000_000_000}
_LIMIT = 2**63
_LOCAL_TIME = "%d/%b/%Y:%H:%M:%S %z"  # nginx's $time_local, Apache's %t
_ESCAPE = re.compile(r"\\x([0-9A-Fa-f]{2})")  # nginx's form of a quote in a variable

ColumnMap: TypeAlias = Mapping[str, str | tuple[str, ...]]

RECORD_COLUMNS: ColumnMap = {field: field for field in FIELDS}
SERVICE_LOG_COLUMNS: ColumnMap = {
    "ended": "time",  # of the response
    **{name: name for name in ("endpoint", "http_status", "return_code", "latency_ms", "app_key", "msg_id", "mobile")},
    "request_id": "request_id",
}
"""The columns of the log of `smscode serve`."""
NGINX_COLUMNS: ColumnMap = {
    "ended": ("time_iso8601", "time_local"),
    "ended_s": "msec",
    "latency_s": "request_time",
    "request": "request",
    "path": ("uri", "request_uri"),
    "http_status": "status",
    "return_code": ("sent_http_x_return_code", "upstream_http_x_return_code"),
    "app_key": "remote_user",
    "source": ("hostname", "server_name"),
    "body": "request_body",
    "answer": "response_body",
    "request_id": ("request_id", "sent_http_x_request_id"),
}
"""The variables of nginx, which logs a request after its response."""
COMBINED = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
)
"""The predefined log format of nginx."""


class NotACallError(Exception):
    """A line isn't a call; the message is the reason."""


def parse_log_format(log_format: str) -> Callable[[str], Fields]:
    """Return a function that splits a line of an access log into nginx's variables.

    Raise InputError for a format without variables, or with the same variable twice.
    """
    parts = re.split(r"\$(\w+)", log_format)
    names = parts[1::2]
    if not names or len(set(names)) < len(names):
        raise InputError(f"invalid log format {log_format!r}: copy it from nginx.conf, with each $variable once")
    groups = [f"(.*?){re.escape(text)}" for text in parts[2::2]]
    pattern = re.compile(f"{re.escape(parts[0])}{''.join(groups)}")

    def split(line: str) -> Fields:
        match = pattern.fullmatch(line)
        if match is None:
            raise NotACallError("not in the log's format")
        found = {name: text for name, text in zip(names, match.groups(), strict=True) if text != "-"}
        for name, text in found.items():
            if "\\x" in text:
                found[name] = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), text)
        return found

    return split


def parse_json(line: str) -> Fields:
    """Return the fields of a line of JSON; raise NotACallError if it isn't an object."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise NotACallError("not a JSON object")
    return fields


class CallParser:
    """Parses the columns of a line as a call.

    ``columns`` is a column map that takes precedence over the known ones. ``master_secret`` is the key of the mobiles'
    digests; without it the key is random.
    """

    def __init__(self, columns: ColumnMap | None = None, master_secret: str = "") -> None:
        columns = columns or {}
        if unknown := sorted(set(columns) - set(FIELDS)):
            raise InputError(f"unknown field {unknown[0]!r} in columns (choose from {', '.join(FIELDS)})")
        self._record = _complete(RECORD_COLUMNS, columns)
        self._service = _complete(SERVICE_LOG_COLUMNS, columns)
        self._nginx = _complete(NGINX_COLUMNS, columns)
        self._records = RecordBuilder.of("", "", "", master_secret or secrets.token_hex())

    def parse(self, line: Fields, path: Path) -> Values:
        """Return the values of a call, in the order of CallRecord; raise NotACallError if the line isn't one.

        A call without a run or source has the name of the file there.
        """
        known = self._record if "latency_ns" in line else self._service if "latency_ms" in line else self._nginx
        fields: dict[str, Any] = {}
        for name, columns in known.items():
            filled = (line[column] for column in columns if line.get(column) not in (None, ""))
            if (value := next(filled, None)) is not None:
                fields[name] = value
        latency_ns = _duration_ns(fields, "latency")
        if latency_ns is None:
            raise NotACallError("no latency: expected latency_ns, latency_ms or latency_s")
        endpoint, msg_id = _parse_endpoint(fields)
        answer, body = _parse_object(fields.get("answer")), _parse_object(fields.get("body"))
        http_status, return_code = _parse_outcome(fields, answer)
        is_valid = False if answer.get("is_valid") is False else None
        kind = None if return_code is None else kind_of(return_code, http_status, is_valid)
        key, prefix = self._parse_mobile(fields, body)
        msg_id = _text(fields, "msg_id") or msg_id or _text(answer, "msg_id")
        temp_id = _integer(fields, "temp_id") if "temp_id" in fields else parse_whole(body.get("temp_id"))
        name = path.name.partition(".")[0]
        return (
            _parse_started_ns(fields, latency_ns),
            *(_text(fields, "run") or name, _text(fields, "source") or name, endpoint),
            *(http_status, return_code, kind),
            *(latency_ns, _duration_ns(fields, "wait") or 0, key, prefix, temp_id),
            *(msg_id, hash64(msg_id), _text(fields, "app_key"), _integer(fields, "segments"), _text(fields, "error")),
            _text(fields, "request_id"),
            unknown_message(
                return_code, error.get("message") if isinstance(error := answer.get("error"), dict) else None
            ),
        )

    def _parse_mobile(self, fields: Fields, body: Fields) -> tuple[int | None, str | None]:
        """Return the digest and the prefix of the mobile; a masked mobile has no digest."""
        mobile = fields.get("mobile", body.get("mobile"))
        if mobile is None:
            return _integer(fields, "mobile_key"), _text(fields, "prefix")
        if "*" in str(mobile):
            return None, valid_prefix(str(mobile)[:7])
        key, prefix = self._records.digest(str(mobile))
        return int.from_bytes(key, "big", signed=True), valid_prefix(prefix)


def _complete(known: ColumnMap, given: ColumnMap) -> dict[str, tuple[str, ...]]:
    """Return the columns of each field: the given ones, else the known ones and last the field's own name."""

    def as_tuple(columns: str | tuple[str, ...]) -> tuple[str, ...]:
        return (columns,) if isinstance(columns, str) else tuple(columns)

    own = {field: (*as_tuple(known.get(field, ())), field) for field in FIELDS}
    return own | {field: as_tuple(columns) for field, columns in given.items()}


def _parse_started_ns(fields: Fields, latency_ns: int) -> int:
    for name, before_ns in (("started", 0), ("ended", latency_ns)):
        if (ns := _duration_ns(fields, name)) is not None:
            return ns - before_ns
        if name in fields:
            return _parse_time_ns(fields[name]) - before_ns
    raise NotACallError("no time: expected started, ended, or one of them in seconds as started_s, ended_s")


def _duration_ns(fields: Fields, name: str) -> int | None:
    """Return a field with a unit in its name, in ns; None if the line doesn't have it in any unit."""
    for unit, factor in _UNIT_NS.items():
        if (value := fields.get(f"{name}_{unit}")) is None:
            continue
        try:
            ns = int(Decimal(str(value)) * factor)
        except (InvalidOperation, OverflowError, ValueError):
            ns = -1
        if not 0 <= ns < _LIMIT:
            raise NotACallError(f"invalid {name}_{unit}: expected a number of {unit}")
        return ns
    return None


def _parse_time_ns(text: object) -> int:
    for parse in (datetime.fromisoformat, lambda text: datetime.strptime(text, _LOCAL_TIME)):
        try:
            time = parse(str(text))
        except ValueError:
            continue
        since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * _UNIT_NS["s"] + since.microseconds * 1000
    raise NotACallError("invalid time: expected ISO 8601, nginx's $time_local, or seconds as started_s or ended_s")


def _parse_endpoint(fields: Fields) -> tuple[Endpoint, str | None]:
    """Return the endpoint, and the msg_id if the path has one."""
    if "endpoint" in fields:
        if fields["endpoint"] not in list(Endpoint):
            raise NotACallError(f"unknown endpoint (expected {', '.join(Endpoint)})")
        return Endpoint(fields["endpoint"]), None
    method, _, rest = str(fields.get("request", "")).partition(" ")
    path = str(fields.get("path") or rest.partition(" ")[0]).partition("?")[0]
    found = read_path(path.encode())
    if isinstance(found, Refusal) or method not in ("", "POST"):
        raise NotACallError("not a request of this API")
    return found[0], found[1] or None


def _parse_outcome(fields: Fields, answer: Fields) -> tuple[int | None, int | None]:
    """Return the HTTP status and the return code; a status of 200 without a code or error is a success."""
    http_status, code = _integer(fields, "http_status"), _integer(fields, "return_code")
    if code is None and isinstance(error := answer.get("error"), dict):
        code = parse_whole(error.get("code"))
    if code is None and http_status == ReturnCode.SUCCESS.http_status and "error" not in fields:
        code = int(ReturnCode.SUCCESS)
    return http_status, code


def _parse_object(text: object) -> Fields:
    """Return a JSON object; an empty one for other text."""
    if text is None or isinstance(text, dict):
        return text or {}
    try:
        return parse_json(str(text))
    except NotACallError:
        return {}


def _integer(fields: Fields, name: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        number = Decimal(str(value))
        whole = int(number) if number == int(number) else _LIMIT
    except (InvalidOperation, OverflowError, ValueError):
        whole = _LIMIT
    if not -_LIMIT <= whole < _LIMIT:
        raise NotACallError(f"invalid {name}: expected a whole number")
    return whole


def _text(fields: Fields, name: str) -> str | None:
    value = fields.get(name)
    return None if value is None else replace_surrogates(str(value))
