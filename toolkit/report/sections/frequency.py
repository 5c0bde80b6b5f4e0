"""Which frequency rules the sends imply."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.analysis import limits, most_accepted, number_format
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.report import columns
from toolkit.report.columns import Row, lacks
from toolkit.report.subject import Subject
from toolkit.report.values import Figure, Part, Section

_RULES = (
    columns.made("sends to a mobile", lambda row: _rule(row)),
    columns.made("window between", lambda row: _window(row), is_number=True),
    columns.text("shape", "windows"),
    columns.count("refusals", "refusals it explains"),
    columns.count("alone", "it alone"),
    columns.count("broken_by", "accepted against it"),
    columns.when("since"),
    columns.when("until"),
    columns.text("app_key", "app", is_optional=True),
    columns.text("note", is_optional=True),
)
_ACCEPTED = (columns.duration("window_s", "within", is_number=False), columns.count("most_accepted", "most accepted"))


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
    accepted = columns.table("most_accepted", most, _ACCEPTED, title="Accepted at most, to a mobile")
    if not (sends["return_code"] == ReturnCode.OUT_OF_FREQ).fillna(False).any():
        yield Section("limits", "Frequency limits", "No send was refused out of frequency.", [accepted])
        return
    found = limits(subject.calls)
    note = "The fewest rules that explain which sends were refused out of frequency and which were not."
    parts: list[Part] = [columns.table("limits", found, _RULES), Figure("limits", found, "Windows that fit"), accepted]
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
        return number_format.NONE
    ends = ("window_low_s", "window_high_s")
    return " and ".join(number_format.NONE if lacks(row, end) else number_format.duration(row[end]) for end in ends)
