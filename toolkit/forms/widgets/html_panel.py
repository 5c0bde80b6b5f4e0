"""A panel that shows HTML. Callers escape and mask the text in it."""

from __future__ import annotations

import anywidget
import traitlets

from toolkit.forms.widgets.modules import module


class HtmlPanel(anywidget.AnyWidget):
    """A panel of HTML. Screen readers announce changes of a ``live`` panel. ``name`` is a CSS class."""

    _esm = module("html_panel.js")

    html = traitlets.Unicode().tag(sync=True)
    live = traitlets.Bool(False).tag(sync=True)

    def __init__(self, html: str = "", live: bool = False, name: str = "") -> None:
        super().__init__(html=html, live=live)
        if name:
            self.add_class(name)
