"""Analyse recorded calls: outcomes, latencies, changes, rate limits, reliability, abuse, billing and other rules.

``read`` opens recorded calls. All other functions take its result, or a frame of any engine with the columns of
CallRecord, and return tidy pandas frames. Each function documents its columns, their dtypes and units.
"""

from toolkit.analysis.abuse.code_guessing import guessers
from toolkit.analysis.abuse.sms_pumping import suspects
from toolkit.analysis.billing.cost import cost
from toolkit.analysis.billing.forecast import forecast, forecast_by_day
from toolkit.analysis.billing.reconcile import Reconciliation, reconcile
from toolkit.analysis.billing.statement_diff import Discrepancy
from toolkit.analysis.billing.statement_file import StatementFormat
from toolkit.analysis.calls import Calls, duration_s, from_frame, from_records, span
from toolkit.analysis.change_detection.changepoints import changes
from toolkit.analysis.change_detection.compare import compare
from toolkit.analysis.change_detection.concentration import explain
from toolkit.analysis.display import readable
from toolkit.analysis.intervals import wilson
from toolkit.analysis.latency_percentiles import latency
from toolkit.analysis.other_rules.recorded_sends import RecordedSends, recorded_sends
from toolkit.analysis.other_rules.rule_set import RuleSet
from toolkit.analysis.other_rules.what_if import side_by_side, what_if, what_if_sweep
from toolkit.analysis.outcomes import over_time, return_codes
from toolkit.analysis.rate_limits.clock_offsets import clock_offsets
from toolkit.analysis.rate_limits.infer import limits, most_accepted
from toolkit.analysis.reliability.errors import errors
from toolkit.analysis.reliability.slo import burn_rates, error_budget
from toolkit.analysis.sources.read import read
from toolkit.records.call_record import mobile_key

__all__ = [
    "Calls",
    "Discrepancy",
    "Reconciliation",
    "RecordedSends",
    "RuleSet",
    "StatementFormat",
    "burn_rates",
    "changes",
    "clock_offsets",
    "compare",
    "cost",
    "duration_s",
    "error_budget",
    "errors",
    "explain",
    "forecast",
    "forecast_by_day",
    "from_frame",
    "from_records",
    "guessers",
    "latency",
    "limits",
    "mobile_key",
    "most_accepted",
    "over_time",
    "read",
    "readable",
    "reconcile",
    "recorded_sends",
    "return_codes",
    "side_by_side",
    "span",
    "suspects",
    "what_if",
    "what_if_sweep",
    "wilson",
]
