"""Parse thresholds of a load test and compare them with its results, without I/O.

A threshold is a metric, a comparison and a limit in the metric's unit. With ``abort after``, a run that misses the
threshold after that duration is ended:

    threshold  = metric ( "<" | "<=" | ">" | ">=" ) number unit [ "abort after" duration ]
    metric     = ( percentile | "mean" | "max" ) "(" endpoint "." measure window ")"   unit: none, times are in ms
               | "failed" [ "(" endpoint window ")" ]  calls that failed, see is_failed     unit: %
               | "share" "(" outcome window ")"        of the calls of both endpoints       unit: %
               | "ok_ratio" "(" endpoint window ")"    calls that returned success          unit: %
               | "dropped"                             arrivals that were never started     unit: %
               | "rate" "(" endpoint window ")"        calls over the time in which they were due unit: /s
    percentile = "p" number                          above 0 and below 100
    outcome    = "connect" | "timeout" | "reset" | "protocol" | any return code of five digits or more
    endpoint   = "send" | "verify"
    window     = [ "," duration ]                    any part of the run of that length; without: the whole run
    measure    = "latency_ms" | "caller_ms"          without and with the wait before the call
    duration   = as in toolkit.api.durations

    p99(send.caller_ms) < 250
    failed(send) < 1%
    dropped < 1%
    share(50019) < 0.1%
    share(timeout) <= 0.5%
    ok_ratio(send) >= 99.9%
    rate(verify) >= 900/s abort after 30s
    p99(send.caller_ms, 5m) < 250

Blanks are allowed between words, numbers and signs. All calls count, also those without a response: they are not a
success. A call that timed out, or that the end of the run cut off, counts with the time until then. A call that never
connected has no time and is in no percentile. A threshold without any call to measure has no data, which fails a run.

Arrivals are those of an open loop. An arrival is dropped if no connection becomes free for it. It makes no call, so no
other metric counts it.

With a window the worst part of the run decides: the calls that were due in any five minutes must meet a threshold over
5m. A new window begins after every tenth of its length. A part without calls misses a lower bound of a rate; for other
thresholds it is left out. A run that is shorter than the window has no data; one per cent may be missing, because a run
ends with its last call.

With ``abort after`` a run is ended early if all calls so far miss the threshold after that time. A threshold on a
percentile or a mean also ends the run if the calls of each single second, with the ages of those in flight, have missed
it for that long, and for at least 3 s.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from functools import partial
from typing import ClassVar, Protocol, TypeAlias

from toolkit import number_format
from toolkit.api import durations
from toolkit.api.durations import parse_duration
from toolkit.api.errors import InputError
from toolkit.api.return_codes import SINGLE_CODES, ReturnCode, find
from toolkit.api.wire import MAX_WHOLE_DIGITS, Endpoint
from toolkit.records.call_record import Failure


class Measure(StrEnum):
    """A duration of a call."""

    LATENCY_MS = "latency_ms"  # from the first byte sent to the complete response
    CALLER_MS = "caller_ms"  # from the intended start to the complete response


class TimeStatistics(Protocol):
    """Statistics of the durations of one or more calls, in ms."""

    def percentile(self, percentile: float) -> float:
        """Return a percentile, 0..100."""

    def mean(self) -> float:
        """Return the mean."""

    def max(self) -> float:
        """Return the maximum."""


@dataclass(frozen=True, slots=True)
class RunFigures:
    """The figures of a finished or running load test that thresholds are compared with.

    Attributes:
        duration_s: from the first start to the last end.
        outcomes: calls by endpoint and return code, or by the error's name without a valid response.
        times: statistics of each endpoint that had calls, without the calls that never connected.
        failed: calls of each endpoint that failed, see ``call_record.is_failed``.
        sending_s: the time in which calls were due, without the wait for the last responses; None if it isn't known.
        arrivals: journeys of an open loop that were due; 0 in a closed loop, or if it isn't known.
        dropped: of these, those that were never started because no connection was free.
        unknown: responses whose return code is unknown, by endpoint and HTTP status.
        holds_codes: whether the calls' source records return codes. Without them it holds only the codes that the HTTP
            status implies.
        holds_failures: whether the calls' source records calls without a response.
        windows: returns the figures of each part of the run with a given length in s, see ``judge``.

    """

    duration_s: float
    outcomes: Mapping[tuple[Endpoint, int | str], int]
    times: Mapping[tuple[Endpoint, Measure], TimeStatistics]
    failed: Mapping[Endpoint, int] = field(default_factory=dict)
    sending_s: float | None = None
    arrivals: int = 0
    dropped: int = 0
    unknown: Mapping[tuple[Endpoint, int], int] = field(default_factory=dict)
    holds_codes: bool = True
    holds_failures: bool = True
    windows: Callable[[float], Sequence[RunFigures]] = lambda _: ()

    def calls(self, endpoint: Endpoint) -> int:
        """Return the number of calls of an endpoint."""
        return sum(calls for (of, _), calls in self.outcomes.items() if of is endpoint)


@dataclass(frozen=True, slots=True)
class ResponseTime:
    """A percentile ("p99.9"), "mean" or "max" of the durations of an endpoint's calls."""

    unit: ClassVar[str] = ""
    statistic: str
    endpoint: Endpoint
    measure: Measure

    def __str__(self) -> str:
        return f"{self.statistic}({self.endpoint}.{self.measure})"

    def value(self, figures: RunFigures) -> float | None:
        """Return the time in ms; None without calls."""
        times = figures.times.get((self.endpoint, self.measure))
        if times is None:
            return None
        if self.statistic == "mean":
            return times.mean()
        return times.max() if self.statistic == "max" else times.percentile(float(self.statistic.removeprefix("p")))


