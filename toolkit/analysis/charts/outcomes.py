"""Plot the outcomes of calls, in all and over time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import altair as alt
import pandas as pd

from toolkit import number_format
from toolkit.analysis import interactive_charts
from toolkit.analysis.charts import labels, row_layout
from toolkit.analysis.charts.base import (
    HEIGHT,
    INK,
    PALE,
    WIDTH,
    Layers,
    Row,
    colour_channel,
    empty_chart,
    endpoint_panels,
    inline,
    named_scale,
    partial_opacity,
    subtitle,
    time_axis,
    to_rows,
    with_theme,
)
from toolkit.analysis.timestamps import zone_name
from toolkit.api.wire import Endpoint
from toolkit.browser_charts.panels import PARTIAL, PARTIAL_BELOW
from toolkit.outcome_colours import KIND_COLOURS, MAX_OUTCOMES, OTHER, Fill, fills

_SUMMED = ("calls", "calls_per_s", "calls_ratio")
_PX_PER_SHARE = 50


def over_time(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``over_time``: calls per second or hour stacked by outcome, one panel for each endpoint.

    The first and the last bucket are pale if the log covers only a part of them.

    Args:
        frame: The result of ``over_time``.
        width: The width of the chart, px.
    """
    rows, drawn = _outcome_rows(frame)
    if not rows:
        return empty_chart("No calls", width)
    start, end = min(row["started"] for row in rows), max(row["ended"] for row in rows)
    factor, unit = number_format.rate_scale(sum(row["calls"] for row in rows) / ((end - start) / 1000))
    rows = [row | {"rate": row["calls_per_s"] * factor} for row in rows]
    bars = (
        alt.Chart(inline(rows), width=width, height=HEIGHT // 2)
        .mark_bar(orient="vertical", binSpacing=0)
        .encode(
            x=time_axis("started:T", start, end, width, zone_name(frame)),
            x2="ended:T",
            y=alt.Y("rate:Q", title=f"calls per {unit}", stack="zero", axis=alt.Axis(tickCount=4)),
            color=colour_channel("outcome:N", _colours(drawn), width),
            opacity=partial_opacity(),
            order=alt.Order("place:Q"),
        )
    )
    panels = bars.facet(row=endpoint_panels())
    if any(row["covered_ratio"] < PARTIAL_BELOW for row in rows):
        panels = panels.properties(title=subtitle(PARTIAL, width))
    return with_theme(panels, drawn.values(), lambda: interactive_charts.over_time(frame))


def return_codes(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``return_codes``: the share of each outcome, one panel for each endpoint.

    Args:
        frame: The result of ``return_codes``.
        width: The width of the chart, px.
    """
    rows, drawn = _outcome_rows(frame)
    if not rows:
        return empty_chart("No calls", width)
    colours = _colours(drawn)
    endpoints = [it.value for it in Endpoint if any(row["endpoint"] == it for row in rows)]
    return with_theme(
        alt.vconcat(*(_share_panel(rows, colours, it, width) for it in endpoints), spacing=18), drawn.values()
    )


def _share_panel(rows: list[Row], colours: dict[str, str], endpoint: str, width: int) -> Layers:
    shares = {row["outcome"]: row["calls_ratio"] for row in rows if row["endpoint"] == endpoint}
    found = [(name, shares[name]) for name in colours if name in shares]
    placed = row_layout.place_rows(
        [{"outcome": name, "label": name, "share": it, "text": number_format.share(it)} for name, it in found]
    )
    placed = [row | {"tooltip": f"{endpoint} {row['label']}: {row['text']}"} for row in placed]
    layout = row_layout.lay_out(row_layout.labels_of(placed), width - _PX_PER_SHARE, list(colours))
    axis = alt.Axis(format="~%", tickCount=5)
    title = alt.TitleParams(endpoint, fontWeight="bold", color=INK)
    bars = alt.Chart(inline(placed), width=layout.width, height=layout.height, title=title).encode(
        x=alt.X("share:Q", title="share of the endpoint's calls", axis=axis, scale=alt.Scale(domain=[0, 1])), y=layout.y
    )
    return alt.layer(
        bars.mark_bar(height=14).encode(
            color=alt.Color("outcome:N", scale=named_scale(colours), legend=None), description="tooltip:N"
        ),
        bars.mark_text(align="left", dx=5).encode(text="text:N"),
    )


def _colours(drawn: dict[str, Fill]) -> dict[str, str]:
    """Return the colours of names without their patterns, which ``export`` draws."""
    return {name: fill.colour for name, fill in drawn.items()}


def _outcome_rows(frame: pd.DataFrame) -> tuple[list[Row], dict[str, Fill]]:
    """Return rows with the name and the place of their outcome, and the fill of each name in order.

    All but the most frequent outcomes are summed up as "other", which comes last.
    """
    rows = sorted(to_rows(frame), key=lambda row: (row["return_code"] is None, row["return_code"], row["error"] or ""))
    calls: Counter[str] = Counter()
    for row in rows:
        calls[labels.outcome(row)] += row["calls"]
    shown = {name for name, _ in calls.most_common(MAX_OUTCOMES)}
    rows = [row | {"outcome": labels.outcome(row) if labels.outcome(row) in shown else OTHER} for row in rows]
    base = {row["outcome"]: KIND_COLOURS[labels.kind(row)] for row in rows if row["outcome"] != OTHER}
    other = {OTHER: Fill(PALE)} if any(row["outcome"] == OTHER for row in rows) else {}
    drawn = fills(base) | other
    places = {name: place for place, name in enumerate(drawn)}
    merged: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = (row.get("started"), row["endpoint"], row["outcome"])
        total = merged.setdefault(key, row | dict.fromkeys(_SUMMED, 0) | {"place": places[row["outcome"]]})
        total |= {name: total[name] + row[name] for name in _SUMMED if name in row}
    return list(merged.values()), drawn
