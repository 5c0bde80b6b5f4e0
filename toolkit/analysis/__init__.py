"""Explain calls: functions of what ``read`` returns, or of a frame of any engine, that return tidy pandas frames."""

from toolkit.analysis.calls import Calls, duration_s, from_records, span
from toolkit.analysis.changepoints import changes
from toolkit.analysis.comparison import compare
from toolkit.analysis.concentration import explain
from toolkit.analysis.intervals import wilson
from toolkit.analysis.outcomes import over_time, return_codes
from toolkit.analysis.percentiles import latency
from toolkit.analysis.reading import read

__all__ = [
    "Calls",
    "changes",
    "compare",
    "duration_s",
    "explain",
    "from_records",
    "latency",
    "over_time",
    "read",
    "return_codes",
    "span",
    "wilson",
]
