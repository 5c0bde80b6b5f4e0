"""Lines: one line of text as one call: of call records (JSON lines, CSV), the service's own log, or an access log.

Which of its fields says what is a map from the words below to the field's name. Nothing is guessed that a log doesn't
hold, and a line that is no call says why. Whole mobiles end here: what leaves is a keyed digest and seven digits.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeAlias

from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode, kind_of
from toolkit.api.wire import Endpoint, Refusal, parse_whole, read_path
from toolkit.records.call_record import RecordBuilder, hash64, replace_surrogates, valid_prefix

Fields: TypeAlias = Mapping[str, Any]
Values: TypeAlias = tuple[Any, ...]
"""A call's values, in the order of CallRecord."""

# What a field may say. The first three lines are times, in the unit of the word; one of them is needed of each.
WORDS = (
    *("started", "started_ns", "started_ms", "started_s", "ended", "ended_s"),
    *("latency_ns", "latency_ms", "latency_s"),
    *("wait_ns", "wait_ms", "wait_s"),
    *("endpoint", "request", "path"),  # one of them; a request is "POST /v1/codes HTTP/1.1"
    *("http_status", "return_code", "error", "run", "source", "app_key", "segments", "request_id"),
    *("mobile", "mobile_key", "prefix", "temp_id", "msg_id"),
    *("body", "answer"),  # those of the request and of the answer, JSON
)
_NS = {"ns": 1, "ms": 1_000_000, "s": 1_000_000_000}
_MOST_KEY = 2**63
_LOCAL_TIME = "%d/%b/%Y:%H:%M:%S %z"  # nginx's $time_local, Apache's %t
_ESCAPE = re.compile(r"\\x([0-9A-Fa-f]{2})")  # how nginx writes a quote in a field

Map: TypeAlias = Mapping[str, str | tuple[str, ...]]

RECORD: Map = {word: word for word in WORDS}
SERVICE_LOG: Map = {
    "ended": "time",
    **{word: word for word in ("endpoint", "http_status", "return_code", "latency_ms", "app_key", "msg_id", "mobile")},
    "request_id": "request_id",
}
"""How `smscode serve` logs a call; ``time`` is when it was answered."""
NGINX: Map = {
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
"""nginx's variables; it logs a request when that has been answered."""
COMBINED = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
)


class NoCallError(Exception):
    """A line is no call; the message says why."""


def parse_log_format(log_format: str) -> Callable[[str], Fields]:
    """Return what cuts a line into nginx's variables, as its ``log_format`` says; raise InputError for none of them."""
    parts = re.split(r"\$(\w+)", log_format)
    names = parts[1::2]
    if not names or len(set(names)) < len(names):
        raise InputError(f"log format {log_format!r}: copy it from nginx.conf, with each $variable once")
    wild = [f"(.*?){re.escape(text)}" for text in parts[2::2]]
    pattern = re.compile(f"{re.escape(parts[0])}{''.join(wild)}")

    def cut(line: str) -> Fields:
        match = pattern.fullmatch(line)
        if match is None:
            raise NoCallError("not in the log's format")
        return {name: _unescape(text) for name, text in zip(names, match.groups(), strict=True) if text != "-"}

    return cut


