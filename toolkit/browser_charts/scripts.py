"""Join the scripts that draw charts, for a notebook's widget and for a page that loads nothing.

uplot.js is dist/uPlot.iife.min.js of the npm package uplot 1.6.32 (MIT: uplot.LICENSE; github.com/leeoniya/uPlot). It
draws axes, scales, lines and the crosshair. chart.js adds stacked bars, patterns, lanes, the readout, legend and keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
STYLE = _FOLDER / "chart.css"


def chart_script(mount: str) -> str:
    """Return a script that defines ``mountChart`` and runs the script ``mount``, without global names."""
    return f"(() => {{\n{_join('uplot.js', 'chart.js')}\n{mount}\n}})();"


def widget_module() -> str:
    """Return the module of an anywidget with the traits ``spec`` and ``selection``."""
    return _join("uplot.js", "chart.js", "widget.js")


def page_script() -> str:
    """Return the script that mounts the charts of a page: in each element ``.sms-chart``, which has its JSON."""
    return _join("uplot.js", "chart.js", "page.js")


def embed(chart: Mapping[str, Any]) -> str:
    """Return a chart's JSON so that no text in it can end a script element."""
    return json.dumps(chart, separators=(",", ":")).replace("<", r"\u003c")


def output_html(name: str, image: str, chart: Mapping[str, Any] | None) -> str:
    """Return a notebook's output: an image, which scripts replace with something to explore if they may run.

    Args:
        name: The id of the output.
        image: The source of the image, an SVG picture as a data URL.
        chart: The chart to explore, as ``BrowserChart.as_json`` returns it; None for tooltips on the picture's marks.
    """
    style = f"<style>{STYLE.read_text(encoding='utf-8')}</style>" if chart else ""
    call = f'showOutput(document.getElementById("{name}"), {embed(chart) if chart else "null"});'
    mount = f"{_join('output.js')}\n{call}"
    script = chart_script(mount) if chart else f"(() => {{\n{mount}\n}})();"
    return (
        f'{style}<div id="{name}"><img alt="a chart" style="max-width: 100%" src="{image}"></div>'
        f"<script>{script}</script>"
    )


def _join(*names: str) -> str:
    return "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)
