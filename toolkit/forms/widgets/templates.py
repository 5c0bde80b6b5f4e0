"""Render the HTML templates of the forms. All values are escaped."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined


@cache
def _environment() -> Environment:
    folder = files(__package__).joinpath("html")
    sources = {it.name.removesuffix(".html.j2"): it.read_text(encoding="utf-8") for it in folder.iterdir()}
    return Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def render(template: str, **values: object) -> str:
    """Return the HTML of a template.

    >>> render("title", title="Load & run")
    '<h2>Load &amp; run</h2>'
    """
    return _environment().get_template(template).render(**values)
