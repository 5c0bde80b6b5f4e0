"""Chart: a picture that can change while it is looked at, and of which a part can be chosen; drawn in the browser.

One update costs this process a tenth of a millisecond, where a figure of Altair's costs thirty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import anywidget
import traitlets

from toolkit.forms.parts.colour_pairs import ColourPair

Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """What is drawn in one colour: ``values``, one for each span between a panel's edges, or ``points`` (x, y)."""

    name: str
    look: ColourPair
    values: Sequence[float] = ()
    points: Sequence[Point] = ()
    dashed: bool = False
    mark: Literal["dot", "cross"] = "dot"


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the axis that is shaded in a lane; ``place`` and ``part``: from where on, and how much of its height.

    Both are shares of the lane, 0..1.
    """

    name: str
    look: ColourPair
    start: float
    end: float
    place: float = 0.0
    part: float = 1.0


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of several over the same axis; ``height`` in px.

    bars: stacked, one for each span between two of the ``edges``. lines. lane: points in a row, spans behind them.
    """

    kind: Literal["bars", "lines", "lane"]
    title: str
    series: Sequence[Series]
    height: int = 130
    edges: Sequence[float] = ()
    log: bool = False
    label: str = ""
    spans: Sequence[Span] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Return it as the browser draws it."""
        drawn = asdict(self) | {"series": [_flat(it) for it in self.series], "spans": [_flat(it) for it in self.spans]}
        for span in drawn["spans"]:
            span["from"], span["to"] = span.pop("start"), span.pop("end")
        return drawn


def _flat(one: Series | Span) -> dict[str, Any]:
    values = asdict(one)
    look: dict[str, Any] = values.pop("look")
    return values | look


class Chart(anywidget.AnyWidget):
    """The chart; ``selection`` is the part of the axis that was chosen, two numbers, or none."""

    _esm = Path(__file__).with_name("chart.js")

    spec = traitlets.Dict().tag(sync=True)
    selection = traitlets.List(traitlets.Float()).tag(sync=True)

    def draw(
        self,
        panels: Iterable[Panel],
        span: tuple[float, float],
        ticks: Sequence[tuple[float, str]],
        says: str,
        selectable: bool = False,
    ) -> None:
        """Draw panels over an axis from ``span[0]`` to ``span[1]``; ``says`` tells in words what there is to see."""
        axis = {"range": span, "ticks": ticks}
        self.spec = {"x": axis, "panels": [it.as_json() for it in panels], "says": says, "selectable": selectable}
