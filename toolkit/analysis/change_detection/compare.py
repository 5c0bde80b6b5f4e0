"""Compare the outcomes and latencies of two runs or periods, and test each difference against chance.

Problem. Errors and slow calls come in clusters: 500 failures in one minute are one event. A test that counts calls,
such as chi-square, takes them for 500 events and finds a difference between two periods that differ only by chance.

Latencies wander, too: with a memory of 22 seconds, two equal runs of 10 minutes often have different means.

Method. The unit is a block of time, which is longer than a cluster and longer than the memory of the series:

    count calls in buckets of time          time_buckets
         |
    measure the memory, merge buckets       block_length: for each outcome and percentile
         |
    test and estimate                       resampling

- a p-value by permutation: how often are blocks that are assigned to the two sides at random as different?
- an interval by bootstrap: how much does the difference vary between samples of the blocks, drawn with replacement?

Both are widened by the correlation that is left between neighbouring blocks. All p-values
of a comparison are corrected together (Holm). A percentile is tested by the share of calls above the percentile of both
sides together, because a permutation of shares needs only sums over blocks.

Worked example. Two days have 1,000 calls and 1 failure an hour, but one hour of the second day has 50 failures. That
makes 24 failures against 73. Chi-square gives p = 0.000001. But in every random assignment one side has that hour, so
each is as different, and the permutation test gives p = 1. If 3 calls fail in every hour of the second day (24 against
72), hardly any random assignment is as different, and p is the smallest possible: 1 / (permutations + 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from toolkit.analysis.calls_table import IntoCalls, checked, lazy
from toolkit.analysis.change_detection.resampling import bootstrap, cohen_h, expansion, holm, newcombe, permuted_p
from toolkit.analysis.change_detection.side_blocks import (
    MIN_BEYOND,
    Resampling,
    SideBuckets,
    both_sides,
    bucket_width_ns,
)
from toolkit.analysis.change_detection.time_buckets import (
    LABELS,
    OUTCOME,
    SHARE,
    TEXT,
    CountMatrix,
    Floats,
    Ints,
    count_latencies,
    count_outcomes,
    log_quantiles,
    pivot,
)
from toolkit.analysis.histogram_quantiles import BIN_RATIO
from toolkit.analysis.latency_percentiles import CALLER, PERCENTILES, SERVER
from toolkit.analysis.tidy_frames import describe_codes, returns_result
from toolkit.analysis.timestamps import NS_PER_MS, parse_width_ns

_RESAMPLES = 1_000  # of the bootstrap: more make the interval's ends vary less with the seed
_SIGNIFICANT = 0.05
_DTYPES: dict[str, Any] = {
    **LABELS,
    **dict.fromkeys(("calls_a", "calls_b", "blocks_a", "blocks_b"), "int64"),
    **dict.fromkeys(("block_s", "a", "b", "difference_low", "difference_high", "effect", "p_value"), "float64"),
    "note": TEXT,
}
_COLUMNS = [
    *("endpoint", "measure", "return_code", "message", "error", "percentile"),
    *("calls_a", "calls_b", "block_s", "blocks_a", "blocks_b"),
    *("a", "b", "difference", "difference_low", "difference_high", "ratio", "effect"),
    *("p_value", "p_corrected", "differs", "note"),
]


@returns_result
def compare(
    a: IntoCalls,
    b: IntoCalls,
    every: str | pd.Timedelta | None = None,
    at: Sequence[float] = PERCENTILES,
    permutations: int = 9_999,
    seed: int = 1,
) -> pd.DataFrame:
    """Compare the share of each outcome, and percentiles of the latencies, between two runs or periods.

    With many calls even the smallest difference is significant: look at ``effect`` and the interval too.

    Args:
        a, b: results of ``read``, or frames.
        every: least length of a block of time, such as "1min", which should be longer than a cluster of errors.
            Default: at least a 24th of the shorter side. Blocks are longer if the series has a longer memory, up to an
            eighth of the shorter side. A side with fewer than 8 blocks that have calls isn't tested.
        at: percentiles, 0..100. A percentile is compared if each side has 10 calls above and below.
        permutations: number of random assignments of blocks to the sides.
        seed: of the random numbers; the same seed gives the same result.

    Returns one row per endpoint, measure, and outcome or percentile. Columns:
        endpoint (category).
        measure (category): "share", "latency_ms", or "caller_ms" (only if some call waited).
        return_code, error (category), message (string): of a share, as in ``return_codes``.
        percentile (float64, 0..100): of latencies; null for shares.
        calls_a, calls_b (int64): calls of the endpoint.
        block_s (float64, s): length of the blocks.
        blocks_a, blocks_b (int64): blocks with calls of the endpoint.
        a, b (float64): the share (0..1), or the latency in ms, within 0.5 %.
        difference, difference_low, difference_high (float64): b - a, and its 95 % interval; null if not tested.
        ratio (float64): b / a.
        effect (float64): Cohen's h of two shares: 0.2 is small, 0.8 large. For a percentile, the shares are those of
            the calls slower than the percentile of both sides together.
        p_value, p_corrected (float64): before and after Holm's correction for the number of rows; null if not tested.
        differs (boolean): p_corrected is below 0.05; null if not tested.
        note (string): the reason if a row isn't tested, else "".

    Raises InputError for an invalid width.

    Example: ``compare(read("runs/before"), read("runs/after"))``. The method is described at the head of this module.
    """
    sides = (checked(a), checked(b))
    tables = [lazy(side, "return_code") for side in sides]
    width = bucket_width_ns(sides) if every is None else parse_width_ns(every)
    outcomes = both_sides([count_outcomes(table, width) for table in tables])
    measures = [SERVER, CALLER] if (outcomes["max_wait_ns"] > 0).any() else [SERVER]
    latencies = {it: both_sides([count_latencies(table, width, it, BIN_RATIO) for table in tables]) for it in measures}
    resampling = Resampling(permutations, seed, width, is_width_given=every is not None)
    frames = [pd.DataFrame()]
    for endpoint, counts in outcomes.groupby("endpoint", observed=True):
        of_endpoint = [_compare_shares(_matrix(counts, OUTCOME), resampling)]
        for measure, binned in latencies.items():
            counts = binned[binned["endpoint"] == endpoint]
            if len(counts):
                of_endpoint.append(_compare_latencies(_matrix(counts, ["bin"]), measure, at, resampling))
        frames += [rows.assign(endpoint=endpoint) for rows in of_endpoint]
    rows = [frame.reindex(columns=list(_DTYPES)).astype(_DTYPES) for frame in frames]
    return _finish(pd.concat(rows, ignore_index=True))


def _matrix(counts: pd.DataFrame, columns: list[str]) -> CountMatrix:
    return pivot(counts, ["side", "bucket_ns"], columns)


def _compare_shares(counts: CountMatrix, resampling: Resampling) -> pd.DataFrame:
    found = counts.calls
    buckets = SideBuckets.of(counts.rows, found.sum(axis=1), resampling.width)

    def shares(columns: Ints, sums: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            return sums[..., 1 + columns] / sums[..., :1]

    rows = _test(buckets, found, np.column_stack([buckets.calls, found]), shares, resampling)
    rows = rows.assign(measure=SHARE, **counts.columns)
    # An outcome in few blocks or none varies little between samples: no interval is narrower than Newcombe's.
    (calls_a, calls_b), (found_a, found_b) = buckets.sums(buckets.calls), buckets.sums(found)
    if calls_a and calls_b and "difference_low" in rows:
        least, most = newcombe(found_a, calls_a, found_b, calls_b)
        rows["difference_low"] = np.minimum(rows["difference_low"], least)
        rows["difference_high"] = np.maximum(rows["difference_high"], most)
    return rows


def _compare_latencies(counts: CountMatrix, measure: str, at: Sequence[float], resampling: Resampling) -> pd.DataFrame:
    calls, bins = counts.calls, counts.columns["bin"].to_numpy()
    buckets = SideBuckets.of(counts.rows, calls.sum(axis=1), resampling.width)
    fewest = min(side.sum() for side in buckets.sums(calls))
    at = [percentile for percentile in at if fewest * min(percentile, 100 - percentile) / 100 >= MIN_BEYOND]

    def quantiles_ms(columns: Ints, sums: Floats) -> Floats:
        logs = [log_quantiles(np.atleast_2d(sums), bins, at[column] / 100, BIN_RATIO) for column in columns]
        return np.exp(np.column_stack(logs)) / NS_PER_MS

    # The calls of each bucket beyond the bin edge that is nearest to each percentile of both sides together.
    cumulative = np.cumsum(calls.sum(axis=0))
    edges = [int(np.abs(cumulative - cumulative[-1] * percentile / 100).argmin()) for percentile in at]
    slower = np.asarray(calls.sum(axis=1)[:, None] - np.cumsum(calls, axis=1)[:, edges])
    return _test(buckets, slower, calls, quantiles_ms, resampling).assign(measure=measure, percentile=at)


def _test(
    buckets: SideBuckets,
    found: Floats,
    terms: Floats,
    statistic: Callable[[Ints, Floats], Floats],
    resampling: Resampling,
) -> pd.DataFrame:
    """Return one row per column of ``found`` (buckets × outcomes), with the columns that all measures have.

    ``statistic`` computes the compared values of some columns from sums of ``terms`` over buckets.
    """
    (calls_a, calls_b), (found_a, found_b) = buckets.sums(buckets.calls), buckets.sums(found)
    rows = pd.DataFrame(index=range(found.shape[1])).assign(calls_a=calls_a, calls_b=calls_b)
    with np.errstate(invalid="ignore"):
        rows["effect"] = cohen_h(found_a / calls_a, found_b / calls_b)
    for columns, blocks in buckets.blocks(found, resampling):
        a, b = (statistic(columns, side).reshape(-1) for side in buckets.sums(terms))
        values: dict[str, Any] = {"block_s": blocks.block_s, "note": blocks.note, "a": a, "b": b}
        values |= dict(zip(("blocks_a", "blocks_b"), blocks.sizes, strict=True))
        if not blocks.note:
            wider = np.array([blocks.widening(buckets.calls, column) for column in found[:, columns].T])
            sums = blocks.sums(buckets.calls), blocks.sums(found[:, columns])
            values["p_value"] = permuted_p(*sums, blocks.is_b, resampling.permutations, resampling.seed, wider)
            sides = blocks.sides(terms)
            ends = bootstrap(*sides, partial(statistic, columns), _RESAMPLES, resampling.seed)
            reach = np.sqrt(wider) * expansion(*blocks.sizes)
            low, high = (b - a + reach * (end - (b - a)) for end in ends)
            values |= {"difference_low": low, "difference_high": high}
        for name, value in values.items():
            rows.loc[columns, name] = value
    return rows


def _finish(found: pd.DataFrame) -> pd.DataFrame:
    """Sort the rows, correct the p-values, and add the columns that follow from others."""
    found = found.sort_values(["endpoint", "measure", *OUTCOME, "percentile"], ignore_index=True)
    corrected = holm(found["p_value"].to_numpy())
    return describe_codes(found).assign(
        error=found["error"].astype("category"),
        difference=found["b"] - found["a"],
        ratio=found["b"] / found["a"].where(found["a"] > 0),
        p_corrected=corrected,
        differs=pd.Series(corrected < _SIGNIFICANT, found.index, "boolean").mask(np.isnan(corrected)),
    )[_COLUMNS]
