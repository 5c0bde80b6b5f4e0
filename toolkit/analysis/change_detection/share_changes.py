"""Find the changes of one share over time: an outcome's share of calls, or the conversion of sends.

The rarer side of a share is followed (it, or all other calls), against the number of calls expected from the median
share. The 95 % interval is Newcombe's, with the numbers of calls divided by the noise: n clustered calls carry as much
information as n / noise independent ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from toolkit.analysis.change_detection.level_segments import ChangeTest, LevelChange, find_changes
from toolkit.analysis.change_detection.resampling import newcombe
from toolkit.analysis.change_detection.seasonality import seasonal_component
from toolkit.analysis.change_detection.series import MIN_CALLS, OutcomeCounts
from toolkit.analysis.change_detection.time_buckets import Floats, Ints
from toolkit.analysis.timestamps import NS_PER_HOUR

ChangeRow: TypeAlias = dict[str, Any]

_MIN_POOLED = 20  # calls of a percentile or share: fewer are more precise in time, and noisier
_MIN_FOUND = 10  # calls with and without an outcome; a rarer outcome can't have a reportable change
_COARSE_EXPECTED = 4.0  # calls with a rare outcome between coarse edges: fewer hide slight and long changes
_MIN_HOURLY = 10.0  # calls with an outcome per hour, on average, for a seasonal component
_REMAINING_ODDS = 1.2  # after the end of a rise, relative to those before: higher checks fewer ends


def share_changes(found: Floats, calls: Floats, starts: Ints, width: int, least_ratio: float) -> Iterator[ChangeRow]:
    """Yield the changes of found / calls.

    ``starts``: of the buckets with calls, ns since 1970, ascending. The fields of a row are those of ``changes``;
    ``is_end_doubtful`` is whether a rise ended at a level above the one before.
    """
    rare = found if found.sum() <= calls.sum() / 2 else calls - found  # a Poisson variable, unlike a frequent one
    if rare.sum() < _MIN_FOUND:
        return
    series, coarse_edges = _outcome_series(rare, calls, starts, width)
    test = ChangeTest.of(series, pool(calls, min_pooled(calls)), least_ratio)
    for change in find_changes(test, coarse_edges):
        sides = change.before, change.after
        (found_a, calls_a), (found_b, calls_b) = (
            (found[side.start : side.end].sum(), calls[side.start : side.end].sum()) for side in sides
        )
        noise = test.noise_of(*sides)
        low, high = newcombe(found_a / noise, calls_a / noise, found_b / noise, calls_b / noise)
        before, after = found_a / calls_a, found_b / calls_b
        yield {
            **period(change, starts),
            "before": before,
            "after": after,
            "difference_low": float(low),
            "difference_high": float(high),
            "is_end_doubtful": change.until is not None and after > before and _remains(found, calls, change, before),
        }


def _remains(found: Floats, calls: Floats, change: LevelChange, before: float) -> bool:
    """Return whether the share is above the one before, for as long after the end as the change lasted."""
    assert change.until is not None
    later = slice(change.until, 2 * change.until - change.start)
    more, many = found[later].sum(), calls[later].sum()
    odds, odds_before = more / max(many - more, 1), before / max(1 - before, 1e-9)
    return bool(odds > _REMAINING_ODDS * odds_before and more - many * before >= MIN_CALLS)


def min_pooled(calls: Floats) -> float:
    """Return how many calls a pool of buckets needs: half as many as the median bucket, and 20."""
    return max(_MIN_POOLED, float(np.median(calls)) / 2)


def pool(weights: Floats, least: float) -> Ints:
    """Return edges between which the buckets have about the weight ``least``, or the weight of a single bucket."""
    group = (np.cumsum(weights) - weights) // least
    return np.concatenate([[0], np.flatnonzero(np.diff(group)) + 1, [len(weights)]])


def _outcome_series(found: Floats, calls: Floats, starts: Ints, width: int) -> tuple[OutcomeCounts, Ints]:
    """Return the series of an outcome, and the coarse edges between which some calls with it are expected."""
    pooled = found.sum() / calls.sum()
    coarse_edges, found_sums, call_sums = pool(calls * pooled, _COARSE_EXPECTED), running(found), running(calls)
    shares = np.diff(found_sums[coarse_edges]) / np.diff(call_sums[coarse_edges])
    usual = float(np.median(shares)) or pooled
    hours, first = np.unique(starts // NS_PER_HOUR, return_index=True)
    hourly = np.add.reduceat(found, first)
    expected = calls * usual
    if hourly.mean() >= _MIN_HOURLY:
        log_shares = np.log((hourly + 0.5) / np.add.reduceat(calls, first))
        expected = expected * np.exp(seasonal_component(hours, log_shares, starts + width // 2))
    return OutcomeCounts(found_sums, running(expected), usual), coarse_edges


def running(values: Floats) -> Floats:
    """Return the running sums, which begin with 0."""
    return np.concatenate([[0.0], np.cumsum(values)])


def period(change: LevelChange, starts: Ints) -> ChangeRow:
    """Return the fields changed_ns, until_ns and score of a change."""
    until_ns = None if change.until is None else int(starts[change.until])
    return {"changed_ns": int(starts[change.start]), "until_ns": until_ns, "score": change.gain**0.5}
