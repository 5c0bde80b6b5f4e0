"""Frequency: the rules that a log implies, and how many sends were ever accepted."""

from __future__ import annotations

import altair as alt
import pandas as pd

from toolkit import number_format
from toolkit.analysis.charts import row_labels
from toolkit.analysis.charts.base import INK, WIDTH, Row, data, empty, finish, log, note, plain

_TICKS_S = (1, 10, 60, 600, 3_600, 21_600, 86_400, 604_800, 2_592_000, 31_536_000)
_RANGE, _POINT = "#8fb4dc", "#12305c"


def limits(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``limits``: the window of each rule, and between which lengths it lies, on a log axis."""
    if not len(frame):
        return empty("No refusals for frequency", width)
    found = plain(frame)
    several = len({(row["app_key"], row["since"]) for row in found}) > 1
    rows = row_labels.place([_rule_row(row, several) for row in found])
    layout = row_labels.lay(row_labels.name(rows, len(found) - len(rows)), width)
    ends = [row[name] for row in rows for name in ("low", "at", "high") if row[name]]
    bars = alt.Chart(data(rows), width=layout.width, height=layout.height).encode(
        x=_windows("at:Q", ends, "window"), y=layout.y
    )
    return finish(
        alt.layer(
            bars.mark_bar(height=12, color=_RANGE).encode(x="low:Q", x2="edge:Q"),
            bars.mark_point(shape="triangle-right", filled=True, size=110, color=_RANGE, opacity=1)
            .encode(x="edge:Q")
            .transform_filter("datum.is_open"),
            bars.mark_point(shape="diamond", filled=True, size=90, color=_POINT, opacity=1),
        ).properties(title=note("diamond: the window; bar: between which lengths it lies", layout.width))
    )


def most_accepted(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``most_accepted``: the largest number of sends to a mobile that was accepted within each time."""
    rows = [{"window_s": row["window_s"], "most": row["most_accepted"]} for row in plain(frame) if row["most_accepted"]]
    if not rows:
        return empty("No accepted sends", width)
    steps = alt.Chart(data(rows), width=width, height=180).encode(
        x=_windows("window_s:Q", [row["window_s"] for row in rows], "within"),
        y=alt.Y(
            "most:Q",
            title="accepted sends to a mobile, at most",
            axis=alt.Axis(format=",d", tickMinStep=1, tickCount=5),
            scale=alt.Scale(domainMin=0),
        ),
    )
    return finish(
        alt.layer(
            steps.mark_rule(color=_RANGE, strokeWidth=2).encode(y2=alt.datum(0)),
            steps.mark_point(filled=True, size=90, color=_POINT, opacity=1),
            steps.mark_text(dy=-14, fontSize=12, color=INK).encode(text=alt.Text("most:Q", format=",d")),
        )
    )


def _windows(field: str, values: list[float], title: str) -> alt.X:
    """Return a log axis of durations, with ticks at those that people say."""
    low, high = min(values, default=60) / 1.6, max(values, default=60) * 1.6
    texts = " : ".join(f"datum.value == {it} ? '{number_format.duration(it)}'" for it in _TICKS_S)
    axis = alt.Axis(values=[it for it in _TICKS_S if low <= it <= high], labelExpr=f"{texts} : ''", labelOverlap=True)
    return alt.X(field, title=title, axis=axis, scale=log(nice=False, domain=[low, high]))


def _rule_row(row: Row, several: bool) -> Row:
    refusals = number_format.plural(row["refusals"], "refusal")
    known = [it for it in (row["window_low_s"], row["window_s"]) if it]
    low = max(min(known), 1) if known else None
    high = row["window_high_s"]
    return {
        "label": f"{_whose(row) if several else ''}{_rule(row)}: {refusals}",
        "at": row["window_s"],
        "low": low,
        "high": high,
        "edge": high or (low and low * 1.5),
        "is_open": bool(low and not high),
    }


def _rule(row: Row) -> str:
    if row["count"] is None:
        return "explained by no rule"
    return f"{row['count']:,} in {_window(row)}, {row['shape']}"


def _window(row: Row) -> str:
    if row["window_s"] is not None:
        return number_format.duration(row["window_s"])
    low, high = number_format.duration(row["window_low_s"] or 0), row["window_high_s"]
    return f"{low} to {number_format.duration(high)}" if high else f"{low} or more"


def _whose(row: Row) -> str:
    app = f"{row['app_key']} " if row["app_key"] else ""
    return f"{app}from {pd.Timestamp(row['since'], unit='ms'):%m-%d} on, "
