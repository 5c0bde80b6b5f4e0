"""Bins: times counted in bins, which take the memory of the bins, not of the calls, and add up over machines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pandas as pd

from toolkit.analysis.calls_table import Lazy, collect

BIN_RATIO = 1.01  # each bin is so many times as long as the one before
ERROR_RATIO = BIN_RATIO**0.5 - 1  # how far a time may be from the middle of its bin


def bin_of(time_ns: nw.Expr, ratio: float = BIN_RATIO) -> nw.Expr:
    """Return the number of the bin that a time in ns falls into; those below a nanosecond are in the first, 0."""
    least = nw.when(time_ns < 1).then(1).otherwise(time_ns)
    return (least.log() / math.log(ratio)).floor().cast(nw.Int64)


def middle_ns(bins: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the times in the middle of bins, by ratio, in ns."""
    return BIN_RATIO ** (np.asarray(bins, np.float64) + 0.5)


def quantiles(table: Lazy, by: Sequence[str], value: str, at: Sequence[float]) -> pd.DataFrame:
    """Take quantiles of a time, in ns, in each group: each is the middle of the bin with the call at its rank.

    One row per group, in no promised order; columns as ``engines.quantiles`` has them.
    """
    keys, calls, upto = list(by), nw.col("calls"), nw.col("upto")
    counts = (
        table.with_columns(bin=bin_of(nw.col(value)))
        .group_by([*keys, "bin"])
        .agg(calls=nw.len(), total=nw.col(value).sum(), most=nw.col(value).max())
    )
    ranked = counts.with_columns(
        upto=calls.cum_sum().over(keys, order_by="bin"),
        whole=calls.sum().over(keys),
        total=nw.col("total").sum().over(keys),
        most=nw.col("most").max().over(keys),
    )
    ranks = [((nw.col("whole") - 1) * share).floor() + 1 for share in at]
    holds = {str(place): (upto >= rank) & (upto - calls < rank) for place, rank in enumerate(ranks)}
    found = collect(ranked.with_columns(**holds).filter(nw.any_horizontal(*holds, ignore_nulls=True)))
    return _by_group(found, keys, list(holds))


def _by_group(found: pd.DataFrame, keys: list[str], places: list[str]) -> pd.DataFrame:
    """Bring the bins that hold a quantile into one row per group."""
    times = pd.Series(np.minimum(middle_ns(found["bin"]), found["most"]), found.index)
    shown = found[keys].assign(calls=found["whole"], mean=found["total"] / found["whole"], most=found["most"])
    shown = shown.assign(**{place: times.where(found[place]) for place in places})
    return shown.groupby(keys, observed=True, dropna=False).max().reset_index()
