"""Build the sections of outcomes and of latency."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit import number_format
from toolkit.analysis import latency, over_time
from toolkit.analysis.slowest_calls import slowest_traced_calls
from toolkit.analysis.timestamps import round_width_s
from toolkit.report import result_tables, table_columns
from toolkit.report.inputs import ReportInputs
from toolkit.report.model import Bar, Figure, Header, Legend, Part, Section, Table

_MAX_OUTCOMES = 200
_TRACES = (
    table_columns.time("started"),
    table_columns.text("endpoint"),
    table_columns.text("return_code", "return code", is_number=True, is_optional=True),
    table_columns.text("error", is_optional=True),
    table_columns.milliseconds("caller_ms", "caller's time"),
    table_columns.milliseconds("latency_ms", "latency"),
    table_columns.text("trace_id", "trace id"),
)
_TRACES_NOTE = (
    "Only a part of the calls is traced, so a slower call may not be here. Search for the trace id in your tracing"
    " backend."
)
_OUTCOME_HEADERS = (
    Header("endpoint"),
    Header("HTTP", is_number=True),
    Header("return code", is_number=True),
    Header("message"),
    Header("meaning", lang="zh-CN"),
    Header("kind"),
    Header("calls", is_number=True),
    Header("share", is_number=True),
)
_LATENCY_NOTE = (
    "Latency is the time from the first byte of the request to the last byte of the response. The caller's time starts"
    " when the call was due, so it includes the wait for a connection. Failed calls count, with the time until they"
    " failed. The head of the page shows the caller's p99."
)


def build_outcomes(inputs: ReportInputs) -> Iterator[Section]:
    """Yield the return codes, in total and over time."""
    if inputs.total.codes.empty:
        is_cut = inputs.since or inputs.until
        why = "No call started in this period." if is_cut else "The record exists, but it is empty."
        yield Section("outcomes", "No calls were recorded", why)
        return
    frame = table_columns.masked(inputs.total.codes)
    rows = list(result_tables.outcome_rows(frame))
    cells = [
        (
            *(row.endpoint, row.http_status, row.return_code, row.message, row.meaning, row.kind, row.calls),
            Bar(row.share, row.bar / 100, row.kind.colour),
        )
        for row in rows[:_MAX_OUTCOMES]
    ]
    omitted = len(rows[_MAX_OUTCOMES:])
    table = Table("return_codes", _OUTCOME_HEADERS, cells, frame, omitted=omitted, is_grouped=True)
    every_s = round_width_s(inputs.total.duration_s)
    figure = Figure(
        "over_time",
        table_columns.masked(over_time(inputs.calls, f"{every_s}s", inputs.options.timezone)),
        "Return codes over time",
        f"Means over {number_format.duration(every_s)}. A call counts at its start.",
    )
    parts: list[Part] = [table, Legend(result_tables.kinds(rows)), figure]
    yield Section("outcomes", "Outcomes", "Shares are of the calls of an endpoint.", parts)


def build_latency(inputs: ReportInputs) -> Iterator[Section]:
    """Yield the percentiles of the service's latency and of the caller's time, in total and over time."""
    if inputs.total.codes.empty:
        return
    frame = inputs.total.latency
    headers = [Header(header, is_number=True) for header in result_tables.latency_headers()]
    table = Table(
        "latency",
        (Header("endpoint"), Header("measure"), Header("calls", is_number=True), *headers),
        [(row.endpoint, row.measure, row.calls, *row.times) for row in result_tables.latency_rows(frame)],
        frame,
        is_grouped=True,
    )
    by_percentile = Figure(
        "latency",
        inputs.total.tail,
        "Latency by percentile",
        "Each additional nine has the same width. Where an endpoint's two lines differ, calls waited for a connection.",
    )
    every_s = round_width_s(inputs.total.duration_s)
    by_time = Figure(
        "latency_over_time",
        latency(inputs.calls, every=f"{every_s}s", at=(50, 95, 99), timezone=inputs.options.timezone),
        "Latency over time",
        f"Percentiles of the calls that started within {number_format.duration(every_s)}.",
    )
    parts: list[Part] = [table, by_percentile, by_time]
    traces = inputs.local(slowest_traced_calls(inputs.calls))
    if not traces.empty:
        parts.append(table_columns.table("traces", traces, _TRACES, title="Slowest traced calls", note=_TRACES_NOTE))
    yield Section("latency", "Latency (ms)", _LATENCY_NOTE, parts)
