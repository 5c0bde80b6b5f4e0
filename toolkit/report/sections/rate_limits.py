"""Build the section of the rate limits that the sends imply."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit import number_format
from toolkit.analysis import limits, most_accepted
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.report import table_columns
from toolkit.report.inputs import ReportInputs
from toolkit.report.model import Figure, Part, Section
from toolkit.report.table_columns import Row, lacks

_NAME, _TITLE = "limits", "Rate limits"
_RULES = (
    table_columns.computed("sends per mobile", lambda row: _rule(row)),
    table_columns.computed("window between", lambda row: _window(row), is_number=True),
    table_columns.text("window_shape", "windows"),
    table_columns.count("refusals", "refusals explained"),
    table_columns.count("alone", "by this rule only"),
    table_columns.count("broken_by", "accepted beyond it"),
    table_columns.time("since"),
    table_columns.time("until"),
    table_columns.text("app_key", "app", is_optional=True),
    table_columns.text("note", is_optional=True),
)
_ACCEPTED = (
    table_columns.duration("window_s", "within", is_number=False),
    table_columns.count("most_accepted", "most accepted"),
)


def build_rate_limits(inputs: ReportInputs) -> Iterator[Section]:
    """Yield the rules that explain which sends were refused as out of frequency, and the most that were accepted."""
    sends = inputs.total.codes[inputs.total.codes["endpoint"] == Endpoint.SEND.value]
    if sends.empty:
        return
    most = inputs.local(most_accepted(inputs.calls))
    if not most["most_accepted"].any() and (sends["return_code"] == ReturnCode.SUCCESS).fillna(False).any():
        yield Section(_NAME, _TITLE, "Rules can't be inferred: the records don't distinguish mobiles.")
        return
    accepted = table_columns.table("most_accepted", most, _ACCEPTED, title="Most sends accepted per mobile")
    if not (sends["return_code"] == ReturnCode.OUT_OF_FREQ).fillna(False).any():
        yield Section(_NAME, _TITLE, "No send was refused as out of frequency.", [accepted])
        return
    found = inputs.local(limits(inputs.calls))
    note = "The fewest rules that explain which sends were refused as out of frequency and which were accepted."
    parts: list[Part] = [
        table_columns.table("limits", found, _RULES),
        Figure("limits", found, "Windows that fit"),
        accepted,
    ]
    rules = list(dict.fromkeys(_rule(row) for row in found.dropna(subset=["max_sends", "window_s"]).to_dict("records")))
    finding = f"The refusals fit these rules: {', '.join(rules)}." if rules else ""
    yield Section(_NAME, _TITLE, note, parts, finding=finding)


def _rule(row: Row) -> str:
    if lacks(row, "max_sends"):
        return "not explained by a rule"
    within = "" if lacks(row, "window_s") else f" within {number_format.duration(row['window_s'])}"
    return f"{row['max_sends']}{within}"


def _window(row: Row) -> str:
    if lacks(row, "window_s"):
        return number_format.MISSING
    ends = ("window_low_s", "window_high_s")
    return " and ".join(number_format.MISSING if lacks(row, end) else number_format.duration(row[end]) for end in ends)
