"""Test whether a run is worse than another one by more than a given percentage and by more than chance.

Problem. "p99 is 12 % higher than yesterday" may be chance: slow calls come in clusters, and latencies wander. A gate
must not fail for that, and it must not pass a run that shows nothing.

Method. The earlier run is made worse by exactly the limit: its times are multiplied by 1.1 for "by 10%", or its failed
calls are. Times of a percentile are in bins of 1 %, so its limit is rounded to whole bins. Then both runs are compared
as in ``compare``: in blocks of time that are longer than the memory of the series, by a permutation test of the
difference of two shares. The run is worse if the difference has the bad sign and a p-value below 0.05. So at the limit
itself, about 2.5 % of the tests fail, and far fewer below it.

Each metric is a ratio of two sums over blocks, which is all that the test needs:

    percentile      calls slower than the percentile of both runs together / calls
    mean            time / calls
    shares          calls with the outcome / calls
    rate            calls / time

A run is measured once. Differences between runs, such as a busy machine, are not part of the chance within a run:
choose a percentage above the spread of the runs.

Worked example. p99 is 100 ms before and 120 ms now, and the condition is "by 10%". The earlier calls are taken as 10 %
slower: their p99 is 110 ms. The p99 of both together is 115 ms. 0.8 % of the earlier calls are slower than that, and
1.2 % of the calls now, in 24 blocks each. If 3 of 9,999 random assignments of the blocks differ as much, p is 0.0004.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from toolkit.analysis.calls_table import IntoCalls, checked, lazy
from toolkit.analysis.change_detection.resampling import permuted_p
from toolkit.analysis.change_detection.side_blocks import (
    MIN_BEYOND,
    MIN_BLOCKS,
    Resampling,
    SideBuckets,
    both_sides,
    bucket_width_ns,
)
from toolkit.analysis.change_detection.time_buckets import count_latencies, count_outcomes, pivot
from toolkit.analysis.histogram_quantiles import BIN_RATIO, middle_ns
from toolkit.analysis.tidy_frames import describe_codes
from toolkit.analysis.timestamps import NS_PER_S
from toolkit.api.return_codes import ReturnCode
from toolkit.records.call_record import Failure, is_failed
from toolkit.runs.thresholds import Failed, Rate, ResponseTime, Share
from toolkit.runs.worsening import TestableMetric, Worsening, is_worse_if_higher

_SIGNIFICANT = 0.05
_ROW = ["side", "bucket_ns"]


@dataclass(frozen=True, slots=True)
class WorseningTest:
    """The result of a test. ``p_value``: None if nothing was tested; ``note`` is the reason then."""

    is_worse: bool = False
    p_value: float | None = None
    note: str = ""


def find_worsening(
    a: IntoCalls,
    b: IntoCalls,
    worsening: Worsening,
    expected: Iterable[str | int] = (),
    sending_s: tuple[float, float] = (0.0, 0.0),
    permutations: int = 9_999,
    seed: int = 1,
) -> WorseningTest:
    """Test whether ``b`` is worse than ``a`` by more than the limit of a condition.

    Args:
        a, b: results of ``read``, or frames.
        worsening: the condition.
        expected: kinds and return codes that are not failures, as in ``call_record.is_failed``.
        sending_s: the time in which calls of each side were due, from its first call on. A rate counts the time after
            the last call, too, if it is shorter.
        permutations: number of random assignments of blocks to the sides.
        seed: of the random numbers; the same seed gives the same result.

    Example: ``find_worsening(read("runs/a"), read("runs/b"), parse_worsening("p99(send.caller_ms) by 10%"))``.
    """
    sides = [checked(side) for side in (a, b)]
    width = bucket_width_ns(sides)
    tables = [lazy(side, "return_code") for side in sides]
    metric, factor = worsening.metric, worsening.factor
    if isinstance(metric, ResponseTime):
        counts = both_sides([count_latencies(it, width, metric.measure, BIN_RATIO) for it in tables])
        counts = counts[counts["endpoint"] == metric.endpoint]
        if metric.statistic != "mean":
            if lack := _lack(counts, float(metric.statistic[1:])):
                return WorseningTest(note=lack)
            # The times of the earlier run take longer by the factor: its calls move to later bins.
            moved = round(math.log(factor) / math.log(BIN_RATIO))
            counts, factor = counts.assign(bin=counts["bin"] + moved * (counts["side"] == 0)), 1.0
        sums = _sum_times(counts, metric.statistic)
    else:
        counts = both_sides([count_outcomes(it, width) for it in tables])
        if not isinstance(metric, Share) and metric.endpoint is not None:
            counts = counts[counts["endpoint"] == metric.endpoint]
        is_rate = isinstance(metric, Rate)
        sums = _sum_calls(counts, width, sending_s) if is_rate else _sum_outcomes(counts, metric, expected)
    sums["found"] = sums["found"].where(sums["side"] == 1, sums["found"] * factor)
    return _test(sums, is_worse_if_higher(metric), Resampling(permutations, seed, width))


def _lack(counts: pd.DataFrame, percentile: float) -> str:
    """Return why a percentile can't be tested; "" if each side has enough calls above and below it."""
    needed = math.ceil(round(MIN_BEYOND / min(percentile, 100 - percentile) * 100, 6))
    before, now = (int(counts.loc[counts["side"] == side, "calls"].sum()) for side in (0, 1))
    if min(before, now) >= needed:
        return ""
    return f"too few calls: {before:,} before and {now:,} now, of {needed:,} that p{percentile:g} needs"


