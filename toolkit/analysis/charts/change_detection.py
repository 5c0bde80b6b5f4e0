"""Plot differences between runs, changes over time, and the values in which an outcome is concentrated."""

from __future__ import annotations

from collections.abc import Iterable

import altair as alt
import pandas as pd

from toolkit import number_format
from toolkit.analysis.charts import labels, row_layout
from toolkit.analysis.charts.base import (
    ENDPOINT_COLOURS,
    FAINT,
    INK,
    WIDTH,
    Layers,
    Row,
    colour_channel,
    empty_chart,
    inline,
    legend,
    log_scale,
    named_scale,
    subtitle,
    tick_count,
    time_axis,
    to_rows,
    used_only,
    with_theme,
)
from toolkit.analysis.timestamps import zone_name
from toolkit.api.return_codes import Kind
from toolkit.api.wire import Endpoint
from toolkit.outcome_colours import KIND_COLOURS

_INTERVAL = "lines: 95 % intervals"
_SIGNIFICANT, _NOT_SIGNIFICANT, _UNTESTED = "significant", "not significant", "not tested"
_TEST_COLOURS = {_SIGNIFICANT: INK, _NOT_SIGNIFICANT: FAINT, _UNTESTED: FAINT}
_TEST_SHAPES = {_SIGNIFICANT: "diamond", _NOT_SIGNIFICANT: "circle", _UNTESTED: "cross"}
_CHANGE_COLOURS = {
    **KIND_COLOURS,
    labels.LATENCY: ENDPOINT_COLOURS[Endpoint.SEND],
    labels.FAILED: KIND_COLOURS[Kind.SERVER],
    labels.CONVERSION: "#2f8797",
    labels.CALLS: FAINT,
}
_RATIO_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000, 100_000)
_FINE_RATIO_TICKS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.4, 1.6, 1.8, 2, 2.5)
_MIN_RATIO = 0.01


