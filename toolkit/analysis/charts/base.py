"""Drawing: what every figure has: its rows of data, axes, legends and panels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from math import ceil, floor, isfinite, log10
from textwrap import wrap
from typing import Any, TypeAlias

import altair as alt
import pandas as pd

from toolkit.api.wire import Endpoint
from toolkit.masking import mask_text

Row: TypeAlias = dict[str, Any]
Layers: TypeAlias = alt.LayerChart | alt.FacetChart  # what altair says that layers become
Figure: TypeAlias = alt.Chart | Layers | alt.VConcatChart

WIDTH = 760
HEIGHT = 260
INK, FAINT, PALE = "#26262a", "#9b9ba3", "#d5d5da"
ENDPOINT_COLOURS = {Endpoint.SEND: "#1d5ea8", Endpoint.VERIFY: "#d5761f"}
PX_PER_LETTER = 6.6
_PX_PER_TICK = 80
_MOST_LOG_TICKS = 12
# From how much time between two ticks on, s, a format tells them apart.
_CLOCKS = (
    (20_000_000, "%Y"),
    (1_200_000, "%Y-%m"),
    (60_000, "%m-%d"),
    (40, "%H:%M"),
    (0.7, "%H:%M:%S"),
    (0, "%H:%M:%S.%L"),
)


def plain(frame: pd.DataFrame) -> list[Row]:
    """Return rows of JSON's types: times as ms since 1970, decimals as floats, null and what is infinite as None."""
    columns = {str(name): _plain(frame[name]) for name in frame.columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _plain(column: pd.Series) -> list[Any]:
    known = column.notna()
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.as_unit("ms").astype("int64")
    return [_value(it) for it in column.astype(object).where(known, None)]


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, Decimal):
        return float(value)
    return None if isinstance(value, float) and not isfinite(value) else value


def data(rows: Sequence[Row]) -> alt.InlineData:
    """Hand rows over as they are: altair's own way from a frame refuses more than 5,000."""
    return alt.InlineData(values=list(rows))


def few(width: int) -> int:
    """Return how many ticks with a number have room."""
    return max(3, width // _PX_PER_TICK)


def log(nice: bool, **ends: Any) -> alt.Scale:
    """Return a logarithmic scale."""
    return alt.Scale(type="log", nice=nice, **ends)


def scale(looks: Mapping[Any, Any]) -> alt.Scale:
    """Return the scale that gives each name its look, in their order."""
    return alt.Scale(domain=[str(name) for name in looks], range=list(looks.values()))


def decades(field: str, title: str, values: Sequence[float]) -> alt.Y:
    """Return a field on a log axis that begins and ends at 1, 2 or 5 of a power of ten, as its ticks do."""
    powers = range(floor(log10(min(values))), ceil(log10(max(values))) + 1)
    steps = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    low, high = max(it for it in steps if it <= min(values)), min(it for it in steps if it >= max(values))
    ticks = [it for it in steps if low <= it <= high]
    shown = ticks if len(ticks) <= _MOST_LOG_TICKS else [10.0**power for power in powers if low <= 10.0**power <= high]
    axis = alt.Axis(values=shown, format=",~f")
    return alt.Y(field, title=title, axis=axis, scale=log(nice=False, domain=[low, max(high, low * 2)]))


def note(text: str, width: int) -> alt.TitleParams:
    """Return a line above a figure, in as many lines as it needs."""
    return alt.TitleParams(wrap(text, int(width / PX_PER_LETTER)))


def clock(field: str, start_ms: float, end_ms: float, width: int) -> alt.X:
    """Return a field of times in UTC, with ticks as precise as their span asks for, on an axis that says the day."""
    ticks = max(2, min(8, width // _PX_PER_TICK))
    span_s = (end_ms - start_ms) / 1000
    form = next(form for least_s, form in _CLOCKS if span_s / ticks >= least_s)
    day, last = (f"{pd.Timestamp(it, unit='ms'):%Y-%m-%d}" for it in (start_ms, end_ms - 1))
    if form.startswith("%H") and day != last:
        form = f"%m-%d {form}"
    title = f"time (UTC) on {day}" if day == last else "time (UTC)"
    axis = alt.Axis(format=form, tickCount=ticks, labelOverlap=True)
    return alt.X(field, title=title, axis=axis, scale=alt.Scale(type="utc", domain=[start_ms, end_ms]))


def legend(width: int, names: Iterable[Any]) -> alt.Legend:
    """Return a legend in as many columns as there is room for."""
    longest = max((len(str(name)) for name in names), default=0)
    return alt.Legend(columns=max(1, int(width / (longest * PX_PER_LETTER + 40))), labelLimit=0)


def present(looks: Mapping[str, Any], rows: Iterable[Row], name: str) -> dict[str, Any]:
    """Return the looks of those names that rows have."""
    names = {row[name] for row in rows}
    return {name: look for name, look in looks.items() if name in names}


def colour(field: str, looks: Mapping[Any, Any], width: int) -> alt.Color:
    """Return a field of names in the colour of each, with their legend."""
    return alt.Color(field, title=None, scale=scale(looks), legend=legend(width, looks))


def panels() -> alt.Row:
    """Return one panel for each endpoint, one below the other."""
    header = alt.Header(title=None, orient="top", labelAnchor="start", labelFontWeight="bold", labelPadding=6)
    return alt.Row("endpoint:N", sort=[endpoint.value for endpoint in Endpoint], header=header)


def empty(text: str, width: int) -> alt.TopLevelMixin:
    """Draw a line of text where there is nothing to draw."""
    line = alt.Chart(data([{"text": text}]), width=width, height=60)
    return finish(line.mark_text(fontSize=13, color="#5b5b63").encode(text="text:N"))


def finish(chart: Figure) -> alt.TopLevelMixin:
    """Set what every figure has: generic fonts, a white ground, labels in full, the legend where it cuts nothing."""
    finished: alt.TopLevelMixin = chart.configure(
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
    return finished
