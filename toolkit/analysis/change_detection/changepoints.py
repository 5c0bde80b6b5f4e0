"""Find when the share of an outcome or the latency of an endpoint changed, and when it went back.

Problem. Which outcomes and latencies changed during a run or a month, since when, and by how much? Shares and latencies
vary by themselves: calls are few at night, errors come in clusters, and traffic follows the hour of the day.

Method. Each endpoint's outcomes, and the median and 95th percentile of its latencies, are separate series:

    count calls in buckets of time            time_buckets
         |
    pool buckets with few calls               below: a share or percentile needs 20 calls
         |
    remove the seasonal component             seasonality
         |
    standardize levels, compare segments      series: square roots of Poisson counts, logarithms of latencies
         |
    find segments of constant level           level_segments: penalized search, noise at several scales
         |
    keep reportable changes, add intervals    below

Shares: the rarer side of an outcome is followed (it, or all other outcomes), against the number of calls expected from
the median share. Its 95 % interval is Newcombe's, with the numbers of calls divided by the noise: n clustered calls
carry as much information as n / noise independent ones. Latencies: the interval of the ratio is normal on the
logarithmic scale.

A log with fewer than 20 pooled buckets is too short for that: ``short_logs`` finds one lasting change of its median.

A worked example of the search is at the head of ``level_segments``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from toolkit.analysis.calls import span
from toolkit.analysis.calls_table import IntoCalls, LazyTable, checked, lazy
from toolkit.analysis.change_detection.level_segments import ChangeTest, LevelChange, find_changes
from toolkit.analysis.change_detection.resampling import newcombe
from toolkit.analysis.change_detection.seasonality import seasonal_component
from toolkit.analysis.change_detection.series import MIN_CALLS, LogLatencies, OutcomeCounts
from toolkit.analysis.change_detection.short_logs import find_single_change
from toolkit.analysis.change_detection.time_buckets import (
    LABELS,
    OUTCOME,
    SHARE,
    WIDTHS_NS,
    CountMatrix,
    Floats,
    Ints,
    count_latencies,
    count_outcomes,
    log_quantiles,
    pivot,
)
from toolkit.analysis.intervals import Z95
from toolkit.analysis.latency_percentiles import CALLER, SERVER
from toolkit.analysis.tidy_frames import describe_codes, returns_result
from toolkit.analysis.timestamps import NS_PER_HOUR, NS_PER_MS, NS_PER_S, parse_width_ns, to_utc
from toolkit.api.errors import InputError

ChangeRow: TypeAlias = dict[str, Any]

_PERCENTILES = (50.0, 95.0)
_BIN_RATIO = 1.05  # of latencies: finer bins cost memory and time, and changes below 1.5 times aren't reported
_BUCKETS, _MAX_BUCKETS = 10_000, 50_000  # by default and at most: the search takes seconds, and minutes
_MIN_POOLED = 20  # calls of a percentile or share: fewer are more precise in time, and noisier
_MIN_FOUND = 10  # calls with and without an outcome; a rarer outcome can't have a reportable change
_COARSE_EXPECTED = 4.0  # calls with a rare outcome between coarse edges: fewer hide slight and long changes
_SHORT = 20  # pooled buckets; with fewer, the noise of a series isn't known
_SHORT_RATIO = 2.0  # of medians: a short log doesn't show how much they vary by themselves
_SHORT_BUCKETS = 500  # with more, the change isn't found more precisely
_MIN_HOURLY = 10.0  # calls with an outcome per hour, on average, for a seasonal component
_DTYPES: dict[str, Any] = {
    "changed_ns": "int64",
    "until_ns": "Int64",
    **LABELS,
    **dict.fromkeys(("before", "after", "difference_low", "difference_high", "score"), "float64"),
}
_COLUMNS = [
    *("changed_at", "until", "endpoint", "measure", "return_code", "message", "error", "percentile"),
    *("before", "after", "difference", "difference_low", "difference_high", "ratio", "score"),
]


@returns_result
def changes(calls: IntoCalls, every: str | pd.Timedelta | None = None, least_ratio: float = 1.5) -> pd.DataFrame:
    """Find changes of the share of each outcome and of latencies, with their start, end and size.

    A change is reported if three conditions hold. The odds of the outcome, or the latency, changed by ``least_ratio``
    or more. The change exceeds the noise of the series over equally long periods. At least 10 more calls, or 10
    fewer, have the outcome, or are slower than the percentile was. An incident with an end is one change. If one
    outcome takes a large share of the calls, the falling shares of others may be reported too.

    The seasonal component by hour of the day is removed if the calls cover 4 days, the one by day of the week if they
    cover 4 weeks. In shorter logs it hides slight changes, and in a log of one day it may be reported as a change.

    In a log of few calls or few seconds, one lasting change of the median latency is found, by a factor of 2 or more.

    Arguments:
        calls: the result of ``read``, or a frame.
        every: width of a time bucket, such as "1min", which is the precision of the result. Default: the smallest of
            1 s, 2 s, 5 s, ... that gives at most 10,000 buckets, so 5 minutes for a month. Buckets with few calls are
            pooled until they have half as many calls as the median bucket, and at least 20.
        least_ratio: smallest ratio of odds or latencies to report.

    Returns one row per change, by time. Columns:
        changed_at (datetime64[ns, UTC]): start of the first bucket at the new level.
        until (datetime64[ns, UTC]): start of the first bucket back at the old level; null if it didn't go back.
        endpoint (category).
        measure (category): "share", "latency_ms", or "caller_ms" (only if some call waited).
        return_code, error (category), message (string): of a share, as in ``return_codes``.
        percentile (float64): 50 or 95 for latencies; null for shares.
        before, after (float64): the share (0..1), or the latency in ms.
        difference, difference_low, difference_high (float64): after - before, and its 95 % interval; in a short log
            the interval of a latency is null.
        ratio (float64): after / before.
        score (float64): the difference in standard errors, by the noise of this series. A change has at least twice the
            square root of the logarithm of the number of observations, about 6 for a month.

    Raises InputError for an invalid width and for more than 50,000 buckets.

    Example: ``changes(read("runs/*"), every="1min", least_ratio=2)``. The method is described at the head of this
    module.
    """
    calls = checked(calls)
    table = lazy(calls, "return_code")
    if every is None:
        period = span(calls)
        duration = (period[1] - period[0]).value if period else 0
        fitting = [width for width in WIDTHS_NS if width >= NS_PER_S and width * _BUCKETS >= duration]
        width = min(fitting, default=WIDTHS_NS[-1])
        fine_width = min([it for it in WIDTHS_NS if it * _SHORT_BUCKETS >= duration], default=width)
    else:
        width = fine_width = parse_width_ns(every)
    outcomes = count_outcomes(table, width)
    rows = list(_find_changes(table, outcomes, width, min(width, fine_width), least_ratio))
    return _finish(pd.DataFrame(rows, columns=list(_DTYPES)).astype(_DTYPES))


def _finish(found: pd.DataFrame) -> pd.DataFrame:
    """Sort the rows, and add the columns that follow from others."""
    by = ["changed_ns", "endpoint", "measure", *OUTCOME, "percentile"]
    found = describe_codes(found.sort_values(by, ignore_index=True))
    return found.assign(
        changed_at=to_utc(found["changed_ns"]),
        until=to_utc(found["until_ns"]),
        error=found["error"].astype("category"),
        difference=found["after"] - found["before"],
        ratio=found["after"] / found["before"].where(found["before"] > 0),
    )[_COLUMNS]


def _find_changes(
    table: LazyTable, outcomes: pd.DataFrame, width: int, fine_width: int, least_ratio: float
) -> Iterator[ChangeRow]:
    if outcomes["bucket_ns"].nunique() > _MAX_BUCKETS:
        raise InputError(f"these calls are in more than {_MAX_BUCKETS:,} buckets: give a larger every")
    measures = [SERVER, CALLER] if (outcomes["max_wait_ns"] > 0).any() else [SERVER]
    for endpoint, counts in outcomes.groupby("endpoint", observed=True):
        for row in _share_changes(pivot(counts, ["bucket_ns"], OUTCOME), width, least_ratio):
            yield row | {"endpoint": endpoint, "measure": SHARE}
    for measure in measures:
        latencies = count_latencies(table, width, measure, _BIN_RATIO)
        for endpoint, counts in latencies.groupby("endpoint", observed=True):
            matrix = pivot(counts, ["bucket_ns"], ["bin"])
            found = list(_latency_changes(matrix, width, least_ratio))
            calls = matrix.calls.sum(axis=1)
            if not found and len(_pool(calls, _min_pooled(calls))) <= _SHORT:
                fine = count_latencies(table, fine_width, measure, _BIN_RATIO)
                fine = fine[fine["endpoint"] == endpoint]
                found = list(_short_change(pivot(fine, ["bucket_ns"], ["bin"]), least_ratio))
            for row in found:
                yield row | {"endpoint": endpoint, "measure": measure}


def _share_changes(outcomes: CountMatrix, width: int, least_ratio: float) -> Iterator[ChangeRow]:
    starts, calls = outcomes.rows["bucket_ns"].to_numpy(np.int64), outcomes.calls.sum(axis=1)
    edges = _pool(calls, _min_pooled(calls))
    for found, *label in zip(outcomes.calls.T, *(outcomes.columns[name] for name in OUTCOME), strict=True):
        rare = found if found.sum() <= calls.sum() / 2 else calls - found  # a Poisson variable, unlike a frequent one
        if rare.sum() < _MIN_FOUND:
            continue
        series, coarse_edges = _outcome_series(rare, calls, starts, width)
        test = ChangeTest.of(series, edges, least_ratio)
        for change in find_changes(test, coarse_edges):
            sides = change.before, change.after
            (found_a, calls_a), (found_b, calls_b) = (
                (found[side.start : side.end].sum(), calls[side.start : side.end].sum()) for side in sides
            )
            noise = test.noise_of(*sides)
            low, high = newcombe(found_a / noise, calls_a / noise, found_b / noise, calls_b / noise)
            yield dict(zip(OUTCOME, label, strict=True)) | {
                **_period(change, starts),
                "before": found_a / calls_a,
                "after": found_b / calls_b,
                "difference_low": float(low),
                "difference_high": float(high),
            }


def _min_pooled(calls: Floats) -> float:
    return max(_MIN_POOLED, float(np.median(calls)) / 2)


def _pool(weights: Floats, least: float) -> Ints:
    """Return edges between which the buckets have about the weight ``least``, or the weight of a single bucket."""
    group = (np.cumsum(weights) - weights) // least
    return np.concatenate([[0], np.flatnonzero(np.diff(group)) + 1, [len(weights)]])


def _outcome_series(found: Floats, calls: Floats, starts: Ints, width: int) -> tuple[OutcomeCounts, Ints]:
    """Return the series of an outcome, and the coarse edges between which some calls with it are expected."""
    pooled = found.sum() / calls.sum()
    coarse_edges, found_sums, call_sums = _pool(calls * pooled, _COARSE_EXPECTED), _running(found), _running(calls)
    shares = np.diff(found_sums[coarse_edges]) / np.diff(call_sums[coarse_edges])
    usual = float(np.median(shares)) or pooled
    hours, first = np.unique(starts // NS_PER_HOUR, return_index=True)
    hourly = np.add.reduceat(found, first)
    expected = calls * usual
    if hourly.mean() >= _MIN_HOURLY:
        log_shares = np.log((hourly + 0.5) / np.add.reduceat(calls, first))
        expected = expected * np.exp(seasonal_component(hours, log_shares, starts + width // 2))
    return OutcomeCounts(found_sums, _running(expected), usual), coarse_edges


def _running(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])


def _period(change: LevelChange, starts: Ints) -> ChangeRow:
    until_ns = None if change.until is None else starts[change.until]
    return {"changed_ns": starts[change.start], "until_ns": until_ns, "score": change.gain**0.5}


def _latency_changes(latencies: CountMatrix, width: int, least_ratio: float) -> Iterator[ChangeRow]:
    bins, calls = latencies.columns["bin"].to_numpy(np.int64), latencies.calls.sum(axis=1)
    first = _pool(calls, _min_pooled(calls))[:-1]
    pooled = np.add.reduceat(latencies.calls, first, axis=0)
    starts = latencies.rows["bucket_ns"].to_numpy(np.int64)[first]
    for percentile in _PERCENTILES:
        logs = log_quantiles(pooled, bins, percentile / 100, _BIN_RATIO)
        series = _latency_series(logs, pooled.sum(axis=1), starts, width)
        test = ChangeTest.of(series, np.arange(len(starts) + 1), least_ratio)
        for change in find_changes(test):
            sides = change.before, change.after
            counts = np.array([pooled[side.start : side.end].sum(axis=0) for side in sides])
            before, after = np.exp(log_quantiles(counts, bins, percentile / 100, _BIN_RATIO)) / NS_PER_MS
            if _is_reportable(after / before, counts, percentile, least_ratio):
                error = math.sqrt(test.noise_of(*sides) * series.variance(*sides))
                low, high = after * math.exp(-Z95 * error) - before, after * math.exp(Z95 * error) - before
                yield _period(change, starts) | {
                    "percentile": percentile,
                    "before": before,
                    "after": after,
                    "difference_low": low,
                    "difference_high": high,
                }


def _short_change(latencies: CountMatrix, least_ratio: float) -> Iterator[ChangeRow]:
    """Yield the change of the median of a short log, if there is one."""
    change = find_single_change(latencies.calls)
    if change is None:
        return
    bins = latencies.columns["bin"].to_numpy(np.int64)
    counts = np.array([latencies.calls[: change.start].sum(axis=0), latencies.calls[change.start :].sum(axis=0)])
    before, after = np.exp(log_quantiles(counts, bins, 0.5, _BIN_RATIO)) / NS_PER_MS
    if max(after / before, before / after) >= max(least_ratio, _SHORT_RATIO):
        yield {
            "changed_ns": int(latencies.rows["bucket_ns"].iloc[change.start]),
            "until_ns": None,
            "score": change.score,
            "percentile": 50.0,
            "before": before,
            "after": after,
            "difference_low": math.nan,
            "difference_high": math.nan,
        }


def _latency_series(logs: Floats, calls: Floats, starts: Ints, width: int) -> LogLatencies:
    """Return the series of a percentile, without its seasonal component."""
    hours, first, members = np.unique(starts // NS_PER_HOUR, return_index=True, return_counts=True)
    seasonal = seasonal_component(hours, np.add.reduceat(logs, first) / members, starts + width // 2)
    # A percentile varies with the sample of calls and from bucket to bucket. Taken as equal for the median number of
    # calls, the two variances give the weight 2 / (1 + median calls / calls).
    weights = 2 * calls / (calls + np.median(calls))
    return LogLatencies(_running((logs - seasonal) * weights), _running(weights))


def _is_reportable(ratio: float, counts: Floats, percentile: float, least_ratio: float) -> bool:
    """Return whether the calls of both sides differ by the ratio, and if so, by 10 calls or more.

    A series of few calls can move a percentile by any ratio with a few calls that wait for a timeout.
    """
    quick, slow = counts
    if ratio < 1:
        quick, slow, ratio = slow, quick, 1 / ratio
    slower_bins = np.searchsorted(np.cumsum(quick), percentile / 100 * quick.sum()) + 1
    more = slow[slower_bins:].sum() - slow.sum() * quick[slower_bins:].sum() / quick.sum()
    return bool(ratio >= least_ratio and more >= MIN_CALLS)
