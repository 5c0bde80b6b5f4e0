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
    keep reportable changes, add intervals    share_changes, and below
         |
    find rises within segments, check ends     segment_rises, segments

Latencies: the interval of the ratio is normal on the logarithmic scale. Three more modules find changes that these
series can't show: ``conversion`` (messages that nobody verifies), ``silences`` (no calls at all) and
``failure_bursts`` (an outage in small traffic).

A log with fewer than 20 pooled buckets is too short for that: ``short_logs`` finds one lasting change of its median.

A worked example of the search is at the head of ``level_segments``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from toolkit.analysis.calls import span
from toolkit.analysis.calls_table import IntoCalls, LazyTable, checked, lazy, on_even_wall_clock
from toolkit.analysis.change_detection.conversion import conversion_changes
from toolkit.analysis.change_detection.failure_bursts import find_bursts
from toolkit.analysis.change_detection.level_segments import ChangeTest, find_changes
from toolkit.analysis.change_detection.seasonality import seasonal_component
from toolkit.analysis.change_detection.segment_rises import count_segment, find_rises, with_rise
from toolkit.analysis.change_detection.segments import coarse_width_ns
from toolkit.analysis.change_detection.series import MIN_CALLS, LogLatencies
from toolkit.analysis.change_detection.share_changes import (
    ChangeRow,
    ShareSeries,
    min_pooled,
    period,
    pool,
    running,
    share_changes,
)
from toolkit.analysis.change_detection.short_logs import find_single_change
from toolkit.analysis.change_detection.silences import find_silences
from toolkit.analysis.change_detection.time_buckets import (
    CALLS,
    CONVERSION,
    FAILED,
    LABELS,
    OUTCOME,
    SHARE,
    TEXT,
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
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.time_zone import UTC

_PERCENTILES = (50.0, 95.0)
_BIN_RATIO = 1.05  # of latencies: finer bins cost memory and time, and changes below 1.5 times aren't reported
_BUCKETS, _MAX_BUCKETS = 10_000, 50_000  # by default and at most: the search takes seconds, and minutes
_SHORT = 20  # pooled buckets; with fewer, the noise of a series isn't known
_SHORT_RATIO = 2.0  # of medians: a short log doesn't show how much they vary by themselves
_SHORT_BUCKETS = 500  # with more, the change isn't found more precisely
_DTYPES: dict[str, Any] = {
    "changed_ns": "int64",
    "until_ns": "Int64",
    **LABELS,
    "dimension": TEXT,
    "value": TEXT,
    **dict.fromkeys(("before", "after", "difference_low", "difference_high", "score"), "float64"),
}
_COLUMNS = [
    *("changed_at", "until", "endpoint", "measure", "return_code", "message", "error", "percentile"),
    *("dimension", "value", "before", "after", "difference", "difference_low", "difference_high", "ratio", "score"),
]


@returns_result
def changes(
    calls: IntoCalls,
    every: str | pd.Timedelta | None = None,
    least_ratio: float = 1.5,
    timezone: str = UTC,
) -> pd.DataFrame:
    """Find changes of the share of each outcome and of latencies, with their start, end and size.

    A change of a share or a latency is reported if three conditions hold. The odds of the outcome, or the latency,
    changed by ``least_ratio`` or more. The change exceeds the noise of the series over equally long periods. At least
    10 more calls, or 10 fewer, have the outcome, or are slower than the percentile was. An incident with an end is one
    change. If one outcome takes a large share of the calls, the falling shares of others may be reported too. A rise
    within a template, app, carrier or source is reported if the share of all calls doesn't show it or its end.

    Three more kinds of changes are reported. The conversion is the share of accepted sends whose message is verified
    later: of all sends, or of the carrier, template or app whose conversion changed. A silence is a time without calls,
    although at least 30 were to be expected. In small traffic, a short outage is a rise of the calls of both endpoints
    that failed in the service or on the network.

    The seasonal component by hour of the day is removed if the calls cover 4 days, the one by day of the week if they
    cover 4 weeks. In shorter logs it hides slight changes, and in a log of one day it may be reported as a change.

    In a log of few calls or few seconds, one lasting change of the median latency is found, by a factor of 2 or more.

    Args:
        calls: the result of ``read``, or a frame.
        every: width of a time bucket, such as "1min", which is the precision of the result. Default: the smallest of
            1 s, 2 s, 5 s, ... that gives at most 10,000 buckets, so 5 minutes for a month. Buckets with few calls are
            pooled until they have half as many calls as the median bucket, and at least 20.
        least_ratio: smallest ratio of odds or latencies to report.
        timezone: time zone whose midnight buckets are aligned to, by its offset at the first call; also that of the
            seasonal components.

    Returns one row per change, by time. Columns:
        changed_at (datetime64[ns, UTC]): start of the first bucket at the new level.
        until (datetime64[ns, UTC]): start of the first bucket back at the old level; null if it didn't go back.
        endpoint (category): null for both.
        measure (category): "share" of an outcome; "failed", the share of failed calls; "conversion"; "calls" an hour;
            "latency_ms", or "caller_ms" (only if some call waited).
        return_code, error (category), message (string): of a share, as in ``return_codes``.
        percentile (float64): 50 or 95 for latencies; else null.
        dimension (string), value (string): the segment ("carrier", "temp_id", "app_key", "prefix" or "source") whose
            conversion changed, or whose share rose if the share of all calls doesn't show the rise or its end; else
            null. The levels are those of the segment.
        before, after (float64): the share (0..1), the calls an hour, or the latency in ms.
        difference, difference_low, difference_high (float64): after - before, and its 95 % interval; null for a
            silence, and for a latency in a short log.
        ratio (float64): after / before.
        score (float64): the difference in standard errors, by the noise of this series. A change has at least twice the
            square root of the logarithm of the number of observations, about 6 for a month.

    Raises InputError for an invalid width and for more than 50,000 buckets.

    Example: ``changes(read("runs/*"), every="1min", least_ratio=2)``. The method is described at the head of this
    module.
    """
    calls = checked(calls)
    table, offset_ns = on_even_wall_clock(lazy(calls, "return_code"), timezone)
    log_period = span(calls)
    duration = (log_period[1] - log_period[0]).value if log_period else 0
    if every is None:
        fitting = [width for width in WIDTHS_NS if width >= NS_PER_S and width * _BUCKETS >= duration]
        width = min(fitting, default=WIDTHS_NS[-1])
        fine_width = min([it for it in WIDTHS_NS if it * _SHORT_BUCKETS >= duration], default=width)
    else:
        width = fine_width = parse_width_ns(every)
    outcomes = count_outcomes(table, width)
    if outcomes["bucket_ns"].nunique() > _MAX_BUCKETS:
        raise InputError(f"these calls are in more than {_MAX_BUCKETS:,} buckets: give a larger every")
    coarse_width = coarse_width_ns(duration, width)
    rows = [
        *_outcome_changes(table, outcomes, width, coarse_width, least_ratio),
        *_find_latency_changes(table, outcomes, width, min(width, fine_width), least_ratio),
    ]
    rows += _failure_bursts(outcomes, rows, width)
    rows += [row | {"measure": CALLS} for row in find_silences(outcomes, width)]
    if (outcomes["endpoint"] == Endpoint.VERIFY).any():
        is_accepted = (outcomes["endpoint"] == Endpoint.SEND) & (outcomes["return_code"] == ReturnCode.SUCCESS)
        sends = int(outcomes.loc[is_accepted.fillna(False), "calls"].sum())
        converted = conversion_changes(table, sends, coarse_width, least_ratio)
        rows += [row | {"measure": CONVERSION, "endpoint": Endpoint.SEND.value} for row in converted]
    return _finish(pd.DataFrame(rows, columns=list(_DTYPES)).astype(_DTYPES), offset_ns)


def _finish(found: pd.DataFrame, offset_ns: int) -> pd.DataFrame:
    """Sort the rows, and add the columns that follow from others; ``offset_ns``: of the starts, from UTC."""
    by = ["changed_ns", "endpoint", "measure", *OUTCOME, "percentile"]
    found = describe_codes(found.sort_values(by, ignore_index=True))
    return found.assign(
        changed_at=to_utc(found["changed_ns"] - offset_ns),
        until=to_utc(found["until_ns"] - offset_ns),
        error=found["error"].astype("category"),
        difference=found["after"] - found["before"],
        ratio=found["after"] / found["before"].where(found["before"] > 0),
    )[_COLUMNS]


def _outcome_changes(
    table: LazyTable, outcomes: pd.DataFrame, width: int, coarse_width: int, least_ratio: float
) -> Iterator[ChangeRow]:
    """Yield the changes of the share of each outcome."""
    rises = find_rises(table, coarse_width, least_ratio)
    for endpoint, counts in outcomes.groupby("endpoint", observed=True):
        matrix = pivot(counts, ["bucket_ns"], OUTCOME)
        starts, calls = matrix.rows["bucket_ns"].to_numpy(np.int64), matrix.calls.sum(axis=1)
        labels: Any = matrix.columns.astype(object).where(matrix.columns.notna(), None).to_dict("records")
        for found, label in zip(matrix.calls.T, labels, strict=True):
            series, outcome = ShareSeries(found, calls, starts, width), (str(endpoint), *label.values())
            rows = list(share_changes(series, least_ratio))
            for rise in rises.get(outcome, []):
                count = partial(count_segment, table, outcome, rise, width)
                rows = with_rise(rows, rise, series, count, coarse_width, least_ratio)
            for row in rows:
                yield label | row | {"endpoint": endpoint, "measure": SHARE}


def _failure_bursts(outcomes: pd.DataFrame, rows: Sequence[ChangeRow], width: int) -> Iterator[ChangeRow]:
    """Yield the outages that no change of the share of an outcome shows."""
    if outcomes.empty:
        return
    counts = outcomes.groupby("bucket_ns")[["failed", "calls"]].sum().sort_index()
    failed, calls = (counts[name].to_numpy(np.float64) for name in ("failed", "calls"))
    shown = [row for row in rows if row["measure"] == SHARE and row["after"] > row["before"]]
    for row in find_bursts(failed, calls, counts.index.to_numpy(np.int64), width):
        until = math.inf if row["until_ns"] is None else row["until_ns"]
        if not any(it["changed_ns"] < until and row["changed_ns"] < (it["until_ns"] or math.inf) for it in shown):
            yield row | {"measure": FAILED}


def _find_latency_changes(
    table: LazyTable, outcomes: pd.DataFrame, width: int, fine_width: int, least_ratio: float
) -> Iterator[ChangeRow]:
    """Yield the changes of the percentiles of each measure of latency."""
    measures = [SERVER, CALLER] if (outcomes["max_wait_ns"] > 0).any() else [SERVER]
    for measure in measures:
        latencies = count_latencies(table, width, measure, _BIN_RATIO)
        for endpoint, counts in latencies.groupby("endpoint", observed=True):
            matrix = pivot(counts, ["bucket_ns"], ["bin"])
            found = list(_latency_changes(matrix, width, least_ratio))
            calls = matrix.calls.sum(axis=1)
            if not found and len(pool(calls, min_pooled(calls))) <= _SHORT:
                fine = count_latencies(table, fine_width, measure, _BIN_RATIO)
                fine = fine[fine["endpoint"] == endpoint]
                found = list(_short_change(pivot(fine, ["bucket_ns"], ["bin"]), least_ratio))
            for row in found:
                yield row | {"endpoint": endpoint, "measure": measure}


def _latency_changes(latencies: CountMatrix, width: int, least_ratio: float) -> Iterator[ChangeRow]:
    bins, calls = latencies.columns["bin"].to_numpy(np.int64), latencies.calls.sum(axis=1)
    first = pool(calls, min_pooled(calls))[:-1]
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
                yield period(change, starts) | {
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
    return LogLatencies(running((logs - seasonal) * weights), running(weights))


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
