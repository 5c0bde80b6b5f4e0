"""What changed, where it gathers, and how a run differs from another."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from toolkit import number_format
from toolkit.analysis import changes, compare, explain
from toolkit.analysis.latency_percentiles import MEASURES
from toolkit.api.return_codes import ReturnCode
from toolkit.report import table_columns
from toolkit.report.inputs import Subject
from toolkit.report.model import Cell, Figure, Part, Section
from toolkit.report.table_columns import Row, lacks

_MOST_EXPLAINED = 5
_SHARE = "share"
_FEW = 24


def tell_changes(subject: Subject) -> Iterator[Section]:
    """Tell since when shares and times were others than before, and where what rose most gathers."""
    if subject.codes.empty:
        return
    found = table_columns.masked(changes(subject.calls))
    if found.empty:
        yield Section("changes", "What changed", "No share of an outcome and no level of times changed.")
        return
    shown = [
        table_columns.when("changed_at", "since"),
        table_columns.when("until"),
        table_columns.text("endpoint"),
        table_columns.made("what", _what),
        table_columns.made("before", lambda row: _level(row, "before"), is_number=True),
        table_columns.made("after", lambda row: _level(row, "after"), is_number=True),
        table_columns.made("times", lambda row: _ratio(row["ratio"]), is_number=True),
    ]
    figure = Figure("changes", found, "When it changed")
    why = _gather(subject, found)
    note = "Shares of outcomes, and the median and the 95th percentile of times, that were others than before."
    parts: list[Part] = [figure, table_columns.table("changes", found, shown, most=_FEW)]
    yield Section("changes", "What changed", note, parts, finding=_strongest(found))
    if len(why):
        yield _tell_why(why)


def tell_comparison(subject: Subject) -> Iterator[Section]:
    """Tell how the calls differ from those that they are to be compared with."""
    against = subject.asked.against
    if against is None or subject.codes.empty:
        return
    found = compare(against.calls, subject.calls)
    differing = found[found["differs"].fillna(False)]
    shown = [
        table_columns.text("endpoint"),
        table_columns.made("what", _what),
        table_columns.made("before", lambda row: _level(row, "a"), is_number=True),
        table_columns.made("now", lambda row: _level(row, "b"), is_number=True),
        table_columns.made("difference, 95 % interval", _difference, is_number=True),
        table_columns.measured("effect"),
        table_columns.made("p, corrected", lambda row: _chance(row["p_corrected"]), is_number=True),
        table_columns.made("verdict", _differs),
    ]
    order = found.assign(last=~found["differs"].fillna(False), size=-found["effect"].abs())
    frame = order.sort_values(["last", "size"], ignore_index=True).drop(columns=["last", "size"])
    note = (
        f"Before: {against.name}. {len(differing)} of {len(found)} figures differ, against what they would by chance if"
        " their stretches of time were dealt out anew. An effect of 0.2 is little, 0.8 much."
    )
    figure = Figure("compare", table_columns.masked(frame), "Differences")
    finding = f"{len(differing)} of {len(found)} figures differ from those of {against.name}."
    yield Section(
        "comparison", "Compared", note, [figure, table_columns.table("comparison", frame, shown)], finding=finding
    )


def _strongest(found: pd.DataFrame) -> str:
    (row,) = found.assign(size=found["score"].abs()).nlargest(1, "size").to_dict("records")
    levels = f"{row['endpoint']} {_what(row)} went from {_level(row, 'before')} to {_level(row, 'after')}"
    until = "" if lacks(row, "until") else f" until {row['until']:%Y-%m-%d %H:%M}"
    strongest = "" if len(found) == 1 else f"{len(found)} levels changed, above all this: "
    return f"{strongest}{levels} at {row['changed_at']:%Y-%m-%d %H:%M}{until} (UTC)."


def _tell_why(why: pd.DataFrame) -> Section:
    shown = [
        table_columns.text("outcome"),
        table_columns.when("since"),
        table_columns.text("dimension"),
        table_columns.text("value"),
        table_columns.share("coverage", "of all with the outcome"),
        table_columns.share("share", "share of its calls"),
        table_columns.made("times others'", lambda row: _ratio(row["lift"]), is_number=True),
    ]
    note = "What the calls with an outcome that rose had in common, compared with all others of that time."
    return Section("why", "Where it gathers", note, [table_columns.table("why", why, shown, is_grouped=True)])


def _gather(subject: Subject, found: pd.DataFrame) -> pd.DataFrame:
    """Explain the outcomes that rose most; one row per outcome and value, columns: those of ``explain`` and when."""
    success = found["return_code"] == ReturnCode.SUCCESS
    rose = found[(found["measure"] == _SHARE) & (found["difference"] > 0) & ~success.fillna(False)]
    frames = []
    for row in rose.nlargest(_MOST_EXPLAINED, "score").sort_values("changed_at").to_dict("records"):
        outcome = row["error"] if lacks(row, "return_code") else int(row["return_code"])
        until = None if lacks(row, "until") else row["until"]
        during = subject.calls.where(endpoint=str(row["endpoint"]))
        why = explain(during, outcome, since=row["changed_at"], until=until, top=1)
        what = {"outcome": f"{row['endpoint']} {_what(row)}", "since": row["changed_at"]}
        most = why.head(3) if len(why) else why.reindex([0]).assign(value="everywhere alike")
        frames.append(most.assign(**what))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _what(row: Row) -> str:
    if row["measure"] != _SHARE:
        return f"p{row['percentile']:g} of {MEASURES[row['measure']]}"
    if lacks(row, "return_code"):
        return str(row["error"])
    return f"{row['return_code']} {row['message']}".rstrip()


def _level(row: Row, name: str) -> str:
    if lacks(row, name):
        return number_format.MISSING
    return number_format.share(row[name]) if row["measure"] == _SHARE else f"{number_format.milliseconds(row[name])} ms"


def _difference(row: Row) -> str:
    if lacks(row, "difference"):
        return number_format.MISSING
    scale, unit = (100, "points") if row["measure"] == _SHARE else (1, "ms")
    ends = [row[name] * scale for name in ("difference", "difference_low", "difference_high")]
    middle, low, high = ("" if pd.isna(end) else number_format.short_number(end, "+") for end in ends)
    return f"{middle} ({low} to {high}) {unit}" if low else f"{middle} {unit}"


def _ratio(ratio: float) -> str:
    return (
        number_format.MISSING if pd.isna(ratio) or ratio == float("inf") else f"× {number_format.short_number(ratio)}"
    )


def _chance(p_value: float | None) -> str:
    if p_value is None or pd.isna(p_value):
        return number_format.MISSING
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _differs(row: Row) -> Cell:
    if lacks(row, "differs"):
        return str(row["note"]) or number_format.MISSING
    return "differs" if row["differs"] else "no difference shown"
