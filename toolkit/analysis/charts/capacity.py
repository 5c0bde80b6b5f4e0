"""Plot the trials of a search for the capacity, and its model of scalability."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from toolkit import number_format
from toolkit.analysis.charts.base import (
    FAINT,
    INK,
    PALE,
    WIDTH,
    Row,
    colour_channel,
    empty_chart,
    inline,
    legend,
    log_axis_y,
    named_scale,
    subtitle,
    to_rows,
    used_only,
    with_theme,
)

_RESULTS = {"held": "#1f7a4d", "missed": "#a8321e", "inconclusive": FAINT}
_SHAPES = {"p99": "triangle-up", "p50": "circle"}
_MIN_MS = 0.01  # replaces 0, which a log axis can't show
_HEIGHT, _FAILED_HEIGHT = 220, 90
_CURVE_POINTS = 60


def capacity(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``capacity``: the load of each trial against its p50, p99 and failed calls.

    The grey band is the interval between the load that held and the one that missed.

    Args:
        frame: The result of ``capacity``.
        width: The width of the chart, px.
    """
    rows = to_rows(frame.drop(columns="why"))
    if not rows:
        return empty_chart("No trials", width)
    unit = rows[0]["load_unit"]
    times = [
        {"load": row["load"], "result": row["result"], "percentile": name, "ms": max(row[f"{name}_ms"], _MIN_MS)}
        | {"tooltip": f"{_trial(row)}: {name} {number_format.milliseconds(row[f'{name}_ms'])} ms"}
        for row in rows
        for name in _SHAPES
        if row[f"{name}_ms"] is not None
    ]
    failed = [
        {"load": row["load"], "result": row["result"], "failed": row["failed_ratio"]}
        | {"tooltip": f"{_trial(row)}: {number_format.share(row['failed_ratio'])} failed"}
        for row in rows
        if row["failed_ratio"] is not None
    ]
    colours = used_only(_RESULTS, rows, "result")
    span = [0.0, max(row["load"] for row in rows) * 1.05]
    title = "users" if unit == "users" else "journeys started per second"
    band = _band(rows)
    panels = []
    if times:
        base = alt.Chart(inline(times)).mark_point(filled=True, size=55, opacity=0.8)
        points = base.encode(
            x=_load_axis(span, None if failed else title),
            y=log_axis_y("ms:Q", "time of sends (ms)", [row["ms"] for row in times]),
            color=colour_channel("result:N", colours, width),
            shape=alt.Shape("percentile:N", title=None, scale=named_scale(_SHAPES), legend=legend(width, _SHAPES)),
            description="tooltip:N",
        )
        panels.append(alt.layer(*band, points).properties(width=width, height=_HEIGHT))
    if failed:
        highest = max(0.01, *(row["failed"] for row in failed))
        shares = alt.Chart(inline(failed)).mark_point(filled=True, size=55, opacity=0.8)
        points = shares.encode(
            x=_load_axis(span, title),
            y=alt.Y("failed:Q", title="failed calls", axis=alt.Axis(format="~%", tickCount=4)).scale(
                domain=[0, highest * 1.05]
            ),
            color=colour_channel("result:N", colours, width),
            description="tooltip:N",
        )
        panels.append(alt.layer(*band, points).properties(width=width, height=_FAILED_HEIGHT))
    return with_theme(alt.vconcat(*panels) if panels else alt.vconcat(*band))


def _trial(row: Row) -> str:
    return f"{row['load']:,g} {row['load_unit']} {row['result']}"


def _load_axis(span: list[float], title: str | None) -> alt.X:
    axis = alt.Axis(format=",~f", labelOverlap=True)
    return alt.X("load:Q", title=title, axis=axis, scale=alt.Scale(domain=span, nice=False))


def _band(rows: list[Row]) -> list[alt.Chart]:
    """Return the interval of the capacity as a band, an empty list without one."""
    held, missed = rows[0]["held_load"], rows[0]["missed_load"]
    if held is None:
        return []
    band = alt.Chart(inline([{"load": held, "end": missed}])).mark_rect(color=PALE, opacity=0.9)
    return [band.encode(x=alt.X("load:Q"), x2="end:Q")]


def scalability(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``scalability``: throughput by calls in flight, as points, and the model as a line.

    Args:
        frame: The result of ``scalability``.
        width: The width of the chart, px.
    """
    if not len(frame):
        return empty_chart("No model fits", width)
    first = frame.iloc[0]
    calls = np.linspace(min(1.0, frame["in_flight"].min()), frame["in_flight"].max(), _CURVE_POINTS)
    slowing = 1 + first["contention"] * (calls - 1) + first["coherency"] * calls * (calls - 1)
    curve = [
        {"in_flight": float(n), "per_s": float(x)} for n, x in zip(calls, first["speed"] * calls / slowing, strict=True)
    ]
    points = [
        {"in_flight": it["in_flight"], "per_s": it["achieved_per_s"]}
        | {"tooltip": f"{it['in_flight']:,.3g} in flight: {number_format.rate(it['achieved_per_s'])} sends/s"}
        for it in to_rows(frame)
    ]
    axis = alt.X("in_flight:Q", title="calls in flight")
    throughput = alt.Y("per_s:Q", title="successful sends per second", axis=alt.Axis(format=",~f"))
    text = f"contention {first['contention']:.3g}, coherency {first['coherency']:.3g}"
    line = alt.Chart(inline(curve), width=width, height=_HEIGHT, title=subtitle(text, width))
    trials = alt.Chart(inline(points)).mark_point(filled=True, size=55, color=_RESULTS["held"], opacity=0.9)
    return with_theme(
        alt.layer(
            line.mark_line(color=INK, strokeWidth=1.5).encode(x=axis, y=throughput),
            trials.encode(x=axis, y=throughput, description="tooltip:N"),
        )
    )
