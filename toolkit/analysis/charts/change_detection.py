"""Shifts: what differs, since when, and where it gathers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import altair as alt
import pandas as pd

from toolkit import number_format
from toolkit.analysis.charts import labels, row_labels
from toolkit.analysis.charts.base import (
    ENDPOINT_COLOURS,
    FAINT,
    INK,
    WIDTH,
    Layers,
    Row,
    clock,
    colour,
    data,
    empty,
    few,
    finish,
    legend,
    log,
    note,
    plain,
    present,
    scale,
)
from toolkit.api.wire import Endpoint
from toolkit.outcome_colours import KIND_COLOURS

_INTERVAL = "lines: 95 % intervals"
_DIFFERS, _SAME, _UNTESTED = "differs", "no more than by chance", "not tested"
_VERDICT_COLOURS = {_DIFFERS: INK, _SAME: FAINT, _UNTESTED: FAINT}
_VERDICT_SHAPES = {_DIFFERS: "diamond", _SAME: "circle", _UNTESTED: "cross"}
_RATIO_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000, 100_000)
_FINE_RATIO_TICKS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.4, 1.6, 1.8, 2, 2.5)


def compare(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``compare``: differences with their 95 % intervals, of shares in points and of times as ratios."""
    rows = sorted(plain(frame), key=lambda row: (not row["differs"], -abs(row["effect"] or 0)))
    shares = [_share_row(row) for row in rows if row["measure"] == "share"]
    times = [_time_row(row) for row in rows if row["measure"] != "share" and row["a"] and row["b"]]
    sections, shown = list[Layers](), shares + times  # one scale, or the first section's would be that of both
    if shares:
        ticks = alt.Axis(tickCount=few(width * 2 // 3))
        points = alt.X("at:Q", title="difference of the share (percentage points)", axis=ticks)
        sections.append(_differences(shares, points, 0, width, shown))
    if times:
        sections.append(_differences(times, _ratios("at:Q", "ratio of the times, b to a", times), 1, width, shown))
    if not sections:
        return empty("No calls to compare", width)
    return finish(alt.vconcat(*sections, spacing=24).properties(title=note(f"{_INTERVAL}, b less a", width)))


def changes(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``changes``: a bar for each from its begin to its end; an arrow ends those that go on."""
    if not len(frame):
        return empty("No changes", width)
    rows = plain(frame.nlargest(row_labels.MOST, "score").sort_values("changed_at"))
    start = min(row["changed_at"] for row in rows)
    end = max(row["until"] or row["changed_at"] for row in rows)
    room = max((end - start) * 0.06, 60_000)
    rows = row_labels.place([_change_row(row, start, end + room) for row in rows])
    layout = row_labels.lay(row_labels.name(rows, len(frame) - len(rows)), width)
    looks = present(_CHANGE_LOOKS, rows, "kind")
    bars = alt.Chart(data(rows), width=layout.width, height=layout.height).encode(
        x=clock("changed_at:T", start - room / 2, end + room, layout.width), y=layout.y
    )
    arrows = bars.mark_point(shape="triangle-right", size=110, filled=True, opacity=1)
    return finish(
        alt.layer(
            bars.mark_bar(height=10).encode(x2="end:T", color=colour("kind:N", looks, width)),
            arrows.encode(x="end:T", color=alt.Color("kind:N", scale=scale(looks))).transform_filter("datum.goes_on"),
        )
    )


def explain(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``explain``: how many times as often each value has the outcome, grouped by dimension, the telling first."""
    if not len(frame):
        return empty("No value in which the outcome gathers", width)
    shown = frame.nlargest(row_labels.MOST, "score")
    order = {name: place for place, name in enumerate(shown["dimension"].drop_duplicates())}
    found = sorted(plain(shown), key=lambda row: order[row["dimension"]])
    rows = row_labels.place([_value_row(row) for row in found])
    layout = row_labels.lay(row_labels.name(rows, len(frame) - len(rows)), width)
    points = alt.Chart(data(rows), width=layout.width, height=layout.height).encode(
        x=_ratios("at:Q", "times as often as elsewhere, and as before", rows), y=layout.y
    )
    return finish(
        alt.layer(
            _mark(points, 1),
            points.mark_rule(strokeWidth=2, color=FAINT).encode(x="low:Q", x2="high:Q"),
            points.mark_point(filled=True, opacity=1, color=ENDPOINT_COLOURS[Endpoint.SEND]).encode(size=_coverage()),
        ).properties(title=note(_INTERVAL, layout.width))
    )


def _coverage() -> alt.Size:
    shown = alt.Legend(format="~%", values=[0.1, 0.5, 1], orient="bottom", direction="horizontal")
    area = alt.Scale(domain=[0, 1], range=[20, 400])
    return alt.Size("coverage:Q", title="part of all such calls", scale=area, legend=shown)


def _differences(rows: list[Row], axis: alt.X, nothing: float, width: int, all_rows: list[Row]) -> Layers:
    placed = row_labels.place(rows)
    layout = row_labels.lay(row_labels.name(placed, len(rows) - len(placed)), width)
    points = alt.Chart(data(placed), width=layout.width, height=layout.height).encode(y=layout.y)
    tint = colour("verdict:N", present(_VERDICT_COLOURS, all_rows, "verdict"), width)
    shapes = present(_VERDICT_SHAPES, all_rows, "verdict")
    shape = alt.Shape("verdict:N", title=None, scale=scale(shapes), legend=legend(width, shapes))
    return alt.layer(
        _mark(points, nothing),
        points.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q", color=tint),
        points.mark_point(filled=True, size=80, opacity=1).encode(x=axis, color=tint, shape=shape),
    )


def _mark(rows: alt.Chart, at: float) -> alt.Chart:
    """Draw the place of no difference in each row."""
    ticks: alt.Chart = rows.mark_tick(color=INK, height=16, thickness=1).encode(x=alt.datum(at))
    return ticks


def _ratios(field: str, title: str, rows: Iterable[Row]) -> alt.X:
    values = [row[end] for row in rows for end in ("low", "at", "high") if row[end]]
    low, high = min([*values, 1]) * 0.95, max([*values, 1]) * 1.05
    ticks = _FINE_RATIO_TICKS if high / low < 6 else _RATIO_TICKS
    shown = [it for it in ticks if low <= it <= high]
    axis = alt.Axis(values=shown, labelExpr="'×' + format(datum.value, ',~g')", labelOverlap=True)
    return alt.X(field, title=title, axis=axis, scale=log(nice=False, domain=[low, high]))


def _verdict(row: Row) -> str:
    return _UNTESTED if row["differs"] is None else _DIFFERS if row["differs"] else _SAME


def _share_row(row: Row) -> Row:
    return _difference_row(row, lambda value: value * 100, row["difference"])


def _time_row(row: Row) -> Row:
    """Show a difference as a ratio to what it is of."""
    return _difference_row(row, lambda value: max((row["a"] + value) / row["a"], 0.01), row["difference"])


def _difference_row(row: Row, scaled: Callable[[float], float], difference: float) -> Row:
    ends = {"low": row["difference_low"], "at": difference, "high": row["difference_high"]}
    label = f"{labels.subject(row)}: {labels.step(row, row['a'], row['b'])}"
    places = {name: None if value is None else scaled(value) for name, value in ends.items()}
    return {"label": label, "verdict": _verdict(row)} | places


def _change_row(row: Row, start: float, edge: float) -> Row:
    end = edge if row["until"] is None else max(row["until"], row["changed_at"] + (edge - start) * 0.01)
    return {
        "label": f"{labels.subject(row)}: {labels.step(row, row['before'], row['after'])}",
        "kind": labels.kind(row) if row["measure"] == "share" else labels.TIMES,
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
        "coverage": row["coverage"],
    }


_CHANGE_LOOKS = {**KIND_COLOURS, labels.TIMES: ENDPOINT_COLOURS[Endpoint.SEND]}
