"""Decide which call a log line is, in one SQL query for all formats.

``call_query`` takes lines that are split into columns of text. Each row of its result has the columns of a CallRecord,
except for the keys, and the reason why a line is not a call:

    other     the line was read and is not a call of this API, e.g. a GET or a health check
    unread    the line could not be read, e.g. its time is invalid

The rules, the same for every format:

1. A request is a call if its method is POST and its path ends with the path of a send or a verify. So an absolute URL,
   a base URL with a path and a query are allowed. A log without methods has only calls, except for HTTP status 405.
2. A field is read from the columns that ``columns`` names, then from those of ``KNOWN_COLUMNS``. A column without a
   value never hides another one.
3. A log that has only the end of a call gives its start by subtracting the latency. Without a latency the call starts
   when it ended.
4. A return code is read from its column or the logged response. Else it is inferred from an HTTP status that has one
   code only. A 400 or a 403 has several, so the code stays unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping

from toolkit.analysis.sources.log_formats import (
    ALB_LATENCIES,
    FIELDS,
    KNOWN_COLUMNS,
    LATENCIES,
    MESSAGE_COLUMNS,
    REQUESTS,
    TIMES,
    WAITS,
    ColumnMap,
)
from toolkit.api.errors import InputError
from toolkit.api.return_codes import LATER_CODES, SINGLE_CODES, Kind, ReturnCode
from toolkit.api.wire import CODES_PATH, Endpoint
from toolkit.records.call_record import MAX_DURATION_NS, MAX_STARTED_NS

LINES = "split_lines"
"""Name of the query's input: a BIGINT column ``number``, and a column of text for each present column of the log."""

_INFERRED = " ".join(f"WHEN {status} THEN {int(code)}" for status, code in SINGLE_CODES.items())
_UNIT_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_LOCAL_TIMES = "['[%d/%b/%Y:%H:%M:%S %z]', '%d/%b/%Y:%H:%M:%S %z', '%d/%b/%Y:%H:%M:%S']"  # nginx, Apache, gunicorn
_ZONE = r"[0-9]:[0-9.,]+ ?(?:[Zz]|[+-][0-9:]+|[A-Za-z][A-Za-z/_]+)\]?$"
_PATH = rf"{re.escape(CODES_PATH)}(?:/([^/]+)/valid)?$"
_TARGETS = {  # the path of the request, which may be an absolute URL, without the query
    "request": r"regexp_extract(request, '^(?:[A-Za-z]+ )?([^ ?]*)', 1)",
    "path": "split_part(path, '?', 1)",
}
_METHODS = {"method": "method", "request": r"nullif(regexp_extract(request, '^([A-Za-z]+) ', 1), '')"}
_INTEGERS = {"http_status": "SMALLINT", "return_code": "BIGINT", "segments": "SMALLINT"}
_INTEGERS |= {"temp_id": "BIGINT", "mobile_key": "BIGINT"}
_TEXTS = ("run", "source", "app_key", "prefix", "error", "request_id", "trace_id", "mobile")
_ANSWER = '{"error":{"code":"VARCHAR","message":"VARCHAR"},"msg_id":"VARCHAR","is_valid":"VARCHAR"}'
_BODY = '{"mobile":"VARCHAR","temp_id":"VARCHAR"}'
_SERVICE_ENDPOINTS = ("peek", "sandbox", "other")  # requests that the service logs beside the API's calls


def column_names(columns: ColumnMap | None) -> dict[str, tuple[str, ...]]:
    """Return the columns that may hold each field: first those given, then the known ones.

    Raise InputError for a field that does not exist.
    """
    given = {field: (it,) if isinstance(it, str) else tuple(it) for field, it in (columns or {}).items()}
    if unknown := sorted(set(given) - set(FIELDS)):
        raise InputError(f"unknown field {unknown[0]!r} in columns (choose from {', '.join(FIELDS)})")
    return {field: tuple(dict.fromkeys((*given.get(field, ()), *KNOWN_COLUMNS[field]))) for field in FIELDS}


def present_fields(names: Mapping[str, Iterable[str]], present: Collection[str]) -> frozenset[str]:
    """Return the fields that some present column holds."""
    return frozenset(field for field, columns in names.items() if not set(columns).isdisjoint(present))


