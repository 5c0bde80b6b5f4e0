"""Compute quantiles of latencies from histograms.

A histogram takes the memory of its bins, not of the calls, and histograms of several machines can be added. Bin n holds
the latencies from 1.01**n to 1.01**(n + 1) ns, so the middle of a bin (by ratio) is within 0.5 % of all its latencies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pandas as pd

from toolkit.analysis.calls_table import LazyTable, collect

BIN_RATIO = 1.01  # upper edge / lower edge of a bin: 1.001 would take ten times the memory
ERROR_RATIO = BIN_RATIO**0.5 - 1  # the largest relative distance of a latency from the middle of its bin


def bin_of(time_ns: nw.Expr, ratio: float = BIN_RATIO) -> nw.Expr:
    """Return an expression for the number of the bin that a time falls into; times below 1 ns are in bin 0."""
    positive = nw.when(time_ns < 1).then(1).otherwise(time_ns)
    return (positive.log() / math.log(ratio)).floor().cast(nw.Int64)


def middle_ns(bins: npt.ArrayLike, ratio: float = BIN_RATIO) -> npt.NDArray[np.float64]:
    """Return the middle of each bin, by ratio, in nanoseconds."""
    return ratio ** (np.asarray(bins, np.float64) + 0.5)


def quantiles(table: LazyTable, by: Sequence[str], value: str, at: Sequence[float]) -> pd.DataFrame:
    """Estimate quantiles of a time in nanoseconds in each group: the middle of the bin with the call at that rank.

    One row per group, in any order; columns as in ``native_ops.quantiles``.
    """
    keys, calls, running = list(by), nw.col("calls"), nw.col("running")
    counts = (
        table.with_columns(bin=bin_of(nw.col(value)))
        .group_by([*keys, "bin"])
        .agg(calls=nw.len(), total=nw.col(value).sum(), most=nw.col(value).max())
    )
    cumulative = counts.with_columns(
        running=calls.cum_sum().over(keys, order_by="bin"),
        whole=calls.sum().over(keys),
        total=nw.col("total").sum().over(keys),
        most=nw.col("most").max().over(keys),
    )
    ranks = [((nw.col("whole") - 1) * share).floor() + 1 for share in at]
    holds_rank = {str(number): (running >= rank) & (running - calls < rank) for number, rank in enumerate(ranks)}
    bins = collect(cumulative.with_columns(**holds_rank).filter(nw.any_horizontal(*holds_rank, ignore_nulls=True)))
    # Now one row per group and bin that holds a quantile: merge them into one row per group.
    times = pd.Series(np.minimum(middle_ns(bins["bin"]), bins["most"]), bins.index)
    rows = bins[keys].assign(calls=bins["whole"], mean=bins["total"] / bins["whole"], most=bins["most"])
    rows = rows.assign(**{name: times.where(bins[name]) for name in holds_rank})
    return rows.groupby(keys, observed=True, dropna=False).max().reset_index()
