"""The tables of this package as pictures, one function a table. Places and colours only, no statistics."""

from toolkit.analysis.charts.drawing import WIDTH
from toolkit.analysis.charts.faults import burn_rates, errors, guessers, suspects
from toolkit.analysis.charts.files import offline, to_html, to_png, to_svg
from toolkit.analysis.charts.frequency import limits, most_accepted
from toolkit.analysis.charts.latencies import latency, latency_over_time
from toolkit.analysis.charts.money import cost, forecast, reconcile
from toolkit.analysis.charts.outcomes import over_time, return_codes
from toolkit.analysis.charts.shifts import changes, compare, explain

__all__ = [
    "WIDTH",
    "burn_rates",
    "changes",
    "compare",
    "cost",
    "errors",
    "explain",
    "forecast",
    "guessers",
    "latency",
    "latency_over_time",
    "limits",
    "most_accepted",
    "offline",
    "over_time",
    "reconcile",
    "return_codes",
    "suspects",
    "to_html",
    "to_png",
    "to_svg",
]
