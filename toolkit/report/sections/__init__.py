"""Sections: what a report tells below its verdicts, in the order in which it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from toolkit.report.inputs import Subject
from toolkit.report.model import Section
from toolkit.report.sections import billing, changes, outcomes, rate_limits, reliability, sources

Teller: TypeAlias = Callable[[Subject], Iterator[Section]]

ORDER: tuple[tuple[str, Teller], ...] = (
    ("outcomes", outcomes.tell_outcomes),
    ("latency", outcomes.tell_latency),
    ("what changed", changes.tell_changes),
    ("the comparison", changes.tell_comparison),
    ("cost", billing.tell_cost),
    ("the statement", billing.tell_statement),
    ("errors", reliability.tell_errors),
    ("the error budget", reliability.tell_budget),
    ("frequency limits", rate_limits.tell),
    ("suspects", reliability.tell_suspects),
    ("settings", sources.tell),
)
