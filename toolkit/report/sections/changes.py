"""Build the sections of changes over time, of their concentration, and of the comparison with another run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from toolkit import number_format
from toolkit.analysis import Calls, changes, compare, explain
from toolkit.analysis.change_detection.concentration import UNVERIFIED
from toolkit.analysis.latency_percentiles import MEASURES
from toolkit.analysis.timestamps import zone_name
from toolkit.api.return_codes import ReturnCode
from toolkit.outcome_colours import CODE_UNKNOWN
from toolkit.report import table_columns
from toolkit.report.inputs import ReportInputs
from toolkit.report.model import Cell, Figure, Part, Section
from toolkit.report.table_columns import Column, Row, lacks

PERIOD = "What is different in here?"
_MAX_EXPLAINED = 5
_SHARE, _CONVERSION = "share", "conversion"
_WHY = (
    table_columns.text("outcome"),
    table_columns.time("since"),
    table_columns.text("dimension"),
    table_columns.text("value"),
    table_columns.share("coverage_ratio", "share of the outcome's calls"),
    table_columns.share("found_ratio", "share of the value's calls"),
    table_columns.computed("lift", lambda row: _ratio(row["lift"]), is_number=True),
)
_WHY_OF_PERIOD = (_WHY[0], *_WHY[2:])  # without the time
_MAX_CHANGES = 24
_SHARES = (_SHARE, "failed", "conversion")
_CALLS = "calls"
_TITLES = {"failed": "calls that failed in the service or on the network", "conversion": "conversion", "calls": "calls"}
_DIMENSIONS = {"temp_id": "template", "app_key": "app", "source": "source"}
_LOST, _MAX_LOST = ("conversion", "calls"), 2  # changes that the finding names besides the strongest one


def build_changes(inputs: ReportInputs) -> Iterator[Section]:
    """Yield the changes of shares and latency, and the dimensions in which the outcomes that rose are concentrated."""
    if inputs.total.codes.empty:
        return
    found = inputs.local(table_columns.masked(changes(inputs.calls, timezone=inputs.options.timezone)))
    if found.empty:
        yield Section(
            "changes",
            "What changed",
            "No share of an outcome, no latency and no conversion changed, and there was no time without calls.",
            found_nothing=True,
        )
        return
    shown = [
        table_columns.time("changed_at", "since"),
        table_columns.computed(f"until {table_columns.ZONE}", _end),
        table_columns.text("endpoint"),
        table_columns.computed("what", _what),
        table_columns.computed("before", lambda row: _level(row, "before"), is_number=True),
        table_columns.computed("after", lambda row: _level(row, "after"), is_number=True),
        table_columns.computed("ratio", lambda row: _ratio(row["ratio"]), is_number=True),
    ]
    figure = Figure("changes", found, "Changes over time")
    why = _explain_rises(inputs, found)
    note = (
        "Changes in the shares of outcomes, in the median and the 95th percentile of latency, and in the conversion,"
        " the share of accepted sends whose code was verified. Calls an hour are shown if none were made."
    )
    parts: list[Part] = [figure, table_columns.table("changes", found, shown, max_rows=_MAX_CHANGES)]
    yield Section("changes", "What changed", note, parts, finding=_strongest(found))
    if len(why):
        note = "Properties of the calls with an outcome that rose, compared with all other calls of the same time."
        table = table_columns.table("why", why, _WHY, is_grouped=True)
        yield Section("why", "Where changes are concentrated", note, [table])


def build_comparison(inputs: ReportInputs) -> Iterator[Section]:
    """Yield the differences from the run of ``--against``."""
    against = inputs.options.against
    if against is None or inputs.total.codes.empty:
        return
    found = compare(against.calls, inputs.calls)
    differing = found[found["differs"].fillna(False)]
    shown = [
        *_compared("before", "now"),
        table_columns.number("effect"),
        table_columns.computed("p, corrected", lambda row: _chance(row["p_corrected"]), is_number=True),
        table_columns.computed("verdict", _verdict),
    ]
    order = found.assign(last=~found["differs"].fillna(False), size=-found["effect"].abs())
    frame = order.sort_values(["last", "size"], ignore_index=True).drop(columns=["last", "size"])
    note = (
        f"Before: {against.name}. {len(differing)} of {len(found)} figures differ by more than chance, as estimated by"
        " reassigning blocks of time at random. An effect of 0.2 is small, 0.8 is large."
    )
    figure = Figure("compare", table_columns.masked(frame), "Differences")
    finding = f"{len(differing)} of {len(found)} figures differ from those of {against.name}."
    yield Section(
        "comparison", "Comparison", note, [figure, table_columns.table("comparison", frame, shown)], finding=finding
    )


def build_period(here: Calls, elsewhere: Calls) -> Iterator[Section]:
    """Compare a period with all other times, and explain the outcomes that are more frequent in it.

    Args:
        here: The calls of the period.
        elsewhere: The calls of all other times.
    """
    if not len(here) or not len(elsewhere):
        yield Section("period", PERIOD, "Select a period that has calls, and that leaves calls outside of it.")
        return
    found = table_columns.masked(compare(elsewhere, here))
    is_untested = found["differs"].isna()
    order = found[found["differs"].fillna(False) | is_untested].assign(size=lambda it: it["effect"].abs())
    differing = order.sort_values(["differs", "size"], ascending=False, ignore_index=True).drop(columns="size")
    shown = [*_compared("at other times", "in here"), table_columns.computed("verdict", _verdict)]
    note = f"{number_format.plural(len(here), 'call')} of this time, compared with all others."
    if differing.empty:
        yield Section("period", PERIOD, f"{note} No figure differs by more than chance.")
        return
    note += " The figures that differ by more than chance are listed"
    note += ", then those that could not be tested." if is_untested.any() else "."
    yield Section("period", PERIOD, note, [table_columns.table("period", differing, shown, max_rows=_MAX_CHANGES)])
    why = _explain_period(here, elsewhere, differing)
    if len(why):
        note = "Properties of the calls with an outcome that is more frequent in here, compared with the other calls."
        table = table_columns.table("period_why", why, _WHY_OF_PERIOD, is_grouped=True)
        yield Section("period_why", "Where it is concentrated", note, [table])


def _compared(before: str, now: str) -> list[Column]:
    """Return the columns of a comparison, with the headers of its two sides."""
    return [
        table_columns.text("endpoint"),
        table_columns.computed("what", _what),
        table_columns.computed(before, lambda row: _level(row, "a"), is_number=True),
        table_columns.computed(now, lambda row: _level(row, "b"), is_number=True),
        table_columns.computed("difference, 95 % interval", _difference, is_number=True),
    ]


def _strongest(found: pd.DataFrame) -> str:
    zone = zone_name(found)
    row, *others = found.sort_values("score", ascending=False).to_dict("records")
    strongest = "" if len(found) == 1 else f"{len(found)} changes. The strongest: "
    lost = [it for it in others if it["measure"] in _LOST and (it["difference"] < 0 or it["measure"] == _CONVERSION)][
        :_MAX_LOST
    ]
    also = "".join(f" {_sentence(it, zone)}" for it in lost)
    return f"{strongest}{_sentence(row, zone)}{also}"


def _sentence(row: Row, zone: str) -> str:
    subject = _what(row) if lacks(row, "endpoint") else f"{row['endpoint']} {_what(row)}"
    verb = "changed" if lacks(row, "difference") else "rose" if row["difference"] > 0 else "fell"
    levels = f"{subject} {verb} from {_level(row, 'before')} to {_level(row, 'after')}"
    if row["measure"] not in (*_SHARES, _CALLS) and _growth(row["ratio"]) != number_format.MISSING:
        levels += f" ({_growth(row['ratio'])})"
    began = f"{number_format.moment(row['changed_at'])} ({zone})"
    if lacks(row, "until"):
        return f"{levels} at {began} and stayed there."
    return f"{levels} for {number_format.duration((row['until'] - row['changed_at']).total_seconds())} from {began} on."


def _end(row: Row) -> str:
    """Return when a change ended, as text; it may last until the end of the calls."""
    return "the end" if lacks(row, "until") else f"{row['until']:%Y-%m-%d %H:%M:%S}"


def _explain_period(here: Calls, elsewhere: Calls, differing: pd.DataFrame) -> pd.DataFrame:
    """Explain the outcomes that are more frequent in a period. Columns: those of ``explain``, outcome (string)."""
    rose = differing[(differing["measure"] == _SHARE) & (differing["difference"].fillna(0) >= 0)]
    frames: list[pd.DataFrame] = []
    for row in rose.to_dict("records"):
        is_more = not lacks(row, "a") and not lacks(row, "b") and row["b"] > row["a"]
        outcome = _outcome(row)
        if is_more and outcome not in (None, ReturnCode.SUCCESS) and len(frames) < _MAX_EXPLAINED:
            endpoint = str(row["endpoint"])
            why = explain(here.where(endpoint=endpoint), outcome, against=elsewhere.where(endpoint=endpoint), top=1)
            frames.append(_most(why).assign(outcome=f"{endpoint} {_what(row)}"))
    return _concat(frames)


def _outcome(row: Row) -> Any:
    """Return the return code or the error of a row, None if neither is known."""
    return (None if lacks(row, "error") else row["error"]) if lacks(row, "return_code") else int(row["return_code"])


def _most(why: pd.DataFrame) -> pd.DataFrame:
    """Return the first rows of ``explain``, or one row with the value "not concentrated"."""
    shown = why["value"].mask(why["dimension"] == "mobile_key", "one mobile")  # its key can be traced back to it
    return why.assign(value=shown).head(3) if len(why) else why.reindex([0]).assign(value="not concentrated")


def _concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    counts = {"calls": "Int64", "found": "Int64"}  # null if an outcome is not concentrated
    return pd.concat(frames, ignore_index=True).astype(counts) if frames else pd.DataFrame()


def _explain_rises(inputs: ReportInputs, found: pd.DataFrame) -> pd.DataFrame:
    """Explain the outcomes that rose most. Columns: those of ``explain``, outcome (string), since."""
    success = found["return_code"] == ReturnCode.SUCCESS
    is_known = found["return_code"].notna() | found["error"].notna()
    is_rise = (found["measure"] == _SHARE) & (found["difference"] > 0) & ~success.fillna(False) & is_known
    rose = found.loc[is_rise | ((found["measure"] == _CONVERSION) & (found["difference"] < 0))]
    frames = []
    for row in rose.nlargest(_MAX_EXPLAINED, "score").sort_values("changed_at").to_dict("records"):
        is_lost = row["measure"] == _CONVERSION
        outcome = UNVERIFIED if is_lost else _outcome(row)
        until = None if lacks(row, "until") else row["until"]
        during = inputs.calls if is_lost else inputs.calls.where(endpoint=str(row["endpoint"]))
        zone = inputs.options.timezone
        why = explain(during, outcome, since=row["changed_at"], until=until, top=1, timezone=zone)
        what = {"outcome": f"{row['endpoint']} {_what(row)}", "since": row["changed_at"]}
        frames.append(_most(why).assign(**what))
    return _concat(frames)


def _what(row: Row) -> str:
    if row["measure"] in _TITLES:
        return _TITLES[row["measure"]] + _segment(row)
    if row["measure"] != _SHARE:
        return f"p{row['percentile']:g} of {MEASURES[row['measure']]}"
    if lacks(row, "return_code"):
        return (CODE_UNKNOWN if lacks(row, "error") else str(row["error"])) + _segment(row)
    return f"{row['return_code']} {row['message']}".rstrip() + _segment(row)


def _segment(row: Row) -> str:
    """Return the segment of a change, such as " (carrier China Mobile)"; compared outcomes have none."""
    if "dimension" not in row or lacks(row, "dimension"):
        return ""
    return f" ({_DIMENSIONS.get(row['dimension'], row['dimension'])} {row['value']})"


def _level(row: Row, name: str) -> str:
    if lacks(row, name):
        return number_format.MISSING
    if row["measure"] == _CALLS:
        return f"{number_format.short_number(row[name])} an hour"
    if row["measure"] in _SHARES:
        return number_format.share(row[name])
    return f"{number_format.milliseconds(row[name])} ms"


def _difference(row: Row) -> str:
    if lacks(row, "difference"):
        return number_format.MISSING
    scale, unit = (100, "points") if row["measure"] == _SHARE else (1, "ms")
    ends = [row[name] * scale for name in ("difference", "difference_low", "difference_high")]
    middle, low, high = ("" if pd.isna(end) else number_format.short_number(end, "+") for end in ends)
    return f"{middle} ({low} to {high}) {unit}" if low else f"{middle} {unit}"


def _ratio(ratio: float) -> str:
    return (
        number_format.MISSING
        if pd.isna(ratio) or ratio == float("inf")
        else f"×\N{NO-BREAK SPACE}{number_format.short_number(ratio)}"
    )


def _growth(ratio: float) -> str:
    r"""Return a ratio as growth in percent, from twice on as a factor.

    >>> _growth(1.123), _growth(0.1), _growth(0.998), _growth(1.9999), _growth(2.3)
    ('+12.3 %', '-90 %', '-0.2 %', '×\xa02', '×\xa02.3')
    """
    percent = 100 * (ratio - 1)
    return f"{number_format.short_number(percent, '+')} %" if percent < 99.95 else _ratio(ratio)


def _chance(p_value: float | None) -> str:
    if p_value is None or pd.isna(p_value):
        return number_format.MISSING
    return number_format.probability(p_value)


def _verdict(row: Row) -> Cell:
    if lacks(row, "differs"):
        return str(row["note"]) or number_format.MISSING
    return "differs" if row["differs"] else "no significant difference"
