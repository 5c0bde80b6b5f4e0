"""How calls ended, and how long they took."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit import number_format
from toolkit.analysis import latency, over_time
from toolkit.analysis.latency_percentiles import TAIL
from toolkit.analysis.timestamps import round_width_s
from toolkit.report import result_tables, table_columns
from toolkit.report.inputs import Subject
from toolkit.report.model import Bar, Cell, Figure, Head, Legend, Part, Section, Table

_MOST_OUTCOMES = 200
_OUTCOME_HEADS = (
    Head("endpoint"),
    Head("HTTP", is_number=True),
    Head("return code", is_number=True),
    Head("message"),
    Head("meaning", lang="zh-CN"),
    Head("kind"),
    Head("calls", is_number=True),
    Head("share", is_number=True),
)
_LATENCY_NOTE = (
    "The server's latency runs from the first byte out to the whole answer; what the caller waited starts when the call"
    " was meant to start. Calls that failed count, with the time until they did."
)


def tell_outcomes(subject: Subject) -> Iterator[Section]:
    """Tell the return codes, in all and over time."""
    if subject.codes.empty:
        is_cut = subject.since or subject.until
        why = "No call started in this period." if is_cut else "There is a record, and it is empty."
        yield Section("outcomes", "No calls were recorded", why)
        return
    rows = list(result_tables.outcome_rows(table_columns.masked(subject.codes)))
    table = Table(
        "return_codes",
        _OUTCOME_HEADS,
        [_outcome(row) for row in rows[:_MOST_OUTCOMES]],
        table_columns.masked(subject.codes),
        left_out=len(rows[_MOST_OUTCOMES:]),
        is_grouped=True,
    )
    parts: list[Part] = [table, Legend(result_tables.kinds(rows)), _over_time(subject)]
    yield Section("outcomes", "Outcomes", "Shares are of the endpoint's calls.", parts)


def tell_latency(subject: Subject) -> Iterator[Section]:
    """Tell the percentiles, of the server and of what callers waited, their tail, and how they went over time."""
    if subject.codes.empty:
        return
    found = latency(subject.calls)
    heads = [Head(head, is_number=True) for head in result_tables.latency_heads()]
    table = Table(
        "latency",
        (Head("endpoint"), Head("measure"), Head("calls", is_number=True), *heads),
        [(row.endpoint, row.measure, row.calls, *row.times) for row in result_tables.latency_rows(found)],
        found,
        is_grouped=True,
    )
    yield Section("latency", "Latency (ms)", _LATENCY_NOTE, [table, *_pictures(subject)])


def _outcome(row: result_tables.OutcomeRow) -> tuple[Cell, ...]:
    share = Bar(row.share, row.bar / 100, row.kind.colour)
    return (row.endpoint, row.http_status, row.return_code, row.message, row.meaning, row.kind, row.calls, share)


def _over_time(subject: Subject) -> Figure:
    every_s = round_width_s(subject.duration_s)
    return Figure(
        "over_time",
        table_columns.masked(over_time(subject.calls, f"{every_s}s")),
        "Return codes over time",
        f"Means over {number_format.duration(every_s)}. A call counts where it started.",
    )


def _pictures(subject: Subject) -> Iterator[Figure]:
    yield Figure(
        "latency",
        latency(subject.calls, at=TAIL),
        "Latency by percentile",
        "Each further nine has the same room. Where the two lines of a call part, calls waited for their turn.",
    )
    every_s = round_width_s(subject.duration_s)
    yield Figure(
        "latency_over_time",
        latency(subject.calls, every=f"{every_s}s", at=(50, 95, 99)),
        "Latency over time",
        f"Percentiles of the calls that started within {number_format.duration(every_s)}.",
    )
