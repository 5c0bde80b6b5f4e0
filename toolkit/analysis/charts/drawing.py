"""Drawing: what every figure has: its size, axes, legends and panels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor, log10
from typing import Any, TypeAlias

import altair as alt
import pandas as pd

from toolkit.wire import Endpoint

Row: TypeAlias = dict[str, Any]

WIDTH = 760
HEIGHT = 260
_PX_PER_LEGEND_LABEL = 190


def plain(frame: pd.DataFrame) -> list[Row]:
    """Return rows of JSON's types: times as ms since 1970, null as None."""
    times = {name: frame[name].astype("int64") // 1_000_000 for name in ("started", "ended") if name in frame}
    plain = frame.assign(**times).astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def data(rows: list[Row]) -> alt.InlineData:
    """Hand rows over as they are: altair's own way from a frame refuses more than 5,000."""
    return alt.InlineData(values=rows)


def log(nice: bool) -> alt.Scale:
    """Return a logarithmic scale."""
    return alt.Scale(type="log", nice=nice)


def scale(looks: Mapping[Any, Any]) -> alt.Scale:
    """Return the scale that gives each name its look, in their order."""
    return alt.Scale(domain=[str(name) for name in looks], range=list(looks.values()))


def decades(values: Iterable[float]) -> alt.Axis:
    """Put ticks at 1, 2 and 5 of each power of ten where there's room, else at the powers."""
    values = list(values) or [1]
    powers = range(floor(log10(min(values))), ceil(log10(max(values))) + 1)
    steps = (1, 2, 5) if len(powers) <= 4 else (1,)
    return alt.Axis(values=[step * 10.0**power for power in powers for step in steps], format=",~g")


def clock(span_s: float) -> alt.Axis:
    """Return an axis of UTC times, as precise as their span asks for."""
    formats: Sequence[tuple[float, str]] = ((600, "%H:%M:%S"), (86_400, "%H:%M"), (float("inf"), "%m-%d %H:%M"))
    return alt.Axis(format=next(text for limit_s, text in formats if span_s <= limit_s), tickCount=6, labelOverlap=True)


def legend(width: int) -> alt.Legend:
    """Return a legend in as many columns as there is room for."""
    return alt.Legend(columns=max(1, width // _PX_PER_LEGEND_LABEL), labelLimit=0)


def panels() -> alt.Row:
    """Return one panel for each endpoint, one below the other."""
    header = alt.Header(title=None, orient="top", labelAnchor="start", labelFontWeight="bold", labelPadding=6)
    return alt.Row("endpoint:N", sort=[endpoint.value for endpoint in Endpoint], header=header)


def finish(chart: alt.Chart | alt.FacetChart) -> alt.TopLevelMixin:
    """Set what every figure has: generic fonts, a white ground, labels in full, the legend where it cuts nothing."""
    finished: alt.TopLevelMixin = chart.configure(
        font="sans-serif",
        background="white",
        aria=False,
        legend=alt.LegendConfig(orient="bottom", labelLimit=0, labelFontSize=12, offset=12, symbolSize=120),
        axis=alt.AxisConfig(
            labelFontSize=12, titleFontSize=12, titleFontWeight="normal", titlePadding=10, gridColor="#e6e6ea"
        ),
        view=alt.ViewConfig(stroke=None),
    )
    return finished
