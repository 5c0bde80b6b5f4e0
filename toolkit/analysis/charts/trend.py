"""Plot the figures of many runs with their levels."""

from __future__ import annotations

import json

import altair as alt
import pandas as pd

from toolkit.analysis.charts.base import (
    ENDPOINT_COLOURS,
    FAINT,
    INK,
    WIDTH,
    Layers,
    Row,
    empty_chart,
    inline,
    tick_count,
    to_rows,
    with_theme,
)
from toolkit.analysis.charts.labels import shorten
from toolkit.api.wire import Endpoint

_HEIGHT = 130
_COLOUR = ENDPOINT_COLOURS[Endpoint.SEND]


def trend(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``Trend.series``: a panel for each metric, with a point for each run and a line for its level.

    Args:
        frame: The result of ``Trend.series``.
        width: The width of the chart, px.
    """
    if not len(frame):
        return empty_chart("No runs", width)
    rows, last = to_rows(frame), int(frame["number"].max())
    names = {row["number"]: shorten(row["label"] or row["run"]) for row in rows}
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    panels = [_panel([row for row in rows if row["metric"] == it], it, names, last, width) for it in metrics]
    return with_theme(alt.vconcat(*panels, spacing=14))


def _panel(rows: list[Row], metric: str, names: dict[int, str], last: int, width: int) -> Layers:
    step = -(-last // tick_count(width))  # of the runs whose names fit
    axis = alt.Axis(
        values=[number for number in names if (number - 1) % step == 0],
        labelExpr=f"{json.dumps(names)}[datum.value]",
        labelAngle=-25,
        labelLimit=110,
        grid=False,
    )
    scale = alt.Scale(domain=[0.5, last + 0.5], nice=False)
    points = alt.Chart(inline(rows), width=width, height=_HEIGHT).encode(
        x=alt.X("number:Q", title=None, axis=axis, scale=scale),
        y=alt.Y("value:Q", title=rows[0]["unit"], scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4)),
    )
    levels = points.transform_filter("datum.level !== null")
    line = levels.mark_line(color=INK, strokeWidth=1.6, interpolate="step").encode(y="level:Q")
    marks = [
        points.mark_point(shape="circle", filled=True, size=34, opacity=1, color=_COLOUR).transform_filter(
            "datum.mark === 'run'"
        ),
        points.mark_point(shape="circle", filled=False, size=34, opacity=1, color=_COLOUR).transform_filter(
            "datum.mark === 'burst'"
        ),
        points.mark_point(shape="cross", filled=True, size=46, opacity=1, color=FAINT).transform_filter(
            "datum.mark === 'no data point'"
        ),
    ]
    return alt.layer(line, *marks).properties(title=metric)