@dataclass(frozen=True, slots=True)
class Failed:
    """The share of calls that failed, of an endpoint or of both."""

    unit: ClassVar[str] = "%"
    endpoint: Endpoint | None = None

    def __str__(self) -> str:
        return f"failed({self.endpoint})" if self.endpoint else "failed"

    def value(self, figures: RunFigures) -> float | None:
        """Return the share in percent; None without calls."""
        endpoints = [self.endpoint] if self.endpoint else list(Endpoint)
        failed = sum(figures.failed.get(endpoint, 0) for endpoint in endpoints)
        return _percent(failed, sum(map(figures.calls, endpoints)))

    def least(self, figures: RunFigures) -> float | None:
        """Return the share in percent if no call with an unknown code failed, except for those of status 5xx."""
        endpoints, value = [self.endpoint] if self.endpoint else list(Endpoint), self.value(figures)
        unknown = sum(calls for (of, status), calls in figures.unknown.items() if of in endpoints and status < 500)
        return None if value is None else value - 100 * unknown / sum(map(figures.calls, endpoints))


@dataclass(frozen=True, slots=True)
class Dropped:
    """The share of an open loop's arrivals that were never started because no connection was free."""

    unit: ClassVar[str] = "%"

    def __str__(self) -> str:
        return "dropped"

    def value(self, figures: RunFigures) -> float | None:
        """Return the share in percent; None without arrivals."""
        return _percent(figures.dropped, figures.arrivals)


@dataclass(frozen=True, slots=True)
class Share:
    """The share of all calls that had an outcome: a return code, or a failure without a valid response."""

    unit: ClassVar[str] = "%"
    outcome: int | Failure

    def __str__(self) -> str:
        return f"share({self.outcome if isinstance(self.outcome, Failure) else int(self.outcome)})"

    def value(self, figures: RunFigures) -> float | None:
        """Return the share in percent; None without calls, and for an outcome that the calls' source can't hold."""
        is_failure = isinstance(self.outcome, Failure)
        if not (figures.holds_failures if is_failure else figures.holds_codes or self.outcome in SINGLE_CODES.values()):
            return None
        found = sum(calls for (_, outcome), calls in figures.outcomes.items() if outcome == self.outcome)
        return _percent(found, sum(figures.outcomes.values()))

    def most(self, figures: RunFigures) -> float | None:
        """Return the share in percent if all calls with an unknown code that may have this outcome have it."""
        value, row = self.value(figures), None if isinstance(self.outcome, Failure) else find(self.outcome)
        if value is None or isinstance(self.outcome, Failure):
            return value
        possible = sum(
            calls for (_, status), calls in figures.unknown.items() if row is None or status == row.http_status
        )
        return value + 100 * possible / sum(figures.outcomes.values())


@dataclass(frozen=True, slots=True)
class OkRatio:
    """The share of an endpoint's calls that returned success."""

    unit: ClassVar[str] = "%"
    endpoint: Endpoint

    def __str__(self) -> str:
        return f"ok_ratio({self.endpoint})"

    def value(self, figures: RunFigures) -> float | None:
        """Return the ratio in percent; None without calls."""
        return _percent(figures.outcomes.get((self.endpoint, ReturnCode.SUCCESS), 0), figures.calls(self.endpoint))


