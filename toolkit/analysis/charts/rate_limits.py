"""Plot the rate limits that were inferred from a log, and the largest numbers of accepted sends."""

from __future__ import annotations

import altair as alt
import pandas as pd

from toolkit import number_format
from toolkit.analysis.charts import row_layout
from toolkit.analysis.charts.base import (
    INK,
    WIDTH,
    Row,
    empty_chart,
    inline,
    log_scale,
    subtitle,
    to_rows,
    with_theme,
)

_TICKS_S = (1, 10, 60, 600, 3_600, 21_600, 86_400, 604_800, 2_592_000, 31_536_000)
_RANGE_COLOUR, _POINT_COLOUR = "#8fb4dc", "#12305c"


def limits(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``limits``: the window of each rule and the range of its possible lengths, on a log axis.

    Args:
        frame: The result of ``limits``.
        width: The width of the chart, px.
    """
    if not len(frame):
        return empty_chart("No refusals for frequency", width)
    found = to_rows(frame)
    has_several = len({(row["app_key"], row["since"]) for row in found}) > 1
    rows = row_layout.place_rows([_rule_row(row, has_several) for row in found])
    layout = row_layout.lay_out(row_layout.labels_of(rows, len(found) - len(rows)), width)
    lengths = [row[name] for row in rows for name in ("low", "at", "high") if row[name]]
    bars = alt.Chart(inline(rows), width=layout.width, height=layout.height).encode(
        x=_duration_axis("at:Q", lengths, "window"), y=layout.y
    )
    return with_theme(
        alt.layer(
            bars.mark_bar(height=12, color=_RANGE_COLOUR).encode(x="low:Q", x2="edge:Q"),
            bars.mark_point(shape="triangle-right", filled=True, size=110, color=_RANGE_COLOUR, opacity=1)
            .encode(x="edge:Q")
            .transform_filter("datum.is_open"),
            bars.mark_point(shape="diamond", filled=True, size=90, color=_POINT_COLOUR, opacity=1),
        ).properties(title=subtitle("diamond: length of the window; bar: range of possible lengths", layout.width))
    )


def most_accepted(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``most_accepted``: the largest number of accepted sends to a mobile by window length.

    Args:
        frame: The result of ``most_accepted``.
        width: The width of the chart, px.
    """
    rows = [
        {"window_s": row["window_s"], "most": row["most_accepted"]} for row in to_rows(frame) if row["most_accepted"]
    ]
    if not rows:
        return empty_chart("No accepted sends", width)
    points = alt.Chart(inline(rows), width=width, height=180).encode(
        x=_duration_axis("window_s:Q", [row["window_s"] for row in rows], "window"),
        y=alt.Y(
            "most:Q",
            title="max accepted sends per mobile",
            axis=alt.Axis(format=",d", tickMinStep=1, tickCount=5),
            scale=alt.Scale(domainMin=0),
        ),
    )
    return with_theme(
        alt.layer(
            points.mark_rule(color=_RANGE_COLOUR, strokeWidth=2).encode(y2=alt.datum(0)),
            points.mark_point(filled=True, size=90, color=_POINT_COLOUR, opacity=1),
            points.mark_text(dy=-14, fontSize=12, color=INK).encode(text=alt.Text("most:Q", format=",d")),
        )
    )


def _duration_axis(field: str, values: list[float], title: str) -> alt.X:
    """Return a field of durations in s on a log axis with ticks at round durations."""
    low, high = min(values, default=60) / 1.6, max(values, default=60) * 1.6
    texts = " : ".join(f"datum.value == {it} ? '{number_format.duration(it)}'" for it in _TICKS_S)
    axis = alt.Axis(values=[it for it in _TICKS_S if low <= it <= high], labelExpr=f"{texts} : ''", labelOverlap=True)
    return alt.X(field, title=title, axis=axis, scale=log_scale(nice=False, domain=[low, high]))


def _rule_row(row: Row, has_several: bool) -> Row:
    """Return the row of a rule; ``has_several``: the rules are of several apps or periods, so the label names them."""
    known = [it for it in (row["window_low_s"], row["window_s"]) if it]
    low = max(min(known), 1) if known else None
    high = row["window_high_s"]
    scope = ""
    if has_several:
        app = f"{row['app_key']} " if row["app_key"] else ""
        scope = f"{app}from {pd.Timestamp(row['since'], unit='ms'):%m-%d} on, "
    return {
        "label": f"{scope}{_rule_label(row)}: {number_format.plural(row['refusals'], 'refusal')}",
        "at": row["window_s"],
        "low": low,
        "high": high,
        "edge": high or (low and low * 1.5),
        "is_open": bool(low and not high),
    }


def _rule_label(row: Row) -> str:
    if row["max_sends"] is None:
        return "not explained by a rule"
    if row["window_s"] is not None:
        window = number_format.duration(row["window_s"])
    else:
        low, high = number_format.duration(row["window_low_s"] or 0), row["window_high_s"]
        window = f"{low} to {number_format.duration(high)}" if high else f"{low} or more"
    return f"{row['max_sends']:,} in {window}, {row['window_shape']}"
