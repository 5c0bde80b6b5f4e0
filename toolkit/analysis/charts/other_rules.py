"""Plot what other rules would have saved, and the users that they would have lost."""

from __future__ import annotations

from typing import Literal

import altair as alt
import pandas as pd

from toolkit import number_format
from toolkit.analysis.charts import row_layout
from toolkit.analysis.charts.base import (
    INK,
    WIDTH,
    Layers,
    Row,
    empty_chart,
    inline,
    legend,
    subtitle,
    to_rows,
    with_theme,
)

_RANGE_COLOUR, _POINT_COLOUR = "#8fb4dc", "#12305c"
_PALETTE = ["#1d5ea8", "#d5761f", "#2e7d4f", "#8a4fa3", "#b3323e", "#5b5b63", "#0f8a8a", "#a88a00"]
_MAX_LABELS = 12


def what_if(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``what_if``: savings and lost users of each rule set, with the bounds of both.

    Args:
        frame: The result of ``what_if``, without groups.
        width: The width of the chart, px.
    """
    found = [row for row in to_rows(frame) if row["rule_set"] != "recorded" and row["messages_saved"] is not None]
    if not found:
        return empty_chart("No rule set, or none whose outcome is known", width)
    rows = row_layout.place_rows([row | {"label": row["rule_set"]} for row in found])
    layout = row_layout.lay_out(row_layout.labels_of(rows, len(found) - len(rows)), width)
    panels = [_bounds(rows, layout, *_saved(rows))]
    if all(row["users_lost"] is not None for row in rows):
        panels.append(_bounds(rows, layout, "users_lost", "verified users lost"))
    note = "diamond: all sends as recorded; bar: if people act differently after another response"
    return with_theme(alt.vconcat(*panels, spacing=24).properties(title=subtitle(note, width)))


def what_if_sweep(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``what_if_sweep``: the savings of each rule by the users it loses, and the Pareto front.

    Args:
        frame: The result of ``what_if_sweep``.
        width: The width of the chart, px.
    """
    rows = [row for row in to_rows(frame) if row["users_lost"] is not None and row["messages_saved"] is not None]
    if not rows:
        return empty_chart("No rule whose lost users are known", width)
    name, title = _saved(rows)
    windows = list(dict.fromkeys(row["window_s"] for row in rows))
    names = [number_format.duration(it) for it in windows]
    shown = [row | {"window": number_format.duration(row["window_s"]), "label": row["rule_set"]} for row in rows]
    best = [row for row in shown if row["is_best"]]
    ticks = [0, *(step * 10**power for power in range(1, 9) for step in (1, 2, 5))]
    axis = alt.Axis(values=ticks, format=",~f", labelOverlap=True)
    x = alt.X("users_lost:Q", title="verified users lost (logarithmic above 10)", axis=axis, scale=_symlog())
    y = alt.Y(f"{name}:Q", title=title, axis=alt.Axis(format=",~f"))
    colours = [_PALETTE[it % len(_PALETTE)] for it in range(len(names))]
    colour = alt.Color(
        "window:N", title=None, scale=alt.Scale(domain=names, range=colours), legend=legend(width, names)
    )
    points = alt.Chart(inline(shown), width=width, height=320).encode(x=x, y=y)
    front = alt.Chart(inline(best)).encode(x=x, y=y)
    places: tuple[tuple[int, Literal["left", "right"], str], ...] = (
        (-7, "right", "datum.users_lost > 0"),
        (8, "left", "datum.users_lost <= 0"),
    )
    labels = alt.Chart(inline([row | {"rank": rank} for rank, row in enumerate(best) if rank < _MAX_LABELS]))
    layers = [
        front.mark_line(interpolate="step-after", color=_RANGE_COLOUR, strokeWidth=2),
        points.mark_point(filled=True, size=90, opacity=1).encode(color=colour),
        *(
            labels.mark_text(dx=dx, dy=-9, align=align, fontSize=12, color=INK)
            .encode(x=x, y=y, text="label:N")
            .transform_filter(condition)
            for dx, align, condition in places
        ),
    ]
    note = "line and labels: the Pareto front, the rules that no other rule is better than; colour: the window"
    return with_theme(alt.layer(*layers).properties(title=subtitle(note, width)))


def _symlog() -> alt.Scale:
    return alt.Scale(type="symlog", constant=10)


def _saved(rows: list[Row]) -> tuple[str, str]:
    """Return the column of the savings, and its title: money if it is known, else messages."""
    if all(row["money_saved"] is not None for row in rows):
        return "money_saved", f"money saved ({rows[0]['currency']})"
    return "messages_saved", "messages saved"


def _bounds(rows: list[Row], layout: row_layout.RowLayout, name: str, title: str) -> Layers:
    """Return a panel with a value and its bounds for each row."""
    base = alt.Chart(inline(rows), width=layout.width, height=layout.height).encode(
        x=alt.X(f"{name}:Q", title=title, axis=alt.Axis(format=",~f")), y=layout.y
    )
    return alt.layer(
        base.mark_bar(height=12, color=_RANGE_COLOUR).encode(x=f"{name}_low:Q", x2=f"{name}_high:Q"),
        base.mark_point(shape="diamond", filled=True, size=90, color=_POINT_COLOUR, opacity=1),
    )
