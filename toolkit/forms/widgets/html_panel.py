"""Panel: a piece of a form that only shows. What is put into it has been escaped and masked."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets


class HtmlPanel(anywidget.AnyWidget):
    """HTML in one place; where it is ``live``, a change is read out to who can't see it."""

    _esm = Path(__file__).with_name("html_panel.js")

    html = traitlets.Unicode().tag(sync=True)
    live = traitlets.Bool(False).tag(sync=True)

    def __init__(self, html: str = "", live: bool = False, name: str = "") -> None:
        super().__init__(html=html, live=live)
        if name:
            self.add_class(name)
