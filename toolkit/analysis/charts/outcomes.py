"""Outcomes: which return codes and errors calls ended with, in all and over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import altair as alt
import pandas as pd

from toolkit.analysis.charts.drawing import HEIGHT, WIDTH, Row, clock, data, finish, legend, panels, plain, scale
from toolkit.analysis.colours import ERROR_COLOUR, KIND_COLOURS, UNKNOWN_COLOUR, shades
from toolkit.codes import Kind

_MOST_OUTCOMES = 12
_OTHER = "other"


def over_time(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``over_time``: calls per second stacked by outcome, one panel for each endpoint."""
    rows, colours = _outcome_rows(frame)
    bars = (
        alt.Chart(data(rows), width=width, height=HEIGHT // 2)
        .mark_bar(orient="vertical", binSpacing=0)
        .encode(
            x=alt.X("started:T", title="time (UTC)", axis=clock(_span_s(frame)), scale=alt.Scale(type="utc")),
            x2="ended:T",
            y=alt.Y("calls_per_s:Q", title="calls per second", stack="zero", axis=alt.Axis(tickCount=4)),
            color=alt.Color("outcome:N", title=None, scale=scale(colours), legend=legend(width)),
            order=alt.Order("place:Q"),
        )
    )
    return finish(bars.facet(row=panels()))


def return_codes(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``return_codes``: the share of each outcome, one panel for each endpoint."""
    rows, colours = _outcome_rows(frame)
    percent = alt.Axis(format="~%", tickCount=5)
    bars = alt.Chart(data(rows), width=width - 180, height=alt.Step(24)).encode(
        x=alt.X("share:Q", title="share of the endpoint's calls", axis=percent, scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("outcome:N", title=None, sort=list(colours), axis=alt.Axis(labelLimit=0)),
    )
    layers = alt.layer(
        bars.mark_bar(height=16).encode(color=alt.Color("outcome:N", scale=scale(colours), legend=None)),
        bars.mark_text(align="left", dx=5).encode(text=alt.Text("share:Q", format=".2%")),
    )
    return finish(layers.facet(row=panels()).resolve_scale(y="independent"))


def _span_s(frame: pd.DataFrame) -> float:
    return (frame["ended"].max() - frame["started"].min()).total_seconds() if len(frame) else 0.0


def _outcome_rows(frame: pd.DataFrame) -> tuple[list[Row], dict[str, str]]:
    """Return a frame of outcomes as rows with the outcome's name and place, and the colour of each name in order."""
    rows = sorted(plain(frame), key=lambda row: (row["return_code"] is None, row["return_code"], row["error"] or ""))
    calls: Counter[str] = Counter()
    for row in rows:
        calls[_name(row)] += row["calls"]
    shown = {name for name, _ in calls.most_common(_MOST_OUTCOMES)}
    rows = [row | {"outcome": _name(row) if _name(row) in shown else _OTHER} for row in rows]
    colours = _colours(rows)
    places = {name: place for place, name in enumerate(colours)}
    return [row | {"place": places[row["outcome"]]} for row in rows], colours


def _name(row: Row) -> str:
    if row["return_code"] is not None:
        return f"{row['return_code']} {row['message']}".rstrip()
    return row["error"] or "no outcome"


def _colours(rows: Iterable[Row]) -> dict[str, str]:
    """Give each outcome a colour; "other" comes last."""
    base = {row["outcome"]: _base_colour(row) for row in rows if row["outcome"] != _OTHER}
    other = {_OTHER: "#d5d5da"} if any(row["outcome"] == _OTHER for row in rows) else {}
    return shades(base) | other


def _base_colour(row: Row) -> str:
    if row["return_code"] is None:
        return ERROR_COLOUR
    return KIND_COLOURS[Kind(row["kind"])] if row["kind"] else UNKNOWN_COLOUR
