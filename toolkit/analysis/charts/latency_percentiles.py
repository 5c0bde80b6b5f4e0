"""Latencies: how long calls took, by percentile and over time."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt
import pandas as pd

from toolkit.analysis.charts.base import (
    ENDPOINT_COLOURS,
    HEIGHT,
    WIDTH,
    Row,
    clock,
    colour,
    data,
    decades,
    empty,
    finish,
    legend,
    log,
    panels,
    plain,
    present,
    scale,
)
from toolkit.analysis.latency_percentiles import CALLER, MEASURES, SERVER

_SMALLEST_MS = 0.01  # a logarithmic axis has no place for 0
_DASHES = {MEASURES[CALLER]: [1, 0], MEASURES[SERVER]: [4, 4]}
_SHADES = {"p50": "#8fb4dc", "p95": "#3d7fc4", "p99": "#12305c"}


def latency(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``latency``: a line for each endpoint and measure, the tail spread out, time on a log axis."""
    rows = _percentile_rows(frame)
    if not rows:
        return empty("No calls", width)
    return finish(
        alt.Chart(data(rows), width=width, height=HEIGHT)
        .mark_line(strokeWidth=2.5)
        .encode(
            x=alt.X("spread:Q", title="percentile of calls", axis=_nines(rows), scale=log(nice=False)),
            y=_time_ms(rows),
            color=colour("endpoint:N", ENDPOINT_COLOURS, width),
            strokeDash=_dashes(_DASHES, width),
            order=alt.Order("spread:Q"),
        )
    )


def latency_over_time(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``latency`` with ``every``: lines of p50, p95 and p99, one panel for each endpoint, time on a log axis.

    What callers waited is drawn as well where it isn't the server's latency.
    """
    rows = list(_bucket_rows(frame))
    if not rows:
        return empty("No calls", width)
    starts = [row["started"] for row in rows]
    lines = alt.Chart(data(rows), width=width, height=HEIGHT * 2 // 3).encode(
        x=clock("started:T", min(starts), max(starts) + 1, width),
        y=_time_ms(rows),
        color=colour("percentile:N", {name: look for name, look in _SHADES.items() if f"{name}_ms" in frame}, width),
        detail="stretch:N",
    )
    drawn = lines.mark_line(strokeWidth=1.7)
    if len(measures := present(_DASHES, rows, "measure")) > 1:
        drawn = drawn.encode(strokeDash=_dashes(measures, width))
    single = lines.mark_point(filled=True, size=25, opacity=1).transform_filter("datum.is_single")
    return finish(alt.layer(drawn, single).facet(row=panels()))


def _time_ms(rows: list[Row]) -> alt.Y:
    measures = {row["measure"] for row in rows}
    title = "time (ms)" if len(measures) > 1 else f"{measures.pop()} (ms)"
    return decades("ms:Q", title, [row["ms"] for row in rows])


def _dashes(looks: dict[str, list[int]], width: int) -> alt.StrokeDash:
    return alt.StrokeDash("measure:N", title=None, scale=scale(looks), legend=legend(width, looks))


def _percentile_rows(frame: pd.DataFrame) -> list[Row]:
    names = {name: float(name[1:-3]) for name in frame.columns if name.startswith("p") and name.endswith("_ms")}
    return [
        {
            "endpoint": row["endpoint"],
            "measure": MEASURES[row["measure"]],
            "spread": 1 / (1 - percentile / 100),
            "ms": max(row[name], _SMALLEST_MS),
        }
        for row in frame.to_dict("records")
        for name, percentile in names.items()
        if percentile < 100
    ]


def _nines(rows: list[Row]) -> alt.Axis:
    furthest = max((row["spread"] for row in rows), default=1)
    ticks = [place for place in (1, 2, 10, 100, 1_000, 10_000, 100_000) if place <= furthest * 1.001]
    return alt.Axis(values=ticks, labelExpr="'p' + format(100 - 100 / datum.value, '.6~f')")


def _bucket_rows(frame: pd.DataFrame) -> Iterator[Row]:
    """Yield a row for each percentile; a stretch is of buckets that follow each other."""
    width_ms, differs = _least_step_ms(frame), _differs(frame)
    names = [name for name in _SHADES if f"{name}_ms" in frame]
    for _, part in frame.groupby(["endpoint", "measure"], observed=True, sort=False):
        rows = plain(part)
        if rows[0]["measure"] == CALLER and not differs:
            continue
        breaks = part["started"].diff().gt(pd.Timedelta(1.5 * width_ms, "ms")).cumsum()
        is_single = breaks.map(breaks.value_counts()).eq(1)
        for row, stretch, single in zip(rows, breaks, is_single, strict=True):
            common = {name: row[name] for name in ("started", "endpoint")} | {"measure": MEASURES[row["measure"]]}
            for name in names:
                ms = max(row[f"{name}_ms"], _SMALLEST_MS)
                yield common | {"percentile": name, "ms": ms, "stretch": int(stretch), "is_single": bool(single)}


def _least_step_ms(frame: pd.DataFrame) -> float:
    steps = frame["started"].drop_duplicates().sort_values().diff().dropna()
    return float(steps.min().total_seconds() * 1000) if len(steps) else 0.0


def _differs(frame: pd.DataFrame) -> bool:
    """Tell whether what callers waited is anywhere not the server's latency."""
    servers, callers = (
        frame.loc[frame["measure"] == measure].drop(columns="measure").reset_index(drop=True)
        for measure in (SERVER, CALLER)
    )
    return not servers.equals(callers)
