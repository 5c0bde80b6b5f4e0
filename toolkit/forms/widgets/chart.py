"""Charts of panels that share an x axis, drawn in the browser. A range can be selected with the mouse or with keys."""

from __future__ import annotations

import anywidget
import traitlets

from toolkit.browser_charts import BrowserChart
from toolkit.browser_charts.scripts import STYLE
from toolkit.forms.widgets.modules import module, style


class Chart(anywidget.AnyWidget):
    """A chart. ``selection`` is the selected range of the x axis: two numbers, or empty."""

    _esm = module("chart.js")
    _css = style(STYLE)

    spec = traitlets.Dict().tag(sync=True)
    selection = traitlets.List(traitlets.Float()).tag(sync=True)

    def draw(self, chart: BrowserChart) -> None:
        """Draw another chart."""
        self.spec = chart.as_json()
