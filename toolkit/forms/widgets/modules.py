"""Return the widgets' JavaScript and CSS: in the console as the URL of a module, elsewhere as text in their state.

anywidget imports the module of every widget anew if its text is in the state, and gives up a widget that is not ready
after 2 s. A page of the console has some 140 widgets of six kinds, so its browser would parse 1.5 MB in that time. The
console's server sends each module once, and the state has only a line that imports it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from toolkit.browser_charts.scripts import STYLE, widget_module

URL_VARIABLE = "SMSCODE_WIDGETS_URL"  # set by the console for its kernels: the path of the modules
STYLE_NAME = "widgets.css"
_FOLDER = Path(__file__).parent
_MADE: dict[str, Callable[[], str]] = {
    "chart.js": widget_module,
    STYLE_NAME: lambda: "\n".join(it.read_text(encoding="utf-8") for it in (_FOLDER / "style.css", STYLE)),
}


def module(name: str) -> str:
    """Return the source of a widget's module, or in the console a line that imports it.

    >>> module("leave_guard.js").splitlines()[-1]
    'export default { render };'
    """
    if base := os.environ.get(URL_VARIABLE):
        return f'const {{ default: it }} = await import(new URL("{base}{name}", location.origin)); export default it;'
    return read(name)


def style(path: Path) -> str:
    """Return a style sheet, or nothing in the console, whose page has linked it."""
    return "" if os.environ.get(URL_VARIABLE) else path.read_text(encoding="utf-8")


def read(name: str) -> str:
    """Return the content of a module, or of ``STYLE_NAME``: all style sheets. Raises KeyError for an unknown name."""
    if name in _MADE:
        return _MADE[name]()
    if name not in names():
        raise KeyError(name)
    return (_FOLDER / name).read_text(encoding="utf-8")


def names() -> list[str]:
    """Return the names of all modules, and ``STYLE_NAME``."""
    return sorted({it.name for it in _FOLDER.glob("*.js")} | _MADE.keys())
