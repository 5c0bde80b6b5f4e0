"""Charts that are drawn in the browser by uPlot, to be explored: their values, and the scripts that draw them."""

from toolkit.browser_charts.panels import Axis, BrowserChart, Panel, Point, Series, Span

__all__ = ["Axis", "BrowserChart", "Panel", "Point", "Series", "Span"]
