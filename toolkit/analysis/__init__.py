"""Explain calls: functions of what ``read`` returns, or of a frame of any engine, that return tidy pandas frames."""

from toolkit.analysis.calls import Calls, duration_s, from_records, span
from toolkit.analysis.faults.budgets import burn_rates, error_budget
from toolkit.analysis.faults.failures import errors
from toolkit.analysis.faults.guessing import guessers
from toolkit.analysis.faults.pumping import suspects
from toolkit.analysis.frequency.windows import limits, most_accepted
from toolkit.analysis.intervals import wilson
from toolkit.analysis.money.costs import cost
from toolkit.analysis.money.disputes import Discrepancy
from toolkit.analysis.money.forecasts import forecast, forecast_by_day
from toolkit.analysis.money.reconciling import Reconciliation, reconcile
from toolkit.analysis.outcomes import over_time, return_codes
from toolkit.analysis.percentiles import latency
from toolkit.analysis.plaintext import readable
from toolkit.analysis.shifts.changepoints import changes
from toolkit.analysis.shifts.comparison import compare
from toolkit.analysis.shifts.concentration import explain
from toolkit.analysis.sources.reading import read

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
    "readable",
    "reconcile",
    "return_codes",
    "span",
    "suspects",
    "wilson",
]