def compare(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``compare``: differences with 95 % intervals, shares in points and latencies as ratios.

    Args:
        frame: The result of ``compare``.
        width: The width of the chart, px.
    """
    rows = sorted(to_rows(frame), key=lambda row: (not row["differs"], -abs(row["effect"] or 0)))
    shares = [_difference_row(row) for row in rows if row["measure"] == "share"]
    latencies = [_difference_row(row) for row in rows if row["measure"] != "share" and row["a"] and row["b"]]
    sections, all_rows = list[Layers](), shares + latencies
    if shares:
        ticks = alt.Axis(tickCount=tick_count(width * 2 // 3))
        points = alt.X("at:Q", title="difference in share (percentage points)", axis=ticks)
        sections.append(_difference_section(shares, points, 0, width, all_rows))
    if latencies:
        ratios = _ratio_axis("at:Q", "ratio of latencies, b to a", latencies)
        sections.append(_difference_section(latencies, ratios, 1, width, all_rows))
    if not sections:
        return empty_chart("No calls to compare", width)
    return with_theme(alt.vconcat(*sections, spacing=24).properties(title=subtitle(f"{_INTERVAL}, b less a", width)))


def changes(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``changes``: a bar from the start to the end of each change, with an arrow if it goes on.

    Args:
        frame: The result of ``changes``.
        width: The width of the chart, px.
    """
    if not len(frame):
        return empty_chart("No changes", width)
    rows = to_rows(frame.nlargest(row_layout.MAX_ROWS, "score").sort_values("changed_at"))
    start = min(row["changed_at"] for row in rows)
    end = max(row["until"] or row["changed_at"] for row in rows)
    margin = (end - start) * 0.06 or 60_000
    rows = row_layout.place_rows([_change_row(row, start, end + margin) for row in rows])
    layout = row_layout.lay_out(row_layout.labels_of(rows, len(frame) - len(rows)), width)
    colours = used_only(_CHANGE_COLOURS, rows, "kind")
    bars = alt.Chart(inline(rows), width=layout.width, height=layout.height).encode(
        x=time_axis("changed_at:T", start - margin / 2, end + margin, layout.width, zone_name(frame)),
        y=layout.y,
        description="label:N",
    )
    arrows = bars.mark_point(shape="triangle-right", size=110, filled=True, opacity=1)
    arrow_colour = alt.Color("kind:N", scale=named_scale(colours))
    return with_theme(
        alt.layer(
            bars.mark_bar(height=10).encode(x2="end:T", color=colour_channel("kind:N", colours, width)),
            arrows.encode(x="end:T", color=arrow_colour).transform_filter("datum.goes_on"),
        )
    )


def explain(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``explain``: the lift of each value, grouped by dimension, the highest score first.

    Args:
        frame: The result of ``explain``.
        width: The width of the chart, px.
    """
    if not len(frame):
        return empty_chart("No values with a lift", width)
    shown = frame.nlargest(row_layout.MAX_ROWS, "score")
    order = {name: place for place, name in enumerate(shown["dimension"].drop_duplicates())}
    found = sorted(to_rows(shown), key=lambda row: order[row["dimension"]])
    rows = row_layout.place_rows([_value_row(row) for row in found])
    layout = row_layout.lay_out(row_layout.labels_of(rows, len(frame) - len(rows)), width)
    points = alt.Chart(inline(rows), width=layout.width, height=layout.height).encode(
        x=_ratio_axis("at:Q", "lift (ratio to other values and to before)", rows), y=layout.y, description="label:N"
    )
    coverage = alt.Size(
        "coverage:Q",
        title="share of all such calls",
        scale=alt.Scale(domain=[0, 1], range=[20, 400]),
        legend=alt.Legend(format="~%", values=[0.1, 0.5, 1], orient="bottom", direction="horizontal"),
    )
    return with_theme(
        alt.layer(
            _reference_ticks(points, 1),
            points.mark_rule(strokeWidth=2, color=FAINT).encode(x="low:Q", x2="high:Q"),
            points.mark_point(filled=True, opacity=1, color=ENDPOINT_COLOURS[Endpoint.SEND]).encode(size=coverage),
        ).properties(title=subtitle(_INTERVAL, layout.width))
    )


def _difference_section(rows: list[Row], axis: alt.X, reference: float, width: int, all_rows: list[Row]) -> Layers:
    """Return the section of one unit.

    Args:
        rows: The rows of the section.
        axis: The axis of their differences.
        reference: The value of no difference.
        width: The width of the chart, px.
        all_rows: The rows of all sections, which share one legend.
    """
    placed = row_layout.place_rows(rows)
    layout = row_layout.lay_out(row_layout.labels_of(placed, len(rows) - len(placed)), width)
    points = alt.Chart(inline(placed), width=layout.width, height=layout.height).encode(
        y=layout.y, description="label:N"
    )
    colour = colour_channel("test:N", used_only(_TEST_COLOURS, all_rows, "test"), width)
    shapes = used_only(_TEST_SHAPES, all_rows, "test")
    shape = alt.Shape("test:N", title=None, scale=named_scale(shapes), legend=legend(width, shapes))
    return alt.layer(
        _reference_ticks(points, reference),
        points.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q", color=colour),
        points.mark_point(filled=True, size=80, opacity=1).encode(x=axis, color=colour, shape=shape),
    )


def _reference_ticks(rows: alt.Chart, value: float) -> alt.Chart:
    """Return a tick at the value of no difference in each row."""
    ticks: alt.Chart = rows.mark_tick(color=INK, height=16, thickness=1).encode(x=alt.datum(value))
    return ticks


def _ratio_axis(field: str, title: str, rows: Iterable[Row]) -> alt.X:
    values = [row[name] for row in rows for name in ("low", "at", "high") if row[name]]
    low, high = min([*values, 1]) * 0.95, max([*values, 1]) * 1.05
    ticks = _FINE_RATIO_TICKS if high / low < 6 else _RATIO_TICKS
    shown = [it for it in ticks if low <= it <= high]
    axis = alt.Axis(values=shown, labelExpr="'×' + format(datum.value, ',~g')", labelOverlap=True)
    return alt.X(field, title=title, axis=axis, scale=log_scale(nice=False, domain=[low, high]))


def _difference_row(row: Row) -> Row:
    """Return the row of a difference: in percentage points for shares, as the ratio b to a for latencies."""
    ends = {"low": row["difference_low"], "at": row["difference"], "high": row["difference_high"]}
    if row["measure"] == "share":
        scaled = {name: None if it is None else it * 100 for name, it in ends.items()}
    else:
        scaled = {
            name: None if it is None else max((row["a"] + it) / row["a"], _MIN_RATIO) for name, it in ends.items()
        }
    test = _UNTESTED if row["differs"] is None else _SIGNIFICANT if row["differs"] else _NOT_SIGNIFICANT
    return {"label": f"{labels.subject(row)}: {labels.change(row, row['a'], row['b'])}", "test": test} | scaled


def _change_row(row: Row, start: float, edge: float) -> Row:
    end = edge if row["until"] is None else max(row["until"], row["changed_at"] + (edge - start) * 0.01)
    return {
        "label": f"{labels.subject(row)}: {labels.change(row, row['before'], row['after'])}",
        "kind": labels.change_kind(row),
        "changed_at": row["changed_at"],
        "end": end,
        "goes_on": row["until"] is None,
    }


def _value_row(row: Row) -> Row:
    value = labels.shorten(row["value"] or "none")
    return {
        "label": f"{row['dimension']} {value}: {row['found']:,} of {number_format.plural(row['calls'], 'call')}",
        "at": row["lift"],
        "low": row["lift_low"],
        "high": row["lift_high"],
        "coverage": row["coverage_ratio"],
    }
