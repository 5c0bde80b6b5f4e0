"""Lay out the parts of a form: cards, columns that become one on a narrow page, and rows of buttons."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from toolkit.forms.widgets.connection_watch import ConnectionWatch
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.templates import render


def form(*parts: Any, name: str) -> Any:
    """Return a complete form. ``name`` is its CSS class."""
    return _box(widgets.VBox([ConnectionWatch(), *parts]), "sms-form", name)


def card(title: str, *parts: Any) -> Any:
    """Return a card: parts below a title."""
    return _box(widgets.VBox([HtmlPanel(render("title", title=title), name="sms-title"), *parts]), "sms-card")


def columns(*parts: Any) -> Any:
    """Return parts side by side; on a narrow page, one below the other."""
    return _box(widgets.HBox(parts), "sms-columns", f"sms-columns-{len(parts)}")


def actions(*buttons: Any) -> Any:
    """Return a row of buttons."""
    return _box(widgets.HBox(buttons), "sms-actions")


def _box(box: Any, *names: str) -> Any:
    for name in names:
        box.add_class(name)
    return box