def _sum_times(counts: pd.DataFrame, statistic: str) -> pd.DataFrame:
    """Return the calls of each bucket, and how many are slower than the percentile, or their time for the mean."""
    matrix = pivot(counts, _ROW, ["bin"])
    calls = matrix.calls
    if statistic == "mean":
        found = calls @ middle_ns(matrix.columns["bin"])
    else:
        cumulative = np.cumsum(calls.sum(axis=0))
        edge = int(np.abs(cumulative - cumulative[-1] * float(statistic[1:]) / 100).argmin())
        found = calls[:, edge + 1 :].sum(axis=1)
    return matrix.rows.assign(calls=calls.sum(axis=1), found=found)


def _sum_outcomes(counts: pd.DataFrame, metric: TestableMetric, expected: Iterable[str | int]) -> pd.DataFrame:
    """Count the calls of each bucket, and those with the outcome of the metric."""
    if isinstance(metric, Failed):
        kinds, known = describe_codes(counts[["return_code", "error"]])["kind"], frozenset(expected)
        outcomes = counts[["return_code", "error"]].assign(kind=kinds).astype(object)
        rows = outcomes.where(outcomes.notna(), None).to_dict("records")
        found = [is_failed(row["return_code"], row["kind"], row["error"], known) for row in rows]
    else:
        outcome = metric.outcome if isinstance(metric, Share) else ReturnCode.SUCCESS
        column = counts["error"] if isinstance(outcome, Failure) else counts["return_code"]
        found = (column == outcome).fillna(False).tolist()
    sums = counts.assign(calls=counts["calls"].astype(float), found=counts["calls"] * np.array(found, np.float64))
    return sums.groupby(_ROW)[["calls", "found"]].sum().reset_index()


def _sum_calls(counts: pd.DataFrame, width: int, sending_s: tuple[float, float]) -> pd.DataFrame:
    """Return the calls of each whole bucket; the time, which they are divided by, is 1 for each."""
    frames = [pd.DataFrame(columns=[*_ROW, "calls", "found"], dtype=np.float64)]
    for side, of_side in counts.groupby("side"):
        calls = of_side.groupby("bucket_ns")["calls"].sum()
        sent_until = (calls.index.min() + int(sending_s[int(str(side))] * NS_PER_S)) // width * width
        end = max(calls.index.max(), sent_until)
        starts = np.arange(calls.index.min() + width, end, width)  # the first and the last are cut off
        found = calls.reindex(starts, fill_value=0).to_numpy(np.float64)
        frames.append(pd.DataFrame({"side": side, "bucket_ns": starts, "calls": 1.0, "found": found}))
    return pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)


def _test(sums: pd.DataFrame, is_higher_worse: bool, resampling: Resampling) -> WorseningTest:
    """Test the ratio of found to calls of b against that of a."""
    calls, found = (sums[name].to_numpy(np.float64) for name in ("calls", "found"))
    buckets = SideBuckets.of(sums, calls, resampling.width)
    (blocks,) = (it for _, it in buckets.blocks(found[:, None], resampling))
    if min(blocks.sizes) < MIN_BLOCKS:
        before, now = blocks.sizes
        needed = f"of {MIN_BLOCKS} that are needed: run longer"
        return WorseningTest(note=f"too few blocks of time with calls: {before} before and {now} now, {needed}")
    (found_a, found_b), (calls_a, calls_b) = buckets.sums(found), buckets.sums(calls)
    difference = found_b / calls_b - found_a / calls_a
    wider = np.array([blocks.widening(calls, found)])
    of_blocks = blocks.sums(calls), blocks.sums(found[:, None])
    (p_value,) = permuted_p(*of_blocks, blocks.is_b, resampling.permutations, resampling.seed, wider)
    has_bad_sign = difference > 0 if is_higher_worse else difference < 0
    return WorseningTest(bool(has_bad_sign and p_value < _SIGNIFICANT), float(p_value))
