"""Plot the results of the analysis functions and of a trend: one function for each, of the same name. No statistics."""

import toolkit.analysis.charts.altair_import  # noqa: F401  # before every other import of Altair

# isort: split
from toolkit.analysis.charts.abuse import guessers, suspects
from toolkit.analysis.charts.base import WIDTH
from toolkit.analysis.charts.billing import cost, forecast, reconcile
from toolkit.analysis.charts.capacity import capacity, scalability
from toolkit.analysis.charts.change_detection import changes, compare, explain
from toolkit.analysis.charts.export import offline, to_html, to_png, to_svg
from toolkit.analysis.charts.latency_percentiles import latency, latency_over_time
from toolkit.analysis.charts.other_rules import what_if, what_if_sweep
from toolkit.analysis.charts.outcomes import over_time, return_codes
from toolkit.analysis.charts.rate_limits import limits, most_accepted
from toolkit.analysis.charts.reliability import burn_rates, errors
from toolkit.analysis.charts.trend import trend

__all__ = [
    "WIDTH",
    "burn_rates",
    "capacity",
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
    "scalability",
    "suspects",
    "to_html",
    "to_png",
    "to_svg",
    "trend",
    "what_if",
    "what_if_sweep",
]
