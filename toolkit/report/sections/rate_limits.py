"""Build the section of the rate limits that the sends imply."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from toolkit import number_format
from toolkit.analysis import limits, most_accepted
from toolkit.analysis.calls_table import lazy
from toolkit.analysis.rate_limits.clock_offsets import describe_offset, find_offsets, to_frame
from toolkit.analysis.timestamps import zone_name
from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.masking import mask_text
from toolkit.report import table_columns
from toolkit.report.inputs import ReportInputs
from toolkit.report.model import Figure, Part, Section
from toolkit.report.table_columns import Row, lacks

_NAME, _TITLE = "limits", "Rate limits"
_RULES = (
    table_columns.computed("sends per mobile", lambda row: _rule(row)),
    table_columns.computed("window", lambda row: _window(row), is_number=True),
    table_columns.text("window_shape", "windows"),
    table_columns.count("refusals", "refusals explained"),
    table_columns.computed(
        "of all refusals",
        lambda row: number_format.share(row["refusals"] / row["refused"]) if row["refused"] else number_format.MISSING,
        is_number=True,
    ),
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
_OFFSETS = (
    table_columns.text("source", "host"),
    table_columns.computed("clock", lambda row: describe_offset(row["offset_s"])),
    table_columns.time("since"),
    table_columns.time("until"),
    table_columns.count("messages", "messages that show it"),
)


def build_rate_limits(inputs: ReportInputs) -> Iterator[Section]:
    """Yield the rules that explain which sends were refused as out of frequency, and the most that were accepted."""
    sends = inputs.total.codes[inputs.total.codes["endpoint"] == Endpoint.SEND.value]
    if sends.empty:
        return
    try:
        speed = inputs.speed
    except InputError as unknown:
        yield Section(_NAME, _TITLE, mask_text(str(unknown)))
        return
    clocks = find_offsets(lazy(inputs.calls, "return_code"))
    most = inputs.local(most_accepted(inputs.calls, offsets=clocks, speed=speed))
    if not most["most_accepted"].any() and (sends["return_code"] == ReturnCode.SUCCESS).fillna(False).any():
        yield Section(_NAME, _TITLE, "Rules can't be inferred: the records don't distinguish mobiles.")
        return
    most = most[most["window_s"] <= inputs.total.duration_s * speed]  # a longer window has the same sends
    accepted = [table_columns.table("most_accepted", most, _ACCEPTED, title="Most sends accepted per mobile")]
    accepted = accepted if len(most) else []
    if not (sends["return_code"] == ReturnCode.OUT_OF_FREQ).fillna(False).any():
        yield Section(_NAME, _TITLE, "No send was refused as out of frequency.", accepted, found_nothing=True)
        return
    found = inputs.local(limits(inputs.calls, offsets=clocks, speed=speed))
    note = "The fewest rules that explain which sends were refused as out of frequency and which were accepted."
    if speed != 1:
        note += f" Windows are those of the service's clock, which ran {speed:g} times as fast."
    parts: list[Part] = [
        table_columns.table("limits", found, _RULES),
        Figure("limits", found, "Windows that fit"),
        *accepted,
    ]
    offsets = inputs.local(to_frame(clocks))
    if not offsets.empty:
        title, why = "Hosts whose clocks are wrong", "Their times are corrected before rules are inferred."
        parts.append(table_columns.table("clock_offsets", offsets, _OFFSETS, title=title, note=why))
    yield Section(_NAME, _TITLE, note, parts, finding=_finding(found, offsets))


def _finding(found: pd.DataFrame, offsets: pd.DataFrame) -> str:
    """Return the share of the refusals that rules explain, each rule with its refusals, and the wrong clocks."""
    clocks = "".join(
        f" The clock of {row['source']} was {describe_offset(row['offset_s'])}: its times are corrected."
        for row in offsets.to_dict("records")
    )
    unexplained = found[found["max_sends"].isna()]
    refused, left = int(unexplained["refused"].sum()), int(unexplained["refusals"].sum())
    rules = found.dropna(subset=["max_sends"])
    if rules.empty:
        return f"No rule explains any of the {refused:,} refusals.{clocks}" if refused else clocks.strip()
    explained = f"{refused - left:,} of {refused:,} refusals ({number_format.share((refused - left) / refused)})"
    of_rules = rules.assign(rule=[_rule(row) for row in rules.to_dict("records")]).groupby("rule", sort=False)
    listed = ", ".join(f"{rule}{_period(rows, found)} ({rows['refusals'].sum():,} refusals)" for rule, rows in of_rules)
    rest = f" {left:,} fit no rule." if left else ""
    return f"Rules explain {explained}: {listed}.{rest}{clocks}"


def _period(rows: pd.DataFrame, found: pd.DataFrame) -> str:
    """Return since and until when a rule holds, such as " until 2026-11-12 14:15 (UTC)"; "" if it always does."""
    since, until = rows["since"].min(), rows["until"].max()
    ends = [f" since {number_format.moment(since)}"] if since > found["since"].min() else []
    ends += [f" until {number_format.moment(until)}"] if until < found["until"].max() else []
    return f"{''.join(ends)} ({zone_name(found)})" if ends else ""


def _rule(row: Row) -> str:
    if lacks(row, "max_sends"):
        return "not explained by a rule"
    if not lacks(row, "window_s"):
        return f"{row['max_sends']} within {number_format.duration(row['window_s'])}"
    ends = [number_format.duration(row[end]) for end in ("window_low_s", "window_high_s") if not lacks(row, end)]
    return f"{row['max_sends']} within {' to '.join(dict.fromkeys(ends)) if len(ends) == 2 else 'an unknown time'}"


def _window(row: Row) -> str:
    ends = ("window_low_s", "window_high_s")
    low, high = ("" if lacks(row, end) else number_format.duration(row[end]) for end in ends)
    if low and high:
        return f"{low} to {high}"
    return f"at least {low}" if low and row["window_low_s"] else f"at most {high}" if high else number_format.MISSING
