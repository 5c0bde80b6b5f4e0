"""Explain calls: functions of what ``read`` returns, or of a frame of any engine, that return tidy pandas frames."""

from toolkit.analysis.budgets import burn_rates, error_budget
from toolkit.analysis.calls import Calls, duration_s, from_records, span
from toolkit.analysis.changepoints import changes
from toolkit.analysis.comparison import compare
from toolkit.analysis.concentration import explain
from toolkit.analysis.costs import cost
from toolkit.analysis.disputes import Discrepancy
from toolkit.analysis.failures import errors
from toolkit.analysis.forecasts import forecast, forecast_by_day
from toolkit.analysis.guessing import guessers
from toolkit.analysis.intervals import wilson
from toolkit.analysis.outcomes import over_time, return_codes
from toolkit.analysis.percentiles import latency
from toolkit.analysis.pumping import suspects
from toolkit.analysis.reading import read
from toolkit.analysis.reconciling import Reconciliation, reconcile
from toolkit.analysis.windows import limits, most_accepted

__all__ = [
    "Calls",
    "Discrepancy",
    "Reconciliation",
    "burn_rates",
    "changes",
    "compare",
    "cost",
    "duration_s",
    "error_budget",
    "errors",
    "explain",
    "forecast",
    "forecast_by_day",
    "from_records",
    "guessers",
    "latency",
    "limits",
    "most_accepted",
    "over_time",
    "read",
    "reconcile",
    "return_codes",
    "span",
    "suspects",
    "wilson",
]
