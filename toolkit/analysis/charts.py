"""Charts: the tables of this package as pictures, one function a table. Places and colours only, no statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import ceil, floor, log10
from typing import Any, TypeAlias

import altair as alt
import pandas as pd
import vl_convert

from toolkit.analysis.colours import ERROR_COLOUR, KIND_COLOURS, UNKNOWN_COLOUR, shades
from toolkit.analysis.percentiles import CALLER, MEASURES, SERVER
from toolkit.codes import Kind
from toolkit.wire import Endpoint

Row: TypeAlias = dict[str, Any]

WIDTH = 760
_HEIGHT = 260
_PX_PER_LEGEND_LABEL = 190
_MOST_OUTCOMES = 12
_SMALLEST_MS = 0.01  # a logarithmic axis has no place for 0

_ENDPOINT_COLOURS = {Endpoint.SEND: "#1d5ea8", Endpoint.VERIFY: "#d5761f"}
_DASHES = {MEASURES[CALLER]: [1, 0], MEASURES[SERVER]: [4, 4]}
_OTHER = "other"


def latency_by_percentile(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``latency``: a line for each endpoint and measure, the tail spread out, time on a log axis."""
    rows = _percentile_rows(frame)
    return _finish(
        alt.Chart(_data(rows), width=width, height=_HEIGHT)
        .mark_line(strokeWidth=2.5)
        .encode(
            x=alt.X("spread:Q", title="percentile of calls", axis=_nines(rows), scale=_log(nice=False)),
            y=alt.Y("ms:Q", title="time (ms)", axis=_decades(rows), scale=_log(nice=True)),
            color=alt.Color("endpoint:N", title=None, scale=_scale(_ENDPOINT_COLOURS)),
            strokeDash=alt.StrokeDash("measure:N", title=None, scale=_scale(_DASHES), legend=_legend(width)),
            order=alt.Order("spread:Q"),
        )
    )


def codes_over_time(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``over_time``: calls per second stacked by outcome, one panel for each endpoint."""
    rows, colours = _outcome_rows(frame)
    bars = (
        alt.Chart(_data(rows), width=width, height=_HEIGHT // 2)
        .mark_bar(orient="vertical", binSpacing=0)
        .encode(
            x=alt.X("started:T", title="time (UTC)", axis=_clock(frame), scale=alt.Scale(type="utc")),
            x2="ended:T",
            y=alt.Y("calls_per_s:Q", title="calls per second", stack="zero", axis=alt.Axis(tickCount=4)),
            color=alt.Color("outcome:N", title=None, scale=_scale(colours), legend=_legend(width)),
            order=alt.Order("place:Q"),
        )
    )
    return _finish(bars.facet(row=_panels()))


def return_code_shares(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``return_codes``: the share of each outcome, one panel for each endpoint."""
    rows, colours = _outcome_rows(frame)
    percent = alt.Axis(format="~%", tickCount=5)
    bars = alt.Chart(_data(rows), width=width - 180, height=alt.Step(24)).encode(
        x=alt.X("share:Q", title="share of the endpoint's calls", axis=percent, scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("outcome:N", title=None, sort=list(colours), axis=alt.Axis(labelLimit=0)),
    )
    layers = alt.layer(
        bars.mark_bar(height=16).encode(color=alt.Color("outcome:N", scale=_scale(colours), legend=None)),
        bars.mark_text(align="left", dx=5).encode(text=alt.Text("share:Q", format=".2%")),
    )
    return _finish(layers.facet(row=_panels()).resolve_scale(y="independent"))


def to_svg(chart: alt.TopLevelMixin) -> str:
    """Return a chart as one SVG element, drawn without a network; raise ValueError for data that is elsewhere."""
    version = "_".join(alt.SCHEMA_VERSION.split(".")[:2])
    return vl_convert.vegalite_to_svg(chart.to_dict(), vl_version=version, allowed_base_urls=[])


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


def _outcome_rows(frame: pd.DataFrame) -> tuple[list[Row], dict[str, str]]:
    """Return a frame of outcomes as rows with the outcome's name and place, and the colour of each name in order."""
    rows = sorted(_plain(frame), key=lambda row: (row["return_code"] is None, row["return_code"], row["error"] or ""))
    calls: Counter[str] = Counter()
    for row in rows:
        calls[_name(row)] += row["calls"]
    shown = {name for name, _ in calls.most_common(_MOST_OUTCOMES)}
    rows = [row | {"outcome": _name(row) if _name(row) in shown else _OTHER} for row in rows]
    colours = _colours(rows)
    places = {name: place for place, name in enumerate(colours)}
    return [row | {"place": places[row["outcome"]]} for row in rows], colours


def _plain(frame: pd.DataFrame) -> list[Row]:
    """Return rows of JSON's types: times as ms since 1970, null as None."""
    times = {name: frame[name].astype("int64") // 1_000_000 for name in ("started", "ended") if name in frame}
    plain = frame.assign(**times).astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


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


def _data(rows: list[Row]) -> alt.InlineData:
    """Hand rows over as they are: altair's own way from a frame refuses more than 5,000."""
    return alt.InlineData(values=rows)


def _log(nice: bool) -> alt.Scale:
    return alt.Scale(type="log", nice=nice)


def _nines(rows: list[Row]) -> alt.Axis:
    furthest = max((row["spread"] for row in rows), default=1)
    ticks = [place for place in (1, 2, 10, 100, 1_000, 10_000, 100_000) if place <= furthest * 1.001]
    return alt.Axis(values=ticks, labelExpr="'p' + format(100 - 100 / datum.value, '.6~f')")


def _decades(rows: list[Row]) -> alt.Axis:
    """Put ticks at 1, 2 and 5 of each power of ten where there's room, else at the powers."""
    times = [row["ms"] for row in rows] or [1]
    powers = range(floor(log10(min(times))), ceil(log10(max(times))) + 1)
    steps = (1, 2, 5) if len(powers) <= 4 else (1,)
    return alt.Axis(values=[step * 10.0**power for power in powers for step in steps], format=",~g")


def _scale(looks: dict[Any, Any]) -> alt.Scale:
    return alt.Scale(domain=[str(name) for name in looks], range=list(looks.values()))


def _legend(width: int) -> alt.Legend:
    return alt.Legend(columns=max(1, width // _PX_PER_LEGEND_LABEL), labelLimit=0)


def _panels() -> alt.Row:
    header = alt.Header(title=None, orient="top", labelAnchor="start", labelFontWeight="bold", labelPadding=6)
    return alt.Row("endpoint:N", sort=[endpoint.value for endpoint in Endpoint], header=header)


def _clock(frame: pd.DataFrame) -> alt.Axis:
    span_s = (frame["ended"].max() - frame["started"].min()).total_seconds() if len(frame) else 0
    formats: Sequence[tuple[float, str]] = ((600, "%H:%M:%S"), (86_400, "%H:%M"), (float("inf"), "%m-%d %H:%M"))
    return alt.Axis(format=next(text for limit_s, text in formats if span_s <= limit_s), tickCount=6, labelOverlap=True)


def _finish(chart: alt.Chart | alt.FacetChart) -> alt.TopLevelMixin:
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
