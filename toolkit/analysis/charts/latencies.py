"""Latencies: how long calls took."""

from __future__ import annotations

import altair as alt
import pandas as pd

from toolkit.analysis.charts.drawing import HEIGHT, WIDTH, Row, data, decades, finish, legend, log, scale
from toolkit.analysis.percentiles import CALLER, MEASURES, SERVER
from toolkit.wire import Endpoint

_SMALLEST_MS = 0.01  # a logarithmic axis has no place for 0
_ENDPOINT_COLOURS = {Endpoint.SEND: "#1d5ea8", Endpoint.VERIFY: "#d5761f"}
_DASHES = {MEASURES[CALLER]: [1, 0], MEASURES[SERVER]: [4, 4]}


def latency(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``latency``: a line for each endpoint and measure, the tail spread out, time on a log axis."""
    rows = _percentile_rows(frame)
    return finish(
        alt.Chart(data(rows), width=width, height=HEIGHT)
        .mark_line(strokeWidth=2.5)
        .encode(
            x=alt.X("spread:Q", title="percentile of calls", axis=_nines(rows), scale=log(nice=False)),
            y=alt.Y("ms:Q", title="time (ms)", axis=decades(row["ms"] for row in rows), scale=log(nice=True)),
            color=alt.Color("endpoint:N", title=None, scale=scale(_ENDPOINT_COLOURS)),
            strokeDash=alt.StrokeDash("measure:N", title=None, scale=scale(_DASHES), legend=legend(width)),
            order=alt.Order("spread:Q"),
        )
    )


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
