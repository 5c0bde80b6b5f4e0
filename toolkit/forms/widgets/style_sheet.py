"""StyleSheet: how all forms look, in one style sheet."""

from __future__ import annotations

from pathlib import Path

import anywidget


class StyleSheet(anywidget.AnyWidget):
    """Brings the style sheet to the page; shows nothing itself."""

    _esm = "export default { render({ el }) { el.hidden = true; } };"
    _css = Path(__file__).with_name("style.css")