def call_query(names: Mapping[str, tuple[str, ...]], given: Collection[str], present: Collection[str]) -> str:
    """Return the query that turns lines into calls.

    Args:
        names: the result of ``column_names``.
        given: the fields whose columns the user named. They take precedence over fields of the same meaning.
        present: the columns of the lines.
    """
    texts = {field: _coalesce(field, columns, present) for field, columns in names.items()}
    if set(ALB_LATENCIES) <= set(present):
        texts["latency_s"] = _sum_of_times(ALB_LATENCIES)
    texts |= {name: _quote(name) if name in present else "NULL::VARCHAR" for name in MESSAGE_COLUMNS}
    fields = ", ".join(f"{text} AS {name}" for name, text in texts.items())
    used = {field for field in FIELDS if texts[field] != "NULL::VARCHAR"}

    def group(members: Iterable[str]) -> list[str]:
        return sorted((it for it in members if it in used), key=lambda it: it not in given)

    times, latencies, waits = group(TIMES), group(LATENCIES), group(WAITS)
    requests = group(REQUESTS)
    integers = [f"{_integer(field, type_)} AS {field}_value" for field, type_ in _INTEGERS.items()]
    return f"""
    WITH fields AS (SELECT number, {fields} FROM {LINES}),
    documents AS (SELECT *,
        {_document("answer", _ANSWER, used)} AS answer_fields,
        {_document("body", _BODY, used)} AS body_fields,
        {_coalesced(_TARGETS[it] for it in requests if it in _TARGETS)} AS target,
        {_first(latencies, _duration)} AS call_latency_ns, {_first(waits, _duration)} AS call_wait_ns,
        {", ".join(integers)}
        FROM fields),
    parsed AS (SELECT *,
        {_first(times, lambda it: _time(it, is_end=it.startswith("ended")))} AS call_started_ns,
        regexp_extract(target, '{_PATH}', 1) AS path_msg_id,
        {_coalesced(text for field, text in _METHODS.items() if field in used)} AS http_method,
        coalesce(return_code_value, TRY_CAST(answer_fields.error.code AS BIGINT)) AS known_code
        FROM documents),
    judged AS (SELECT *,
        {_endpoint(requests)} AS call_endpoint,
        CASE WHEN known_code IS NULL AND error IS NULL THEN
            CASE http_status_value {_INFERRED} END END AS inferred_code
        FROM parsed),
    reasons AS (SELECT *,
        coalesce(known_code, inferred_code) AS code,
        {_other()} AS other,
        {_unread(times, latencies, waits)} AS unread
        FROM judged)
    SELECT number, other, CASE WHEN other IS NULL THEN unread END AS unread,
        inferred_code IS NOT NULL AS is_inferred, {_without_zone(times)} AS is_without_zone,
        call_started_ns AS started_ns, run, source, call_endpoint AS endpoint,
        http_status_value AS http_status, code AS return_code,
        {_kind()} AS kind, call_latency_ns AS latency_ns, coalesce(call_wait_ns, 0) AS wait_ns,
        coalesce(mobile, body_fields.mobile) AS mobile, mobile_key_value AS mobile_key, prefix,
        coalesce(temp_id_value, TRY_CAST(body_fields.temp_id AS BIGINT)) AS temp_id,
        coalesce(msg_id, nullif(coalesce(TRY(url_decode(path_msg_id)), path_msg_id), ''), answer_fields.msg_id)
            AS msg_id,
        app_key, segments_value AS segments, error, request_id,
        CASE WHEN code NOT IN {_list(map(int, ReturnCode))} THEN coalesce(answer_fields.error.message, message) END
            AS message, trace_id
    FROM reasons
    """


def is_path(name: str) -> bool:
    """Return whether a column's name may be a path of names, such as ``request.uri``."""
    return all(name.split(".")) and "." in name and '"' not in name


