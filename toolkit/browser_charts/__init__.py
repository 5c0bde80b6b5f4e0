"""Charts that uPlot draws in the browser, with a crosshair, a legend and a selectable range."""

from toolkit.browser_charts.panels import Axis, BrowserChart, Panel, Point, Series, Span

__all__ = ["Axis", "BrowserChart", "Panel", "Point", "Series", "Span"]
