"""Lines: rows with a label each, beside them where that leaves the rows room, else above them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from toolkit.analysis.charts.base import PX_PER_LETTER, Row

MOST = 25
_BESIDE = 0.5  # of the width, that labels may take


@dataclass(frozen=True, slots=True)
class Lines:
    """How rows lie: ``width`` is what their labels leave (px); ``y`` places them by their field "place"."""

    width: int
    height: alt.Step
    y: alt.Y


def lay(labels: Sequence[str], width: int, others: Sequence[str] = ()) -> Lines:
    """Lay out one row for each label, from above to below, as wide as for ``others``."""
    longest = round(max(map(len, [*labels, *others]), default=0) * PX_PER_LETTER) + 8
    texts = f"{json.dumps(list(labels))}[datum.value]"
    common: dict[str, Any] = {"labelExpr": texts, "labelLimit": 0, "ticks": False, "domain": False, "grid": False}
    places = alt.Scale(domain=list(range(len(labels))))
    if longest <= width * _BESIDE:
        axis = alt.Axis(labelPadding=8, **common)
        return Lines(width - longest, alt.Step(24), alt.Y("place:O", title=None, axis=axis, scale=places))
    axis = alt.Axis(labelAlign="left", labelOffset=-15, labelPadding=0, zindex=1, **common)
    return Lines(width, alt.Step(38), alt.Y("place:O", title=None, axis=axis, scale=places))


def place(rows: Sequence[Row]) -> list[Row]:
    """Give rows their places, as far as there is room for them."""
    return [row | {"place": place} for place, row in enumerate(rows[:MOST])]


def name(rows: Sequence[Row], left_out: int = 0) -> list[str]:
    """Return the labels of placed rows, and the one that says how many have no place."""
    return [str(row["label"]) for row in rows] + ([f"and {left_out:,} more"] if left_out else [])
