"""Collect the data that each check needs; merge it on the master, and judge the checks when the run is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from toolkit.load_test.generator.checks.registry import Check, CheckResult, Evidence
from toolkit.load_test.generator.steps import CallResult
from toolkit.load_test.plan.expectations import Expectations
from toolkit.runs.thresholds import Status


class CheckCollector:
    """Keeps the data of one test: of a process's own calls, or on a master of all calls.

    Args:
        checks: the checks of the test's user classes. Each is kept once; those that don't apply are left out.
        expectations: the behaviour that the service is expected to show.
    """

    def __init__(self, checks: Iterable[Check | None], expectations: Expectations) -> None:
        self.expectations = expectations
        self._evidence: dict[Check, Evidence] = {
            check: Counter() for check in checks if check and check.applies(expectations)
        }

    @property
    def names(self) -> list[str]:
        """The names of the checks, without those that every scenario has."""
        return [check.name for check in self._evidence if not check.is_implied]

    def collect(self, results: Sequence[CallResult]) -> None:
        """Add the rows of calls to the evidence."""
        for check, evidence in self._evidence.items():
            row_of = check.row
            for call, outcome in results:
                if (row := row_of(call, outcome)) is not None:
                    evidence[row] += 1  # Counter.update takes a microsecond even for one row

    def take(self) -> dict[str, list[tuple[tuple[Any, ...], int]]]:
        """Return the data since the last call, as a worker reports it to its master."""
        taken = {check.name: list(evidence.items()) for check, evidence in self._evidence.items()}
        for evidence in self._evidence.values():
            evidence.clear()
        return taken

    def merge(self, taken: dict[str, Any]) -> None:
        """Add the data of a worker's report."""
        for check, evidence in self._evidence.items():
            for row, times in taken.get(check.name, ()):
                evidence[tuple(row)] += times

    def judge(self, lost: str = "") -> list[CheckResult]:
        """Judge the checks. An implied one is left out if it passed, and if no call is relevant to it.

        Args:
            lost: the reason why data is missing, so that nothing passes; "" if all is there.
        """
        results = []
        for check, evidence in self._evidence.items():
            if check.is_implied and not evidence:
                continue
            result = check.judge(evidence, self.expectations)
            result = result.without_pass(lost) if lost else result
            if not check.is_implied or result.status is not Status.PASS:
                results.append(result)
        return results


def describe(result: CheckResult) -> str:
    """Return a result as lines of text, with its figures below."""
    figures = [f"    {name.replace('_', ' ')}: {_format(value)}" for name, value in result.figures.items()]
    parts = [f"    {it.status} {it.name}: {it.reason}" for it in result.parts]
    return "\n".join([f"{result.status:7} {result.check.name}: {result.reason}", *parts, *figures])


def _format(figure: object) -> str:
    if isinstance(figure, dict):
        return ", ".join(f"{name}: {_format(it)}" for name, it in figure.items()) or "none"
    return "never" if figure is None else f"{figure:,.10g}"