def transform_query(columns: Iterable[str]) -> str:
    """Return the query that splits the lines of JSON in the table ``json_lines`` (number, line) into columns.

    A line that is not valid JSON has ``is_json`` false and no values. A name such as ``request.uri`` may be that of a
    field within an object.
    """
    names = sorted(columns)
    wanted = ", ".join(f'{json.dumps(name, ensure_ascii=False)}: "VARCHAR"' for name in names if not is_path(name))
    struct = f"{{{wanted}}}".replace("'", "''")
    nested = "".join(
        f", CASE WHEN json_valid(line) THEN coalesce(line ->> {_text(f'$.{_quote(name)}')},"
        f" line ->> {_text('$.' + '.'.join(map(_quote, name.split('.'))))}) END AS {_quote(name)}"
        for name in names
        if is_path(name)
    )
    return f"""
    WITH found AS (SELECT number, json_valid(line) AS is_json,
        CASE WHEN json_valid(line) THEN json_transform(line, '{struct}') END AS json_value{nested} FROM json_lines)
    SELECT json_value.*, * EXCLUDE (json_value) FROM found
    """


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _coalesce(field: str, columns: Iterable[str], present: Collection[str]) -> str:
    """Return the first value of some columns. Logs write "-" for a missing value."""
    values = [_quote(name) for name in columns if name in present]
    if field not in REQUESTS:
        values = [f"nullif(nullif({it}, ''), '-')" for it in values]
    return f"coalesce({', '.join(values)})" if values else "NULL::VARCHAR"


def _sum_of_times(columns: Iterable[str]) -> str:
    """Return the sum of times in s; NULL if one is negative, which means that it is unknown."""
    numbers = [f"TRY_CAST({_quote(it)} AS DECIMAL(18, 6))" for it in columns]
    known = " AND ".join(f"{it} >= 0" for it in numbers)
    return f"CASE WHEN {known} THEN ({' + '.join(numbers)})::VARCHAR END"


def _document(field: str, shape: str, used: Collection[str]) -> str:
    value = f"json_transform({field}, '{shape}')" if field in used else f"json_transform('{{}}', '{shape}')"
    return f"CASE WHEN json_valid({field}) THEN {value} END"


def _first(fields: Iterable[str], parse: Callable[[str], str]) -> str:
    """Return the parsed value of the first field that a line has."""
    whens = " ".join(f"WHEN {field} IS NOT NULL THEN {parse(field)}" for field in fields)
    return f"CASE {whens} END" if whens else "NULL::BIGINT"


def _duration(field: str, max_ns: int = MAX_DURATION_NS) -> str:
    """Return a number with a unit in ns; NULL if it is invalid."""
    factor = _UNIT_NS[field.rpartition("_")[2]]
    number = f"TRY_CAST({field} AS DECIMAL(38, 9))"
    return f"CASE WHEN {number} BETWEEN 0 AND {max_ns // factor} THEN floor({number} * {factor})::BIGINT END"


def _time(field: str, *, is_end: bool) -> str:
    """Return the start of a call in ns; NULL if the time is invalid."""
    if field in ("started", "ended"):
        iso = f"TRY_CAST(replace({field}, ',', '.') AS TIMESTAMPTZ)"
        micros = f"coalesce(epoch_us({iso}), epoch_us(try_strptime({field}, {_LOCAL_TIMES})))"
        time = f"CASE WHEN {micros} BETWEEN 0 AND {MAX_STARTED_NS // 1000} THEN {micros} * 1000 END"
    else:
        time = _duration(field, MAX_STARTED_NS)
    return f"({time}) - coalesce(call_latency_ns, 0)" if is_end else time


def _without_zone(times: Iterable[str]) -> str:
    """Return whether a line's time names no time zone; a number of seconds needs none."""
    has_none = f"NOT regexp_matches(%s, {_text(_ZONE)})"
    cases = ((it, has_none % it if it in ("started", "ended") else "false") for it in times)
    whens = " ".join(f"WHEN {it} IS NOT NULL THEN {found}" for it, found in cases)
    return f"CASE {whens} ELSE false END" if whens else "false"


def _integer(field: str, type_: str) -> str:
    number = f"TRY_CAST({field} AS DECIMAL(38, 9))"
    return f"CASE WHEN {number} = floor({number}) THEN TRY_CAST(floor({number}) AS {type_}) END"


