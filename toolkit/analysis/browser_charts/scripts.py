"""Join the scripts that draw charts: for a notebook's widget, and for a page that loads nothing.

uplot.js is dist/uPlot.iife.min.js of the npm package uplot 1.6.32 (MIT: uplot.LICENSE; github.com/leeoniya/uPlot). It
draws axes, scales, lines and the crosshair. chart.js adds stacked bars, patterns, lanes, the readout, legend and keys.
"""

from __future__ import annotations

import json
from pathlib import Path

from toolkit.analysis.browser_charts.panels import BrowserChart

_FOLDER = Path(__file__).parent
STYLE = _FOLDER / "chart.css"


def widget_module() -> str:
    """Return the module of an anywidget with the traits ``spec`` and ``selection``."""
    return _join("uplot.js", "chart.js", "widget.js")


def page_script() -> str:
    """Return the script that mounts the charts of a page: each element ``.sms-chart`` with its chart as JSON in it."""
    return _join("uplot.js", "chart.js", "page.js")


def embed(chart: BrowserChart) -> str:
    """Return a chart as JSON that no text in it can end, for a script element of type application/json."""
    return json.dumps(chart.as_json(), separators=(",", ":")).replace("<", r"\u003c")


def _join(*names: str) -> str:
    return "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)
