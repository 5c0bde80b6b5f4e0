"""Outcomes: which return codes and errors calls ended with, in all and over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import altair as alt
import pandas as pd

from toolkit import number_format
from toolkit.analysis.charts import labels, row_labels
from toolkit.analysis.charts.base import (
    HEIGHT,
    INK,
    PALE,
    WIDTH,
    Layers,
    Row,
    clock,
    colour,
    data,
    empty,
    finish,
    panels,
    plain,
    scale,
)
from toolkit.api.wire import Endpoint
from toolkit.outcome_colours import KIND_COLOURS, shades

_MOST_OUTCOMES = 12
_OTHER = "other"
_SUMS = ("calls", "calls_per_s", "share")
_PX_PER_SHARE = 50


def over_time(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``over_time``: calls per second stacked by outcome, one panel for each endpoint."""
    rows, colours = _outcome_rows(frame)
    if not rows:
        return empty("No calls", width)
    start, end = min(row["started"] for row in rows), max(row["ended"] for row in rows)
    bars = (
        alt.Chart(data(rows), width=width, height=HEIGHT // 2)
        .mark_bar(orient="vertical", binSpacing=0)
        .encode(
            x=clock("started:T", start, end, width),
            x2="ended:T",
            y=alt.Y("calls_per_s:Q", title="calls per second", stack="zero", axis=alt.Axis(tickCount=4)),
            color=colour("outcome:N", colours, width),
            order=alt.Order("place:Q"),
        )
    )
    return finish(bars.facet(row=panels()))


def return_codes(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``return_codes``: the share of each outcome, one panel for each endpoint."""
    rows, colours = _outcome_rows(frame)
    if not rows:
        return empty("No calls", width)
    endpoints = [it.value for it in Endpoint if any(row["endpoint"] == it for row in rows)]
    return finish(alt.vconcat(*(_shares(_of(rows, colours, it), colours, it, width) for it in endpoints), spacing=18))


def _shares(rows: list[Row], colours: dict[str, str], endpoint: str, width: int) -> Layers:
    layout = row_labels.lay(row_labels.name(rows), width - _PX_PER_SHARE, list(colours))
    axis = alt.Axis(format="~%", tickCount=5)
    title = alt.TitleParams(endpoint, fontWeight="bold", color=INK)
    bars = alt.Chart(data(rows), width=layout.width, height=layout.height, title=title).encode(
        x=alt.X("share:Q", title="share of the endpoint's calls", axis=axis, scale=alt.Scale(domain=[0, 1])), y=layout.y
    )
    return alt.layer(
        bars.mark_bar(height=14).encode(color=alt.Color("outcome:N", scale=scale(colours), legend=None)),
        bars.mark_text(align="left", dx=5).encode(text="text:N"),
    )


def _of(rows: list[Row], colours: Iterable[str], endpoint: str) -> list[Row]:
    """Return one placed row for each outcome of an endpoint."""
    shares = {row["outcome"]: row["share"] for row in rows if row["endpoint"] == endpoint}
    found = [(name, shares[name]) for name in colours if name in shares]
    return row_labels.place(
        [{"outcome": name, "label": name, "share": it, "text": number_format.share(it)} for name, it in found]
    )


def _outcome_rows(frame: pd.DataFrame) -> tuple[list[Row], dict[str, str]]:
    """Return a frame of outcomes as rows with the outcome's name and place, and the colour of each name in order."""
    rows = sorted(plain(frame), key=lambda row: (row["return_code"] is None, row["return_code"], row["error"] or ""))
    calls: Counter[str] = Counter()
    for row in rows:
        calls[labels.outcome(row)] += row["calls"]
    shown = {name for name, _ in calls.most_common(_MOST_OUTCOMES)}
    rows = [row | {"outcome": labels.outcome(row) if labels.outcome(row) in shown else _OTHER} for row in rows]
    colours = _colours(rows)
    places = {name: place for place, name in enumerate(colours)}
    return [row | {"place": places[row["outcome"]]} for row in _merge(rows)], colours


def _merge(rows: Iterable[Row]) -> Iterable[Row]:
    """Add up the rows of one outcome: there is one "other" for all others."""
    merged: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        one = merged.setdefault((row.get("started"), row["endpoint"], row["outcome"]), row | dict.fromkeys(_SUMS, 0))
        one |= {name: one[name] + row[name] for name in _SUMS if name in row}
    return merged.values()


def _colours(rows: Iterable[Row]) -> dict[str, str]:
    """Give each outcome a colour; "other" comes last."""
    base = {row["outcome"]: KIND_COLOURS[labels.kind(row)] for row in rows if row["outcome"] != _OTHER}
    other = {_OTHER: PALE} if any(row["outcome"] == _OTHER for row in rows) else {}
    return shades(base) | other
