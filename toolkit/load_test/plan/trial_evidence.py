"""Measure the distance of a trial's calls from a limit, and its uncertainty. No I/O.

Problem
-------
A search for the capacity must decide after each trial whether the service meets a limit at the trial's rate, such as
``p99(send.caller_ms) < 250``. The p99 of ten seconds is a random number. Near the capacity it passes in one trial and
fails in the next, so a bare comparison gives results that can't be repeated.

Method
------
Every limit is a budget of bad calls. p99 < 250 allows 1 % of the sends to take 250 ms or longer; failed < 1% allows 1 %
of the calls to fail; ok_ratio(send) >= 99.9% allows 0.1 % of the sends to have no success. The number of bad calls
beyond the budget is a sum over calls, so its standard error can be estimated, also if neighbouring calls depend on one
another, as in a queue: from the sums of successive batches of the trial ("batch means"; A. Law, Simulation Modeling and
Analysis, ch. 9), and of repeated trials. The margin is the distance from the budget in standard errors:

    excess = sum of (bad - allowed * calls) over the batches       margin = -excess / standard error of the excess

Positive margins meet the limit. The standard error is the largest of three: of the batches, of whole trials if there
are several, and of calls at the limit itself. The last one makes few calls weak evidence, although none of them was
bad: 0 of 100 calls beyond a p99 have a margin of 1, 0 of 1,000 one of 3. Bad calls come in bursts, and a trial without
one does not show how they vary. So the search multiplies the variance at the limit by a dispersion,
which it estimates from all trials near the limit (see ``limit_crossing``).

    mean(...) < L    a call weighs its time / L, and 1 is allowed
    max(...) < L     nothing is allowed: one call is a miss for certain

Constants
---------
_BATCHES    of a trial: longer batches depend less on each other, more batches estimate the standard error better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.api.return_codes import ReturnCode
from toolkit.records.call_record import Failure
from toolkit.runs.thresholds import Dropped, Failed, Measure, OkRatio, ResponseTime, Share, Threshold

_BATCHES = 10


@dataclass(frozen=True, slots=True)
class TrialCalls:
    """The calls of one trial after its warm-up, as columns of equal length.

    Args:
        due_s: Time at which each call was due, in seconds since the trial's warm-up ended.
        endpoint: "send" or "verify".
        outcome: The return code, or the name of the failure of a call without a response, as text.
        latency_ms: Time from the first byte sent to the complete response.
        caller_ms: The same with the wait before it.
        failed: Whether the call failed, see ``call_record.is_failed``.
        duration_s: Length of the trial, without its warm-up.
        due, dropped: Arrivals that were due in the whole trial with its warm-up, and arrivals that were never started;
            0 in a closed loop.
    """

    due_s: NDArray[np.float64]
    endpoint: NDArray[np.str_]
    outcome: NDArray[np.str_]
    latency_ms: NDArray[np.float64]
    caller_ms: NDArray[np.float64]
    failed: NDArray[np.bool_]
    duration_s: float
    due: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """The bad calls of one trial under one limit, in batches.

    Args:
        limit: The limit, as text.
        allowed: Bad calls that the limit allows for each call.
        bad: Bad calls of each batch.
        calls: Calls of each batch.
        value: The limit's metric over the whole trial, in its unit; None without calls.
    """

    limit: str
    allowed: float
    bad: tuple[float, ...]
    calls: tuple[int, ...]
    value: float | None = None


def measure(limit: Threshold, calls: TrialCalls) -> Evidence:
    """Count the bad calls of a trial under a limit that ``expectations.check_limit`` accepts.

    Args:
        limit: The limit.
        calls: The trial's calls.

    >>> from toolkit.runs.thresholds import parse_threshold
    >>> times = np.array([5.0, 9.0, 80.0, 7.0])
    >>> calls = TrialCalls(np.arange(4.0), np.full(4, "send"), np.full(4, "50000"), times, times, times > 1e9, 4.0)
    >>> found = measure(parse_threshold("p50(send.caller_ms) < 50"), calls)
    >>> found.allowed, sum(found.bad), sum(found.calls), found.value
    (0.5, 1.0, 4, 7.0)
    """
    metric = limit.metric
    if isinstance(metric, Dropped):
        value = 100 * calls.dropped / calls.due if calls.due else None
        return Evidence(str(limit), limit.limit / 100, (float(calls.dropped),), (calls.due,), value)
    if isinstance(metric, ResponseTime):
        mask = (calls.endpoint == metric.endpoint.value) & (calls.outcome != Failure.CONNECT.value)
        times = (calls.latency_ms if metric.measure is Measure.LATENCY_MS else calls.caller_ms)[mask]
        is_long = times >= limit.limit if limit.comparison == "<" else times > limit.limit
        if metric.statistic == "mean":
            allowed, bad = 1.0, times / limit.limit
            value = float(times.mean()) if times.size else None
        elif metric.statistic == "max":
            allowed, bad = 0.0, is_long.astype(np.float64)
            value = float(times.max()) if times.size else None
        else:
            percentile = float(metric.statistic.removeprefix("p"))
            allowed, bad = 1 - percentile / 100, is_long.astype(np.float64)
            value = float(np.percentile(times, percentile, method="inverted_cdf")) if times.size else None
        return _in_batches(limit, allowed, bad, calls.due_s[mask], calls.duration_s, value)
    mask, bad = np.full(calls.due_s.shape, True), calls.failed
    if isinstance(metric, Failed | OkRatio) and metric.endpoint is not None:
        mask = calls.endpoint == metric.endpoint.value
    if isinstance(metric, Share):
        bad = calls.outcome == str(metric.outcome if isinstance(metric.outcome, Failure) else int(metric.outcome))
    elif isinstance(metric, OkRatio):
        bad = calls.outcome == str(int(ReturnCode.SUCCESS))
    is_good = limit.comparison in (">", ">=")
    counted = bad[mask]
    share = 100 * float(counted.mean()) if counted.size else None
    allowed = (100 - limit.limit if is_good else limit.limit) / 100
    wrong = (~counted if is_good else counted).astype(np.float64)
    return _in_batches(limit, allowed, wrong, calls.due_s[mask], calls.duration_s, share)


def _in_batches(
    limit: Threshold,
    allowed: float,
    bad: NDArray[np.float64],
    due_s: NDArray[np.float64],
    duration_s: float,
    value: float | None,
) -> Evidence:
    batch = np.clip((due_s / duration_s * _BATCHES).astype(np.int64), 0, _BATCHES - 1)
    sums = np.bincount(batch, bad, _BATCHES).tolist()
    counts = np.bincount(batch, minlength=_BATCHES).tolist()
    return Evidence(str(limit), allowed, tuple(sums), tuple(counts), value)


def margin(evidence: Sequence[Evidence], dispersion: float = 1.0) -> float:
    """Return the distance of the trials at one rate from a limit, in standard errors; negative if they miss it.

    Args:
        evidence: The evidence of each trial under the same limit. Without calls the margin is 0.
        dispersion: Variance of the number of bad calls at the limit, divided by the variance that independent calls
            would have.

    >>> round(margin([Evidence("p99(send.caller_ms) < 50", 0.01, (0.0,) * 10, (100,) * 10)]), 1)
    3.2
    """
    allowed = evidence[0].allowed
    calls = sum(sum(it.calls) for it in evidence)
    if not calls:
        return 0.0
    excess = sum(sum(it.bad) for it in evidence) - allowed * calls
    if allowed == 0:
        return -math.inf if excess > 0 else math.inf
    batches = [(bad, count) for it in evidence for bad, count in zip(it.bad, it.calls, strict=True)]
    trials = [(sum(it.bad), sum(it.calls)) for it in evidence]
    share = excess / calls + allowed
    at_limit = dispersion * calls * allowed * max(0.0, 1 - allowed)
    variance = max(_variance(batches, share), _variance(trials, share), at_limit)
    if not variance:
        return math.copysign(math.inf, -excess) if excess else 0.0
    return -excess / math.sqrt(variance)


def share_of_limit(evidence: Iterable[Evidence]) -> float:
    """Divide the number of bad calls in several trials by the number that their limit allows.

    >>> share_of_limit([Evidence("failed < 1%", 0.01, (3.0,), (100,)), Evidence("failed < 1%", 0.01, (0.0,), (100,))])
    1.5
    """
    found = list(evidence)
    calls = sum(sum(it.calls) for it in found)
    bad, allowed = sum(sum(it.bad) for it in found), found[0].allowed * calls
    if not allowed:
        return math.inf if bad else 0.0
    return bad / allowed


def _variance(parts: Sequence[tuple[float, int]], share: float) -> float:
    """Return the variance of the sum of the bad calls of several parts, from their spread around a common share."""
    degrees = len(parts) - 1
    if degrees < 1:
        return 0.0
    spread = sum((bad - share * count) ** 2 for bad, count in parts)
    return spread * len(parts) / degrees