def parse_json(line: str) -> Fields:
    """Return the fields of a line of JSON; raise NoCallError where it is no object."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise NoCallError("not a JSON object")
    return fields


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text) if "\\x" in text else text


class LineReader:
    """Reads fields as calls. ``given``: a map over what is known of a log. ``master_secret``: digests its mobiles."""

    def __init__(self, given: Map | None = None, master_secret: str = "") -> None:
        given = given or {}
        if unknown := sorted(set(given) - set(WORDS)):
            raise InputError(f"no field says {unknown[0]!r}: a map's words are {', '.join(WORDS)}")
        self._record, self._service = _names(RECORD, given), _names(SERVICE_LOG, given)
        self._nginx = _names(NGINX, given)
        self._scribe = RecordBuilder.of("", "", "", master_secret or secrets.token_hex())

    def read(self, fields: Fields, path: Path) -> Values:
        """Return a call's values, in the order of CallRecord; raise NoCallError for what is none.

        Where no field says which run or source, it is the file's name.
        """
        said = dict(self._said(fields))
        latency_ns = _time_ns(said, "latency")
        if latency_ns is None:
            raise NoCallError("it doesn't say how long the call took")
        endpoint, msg_id = _read_endpoint(said)
        answer, body = _read_object(said.get("answer")), _read_object(said.get("body"))
        http_status, return_code = _read_outcome(said, answer)
        key, prefix = self._read_mobile(said, body)
        msg_id = _text(said, "msg_id") or msg_id or _text(answer, "msg_id")
        name = path.name.partition(".")[0]
        return (
            *(_read_started(said, latency_ns), _text(said, "run") or name, _text(said, "source") or name, endpoint),
            *(http_status, return_code, None if return_code is None else kind_of(return_code)),
            *(latency_ns, _time_ns(said, "wait") or 0, key, prefix, _read_temp_id(said, body)),
            *(msg_id, hash64(msg_id), _text(said, "app_key"), _whole(said, "segments"), _text(said, "error")),
            _text(said, "request_id"),
        )

    def _said(self, fields: Fields) -> Iterator[tuple[str, Any]]:
        known = self._record if "latency_ns" in fields else self._service if "latency_ms" in fields else self._nginx
        for word, names in known.items():
            for name in names:
                if (value := fields.get(name)) not in (None, ""):
                    yield word, value
                    break

    def _read_mobile(self, said: Fields, body: Fields) -> tuple[int | None, str | None]:
        mobile = said.get("mobile", body.get("mobile"))
        if mobile is None:
            return _whole(said, "mobile_key"), _text(said, "prefix")
        if "*" in str(mobile):
            return None, valid_prefix(str(mobile)[:7])
        key, prefix = self._scribe.digest(str(mobile))
        return int.from_bytes(key, "big", signed=True), valid_prefix(prefix)


def _names(known: Map, given: Map) -> dict[str, tuple[str, ...]]:
    """Return which fields may say what a word stands for: those given; else those known, and last the word itself."""
    own = {word: (*_as_tuple(known.get(word, ())), word) for word in WORDS}
    return own | {word: _as_tuple(names) for word, names in given.items()}


def _as_tuple(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _read_started(said: Fields, latency_ns: int) -> int:
    for word, before_ns in (("started", 0), ("ended", latency_ns)):
        if (ns := _time_ns(said, word)) is not None:
            return ns - before_ns
        if word in said:
            return _parse_time(said[word]) - before_ns
    raise NoCallError("it doesn't say when the call was")


def _time_ns(said: Fields, word: str) -> int | None:
    for unit, factor in _NS.items():
        if (value := said.get(f"{word}_{unit}")) is None:
            continue
        try:
            ns = int(Decimal(str(value)) * factor)
        except (InvalidOperation, OverflowError, ValueError):
            ns = -1
        if not 0 <= ns < _MOST_KEY:
            raise NoCallError(f"{word}_{unit} is no number of {unit}")
        return ns
    return None


def _parse_time(text: object) -> int:
    for parse in (datetime.fromisoformat, lambda text: datetime.strptime(text, _LOCAL_TIME)):
        try:
            time = parse(str(text))
        except ValueError:
            continue
        since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * _NS["s"] + since.microseconds * 1000
    raise NoCallError("its time is none: ISO 8601, nginx's $time_local, or seconds as started_s or ended_s")


def _read_endpoint(said: Fields) -> tuple[Endpoint, str | None]:
    """Return which call it was, and the msg_id of its path."""
    if "endpoint" in said:
        if said["endpoint"] not in list(Endpoint):
            raise NoCallError(f"an endpoint is one of {', '.join(Endpoint)}")
        return Endpoint(said["endpoint"]), None
    method, _, rest = str(said.get("request", "")).partition(" ")
    path = str(said.get("path") or rest.partition(" ")[0]).partition("?")[0]
    found = read_path(path.encode())
    if isinstance(found, Refusal) or method not in ("", "POST"):
        raise NoCallError("no call of the API")
    return found[0], found[1] or None


def _read_outcome(said: Fields, answer: Fields) -> tuple[int | None, int | None]:
    """Return the HTTP status and the return code; a 200 that says no other is a success."""
    http_status, code = _whole(said, "http_status"), _whole(said, "return_code")
    if code is None and isinstance(error := answer.get("error"), dict):
        code = parse_whole(error.get("code"))
    if code is None and http_status == ReturnCode.SUCCESS.http_status and "error" not in said:
        code = int(ReturnCode.SUCCESS)
    return http_status, code


def _read_object(text: object) -> Fields:
    if text is None or isinstance(text, dict):
        return text or {}
    try:
        return parse_json(str(text))
    except NoCallError:
        return {}


def _read_temp_id(said: Fields, body: Fields) -> int | None:
    return _whole(said, "temp_id") if "temp_id" in said else parse_whole(body.get("temp_id"))


def _whole(said: Fields, word: str) -> int | None:
    value = said.get(word)
    if value is None:
        return None
    try:
        number = Decimal(str(value))
        whole = int(number) if number == int(number) else _MOST_KEY
    except (InvalidOperation, OverflowError, ValueError):
        whole = _MOST_KEY
    if not -_MOST_KEY <= whole < _MOST_KEY:
        raise NoCallError(f"{word} is no whole number")
    return whole


def _text(said: Fields, word: str) -> str | None:
    value = said.get(word)
    return None if value is None else replace_surrogates(str(value))
