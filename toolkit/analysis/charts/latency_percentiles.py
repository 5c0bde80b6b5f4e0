"""Plot latencies by percentile and over time."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt
import pandas as pd

from toolkit.analysis import interactive_charts
from toolkit.analysis.charts.base import (
    ENDPOINT_COLOURS,
    HEIGHT,
    WIDTH,
    Row,
    colour_channel,
    empty_chart,
    endpoint_panels,
    inline,
    legend,
    log_axis_y,
    log_scale,
    named_scale,
    subtitle,
    time_axis,
    to_rows,
    used_only,
    with_theme,
)
from toolkit.analysis.latency_percentiles import CALLER, MEASURES, SERVER, percentile_of
from toolkit.analysis.timestamps import zone_name
from toolkit.browser_charts.panels import PARTIAL, PARTIAL_BELOW

_MIN_MS = 0.01  # replaces 0, which a log axis can't show
_DASHES = {MEASURES[CALLER]: [1, 0], MEASURES[SERVER]: [4, 4]}
_PERCENTILE_COLOURS = {"p50": "#8fb4dc", "p95": "#3d7fc4", "p99": "#12305c"}


def latency(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``latency``: a line for each endpoint and measure, on a log axis of time.

    The axis of percentiles gives each further nine (p90, p99, p99.9) the same space.

    Args:
        frame: The result of ``latency``.
        width: The width of the chart, px.
    """
    rows = _percentile_rows(frame)
    if not rows:
        return empty_chart("No calls", width)
    highest = max(row["spread"] for row in rows)
    ticks = [it for it in (1, 2, 10, 100, 1_000, 10_000, 100_000) if it <= highest * 1.001]
    axis = alt.Axis(values=ticks, labelExpr="'p' + format(100 - 100 / datum.value, '.6~f')")
    return with_theme(
        alt.Chart(inline(rows), width=width, height=HEIGHT)
        .mark_line(strokeWidth=2.5)
        .encode(
            x=alt.X("spread:Q", title="percentile of calls", axis=axis, scale=log_scale(nice=False)),
            y=_latency_axis(rows),
            color=colour_channel("endpoint:N", ENDPOINT_COLOURS, width),
            strokeDash=_dash_channel(_DASHES, width),
            order=alt.Order("spread:Q"),
        ),
        explored=lambda: interactive_charts.latency(frame),
    )


def latency_over_time(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``latency`` with ``every``: lines of p50, p95 and p99, one panel for each endpoint.

    The caller latency is shown only if it differs from the server latency. A point is hollow if the log covers only a
    part of its bucket.

    Args:
        frame: The result of ``latency`` with ``every``.
        width: The width of the chart, px.
    """
    rows = list(_bucket_rows(frame))
    if not rows:
        return empty_chart("No calls", width)
    start, end = min(row["started"] for row in rows), max(row["ended"] for row in rows)
    colours = {name: colour for name, colour in _PERCENTILE_COLOURS.items() if f"{name}_ms" in frame}
    lines = alt.Chart(inline(rows), width=width, height=HEIGHT * 2 // 3).encode(
        x=time_axis("middle:T", start, end, width, zone_name(frame)),
        y=_latency_axis(rows),
        color=colour_channel("percentile:N", colours, width),
        detail="stretch:N",
    )
    drawn = lines.mark_line(strokeWidth=1.7)
    if len(dashes := used_only(_DASHES, rows, "measure")) > 1:
        drawn = drawn.encode(strokeDash=_dash_channel(dashes, width))
    single = lines.mark_point(filled=True, size=25, opacity=1).transform_filter("datum.is_single")
    partial = lines.mark_point(filled=False, size=45, opacity=1, fill="white", strokeWidth=1.5)
    partial = partial.transform_filter(f"datum.covered_ratio < {PARTIAL_BELOW}")
    marks = alt.layer(drawn, single, partial).facet(row=endpoint_panels())
    if any(row["covered_ratio"] < PARTIAL_BELOW for row in rows):
        marks = marks.properties(title=subtitle(PARTIAL, width))
    return with_theme(marks, explored=lambda: interactive_charts.latency_over_time(frame))


def _latency_axis(rows: list[Row]) -> alt.Y:
    measures = {row["measure"] for row in rows}
    title = "time (ms)" if len(measures) > 1 else f"{measures.pop()} (ms)"
    return log_axis_y("ms:Q", title, [row["ms"] for row in rows])


def _dash_channel(dashes: dict[str, list[int]], width: int) -> alt.StrokeDash:
    return alt.StrokeDash("measure:N", title=None, scale=named_scale(dashes), legend=legend(width, dashes))


def _percentile_rows(frame: pd.DataFrame) -> list[Row]:
    names = {name: percentile for name in frame.columns if (percentile := percentile_of(name)) is not None}
    return [
        {
            "endpoint": row["endpoint"],
            "measure": MEASURES[row["measure"]],
            "spread": 1 / (1 - percentile / 100),
            "ms": max(row[name], _MIN_MS),
        }
        for row in frame.to_dict("records")
        for name, percentile in names.items()
        if percentile < 100
    ]


def _bucket_rows(frame: pd.DataFrame) -> Iterator[Row]:
    """Yield a row for each bucket and percentile; "stretch" numbers the series of consecutive buckets."""
    server, caller = (
        frame.loc[frame["measure"] == measure].drop(columns="measure").reset_index(drop=True)
        for measure in (SERVER, CALLER)
    )
    is_same = server.equals(caller)
    names = [name for name in _PERCENTILE_COLOURS if f"{name}_ms" in frame]
    for _, part in frame.groupby(["endpoint", "measure"], observed=True, sort=False):
        rows = to_rows(part)
        if rows[0]["measure"] == CALLER and is_same:
            continue
        stretches = part["started"].ne(part["ended"].shift()).cumsum()
        is_single = stretches.map(stretches.value_counts()).eq(1)
        for row, stretch, single in zip(rows, stretches, is_single, strict=True):
            common = {name: row[name] for name in ("started", "ended", "covered_ratio", "endpoint")} | {
                "middle": (row["started"] + row["ended"]) / 2,
                "measure": MEASURES[row["measure"]],
            }
            for name in names:
                ms = max(row[f"{name}_ms"], _MIN_MS)
                yield common | {"percentile": name, "ms": ms, "stretch": int(stretch), "is_single": bool(single)}
