"""Sections: those of a report, as HTML of a form."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.forms.parts.colour_pairs import pair_of
from toolkit.forms.parts.templates import render
from toolkit.report import html
from toolkit.report.model import Figure, Section, Table


def pieces(section: Section) -> Iterator[str]:
    """Yield a section's HTML, each picture and each table when it is asked for, as a picture takes its time."""
    yield render("section", section=section)
    for part in section.parts:
        if isinstance(part, Table):
            yield render("table", table=part, label=part.title or section.title, look=pair_of)
        elif isinstance(part, Figure):
            wide, narrow = html.draw(part)
            yield render("picture", figure=part, wide=wide, narrow=narrow)