@dataclass(frozen=True, slots=True)
class Rate:
    """The number of an endpoint's calls per second."""

    unit: ClassVar[str] = "/s"
    endpoint: Endpoint

    def __str__(self) -> str:
        return f"rate({self.endpoint})"

    def value(self, figures: RunFigures) -> float | None:
        """Return the mean over the time in which calls were due, in calls per second; None without calls or time."""
        calls = figures.calls(self.endpoint)
        span_s = figures.sending_s or figures.duration_s
        return calls / span_s if calls and span_s else None


Metric: TypeAlias = ResponseTime | Failed | Dropped | Share | OkRatio | Rate


@dataclass(frozen=True, slots=True)
class Threshold:
    """A metric, a comparison ("<", "<=", ">", ">=") and a limit in the metric's unit.

    ``abort_after_s``: time from which on a run that misses the threshold is ended; None: never. ``window_s``: length
    of the parts of the run that must each meet it; None: the whole run. ``parse_threshold`` parses a threshold's text.
    """

    metric: Metric
    comparison: str
    limit: float
    abort_after_s: float | None = None
    window_s: float | None = None

    def __str__(self) -> str:
        ending = "" if self.abort_after_s is None else f" abort after {plain_number(self.abort_after_s)}s"
        metric = str(self.metric)
        if self.window_s is not None:
            metric = f"{metric.removesuffix(')')}, {plain_number(self.window_s)}s)"
        return f"{metric} {self.comparison} {plain_number(self.limit)}{self.metric.unit}{ending}"

    @property
    def is_upper(self) -> bool:
        """Whether the limit is an upper one."""
        return self.comparison in ("<", "<=")

    def opposite(self) -> Threshold:
        """Return the threshold that passes if this one fails, and the other way round."""
        return replace(self, comparison=_OPPOSITES[self.comparison], abort_after_s=None)


class Status(StrEnum):
    """The result of a comparison with a threshold."""

    PASS = "PASS"
    FAIL = "FAIL"
    NO_DATA = "NO_DATA"  # there was no call to measure, or the measurement is inconclusive


@dataclass(frozen=True, slots=True)
class Verdict:
    """A threshold, its status, and the metric's value in its unit or None without data."""

    threshold: Threshold
    status: Status
    value: float | None

    def __str__(self) -> str:
        return f"{self.status:7} {self.threshold}  ({'no data' if self.value is None else self.measured})"

    @property
    def measured(self) -> str:
        """The value with its unit, as text."""
        return number_format.measured(self.value, self.unit, self.threshold.limit)

    @property
    def unit(self) -> str:
        """The unit of the value and the limit: ms, % or /s."""
        return self.threshold.metric.unit or "ms"


def judge(threshold: Threshold, figures: RunFigures) -> Verdict:
    """Compare a threshold with the figures of a run.

    There is no data if calls whose return code is unknown could change the result. With a window, the worst part of the
    run decides.
    """
    if threshold.window_s is not None:
        return worst_part(threshold, map(partial(judge_part, threshold), figures.windows(threshold.window_s)))
    metric = threshold.metric
    value = metric.value(figures)
    other = metric.most(figures) if isinstance(metric, Share) else value
    other = metric.least(figures) if isinstance(metric, Failed) else other
    if value is None or other is None:
        return Verdict(threshold, Status.NO_DATA, None)
    passes, would_pass = (_COMPARISONS[threshold.comparison](it, threshold.limit) for it in (value, other))
    if passes != would_pass:
        return Verdict(threshold, Status.NO_DATA, None)
    return Verdict(threshold, Status.PASS if passes else Status.FAIL, value)


def judge_part(threshold: Threshold, part: RunFigures) -> Verdict | None:
    """Compare a threshold that has a window with one part of a run; None if the part has no calls to measure.

    A part without calls has a rate of 0, which misses a lower bound and proves nothing for an upper one.
    """
    if threshold.metric.value(part) is None:
        is_missed = isinstance(threshold.metric, Rate) and not _COMPARISONS[threshold.comparison](0.0, threshold.limit)
        return Verdict(threshold, Status.FAIL, 0.0) if is_missed else None
    return replace(judge(replace(threshold, window_s=None), part), threshold=threshold)


