"""Thresholds: what a load test must keep to, written as a line of text, and whether it did. No I/O.

A threshold is a metric, a comparison and a limit in the metric's unit; ``abort after`` ends a run that misses it once
so much of the run is over:

    threshold  = metric ( "<" | "<=" | ">" | ">=" ) number unit [ "abort after" duration ]
    metric     = ( percentile | "mean" | "max" ) "(" endpoint "." measure ")"     unit: none, the measure's name has it
               | "share" "(" return-code ")"         of the calls of both endpoints       unit: %
               | "ok_ratio" "(" endpoint ")"         calls that returned success          unit: %
               | "rate" "(" endpoint ")"             from the first start to the last end unit: /s
    percentile = "p" number                          above 0 and below 100
    endpoint   = "send" | "verify"
    measure    = "latency_ms" | "caller_ms"          what the server took, what the caller waited

    p99(send.caller_ms) < 250
    share(50019) < 0.1%
    ok_ratio(send) >= 99.9%
    rate(verify) >= 900/s abort after 30s

Blanks stand where one likes, but not within a word or number. A call counts whatever its outcome, failures of transport
too: they are no success, and took the time until they failed. Where there was no call to measure, a threshold is
neither kept nor missed but has no data; for a run that counts as a failure, as nothing was shown.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar, Protocol, TypeAlias

from toolkit.api import durations
from toolkit.api.durations import parse_duration
from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode, find
from toolkit.api.wire import Endpoint


class Measure(StrEnum):
    """What of a call is timed."""

    LATENCY_MS = "latency_ms"  # from the first byte out to the whole answer
    CALLER_MS = "caller_ms"  # from the intended start to the whole answer


class Times(Protocol):
    """The times of one or more calls, in ms."""

    def percentile(self, percentile: float) -> float:
        """Return a percentile, 0..100."""

    def mean(self) -> float:
        """Return the mean."""

    def max(self) -> float:
        """Return the longest."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What thresholds look at, of a run that is over or still on.

    ``outcomes``: calls by endpoint and return code, or the error's name where no answer was read. ``times``: those of
    every endpoint that had calls.
    """

    duration_s: float
    outcomes: Mapping[tuple[Endpoint, int | str], int]
    times: Mapping[tuple[Endpoint, Measure], Times]

    def calls(self, endpoint: Endpoint) -> int:
        """Count the calls of an endpoint."""
        return sum(calls for (of, _), calls in self.outcomes.items() if of is endpoint)


@dataclass(frozen=True, slots=True)
class Time:
    """A percentile ("p99.9"), "mean" or "max" of how long the calls of an endpoint took."""

    unit: ClassVar[str] = ""
    statistic: str
    endpoint: Endpoint
    measure: Measure

    def __str__(self) -> str:
        return f"{self.statistic}({self.endpoint}.{self.measure})"

    def value(self, figures: Figures) -> float | None:
        """Return the time in ms, None without calls."""
        times = figures.times.get((self.endpoint, self.measure))
        if times is None:
            return None
        if self.statistic in _WORDS:
            return times.mean() if self.statistic == "mean" else times.max()
        return times.percentile(float(self.statistic.removeprefix("p")))


@dataclass(frozen=True, slots=True)
class Share:
    """How many of all calls had a return code."""

    unit: ClassVar[str] = "%"
    return_code: ReturnCode

    def __str__(self) -> str:
        return f"share({self.return_code:d})"

    def value(self, figures: Figures) -> float | None:
        """Return the share in percent, None without calls."""
        found = sum(calls for (_, outcome), calls in figures.outcomes.items() if outcome == self.return_code)
        return _percent(found, sum(figures.outcomes.values()))


@dataclass(frozen=True, slots=True)
class OkRatio:
    """How many calls of an endpoint returned success."""

    unit: ClassVar[str] = "%"
    endpoint: Endpoint

    def __str__(self) -> str:
        return f"ok_ratio({self.endpoint})"

    def value(self, figures: Figures) -> float | None:
        """Return the ratio in percent, None without calls."""
        return _percent(figures.outcomes.get((self.endpoint, ReturnCode.SUCCESS), 0), figures.calls(self.endpoint))


@dataclass(frozen=True, slots=True)
class Rate:
    """How many calls of an endpoint there were in a second."""

    unit: ClassVar[str] = "/s"
    endpoint: Endpoint

    def __str__(self) -> str:
        return f"rate({self.endpoint})"

    def value(self, figures: Figures) -> float | None:
        """Return the mean over the run in calls a second, None without calls, or without time."""
        calls = figures.calls(self.endpoint)
        return calls / figures.duration_s if calls and figures.duration_s else None


Metric: TypeAlias = Time | Share | OkRatio | Rate


@dataclass(frozen=True, slots=True)
class Threshold:
    """A metric, "<", "<=", ">" or ">=", and a limit in the metric's unit; its text is what ``parse`` reads.

    ``abort_after_s``: from when on a run that misses it is ended; None: never.
    """

    metric: Metric
    comparison: str
    limit: float
    abort_after_s: float | None = None

    def __str__(self) -> str:
        ending = "" if self.abort_after_s is None else f" abort after {_plain(self.abort_after_s)}s"
        return f"{self.metric} {self.comparison} {_plain(self.limit)}{self.metric.unit}{ending}"

    def opposite(self) -> Threshold:
        """Return the threshold that is kept where this one is missed."""
        return replace(self, comparison=_OPPOSITES[self.comparison], abort_after_s=None)


class Status(StrEnum):
    """Whether a threshold was kept."""

    PASS = "PASS"
    FAIL = "FAIL"
    NO_DATA = "NO_DATA"  # nothing was measured that it could be held against


@dataclass(frozen=True, slots=True)
class Verdict:
    """A threshold, whether it was kept, and the metric's value in its unit, None without one."""

    threshold: Threshold
    status: Status
    value: float | None

    def __str__(self) -> str:
        value = "no data" if self.value is None else f"{self.value:.6g} {self.unit}"
        return f"{self.status:7} {self.threshold}  ({value})"

    @property
    def unit(self) -> str:
        """The unit of the value and the limit: ms, % or /s."""
        return self.threshold.metric.unit or "ms"


