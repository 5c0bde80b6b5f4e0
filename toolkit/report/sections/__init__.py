"""The sections of a report below its verdicts, in reading order.

A section builder yields no section if the inputs have no data for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from toolkit.report.inputs import ReportInputs
from toolkit.report.model import Section
from toolkit.report.sections import billing, changes, outcomes, rate_limits, reliability, sources

SectionBuilder: TypeAlias = Callable[[ReportInputs], Iterator[Section]]

ORDER: tuple[tuple[str, SectionBuilder], ...] = (
    ("outcomes", outcomes.build_outcomes),
    ("latency", outcomes.build_latency),
    ("what changed", changes.build_changes),
    ("the comparison", changes.build_comparison),
    ("cost", billing.build_cost),
    ("the statement", billing.build_statement),
    ("errors", reliability.build_errors),
    ("the error budget", reliability.build_budget),
    ("rate limits", rate_limits.build_rate_limits),
    ("abuse", reliability.build_suspects),
    ("settings", sources.build_settings),
)