def worst_part(threshold: Threshold, parts: Iterable[Verdict | None]) -> Verdict:
    """Return the worst verdict on the parts of a run; NO_DATA if no part has one.

    Args:
        threshold: The threshold, which has a window.
        parts: The verdict of ``judge_part`` on each part.

    >>> threshold = parse_threshold("p99(send.caller_ms, 10s) < 250")
    >>> parts = [Verdict(threshold, Status.PASS, 12.0), Verdict(threshold, Status.FAIL, 260.0), None]
    >>> str(worst_part(threshold, parts))
    'FAIL    p99(send.caller_ms, 10s) < 250  (260 ms)'
    """
    seen = [it for it in parts if it is not None]
    for status in (Status.FAIL, Status.NO_DATA, Status.PASS):
        if found := [it for it in seen if it.status is status]:
            return (max if threshold.is_upper else min)(found, key=lambda it: it.value or 0.0)
    return Verdict(threshold, Status.NO_DATA, None)


def without_pass(status: Status) -> Status:
    """Return NO_DATA instead of PASS, for an inconclusive run."""
    return Status.NO_DATA if status is Status.PASS else status


def mark_inconclusive(verdict: Verdict, max_lag_ms: float = math.inf) -> Verdict:
    """Return a verdict of a run in which the load generator was the bottleneck.

    Nothing passes then. A rate below its limit has no data either, because a busy generator sends too little, and
    neither have dropped arrivals. So has a time that would be within its limit without ``max_lag_ms``, the longest that
    the generator did not run. Any other FAIL stays, because the generator cannot have caused it.
    """
    metric, is_upper = verdict.threshold.metric, verdict.threshold.is_upper
    is_fault = verdict.status is Status.PASS or (isinstance(metric, Rate) and not is_upper)
    is_fault |= isinstance(metric, Dropped) and is_upper
    if isinstance(metric, ResponseTime) and is_upper and verdict.value is not None:
        is_fault |= _COMPARISONS[verdict.threshold.comparison](verdict.value - max_lag_ms, verdict.threshold.limit)
    return replace(verdict, status=Status.NO_DATA) if is_fault else verdict


def add_default(
    thresholds: Iterable[Threshold], max_failed: str, max_dropped: str | None = None
) -> tuple[Threshold, ...]:
    """Return thresholds, with default ones on failed calls and on dropped arrivals unless others cover these.

    So a run whose target dies, answers with errors or is too slow for the load never passes for want of a threshold.

    Args:
        thresholds: those that were given.
        max_failed: the limit for the failed calls of each endpoint that no threshold on failed calls covers.
        max_dropped: the limit for dropped arrivals; None in a closed loop, which has none.

    >>> [str(it) for it in add_default([], "1%", "2%")]
    ['failed < 1%', 'dropped < 2%']
    >>> [str(it) for it in add_default([parse_threshold("failed(send) < 5%")], "1%")]
    ['failed(send) < 5%', 'failed(verify) < 1%']
    """
    own, metrics = tuple(thresholds), []
    covered = {it.metric.endpoint for it in own if isinstance(it.metric, Failed)}
    if not covered:
        metrics.append(("failed", max_failed))
    elif None not in covered:
        metrics += [(f"failed({endpoint})", max_failed) for endpoint in Endpoint if endpoint not in covered]
    if max_dropped is not None and not any(isinstance(it.metric, Dropped) for it in own):
        metrics.append(("dropped", max_dropped))
    # No run has less than none, and 100 % allows all.
    return own + tuple(
        parse_threshold(f"{metric} {'<=' if limit in ('0%', '100%') else '<'} {limit}") for metric, limit in metrics
    )


def parse_threshold(text: str) -> Threshold:
    """Parse a threshold; raise InputError that points at the wrong place.

    >>> threshold = parse_threshold("p99(send.caller_ms) < 250 abort after 1m")
    >>> threshold.limit, threshold.abort_after_s, str(threshold)
    (250.0, 60.0, 'p99(send.caller_ms) < 250 abort after 60s')
    """
    return ConditionParser(text).parse_threshold()


def parse_metric(text: str) -> Metric:
    """Parse a metric that stands alone, without a window; raise InputError that points at the wrong place.

    >>> str(parse_metric("p99( send.caller_ms )"))
    'p99(send.caller_ms)'
    """
    parser = ConditionParser(text, "metric", has_window=False)
    metric = parser.parse_metric()
    parser.take("$", "the end")
    return metric


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ENDPOINT_METRICS: dict[str, Callable[[Endpoint], Metric]] = {"failed": Failed, "ok_ratio": OkRatio, "rate": Rate}
_OPPOSITES = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_METRICS = "a metric: p99 or another percentile, mean, max, failed, dropped, share, ok_ratio or rate"
_FAILURES = (Failure.CONNECT, Failure.TIMEOUT, Failure.RESET, Failure.PROTOCOL)  # a cancelled call shows nothing
_MIN_WINDOW_S = 1.0
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"


