"""Sections: what a report tells below its verdicts, in the order in which it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from toolkit.report.sections import faults, frequency, money, outcomes, shifts, sources
from toolkit.report.subject import Subject
from toolkit.report.values import Section

Teller: TypeAlias = Callable[[Subject], Iterator[Section]]

ORDER: tuple[tuple[str, Teller], ...] = (
    ("outcomes", outcomes.tell_outcomes),
    ("latency", outcomes.tell_latency),
    ("what changed", shifts.tell_changes),
    ("the comparison", shifts.tell_comparison),
    ("cost", money.tell_cost),
    ("the statement", money.tell_statement),
    ("errors", faults.tell_errors),
    ("the error budget", faults.tell_budget),
    ("frequency limits", frequency.tell),
    ("suspects", faults.tell_suspects),
    ("settings", sources.tell),
)
