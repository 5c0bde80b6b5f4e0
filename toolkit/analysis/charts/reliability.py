"""Plot errors and burn rates."""

from __future__ import annotations

import altair as alt
import pandas as pd

from toolkit import number_format
from toolkit.analysis.charts import labels, row_layout
from toolkit.analysis.charts.base import (
    INK,
    WIDTH,
    Row,
    colour_channel,
    empty_chart,
    inline,
    legend,
    named_scale,
    subtitle,
    time_axis,
    to_rows,
    used_only,
    with_theme,
)
from toolkit.analysis.timestamps import zone_name
from toolkit.outcome_colours import KIND_COLOURS

_LONG, _SHORT, _WORST = "long window", "short window", "highest long window"
_BURN_COLUMNS = {"burn_long": _LONG, "burn_short": _SHORT, "worst_burn": _WORST}
_BURN_SHAPES = {_LONG: "circle", _SHORT: "square", _WORST: "cross"}
_BURN_COLOURS = {_LONG: "#1d5ea8", _SHORT: "#8fb4dc", _WORST: "#8f1424"}


def errors(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``errors``: a line from the first to the last call of each outcome.

    A diamond marks the busiest time; its size is the share of the calls in that time.

    Args:
        frame: The result of ``errors``.
        width: The width of the chart, px.
    """
    if not len(frame):
        return empty_chart("No errors", width)
    found = to_rows(frame.nlargest(row_layout.MAX_ROWS, "calls").sort_index())
    rows = row_layout.place_rows([_error_row(row) for row in found])
    layout = row_layout.lay_out(row_layout.labels_of(rows, len(frame) - len(rows)), width)
    colours = used_only(KIND_COLOURS, rows, "kind")
    start, end = min(row["first_seen"] for row in rows), max(row["last_seen"] for row in rows)
    margin = max((end - start) * 0.02, 30_000)
    spans = alt.Chart(inline(rows), width=layout.width, height=layout.height).encode(
        x=time_axis("first_seen:T", start - margin, end + margin, layout.width, zone_name(frame)),
        y=layout.y,
        color=colour_channel("kind:N", colours, width),
        description="label:N",
    )
    busiest = spans.mark_point(shape="diamond", filled=True, opacity=1, stroke=INK, strokeWidth=1)
    share = alt.Size("share:Q", scale=alt.Scale(domain=[0, 1], range=[40, 400]), legend=None)
    title = subtitle("diamond: busiest time; its size: share of the calls in that time", layout.width)
    ends = [spans.mark_tick(thickness=2, height=12).encode(x=f"{name}:T") for name in ("first_seen", "last_seen")]
    line = spans.mark_rule(strokeWidth=3).encode(x2="last_seen:T")
    return with_theme(alt.layer(line, *ends, busiest.encode(x="busiest:T", size=share)).properties(title=title))


def burn_rates(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``burn_rates``: the burn rates of each alert rule, and its threshold.

    Args:
        frame: The result of ``burn_rates``.
        width: The width of the chart, px.
    """
    if not frame["worst_at"].notna().any():
        return empty_chart("No calls", width)
    rules = row_layout.place_rows(to_rows(frame))
    for row in rules:
        windows = f"{number_format.duration(row['long_s'])} and {number_format.duration(row['short_s'])}"
        row["label"] = f"{row['action']}, {windows}" + (", firing" if row["firing"] else "")
    layout = row_layout.lay_out(row_layout.labels_of(rules), width)
    burns = [
        {"place": row["place"], "window": window, "burn": row[name] or 0}
        for row in rules
        for name, window in _BURN_COLUMNS.items()
    ]
    thresholds = [{"place": row["place"], "burn": row["threshold"]} for row in rules]
    highest = max(row["burn"] for row in [*burns, *thresholds])
    axis = alt.X(
        "burn:Q",
        title="burn rate (1: the budget lasts one period)",
        scale=alt.Scale(type="symlog", domain=[0, highest * 1.2], nice=False),  # a log scale has no 0
        axis=alt.Axis(values=[0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000], format=",~f", labelOverlap=True),
    )
    points = alt.Chart(inline(burns), width=layout.width, height=layout.height).encode(x=axis, y=layout.y)
    ticks = alt.Chart(inline(thresholds)).mark_tick(thickness=3, height=18, color=INK).encode(x=axis, y=layout.y)
    shape = alt.Shape("window:N", title=None, scale=named_scale(_BURN_SHAPES), legend=legend(width, _BURN_SHAPES))
    channels = {"shape": shape, "color": colour_channel("window:N", _BURN_COLOURS, width)}
    return with_theme(
        alt.layer(ticks, points.mark_point(filled=True, size=90, opacity=1).encode(**channels)).properties(
            title=subtitle("tick: threshold; the rule fires while both windows exceed it", layout.width)
        )
    )


def _error_row(row: Row) -> Row:
    return {
        "first_seen": row["first_seen"],
        "last_seen": row["last_seen"],
        "busiest": max(row["busiest"], row["first_seen"]),  # a bucket may start before its first call
        "label": f"{row['endpoint']} {labels.outcome(row)}: {number_format.plural(row['calls'], 'call')}",
        "kind": labels.kind(row),
        "share": row["busiest_calls"] / row["calls"] if row["calls"] else 0,
    }
