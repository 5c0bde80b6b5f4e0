"""Frame: how the parts of a form are put together: cards, columns that become one on a narrow page, rows of buttons."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from toolkit.forms.parts.templates import render
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.style_sheet import StyleSheet


def form(*parts: Any, name: str) -> Any:
    """Return a whole form; ``name`` is its class."""
    return _box(widgets.VBox([StyleSheet(), *parts]), "sms-form", name)


def shown(it: Any, **options: Any) -> Any:
    """Return what a notebook shows of a form: its widget, and where there is no kernel to show that, its repr."""
    return it.widget._repr_mimebundle_(**options) | {"text/plain": repr(it)}


def card(title: str, *parts: Any) -> Any:
    """Return parts under a title."""
    return _box(widgets.VBox([HtmlPanel(render("title", title=title), name="sms-title"), *parts]), "sms-card")


def columns(*parts: Any) -> Any:
    """Return parts side by side, where there is room."""
    return _box(widgets.HBox(parts), "sms-columns", f"sms-columns-{len(parts)}")


def actions(*buttons: Any) -> Any:
    """Return a row of buttons."""
    return _box(widgets.HBox(buttons), "sms-actions")


def _box(box: Any, *names: str) -> Any:
    for name in names:
        box.add_class(name)
    return box
