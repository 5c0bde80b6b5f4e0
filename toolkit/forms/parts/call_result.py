"""Show the response to a call made by hand, with advice, as HTML."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from toolkit import number_format
from toolkit.forms.parts.advice import FAILURE_HINTS, HINTS, UNKNOWN
from toolkit.forms.parts.call_attempt import Attempt
from toolkit.forms.widgets.templates import render
from toolkit.outcome_colours import colours_of, outcome_kind, outcome_name
from toolkit.records.call_record import Failure
from toolkit.report import result_tables


def response_html(attempt: Attempt | None) -> str:
    """Return the HTML of one attempt, or the placeholder before the first one."""
    if attempt is None:
        return render("response", attempt=None)
    code, row = attempt.record.return_code, attempt.row
    if code is None:
        hint = FAILURE_HINTS[Failure(attempt.record.error or Failure.PROTOCOL)]
    else:
        hint = HINTS[row] if row else UNKNOWN
    return render(
        "response",
        attempt=attempt,
        code=code if code is not None else "No response",
        message=attempt.message or attempt.record.error or "",
        meaning=row.meaning if row else "",
        http=_http(attempt),
        kind=outcome_kind(_outcome(attempt)).lower(),
        latency=number_format.milliseconds(attempt.record.latency_ns / 1e6),
        who=result_tables.WHO_CAN_ACT[outcome_kind(_outcome(attempt))],
        hint=hint,
        look=colours_of(_outcome(attempt)),
    )


def history_html(attempts: list[Attempt]) -> str:
    """Return the HTML table of attempts, latest first."""
    return render("history", rows=[_history_row(it) for it in reversed(attempts)])


def _history_row(attempt: Attempt) -> dict[str, Any]:
    record = attempt.record
    return {
        "time": f"{datetime.fromtimestamp(record.started_ns / 1e9, UTC):%H:%M:%S}",
        "endpoint": record.endpoint,
        "about": attempt.about,
        "http": _http(attempt),
        "response": outcome_name(_outcome(attempt)),
        "latency": number_format.milliseconds(record.latency_ns / 1e6),
        "look": colours_of(_outcome(attempt)),
    }


def _outcome(attempt: Attempt) -> int | str:
    record = attempt.record
    return record.return_code if record.return_code is not None else (record.error or "")


def _http(attempt: Attempt) -> str:
    return number_format.MISSING if attempt.record.http_status is None else str(attempt.record.http_status)