class ConditionParser:
    """A recursive descent parser for a condition that begins with a metric.

    ``noun``: the name of the condition in errors. ``has_window``: whether its metric may have a window.
    """

    def __init__(self, text: str, noun: str = "threshold", *, has_window: bool = True) -> None:
        self._text, self._noun, self._has_window = text, noun, has_window
        self._at = self._next = 0
        self._window_s: float | None = None

    def parse_threshold(self) -> Threshold:
        """Parse the whole text as a threshold."""
        metric = self.parse_metric()
        comparison = self.take("[<>]=?", "a comparison: < <= > or >=")
        limit = self.parse_number()
        if metric.unit == "%" and limit > 100:
            raise self.error("no metric reaches that")
        self.take(re.escape(metric.unit), f"the unit {metric.unit}")
        if not self._text[self._next :].strip():
            return Threshold(metric, comparison, limit, None, self._window_s)
        self.take(r"abort\s+after\b", "the end, or: abort after")
        duration = self.take(durations.PATTERN, f"a duration, {durations.EXAMPLES}")
        after_s = parse_duration(duration, allow_zero=True)
        self.take("$", "the end")
        return Threshold(metric, comparison, limit, after_s, self._window_s)

    def parse_number(self) -> float:
        """Parse a number without a sign."""
        number = float(self.take(_NUMBER, "a number"))
        if not math.isfinite(number):
            raise self.error("no metric reaches that")
        return number

    def parse_metric(self) -> Metric:
        """Parse a metric."""
        name = self.take(r"p[0-9]+(?:\.[0-9]+)?\b|(?:mean|max|failed|dropped|share|ok_ratio|rate)\b", _METRICS)
        if name.startswith("p"):
            percentile = float(name[1:])
            if not 0 < percentile < 100:
                raise self.error("a percentile is above 0 and below 100; for the maximum write max")
            name = f"p{plain_number(percentile)}"
        if name == "failed" and not self._text[self._next :].lstrip().startswith("("):
            return Failed()
        if name == "dropped":
            return Dropped()
        is_of = int(ReturnCode.SERVER_ERROR) if name == "share" else Endpoint.SEND
        example = f"{name}({is_of})" if name == "share" or name in _ENDPOINT_METRICS else f"{name}({is_of}.caller_ms)"
        self.take(r"\(", f"brackets, e.g. {example}")
        metric: Metric
        if name == "share":
            failures = "|".join(_FAILURES)
            expected = f"a return code of five digits or more, or one of {', '.join(_FAILURES)}"
            outcome = self.take(rf"(?:{failures}|[0-9]{{5,{MAX_WHOLE_DIGITS}}})\b", expected)  # no call returns 5009
            metric = Share(int(outcome) if outcome.isdigit() else Failure(outcome))
        else:
            endpoint = Endpoint(self.take(_one_of(Endpoint), f"one of {', '.join(Endpoint)}"))
            if name in _ENDPOINT_METRICS:
                metric = _ENDPOINT_METRICS[name](endpoint)
            else:
                measures = f"one of {', '.join(Measure)}"
                self.take(r"\.", f". and {measures}")
                metric = ResponseTime(name, endpoint, Measure(self.take(_one_of(Measure), measures)))
        if not self._has_window:
            self.take(r"\)", ")")
        elif self.take(r"[,)]", ') or a window, e.g. ", 5m)"') == ",":
            window = self.take(durations.PATTERN, f"a duration, {durations.EXAMPLES}")
            self._window_s = parse_duration(window)
            if self._window_s < _MIN_WINDOW_S:
                raise self.error("a window is at least 1s long")
            self.take(r"\)", ")")
        return metric

    def take(self, pattern: str, expected: str) -> str:
        """Skip blanks and return the text that matches a pattern; raise InputError if the text doesn't match."""
        while self._text[self._next : self._next + 1].isspace():
            self._next += 1
        self._at = self._next
        match = re.compile(pattern).match(self._text, self._at)
        if not match:
            raise self.error(f"expected {expected}")
        self._next = match.end()
        return match[0]

    def error(self, problem: str) -> InputError:
        """Return an error at the start of the text that was taken last."""
        place = f"at {self._text[self._at :]!r}" if self._text[self._at :] else "at its end"
        return InputError(f"invalid {self._noun} {self._text!r}, {place}: {problem}")


def _one_of(words: type[StrEnum]) -> str:
    return rf"(?:{'|'.join(words)})\b"


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def plain_number(number: float) -> str:
    """Return a number without an exponent."""
    return f"{Decimal(repr(number)):f}".removesuffix(".0")
