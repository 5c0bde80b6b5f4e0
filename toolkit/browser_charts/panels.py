"""Describe a chart for the browser: panels of series over one x axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from toolkit.outcome_colours import PATTERNS, ColourPair, Fill

PARTIAL = "pale or hollow: only a part of this time is covered"
PARTIAL_BELOW = 0.95  # of a bucket; a rate that is too low by less does not mislead

Point: TypeAlias = tuple[float, float | None]
"""The x and the y of a point; a line has a gap where y is None."""


@dataclass(frozen=True, slots=True)
class Series:
    """The bars or the points of one series.

    ``values`` are the heights of bars, one between two edges of the panel. ``points`` are those of a line. ``hollow``
    has the indexes of the points whose time is covered only in part.
    """

    name: str
    look: ColourPair
    values: Sequence[float] = ()
    points: Sequence[Point] = ()
    dashed: bool = False
    mark: Literal["dot", "cross"] = "dot"
    hollow: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """A shaded range of a lane. ``place`` is its upper edge and ``part`` its height, as shares of the lane, 0..1."""

    name: str
    look: ColourPair
    start: float
    end: float
    place: float = 0.0
    part: float = 1.0


@dataclass(frozen=True, slots=True)
class Panel:
    """One of several plots with a common x axis. ``height`` is in px.

    ``kind``: "bars" are stacked, one stack between two ``edges``; "lines" connect points, each between two ``edges`` if
    there are any; a "lane" is a row of points with shaded spans behind them. ``partial`` is True for each stack whose
    time is covered only in part. Bars are calls in ``unit_s`` seconds. ``empty`` is the text of the tooltip at a place
    without a value, such as "no calls".
    """

    kind: Literal["bars", "lines", "lane"]
    title: str
    series: Sequence[Series]
    height: int = 130
    edges: Sequence[float] = ()
    log: bool = False
    label: str = ""
    spans: Sequence[Span] = ()
    partial: Sequence[bool] = ()
    unit_s: float = 1.0
    empty: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the panel as chart.js expects it."""
        partial = list(self.partial) or [False] * (len(self.edges) - 1)
        drawn = asdict(self) | {
            "series": [_flatten(it) for it in self.series],
            "spans": [_flatten(it) for it in self.spans],
            "partial": partial,
        }
        for span in drawn["spans"]:
            span["from"], span["to"] = span.pop("start"), span.pop("end")
        return drawn


@dataclass(frozen=True, slots=True)
class Axis:
    """The x axis from ``start`` to ``end``.

    ``kind``: "time" in s since 1970, shown in the time zone ``zone``; "seconds" since the start of a run; "nines", the
    power of ten of 1 / (1 - quantile), on which each further nine of a percentile has the same width; "number".
    """

    kind: Literal["time", "seconds", "nines", "number"]
    start: float
    end: float
    zone: str = ""


@dataclass(frozen=True, slots=True)
class BrowserChart:
    """Panels over an axis. Screen readers read ``description``. A range can be selected if ``selectable``."""

    panels: Sequence[Panel]
    axis: Axis
    description: str
    selectable: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the chart as chart.js expects it."""
        axis = {"kind": self.axis.kind, "range": [self.axis.start, self.axis.end], "zone": self.axis.zone}
        panels = [it.as_json() for it in self.panels]
        is_partial = any(any(it.partial) or any(series.hollow for series in it.series) for it in self.panels)
        note = PARTIAL if is_partial else ""
        return {
            "x": axis,
            "panels": panels,
            "description": self.description,
            "selectable": self.selectable,
            "note": note,
        }


def _flatten(item: Series | Span) -> dict[str, Any]:
    values = asdict(item)
    look: dict[str, str] = values.pop("look")
    pattern = look.pop("pattern")
    inks = {f"{theme}_ink": Fill(colour).ink for theme, colour in look.items()}
    return values | look | inks | {"path": PATTERNS[pattern]}
