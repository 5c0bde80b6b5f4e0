"""The parts that all charts share: rows of data, scales, axes, legends, panels and the theme."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil, floor, isfinite, log10
from textwrap import wrap
from typing import Any, Self, TypeAlias

import altair as alt
import pandas as pd

from toolkit.api.wire import Endpoint
from toolkit.browser_charts import BrowserChart
from toolkit.browser_charts.panels import PARTIAL_BELOW
from toolkit.masking import mask_text
from toolkit.outcome_colours import Fill

Row: TypeAlias = dict[str, Any]
"""One datum of a chart, a JSON object."""
Layers: TypeAlias = alt.LayerChart | alt.FacetChart  # the type of alt.layer
Figure: TypeAlias = alt.Chart | Layers | alt.VConcatChart

RENDERER = "toolkit_picture"
"""The renderer of charts in notebooks, which ``export.offline`` registers."""
WIDTH = 760
HEIGHT = 260
INK, FAINT, PALE = "#26262a", "#9b9ba3", "#d5d5da"
ENDPOINT_COLOURS = {Endpoint.SEND: "#1d5ea8", Endpoint.VERIFY: "#d5761f"}
PX_PER_LETTER = 6.6
_PX_PER_TICK = 80
_MAX_LOG_TICKS = 12
# The format of a time axis, by the smallest distance of its ticks in seconds.
_TIME_FORMATS = (
    (20_000_000, "%Y"),
    (1_200_000, "%Y-%m"),
    (60_000, "%m-%d"),
    (40, "%H:%M"),
    (0.7, "%H:%M:%S"),
    (0, "%H:%M:%S.%L"),
)


def to_rows(frame: pd.DataFrame) -> list[Row]:
    """Convert a frame to rows of JSON types: times to ms since 1970, null and infinity to None.

    Times are those of the wall clock, because Vega has no time zones. Mobiles in texts are masked.
    """
    columns: dict[str, list[Any]] = {}
    for name in frame.columns:
        column = frame[name]
        known = column.notna().tolist()
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            column = column.dt.tz_localize(None).dt.as_unit("ms").astype("int64")
        columns[str(name)] = [
            _to_json(it) if is_known else None for it, is_known in zip(column.tolist(), known, strict=True)
        ]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _to_json(value: Any) -> Any:
    if isinstance(value, str):
        return mask_text(value)
    return None if isinstance(value, float) and not isfinite(value) else value


class SharedData(alt.InlineData):
    """Data that the copies of a chart share. Altair copies a chart several times, and all of its data each time."""

    def __deepcopy__(self, *_: object) -> Self:
        return self


def inline(rows: Sequence[Row]) -> alt.InlineData:
    """Return rows as chart data; a frame would be limited to 5,000 rows by altair."""
    return SharedData(values=list(rows))


def tick_count(width: int) -> int:
    """Return the number of ticks with labels that fit into a width in px."""
    return max(3, width // _PX_PER_TICK)


def log_scale(nice: bool, **options: Any) -> alt.Scale:
    """Return a logarithmic scale."""
    return alt.Scale(type="log", nice=nice, **options)


def named_scale(values: Mapping[Any, Any]) -> alt.Scale:
    """Return a scale from names to values such as colours or shapes, in their order."""
    return alt.Scale(domain=[str(name) for name in values], range=list(values.values()))


def log_axis_y(field: str, title: str, values: Sequence[float]) -> alt.Y:
    """Return a field on a logarithmic axis that starts and ends at 1, 2 or 5 times a power of ten."""
    powers = range(floor(log10(min(values))), ceil(log10(max(values))) + 1)
    steps = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    low, high = max(it for it in steps if it <= min(values)), min(it for it in steps if it >= max(values))
    ticks = [it for it in steps if low <= it <= high]
    shown = ticks if len(ticks) <= _MAX_LOG_TICKS else [10.0**power for power in powers if low <= 10.0**power <= high]
    axis = alt.Axis(values=shown, format=",~f")
    return alt.Y(field, title=title, axis=axis, scale=log_scale(nice=False, domain=[low, max(high, low * 2)]))


def subtitle(text: str, width: int) -> alt.TitleParams:
    """Return a text above a chart, wrapped to its width in px."""
    return alt.TitleParams(wrap(text, int(width / PX_PER_LETTER)))


def time_axis(field: str, start_ms: float, end_ms: float, width: int, zone: str) -> alt.X:
    """Return a field of times; the format of its ticks depends on the span, and the title names a single day.

    Times are those of ``to_rows``; Vega shows them unchanged on its UTC scale.
    """
    ticks = max(2, min(8, width // _PX_PER_TICK))
    span_s = (end_ms - start_ms) / 1000
    time_format = next(it for min_distance_s, it in _TIME_FORMATS if span_s / ticks >= min_distance_s)
    first, last = (f"{pd.Timestamp(it, unit='ms'):%Y-%m-%d}" for it in (start_ms, end_ms - 1))
    if time_format.startswith("%H") and first != last:
        time_format = f"%m-%d {time_format}"
    title = f"time ({zone}) on {first}" if first == last else f"time ({zone})"
    axis = alt.Axis(format=time_format, tickCount=ticks, labelOverlap=True)
    return alt.X(field, title=title, axis=axis, scale=alt.Scale(type="utc", domain=[start_ms, end_ms]))


def legend(width: int, names: Iterable[Any]) -> alt.Legend:
    """Return a legend with as many columns as fit into a width in px."""
    longest = max((len(str(name)) for name in names), default=0)
    return alt.Legend(columns=max(1, int(width / (longest * PX_PER_LETTER + 40))), labelLimit=0)


def used_only(values: Mapping[str, Any], rows: Iterable[Row], field: str) -> dict[str, Any]:
    """Return the entries whose names occur in a field of the rows."""
    names = {row[field] for row in rows}
    return {name: value for name, value in values.items() if name in names}


def colour_channel(field: str, colours: Mapping[Any, Any], width: int) -> alt.Color:
    """Return the encoding of a field of names as colours, with a legend."""
    return alt.Color(field, title=None, scale=named_scale(colours), legend=legend(width, colours))


def endpoint_panels() -> alt.Row:
    """Return a facet with one panel for each endpoint, one below the other."""
    header = alt.Header(title=None, orient="top", labelAnchor="start", labelFontWeight="bold", labelPadding=6)
    return alt.Row("endpoint:N", sort=[endpoint.value for endpoint in Endpoint], header=header)


def empty_chart(text: str, width: int) -> alt.TopLevelMixin:
    """Return a chart that only shows a text, for a frame without rows."""
    line = alt.Chart(inline([{"text": text}]), width=width, height=60)
    return with_theme(line.mark_text(fontSize=13, color="#5b5b63").encode(text="text:N"))


def partial_opacity() -> Any:
    """Return the encoding that draws a bucket pale if the log covers only a part of its time."""
    return alt.condition(f"datum.covered_ratio < {PARTIAL_BELOW}", alt.value(0.45), alt.value(1))


def with_theme(
    chart: Figure, fills: Iterable[Fill] = (), explored: Callable[[], BrowserChart] | None = None
) -> alt.TopLevelMixin:
    """Return a chart with the common theme: generic fonts, white background, full labels, legend at the bottom.

    Args:
        chart: The chart.
        fills: The fills with patterns among its colours. Vega has no patterns, so ``export`` draws them.
        explored: Makes the chart that a notebook shows in its place while scripts may run.
    """
    about: dict[str, Any] = {}
    if patterns := {fill.colour: [fill.path, fill.ink] for fill in fills if fill.path}:
        about["patterns"] = patterns
    if explored and alt.renderers.active == RENDERER:
        about["explored"] = explored().as_json()
    if about:
        chart = chart.properties(usermeta=about)
    themed: alt.TopLevelMixin = chart.configure(
        font="sans-serif",
        background="white",
        aria=False,
        legend=alt.LegendConfig(
            orient="bottom", labelLimit=0, labelFontSize=12, offset=12, symbolSize=120, symbolOpacity=1
        ),
        axis=alt.AxisConfig(
            labelFontSize=12, titleFontSize=12, titleFontWeight="normal", titlePadding=10, gridColor="#e6e6ea"
        ),
        title=alt.TitleConfig(anchor="start", fontSize=12, fontWeight="normal", color="#5b5b63", frame="group"),
        view=alt.ViewConfig(stroke=None),
    )
    return themed
