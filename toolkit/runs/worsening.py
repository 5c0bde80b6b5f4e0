"""Parse conditions that fail if a run is worse than another one, and describe their verdicts.

A condition of ``smscode report --against --fail-if-worse`` is a metric and a percentage of its value in the other run:

    worsening = metric "by" number "%"

    p99(send.caller_ms) by 10%       fails if it is more than 1.1 times as long
    ok_ratio(send) by 0.5%           fails if it is less than 0.995 times as high
    share(timeout) by 0%             fails if it is any higher, by more than chance

The metrics are those of thresholds, without a window. ``max`` and ``dropped`` are refused: one call decides the
maximum, and dropped arrivals have no times, so that neither can be tested against chance. A percentile is tested in
steps of 1 %: its limit is 0 % or at least 1 %. A higher value is worse, except for the share of 50000, ``ok_ratio`` and
``rate``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from toolkit import number_format
from toolkit.api.return_codes import ReturnCode
from toolkit.runs.thresholds import (
    ConditionParser,
    Dropped,
    Failed,
    Metric,
    OkRatio,
    Rate,
    ResponseTime,
    Share,
    Status,
    plain_number,
)

TestableMetric: TypeAlias = ResponseTime | Failed | Share | OkRatio | Rate
"""A metric that can be tested against chance."""


@dataclass(frozen=True, slots=True)
class Worsening:
    """A metric, and the change in percent of its earlier value from which on it is worse."""

    metric: TestableMetric
    limit: float

    def __str__(self) -> str:
        return f"{self.metric} by {plain_number(self.limit)}%"

    @property
    def factor(self) -> float:
        """The factor between a value that is worse by exactly the limit and the earlier value."""
        return 1 + self.limit / 100 if is_worse_if_higher(self.metric) else 1 - self.limit / 100


@dataclass(frozen=True, slots=True)
class WorseningVerdict:
    """The result of a test for a worsening.

    Attributes:
        threshold: the condition.
        status: FAIL if the value is worse by more than the limit and more than chance; NO_DATA if nothing was tested.
        before, now: the values of the two runs, in the metric's unit; None without data.
        p_value: the probability of such a difference if the value was worse by exactly the limit; None if not tested.
        note: the reason for NO_DATA, else "".

    """

    threshold: Worsening
    status: Status
    before: float | None = None
    now: float | None = None
    p_value: float | None = None
    note: str = ""
    unit: ClassVar[str] = "%"

    def __str__(self) -> str:
        return f"{self.status:7} {self.threshold}  ({self.measured})"

    @property
    def value(self) -> float | None:
        """The change in percent of the earlier value; None without data, and if that is 0."""
        return 100 * (self.now / self.before - 1) if self.before and self.now is not None else None

    @property
    def measured(self) -> str:
        """The values, the change and its probability, or the reason for NO_DATA."""
        unit = self.threshold.metric.unit or "ms"
        values = [
            number_format.MISSING if it is None else number_format.measured(it, unit, math.inf)
            for it in (self.before, self.now)
        ]
        change = "" if self.value is None else f" ({self.value:+.3g} %)"
        found = self.note or (f"p {number_format.probability(self.p_value)}" if self.p_value is not None else "")
        return f"{' → '.join(values)}{change}; {found}"


def is_worse_if_higher(metric: Metric) -> bool:
    """Return whether a higher value of a metric is worse than a lower one.

    >>> from toolkit.runs.thresholds import parse_metric
    >>> is_worse_if_higher(parse_metric("failed")), is_worse_if_higher(parse_metric("share(50000)"))
    (True, False)
    """
    is_success = isinstance(metric, Share) and metric.outcome == ReturnCode.SUCCESS
    return not (isinstance(metric, OkRatio | Rate) or is_success)


def parse_worsening(text: str) -> Worsening:
    """Parse a worsening; raise InputError that points at the wrong place.

    >>> str(parse_worsening("p99(send.caller_ms) by 10 %"))
    'p99(send.caller_ms) by 10%'
    """
    parser = ConditionParser(text, "worsening", has_window=False)
    metric = parser.parse_metric()
    if isinstance(metric, Dropped) or (isinstance(metric, ResponseTime) and metric.statistic == "max"):
        raise parser.error(f"{metric} cannot be tested against chance; a form that works: p99(send.caller_ms) by 10%")
    parser.take(r"by\b", "by")
    limit = parser.parse_number()
    if limit >= 100 and not is_worse_if_higher(metric):
        raise parser.error(f"{metric} cannot fall by that much")
    if 0 < limit < 1 and isinstance(metric, ResponseTime) and metric.statistic != "mean":
        raise parser.error(f"{metric} is tested in steps of 1 %: give 0% or at least 1%")
    parser.take("%", "%")
    parser.take("$", "the end")
    return Worsening(metric, limit)
