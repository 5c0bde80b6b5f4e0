"""Page: a report as one HTML file that needs no network and runs no script. Every text in it is escaped."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from toolkit.report.model import Badge, Bar, Cell, Figure, Part, Report, Table

_TEMPLATE = "page.html.j2"
_WIDE, _NARROW = 880, 250  # px between the axes, for screens above and below the template's breakpoint


def render(report: Report) -> str:
    """Return a report's page."""
    return _template().render(report=report, draw=draw, kind_of=_kind_of)


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8"))


def _kind_of(shown: Part | Cell) -> str:
    """Name what a part or a cell is, for the template to choose how it looks."""
    return {Table: "table", Figure: "figure", Badge: "badge", Bar: "bar"}.get(type(shown), "")


def draw(figure: Figure) -> tuple[Markup, Markup]:
    """Draw a picture for a wide and for a narrow screen."""
    from toolkit.analysis import charts  # Altair takes seconds to import

    chart = getattr(charts, figure.chart)
    wide, narrow = (Markup(charts.to_svg(chart(figure.frame, width=width))) for width in (_WIDE, _NARROW))
    return wide, narrow
