"""Lay out charts with one labelled row per result: labels at the left if there is room, else above the rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from toolkit.analysis.charts.base import PX_PER_LETTER, Row

MAX_ROWS = 25
_MAX_LABEL_RATIO = 0.5  # of the width


@dataclass(frozen=True, slots=True)
class RowLayout:
    """The layout of rows.

    Attributes:
        width: The width without the labels, px.
        height: The height of each row.
        y: The encoding of the rows' field "place".
    """

    width: int
    height: alt.Step
    y: alt.Y


def lay_out(labels: Sequence[str], width: int, other_labels: Sequence[str] = ()) -> RowLayout:
    """Lay out one row for each label, from top to bottom.

    Args:
        labels: The labels.
        width: The width of the chart, px.
        other_labels: Labels of another panel that must get the same layout.
    """
    label_px = round(max(map(len, [*labels, *other_labels]), default=0) * PX_PER_LETTER) + 8
    texts = f"{json.dumps(list(labels))}[datum.value]"
    common: dict[str, Any] = {"labelExpr": texts, "labelLimit": 0, "ticks": False, "domain": False, "grid": False}
    places = alt.Scale(domain=list(range(len(labels))))
    if label_px <= width * _MAX_LABEL_RATIO:
        axis = alt.Axis(labelPadding=8, **common)
        return RowLayout(width - label_px, alt.Step(24), alt.Y("place:O", title=None, axis=axis, scale=places))
    axis = alt.Axis(labelAlign="left", labelOffset=-15, labelPadding=0, zindex=1, **common)
    return RowLayout(width, alt.Step(38), alt.Y("place:O", title=None, axis=axis, scale=places))


def place_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the first rows, at most ``MAX_ROWS``, with their index in the field "place"."""
    return [row | {"place": place} for place, row in enumerate(rows[:MAX_ROWS])]


def labels_of(rows: Sequence[Row], omitted: int = 0) -> list[str]:
    """Return the labels of placed rows, and one with the number of omitted rows if there are any."""
    return [str(row["label"]) for row in rows] + ([f"and {omitted:,} more"] if omitted else [])
