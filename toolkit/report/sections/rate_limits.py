"""Which frequency rules the sends imply."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit import number_format
from toolkit.analysis import limits, most_accepted
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.report import table_columns
from toolkit.report.inputs import Subject
from toolkit.report.model import Figure, Part, Section
from toolkit.report.table_columns import Row, lacks

_RULES = (
    table_columns.made("sends to a mobile", lambda row: _rule(row)),
    table_columns.made("window between", lambda row: _window(row), is_number=True),
    table_columns.text("shape", "windows"),
    table_columns.count("refusals", "refusals it explains"),
    table_columns.count("alone", "it alone"),
    table_columns.count("broken_by", "accepted against it"),
    table_columns.when("since"),
    table_columns.when("until"),
    table_columns.text("app_key", "app", is_optional=True),
    table_columns.text("note", is_optional=True),
)
_ACCEPTED = (
    table_columns.duration("window_s", "within", is_number=False),
    table_columns.count("most_accepted", "most accepted"),
)


def tell(subject: Subject) -> Iterator[Section]:
    """Tell the rules that explain what was refused out of frequency, and what was accepted at most."""
    sends = subject.codes[subject.codes["endpoint"] == Endpoint.SEND.value]
    if sends.empty:
        return
    most = most_accepted(subject.calls)
    if not most["most_accepted"].any() and (sends["return_code"] == ReturnCode.SUCCESS).fillna(False).any():
        why = "The records don't tell mobiles apart, so nothing is known of rules."
        yield Section("limits", "Frequency limits", why)
        return
    accepted = table_columns.table("most_accepted", most, _ACCEPTED, title="Accepted at most, to a mobile")
    if not (sends["return_code"] == ReturnCode.OUT_OF_FREQ).fillna(False).any():
        yield Section("limits", "Frequency limits", "No send was refused out of frequency.", [accepted])
        return
    found = limits(subject.calls)
    note = "The fewest rules that explain which sends were refused out of frequency and which were not."
    parts: list[Part] = [
        table_columns.table("limits", found, _RULES),
        Figure("limits", found, "Windows that fit"),
        accepted,
    ]
    rules = list(dict.fromkeys(_rule(row) for row in found.dropna(subset=["count", "window_s"]).to_dict("records")))
    finding = f"The refusals fit these rules: {', '.join(rules)}." if rules else ""
    yield Section("limits", "Frequency limits", note, parts, finding=finding)


def _rule(row: Row) -> str:
    if lacks(row, "count"):
        return "explained by none of these"
    return (
        str(row["count"])
        if lacks(row, "window_s")
        else f"{row['count']} within {number_format.duration(row['window_s'])}"
    )


def _window(row: Row) -> str:
    if lacks(row, "window_s"):
        return number_format.MISSING
    ends = ("window_low_s", "window_high_s")
    return " and ".join(number_format.MISSING if lacks(row, end) else number_format.duration(row[end]) for end in ends)
