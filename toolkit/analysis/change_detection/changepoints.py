"""Change points: since when, and until when, an endpoint's outcomes or times were other than before."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from toolkit.analysis.calls import span
from toolkit.analysis.calls_table import IntoCalls, LazyTable, lazy
from toolkit.analysis.change_detection.level_segments import Change, Judge, find_changes
from toolkit.analysis.change_detection.resampling import newcombe
from toolkit.analysis.change_detection.seasonality import HOUR_NS, rhythm
from toolkit.analysis.change_detection.series import LEAST_CALLS, Counts, Times
from toolkit.analysis.change_detection.time_buckets import (
    LABELS,
    OUTCOME,
    SHARE,
    WIDTHS_NS,
    Floats,
    Ints,
    Matrix,
    as_codes,
    count_outcomes,
    count_times,
    log_quantiles,
    pivot,
)
from toolkit.analysis.intervals import Z95
from toolkit.analysis.latency_percentiles import CALLER, SERVER
from toolkit.analysis.tidy_frames import describe_codes
from toolkit.analysis.timestamps import NS_PER_MS, NS_PER_S, parse_width_ns, to_utc
from toolkit.api.errors import InputError

Row: TypeAlias = dict[str, Any]

_AT = (50.0, 95.0)  # percentiles that are followed
_BIN_RATIO = 1.05
_BUCKETS, _MOST_BUCKETS = 10_000, 50_000
_LEAST_OBSERVED = 20  # calls of which a percentile is taken, or a share
_LEAST_OBSERVATIONS = 8
_LEAST_FOUND = 10  # calls with an outcome, and without it, for its share to be followed
_EXPECTED = 4.0  # calls with a rare outcome in a stretch in which slight changes of it show
_LEAST_HOURLY = 10.0  # calls with an outcome in an hour, on average, for its rhythm to show
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


def changes(calls: IntoCalls, every: str | pd.Timedelta | None = None, least_ratio: float = 1.5) -> pd.DataFrame:
    """Find since when, and until when, the share of an outcome or a level of times was another than before.

    Each endpoint's outcomes, and the median and the 95th percentile of its times, are followed in buckets of time;
    ``every`` is their width, and so the precision of what is found; without it, the least of 1 s, 2 s, 5 s, ... that
    makes at most 10,000 of them (of a month: 5 minutes). Where calls are few, buckets are taken together until they
    have half of what a bucket has in the middle, and at least 20. What follows the hour of the day is taken off where
    there are 4 days or more, and what follows the day of the week where there are 4 weeks; of less time, it hides what
    is slight, and of a day it may be told as a change.

    A change is told where the odds of the outcome, or the times, are ``least_ratio`` times as large as before or more,
    or as many times smaller, where it is beyond what the series varies by itself over stretches as long, and where 10
    calls more than before, or fewer, have the outcome, or are slower than the percentile was. An incident that began
    and ended is one change. Where an outcome takes up much of the calls, the shares of the others fall, and may be told
    too.

    One row per change, by time; columns: changed_at (start of the first bucket at the new level, UTC, datetime64[ns,
    UTC]), until (of the first one back at the old level, likewise, null where there is none), endpoint (category),
    measure ("share", "latency_ms", or, where callers waited, "caller_ms"; category), return_code, error (of a share, as
    in ``return_codes``), message (string), percentile (of times, 50 or 95, float64, null for shares), before, after
    (the share, 0..1, or ms; float64), difference (after - before), difference_low, difference_high (the ends of its
    95 % interval), ratio (after / before), score (the difference in standard errors, by the noise of this series,
    float64; a change has at least 2 times the root of the logarithm of the number of observations, so 6 of a month).
    """
    table = lazy(calls)
    width = _choose_width(table) if every is None else parse_width_ns(every)
    rows = [*_follow(table, count_outcomes(table, width), width, least_ratio)]
    return _finish(pd.DataFrame(rows, columns=list(_DTYPES)).astype(_DTYPES))


def _finish(found: pd.DataFrame) -> pd.DataFrame:
    by = ["changed_ns", "endpoint", "measure", *OUTCOME, "percentile"]
    found = describe_codes(found.sort_values(by, ignore_index=True))
    with np.errstate(divide="ignore"):
        ratio = found["after"].to_numpy() / found["before"].to_numpy()
    return found.assign(
        changed_at=to_utc(found["changed_ns"]),
        until=to_utc(found["until_ns"]),
        return_code=as_codes(found["return_code"]),
        error=found["error"].astype("category"),
        difference=found["after"] - found["before"],
        ratio=ratio,
    )[_COLUMNS]


def _choose_width(table: LazyTable) -> int:
    found = span(table)
    whole = (found[1] - found[0]).value if found else 0
    return min((width for width in WIDTHS_NS if width >= NS_PER_S and width * _BUCKETS >= whole), default=WIDTHS_NS[-1])


def _follow(table: LazyTable, outcomes: pd.DataFrame, width: int, least_ratio: float) -> Iterator[Row]:
    if outcomes["bucket_ns"].nunique() > _MOST_BUCKETS:
        raise InputError(f"these calls are in more than {_MOST_BUCKETS:,} buckets: give a larger every")
    measures = [SERVER, CALLER] if (outcomes["waited"] > 0).any() else [SERVER]
    for endpoint, mine in outcomes.groupby("endpoint", observed=True):
        for row in _follow_shares(pivot(mine, ["bucket_ns"], OUTCOME), width, least_ratio):
            yield row | {"endpoint": endpoint, "measure": SHARE}
    for measure in measures:
        times = count_times(table, width, measure, _BIN_RATIO)
        for endpoint, mine in times.groupby("endpoint", observed=True):
            for row in _follow_times(pivot(mine, ["bucket_ns"], ["bin"]), width, least_ratio):
                yield row | {"endpoint": endpoint, "measure": measure}


# Shares.


def _follow_shares(outcomes: Matrix, width: int, least_ratio: float) -> Iterator[Row]:
    starts, calls = outcomes.rows["bucket_ns"].to_numpy(np.int64), outcomes.calls.sum(axis=1)
    edges = _edges(calls, _least_observed(calls))
    for found, *label in zip(outcomes.calls.T, *(outcomes.columns[name] for name in OUTCOME), strict=True):
        rare = found if found.sum() <= calls.sum() / 2 else calls - found  # as it is the rare ones that vary
        if rare.sum() < _LEAST_FOUND:
            continue
        series, coarser = _series_of_counts(rare, calls, starts, width)
        judge = Judge.of(series, edges, least_ratio)
        for change in find_changes(judge, coarser):
            yield dict(zip(OUTCOME, label, strict=True)) | _when(change, starts) | _shares(change, judge, found, calls)


def _least_observed(calls: Floats) -> float:
    return max(_LEAST_OBSERVED, float(np.median(calls)) / 2)


def _edges(weights: Floats, least: float) -> Ints:
    """Return places between which there is about so much weight, or what a single bucket has."""
    portion = (np.cumsum(weights) - weights) // least
    return np.concatenate([[0], np.flatnonzero(np.diff(portion)) + 1, [len(weights)]])


def _series_of_counts(found: Floats, calls: Floats, starts: Ints, width: int) -> tuple[Counts, Ints]:
    """Return calls with an outcome, and the places between which some of them are expected."""
    pooled = found.sum() / calls.sum()
    coarser, upto, whole = _edges(calls * pooled, _EXPECTED), _running(found), _running(calls)
    usual = float(np.median(np.diff(upto[coarser]) / np.diff(whole[coarser]))) or pooled
    raised = np.exp(_rhythm_of_counts(found, calls, starts, width))
    return Counts(upto, _running(calls * usual * raised), usual), coarser


def _rhythm_of_counts(found: Floats, calls: Floats, starts: Ints, width: int) -> Floats:
    hours, first = np.unique(starts // HOUR_NS, return_index=True)
    hourly, whole = np.add.reduceat(found, first), np.add.reduceat(calls, first)
    if hourly.mean() < _LEAST_HOURLY:
        return np.zeros(len(starts))
    return rhythm(hours, np.log((hourly + 0.5) / whole), starts + width // 2)


def _running(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])


def _shares(change: Change, judge: Judge, found: Floats, calls: Floats) -> Row:
    sides = change.before, change.after
    (found_a, calls_a), (found_b, calls_b) = (
        (found[it.start : it.end].sum(), calls[it.start : it.end].sum()) for it in sides
    )
    noise = judge.noise_of(*sides)  # so many calls in a cluster tell as much as one alone
    low, high = newcombe(found_a / noise, calls_a / noise, found_b / noise, calls_b / noise)
    return {"before": found_a / calls_a, "after": found_b / calls_b} | _ends(float(low), float(high))


def _ends(low: float, high: float) -> Row:
    return {"difference_low": low, "difference_high": high}


def _when(change: Change, starts: Ints) -> Row:
    until = None if change.until is None else starts[change.until]
    return {"changed_ns": starts[change.place], "until_ns": until, "score": change.gain**0.5}


# Times.


def _follow_times(times: Matrix, width: int, least_ratio: float) -> Iterator[Row]:
    bins, calls = times.columns["bin"].to_numpy(np.int64), times.calls.sum(axis=1)
    first = _edges(calls, _least_observed(calls))[:-1]
    observed = np.add.reduceat(times.calls, first, axis=0)
    starts = times.rows["bucket_ns"].to_numpy(np.int64)[first]
    for at in _AT:
        logs = log_quantiles(observed, bins, at / 100, _BIN_RATIO)
        series = _series_of_times(logs, observed.sum(axis=1), starts, width)
        judge = Judge.of(series, np.arange(len(starts) + 1), least_ratio)
        for change in find_changes(judge):
            row = _percentiles(change, judge, observed, bins, at)
            if _is_told(row, change, observed, at, least_ratio):
                yield {"percentile": at} | _when(change, starts) | row


def _series_of_times(logs: Floats, calls: Floats, starts: Ints, width: int) -> Times:
    hours, first, members = np.unique(starts // HOUR_NS, return_index=True, return_counts=True)
    raised = rhythm(hours, np.add.reduceat(logs, first) / members, starts + width // 2)
    weights = 2 * calls / (calls + np.median(calls))  # half of the noise is the calls', half the time's
    return Times(_running((logs - raised) * weights), _running(weights))


def _is_told(row: Row, change: Change, observed: Floats, at: float, least_ratio: float) -> bool:
    """Tell whether the calls themselves, taken together, are so much slower, or faster, and more than a few of them.

    Where calls are few, some that wait for a timeout move a percentile of theirs as far as they like.
    """
    quick, slow = (observed[it.start : it.end].sum(axis=0) for it in (change.before, change.after))
    ratio = row["after"] / row["before"]
    if ratio < 1:
        quick, slow, ratio = slow, quick, 1 / ratio
    beyond = np.searchsorted(np.cumsum(quick), at / 100 * quick.sum()) + 1
    more = slow[beyond:].sum() - slow.sum() * quick[beyond:].sum() / quick.sum()
    return bool(ratio >= least_ratio and more >= LEAST_CALLS)


def _percentiles(change: Change, judge: Judge, observed: Floats, bins: Ints, at: float) -> Row:
    sides = change.before, change.after
    sums = np.array([observed[it.start : it.end].sum(axis=0) for it in sides])
    before, after = np.exp(log_quantiles(sums, bins, at / 100, _BIN_RATIO)) / NS_PER_MS
    error = math.sqrt(judge.noise_of(*sides) * judge.series.variance(*sides))
    ends = _ends(after * math.exp(-Z95 * error) - before, after * math.exp(Z95 * error) - before)
    return {"before": before, "after": after} | ends