def judge(threshold: Threshold, figures: Figures) -> Verdict:
    """Hold a threshold against what was measured."""
    value = threshold.metric.value(figures)
    if value is None:
        return Verdict(threshold, Status.NO_DATA, None)
    kept = _COMPARISONS[threshold.comparison](value, threshold.limit)
    return Verdict(threshold, Status.PASS if kept else Status.FAIL, value)


def mark_inconclusive(verdict: Verdict) -> Verdict:
    """Return what is left of a verdict where the load generator was the bottleneck: nothing was shown, so no PASS."""
    return replace(verdict, status=Status.NO_DATA) if verdict.status is Status.PASS else verdict


def parse(text: str) -> Threshold:
    """Read a threshold; raise InputError that points at the place where it is none."""
    line = _Line(text)
    metric = _read_metric(line)
    comparison = line.take("[<>]=?", "a comparison: < <= > or >=")
    limit = _read_limit(line, metric.unit)
    return Threshold(metric, comparison, limit, _read_abort(line))


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OPPOSITES = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_WORDS = ("mean", "max")
_METRICS = "a metric: p99 or another percentile, mean, max, share, ok_ratio or rate"
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"


class _Line:
    """The text of a threshold, read from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = self._next = 0

    def take(self, pattern: str, wanted: str) -> str:
        """Take what comes next; raise InputError for anything but what is wanted."""
        while self._text[self._next : self._next + 1].isspace():
            self._next += 1
        self._at = self._next
        match = re.compile(pattern).match(self._text, self._at)
        if not match:
            raise self.wrong(f"expected {wanted}")
        self._next = match.end()
        return match[0]

    def is_over(self) -> bool:
        """Tell whether nothing comes next."""
        return not self._text[self._next :].strip()

    def wrong(self, problem: str) -> InputError:
        """Return what is wrong with what was taken last."""
        place = f"at {self._text[self._at :]!r}" if self._text[self._at :] else "at its end"
        return InputError(f"threshold {self._text!r}, {place}: {problem}")


def _read_metric(line: _Line) -> Metric:
    name = line.take(r"p[0-9]+(?:\.[0-9]+)?\b|(?:mean|max|share|ok_ratio|rate)\b", _METRICS)
    statistic = _read_statistic(line, name)
    line.take(r"\(", "(")
    metric = _METRIC_OF[name](line) if name in _METRIC_OF else _read_time(line, statistic)
    line.take(r"\)", ")")
    return metric


def _read_statistic(line: _Line, name: str) -> str:
    if not name.startswith("p"):
        return name
    percentile = float(name[1:])
    if not 0 < percentile < 100:
        raise line.wrong("a percentile is above 0 and below 100, for the longest time of all write max")
    return f"p{_plain(percentile)}"


def _read_time(line: _Line, statistic: str) -> Time:
    endpoint = _read_endpoint(line)
    line.take(r"\.", f". and one of {', '.join(Measure)}")
    return Time(statistic, endpoint, Measure(line.take(_one_of(Measure), f"one of {', '.join(Measure)}")))


def _read_endpoint(line: _Line) -> Endpoint:
    return Endpoint(line.take(_one_of(Endpoint), f"one of {', '.join(Endpoint)}"))


def _read_share(line: _Line) -> Share:
    return_code = find(int(line.take("[0-9]{1,9}", "a return code")))
    if return_code is None:
        raise line.wrong("no return code of the API: `smscode codes` lists them")
    return Share(return_code)


_METRIC_OF: dict[str, Callable[[_Line], Metric]] = {
    "share": _read_share,
    "ok_ratio": lambda line: OkRatio(_read_endpoint(line)),
    "rate": lambda line: Rate(_read_endpoint(line)),
}


def _read_limit(line: _Line, unit: str) -> float:
    limit = float(line.take(_NUMBER, "a number"))
    if not math.isfinite(limit) or (unit == "%" and limit > 100):
        raise line.wrong("no metric reaches that")
    line.take(re.escape(unit), f"the unit {unit}")
    return limit


def _read_abort(line: _Line) -> float | None:
    if line.is_over():
        return None
    line.take(r"abort\s+after\b", "the end, or: abort after")
    after_s = parse_duration(line.take(durations.PATTERN, f"a duration, {durations.EXAMPLES}"), allow_zero=True)
    line.take("$", "the end")
    return after_s


def _one_of(words: type[StrEnum]) -> str:
    return rf"(?:{'|'.join(words)})\b"


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _plain(number: float) -> str:
    return f"{Decimal(repr(number)):f}".removesuffix(".0")