def _endpoint(requests: list[str]) -> str:
    """Return the endpoint of the line; NULL if the request is not a call of this API."""
    by_path = (
        f"CASE WHEN regexp_matches(target, '{_PATH}') THEN"
        f" CASE WHEN path_msg_id = '' THEN '{Endpoint.SEND}' ELSE '{Endpoint.VERIFY}' END END"
    )
    by_name = f"CASE WHEN lower(endpoint) IN {_list(Endpoint)} THEN lower(endpoint) END"
    if "endpoint" not in requests:
        return by_path
    is_path_first = requests[0] != "endpoint"
    return (
        f"CASE WHEN target IS NOT NULL THEN {by_path} ELSE {by_name} END"
        if is_path_first
        else f"CASE WHEN coalesce(endpoint, '') <> '' THEN {by_name} ELSE {by_path} END"
    )


def _other() -> str:
    """Return the description of a line that is not a call, although it was read."""
    return f"""CASE
        WHEN coalesce(endpoint, request, path) IS NULL AND logger IS NOT NULL AND message IS NOT NULL
            THEN CASE WHEN starts_with(message, 'delivery ') AND NOT contains(message, ':') THEN message
                ELSE 'a message of the service' END
        WHEN lower(endpoint) IN {_list(_SERVICE_ENDPOINTS)} OR (call_endpoint IS NULL AND target IS NOT NULL)
            THEN 'another request'
        WHEN call_endpoint IS NOT NULL AND (http_method <> 'POST'
            OR (http_method IS NULL AND target IS NOT NULL AND
                http_status_value = {ReturnCode.METHOD_NOT_SUPPORT.http_status})
            OR (http_method IS NULL AND target IS NULL AND app_key IS NULL AND error IS NULL AND run IS NULL
                AND mobile IS NULL AND known_code = {int(ReturnCode.METHOD_NOT_SUPPORT)}))
            THEN 'a request with another method than POST'
        END"""


def _unread(times: list[str], latencies: list[str], waits: list[str]) -> str:
    """Return why a line could not be read."""
    whens = [
        ("call_endpoint IS NULL AND endpoint IS NOT NULL", f"unknown endpoint (expected {', '.join(Endpoint)})"),
        ("call_endpoint IS NULL", "no endpoint: expected endpoint, request or path"),
    ]
    for field in (*latencies, *waits):
        value = "call_latency_ns" if field in latencies else "call_wait_ns"
        earlier = " AND ".join(f"{it} IS NULL" for it in (latencies if field in latencies else waits) if it != field)
        is_read = f"{field} IS NOT NULL AND {value} IS NULL"
        whens.append((is_read + (f" AND {earlier}" if earlier else ""), _number_expected(field)))
    whens += [
        (f"{field} IS NOT NULL AND {field}_value IS NULL", f"invalid {field}: expected a whole number")
        for field in _INTEGERS
    ]
    for field in times:
        expected = (
            "invalid time: expected ISO 8601, nginx's $time_local, or seconds as started_s or ended_s"
            if field in ("started", "ended")
            else _number_expected(field)
        )
        whens.append((f"call_started_ns IS NULL AND {field} IS NOT NULL", expected))
    whens.append(
        ("call_started_ns IS NULL", "no time: expected started, ended, or one of them in seconds as started_s, ended_s")
    )
    return "CASE " + " ".join(f"WHEN {condition} THEN {_text(reason)}" for condition, reason in whens) + " END"


def _number_expected(field: str) -> str:
    return f"invalid {field}: expected a number of {field.rpartition('_')[2]}"


def _kind() -> str:
    """Return the kind of a call: see ``return_codes.kind_of``."""
    kinds: dict[Kind, list[int]] = {}
    for row in (*ReturnCode, *LATER_CODES.values()):
        if row.kind:
            kinds.setdefault(row.kind, []).append(int(row) if isinstance(row, ReturnCode) else row.number)
    by_code = " ".join(f"WHEN code IN {_list(codes)} THEN '{kind}'" for kind, codes in kinds.items())
    return f"""CASE WHEN error IS NOT NULL AND code IS NULL THEN NULL
        WHEN http_status_value BETWEEN 500 AND 599 THEN '{Kind.SERVER}'
        WHEN code IS NULL THEN NULL
        WHEN answer_fields.is_valid = 'false' THEN '{Kind.VERDICT}'
        {by_code} END"""


def _coalesced(values: Iterable[str]) -> str:
    found = ", ".join(values)
    return f"coalesce({found})" if found else "NULL::VARCHAR"


def _list(values: Iterable[object]) -> str:
    return "(" + ", ".join(str(it) if isinstance(it, int) else _text(str(it)) for it in values) + ")"


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
