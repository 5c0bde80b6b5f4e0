"""Find the changes of one share over time: an outcome's share of calls, or the conversion of sends.

The rarer side of a share is followed (the outcome, or all other calls), against the number of calls expected from the
median share. The 95 % interval is Newcombe's, with the numbers of calls divided by the noise: n clustered calls carry
as much information as n / noise independent ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf
from typing import Any, TypeAlias

import numpy as np

from toolkit.analysis.change_detection.level_segments import ChangeTest, LevelChange, find_changes
from toolkit.analysis.change_detection.resampling import Bools, newcombe
from toolkit.analysis.change_detection.seasonality import seasonal_component
from toolkit.analysis.change_detection.series import MIN_CALLS, OutcomeCounts
from toolkit.analysis.change_detection.time_buckets import Floats, Ints
from toolkit.analysis.timestamps import NS_PER_HOUR

ChangeRow: TypeAlias = dict[str, Any]

_MIN_POOLED = 20  # calls of a percentile or share: fewer are more precise in time, and noisier
MIN_FOUND = 10  # calls with and without an outcome; a rarer outcome can't have a reportable change
_COARSE_EXPECTED = 4.0  # calls with a rare outcome between coarse edges: fewer hide slight and long changes
_MIN_HOURLY = 10.0  # calls with an outcome per hour, on average, for a seasonal component
_MIN_ERRORS = 4.0  # of a difference, in standard errors: the level before may be low by chance
_SAME_ODDS = 1.5  # of numbers of calls that don't deviate


@dataclass(frozen=True, slots=True)
class ShareSeries:
    """The calls with an outcome, and all calls, of each bucket that has calls.

    ``starts``: of the buckets, ns since 1970, ascending; ``width``: of a bucket, ns.
    """

    found: Floats
    calls: Floats
    starts: Ints
    width: int

    def without(self, part: ShareSeries) -> ShareSeries:
        """Return the series without the calls of a part."""
        found, calls = self.found.copy(), self.calls.copy()
        at = np.searchsorted(self.starts, part.starts)
        found[at] -= part.found
        calls[at] -= part.calls
        return replace(self, found=found, calls=calls)

    def deviates(self, row: ChangeRow) -> bool:
        """Return whether the share during a change deviates from that before it, by more than chance."""
        (found_before, calls_before), (found, calls) = (
            (self.found[is_in].sum(), self.calls[is_in].sum() + 1) for is_in in periods(row, self.starts)
        )
        difference = 2 * (((found + 3 / 8) / calls) ** 0.5 - ((found_before + 3 / 8) / calls_before) ** 0.5)
        errors = difference / (1 / calls + 1 / calls_before) ** 0.5
        return deviates(calls, found, calls * found_before / calls_before) and abs(errors) > _MIN_ERRORS


def periods(row: ChangeRow, starts: Ints) -> tuple[Bools, Bools]:
    """Return for each bucket whether it is at the level before a change, and whether it is in the change."""
    first_ns, last_ns = row["before_ns"]
    is_before = (starts >= first_ns) & (starts <= last_ns)
    return is_before, (starts >= row["changed_ns"]) & (starts < (row["until_ns"] or inf))


def deviates(calls: float, found: float, expected: float) -> bool:
    """Return whether the calls found differ from the expected ones by enough to matter: by odds of 1.5, and 10 calls.

    >>> deviates(1000, 20, 10), deviates(1000, 200, 160), deviates(10, 8, 1)
    (True, False, False)
    """
    odds = [(it + 0.5) / (calls - it + 0.5) for it in (found, expected)]
    return max(odds) >= _SAME_ODDS * min(odds) and abs(found - expected) >= MIN_CALLS


def share_changes(series: ShareSeries, least_ratio: float, tests: int = 1) -> Iterator[ChangeRow]:
    """Yield the changes of found / calls.

    ``tests``: number of series that are searched. The fields of a row are those of ``changes``, and ``before_ns``, the
    first and the last bucket of the level before.
    """
    found, calls, starts = series.found, series.calls, series.starts
    rare = found if found.sum() <= calls.sum() / 2 else calls - found  # a Poisson variable, unlike a frequent one
    if rare.sum() < MIN_FOUND:
        return
    levels, coarse_edges = _outcome_series(rare, calls, starts, series.width)
    test = ChangeTest.of(levels, pool(calls, min_pooled(calls)), least_ratio, tests)
    for change in find_changes(test, coarse_edges):
        sides = change.before, change.after
        (found_a, calls_a), (found_b, calls_b) = (
            (found[side.start : side.end].sum(), calls[side.start : side.end].sum()) for side in sides
        )
        noise = test.noise_of(*sides)
        low, high = newcombe(found_a / noise, calls_a / noise, found_b / noise, calls_b / noise)
        yield {
            **period(change, starts),
            "before_ns": (int(starts[change.before.start]), int(starts[change.before.end - 1])),
            "before": found_a / calls_a,
            "after": found_b / calls_b,
            "difference_low": float(low),
            "difference_high": float(high),
        }


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
