"""Render a report as one HTML page that needs no network. All text is escaped.

Pictures are SVG. If the browser runs scripts, the page's script replaces some pictures by interactive charts. The
page's Content-Security-Policy names the hash of this script, so the browser runs no other one.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from types import TracebackType
from typing import Self

import pandas as pd
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from toolkit.analysis import interactive_charts
from toolkit.browser_charts import BrowserChart
from toolkit.browser_charts.scripts import STYLE, embed, page_script
from toolkit.report.model import Badge, Bar, Cell, Figure, Part, Report, Table
from toolkit.report.result_tables import status_badge

_TEMPLATE = "page.html.j2"
_LONG_WORD = re.compile(r"[^\s&;]{16}(?=[^\s&;]{8})")  # not in a character reference
_DATE = re.compile(r"\b\d{4}-\d\d-\d\d\b")
_WIDE, _NARROW = 880, 250  # px between the axes, for screens above and below the template's breakpoint


_EXPLORED: Mapping[str, Callable[[pd.DataFrame], BrowserChart]] = {
    "over_time": interactive_charts.over_time,
    "latency": interactive_charts.latency,
    "latency_over_time": interactive_charts.latency_over_time,
}


class PictureDrawer:
    """Draws pictures in a thread while the rest of the report is computed.

    Drawing takes about as long as the analysis, and spends most of its time outside of Python's lock.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="pictures")
        self._started: dict[int, Future[tuple[Markup, Markup]]] = {}

    def start(self, figure: Figure) -> None:
        """Start to draw a picture in the thread."""
        self._started[id(figure)] = self._pool.submit(draw, figure)

    def draw(self, figure: Figure) -> tuple[Markup, Markup]:
        """Return a picture as ``draw`` does; wait for it if it was started."""
        started = self._started.get(id(figure))
        return started.result() if started else draw(figure)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)


def render(report: Report, pictures: PictureDrawer | None = None) -> str:
    """Return a report's page. ``pictures`` has the pictures that were started already; the others are drawn now."""
    return page_template().render(
        report=report, draw=pictures.draw if pictures else draw, type_of=_type_of, **_scripting()
    )


def explored(figure: Figure) -> Markup | None:
    """Return the interactive chart of a figure as JSON for the page's script; None if it has none."""
    chart = _EXPLORED[figure.chart](figure.frame) if figure.chart in _EXPLORED else None
    return Markup(embed(chart.as_json())) if chart and chart.panels else None


def draw(figure: Figure) -> tuple[Markup, Markup]:
    """Draw a picture as SVG, for a wide and for a narrow screen."""
    from altair.utils import schemapi

    from toolkit.analysis import charts  # Altair takes a second to import, and most formats show no picture

    chart = getattr(charts, figure.chart)
    with schemapi.debug_mode(False):  # else Altair validates each part of a chart as it is made: a third of the time
        wide, narrow = (
            Markup(charts.to_svg(chart(figure.frame, width=width), validate=False)) for width in (_WIDE, _NARROW)
        )
    return wide, narrow


@cache
def page_template() -> Template:
    """Return the template of the page, compiled once."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals |= {"status_badge": status_badge, "breaks": breaks}
    return environment.from_string(files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8"))


def breaks(text: str) -> Markup:
    """Return text as HTML with line breaks in long words, such as ids, and none in dates.

    >>> breaks("4bf92f3577b34da6a3ce929d0e0e4736 on 2026-11-06")
    Markup('4bf92f3577b34da6<wbr>a3ce929d0e0e4736 on <span class="when">2026-11-06</span>')
    """
    html = _LONG_WORD.sub("\\g<0><wbr>", str(escape(text)))
    return Markup(_DATE.sub('<span class="when">\\g<0></span>', html))


@cache
def _scripting() -> Mapping[str, object]:
    """Return the template's variables for interactive charts: script, hash, style sheet and ``explored``."""
    script = page_script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = Markup(STYLE.read_text(encoding="utf-8"))
    return {"script": Markup(script), "script_hash": digest, "chart_style": style, "explored": explored}


def _type_of(shown: Part | Cell) -> str:
    """Return the word by which the template chooses how to show a part or a cell."""
    return {Table: "table", Figure: "figure", Badge: "badge", Bar: "bar"}.get(type(shown), "")
