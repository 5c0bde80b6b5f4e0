"""Percentiles: how long calls took, by any of their columns, and over time.

``latency_ms`` is the server's: from the first byte out to the whole answer. ``caller_ms`` is what the caller waited:
it starts when the call was meant to start, so a server that stalls can't hide the calls it held back. Every call
counts, also one that failed, with the time until it failed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import narwhals as nw
import numpy as np
import pandas as pd

from toolkit.analysis.engines import quantiles
from toolkit.analysis.table import NS_PER_MS, IntoCalls, Lazy, bucket_ns, collect, lazy, to_utc
from toolkit.thresholds import Measure

SERVER, CALLER = (measure.value for measure in Measure)
MEASURES = {SERVER: "the server's latency", CALLER: "what the caller waited"}
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
# Evenly spread on an axis that gives each further nine the same room: what a picture of the tail needs.
TAIL = tuple(100 * (1 - 0.5 * 500 ** (-step / 50)) for step in range(51))

Method: TypeAlias = Literal["auto", "exact", "histogram"]
EXACT_CALLS = 100_000_000  # beyond, "auto" takes histograms: an exact percentile has to keep every time
BIN_RATIO = 1.01  # of a histogram's bins, each so many times as long as the one before
ERROR_RATIO = BIN_RATIO**0.5 - 1
_TIME = "time_ns"
_NS = {SERVER: nw.col("latency_ns"), CALLER: nw.col("latency_ns") + nw.col("wait_ns")}


def latency(
    calls: IntoCalls,
    by: Sequence[str] = ("endpoint",),
    every: str | pd.Timedelta | None = None,
    at: Sequence[float] = PERCENTILES,
    method: Method = "auto",
) -> pd.DataFrame:
    """Take percentiles of both measures in each group of calls, and with ``every`` in each bucket of time.

    ``by`` names the columns that make a group, ``at`` the percentiles, 0..100. An exact one is interpolated linearly
    between two calls (Hyndman and Fan's type 7, as numpy and pandas do). With ``method`` "histogram" times are counted
    in bins of 1 %, which takes the memory of the bins, not of the calls, and add up over machines: a percentile is
    within 0.5 % of the time of the call at its rank. "auto" is exact up to 100 million calls.

    One row per bucket, group and measure; columns: started (of the bucket, UTC; with ``every``), those of ``by``,
    measure ("latency_ms" or "caller_ms", category), calls (int64), one per percentile (p50_ms, ..., p99.9_ms: ms,
    float64), mean_ms, max_ms (exact, ms, float64), error_ratio (how far a percentile may be off, 0 where it is exact).
    """
    table, keys = lazy(calls), list(by)
    if every is not None:
        table, keys = table.with_columns(bucket_ns=bucket_ns(every)), ["bucket_ns", *keys]
    is_exact = method == "exact" or (method == "auto" and _count(table) <= EXACT_CALLS)
    take = _take_exact if is_exact else _take_binned
    found = pd.concat([_measure(take, table, keys, measure, list(at)) for measure in MEASURES], ignore_index=True)
    found["measure"] = pd.Categorical(found["measure"], list(MEASURES), ordered=True)
    found = found.assign(error_ratio=0.0 if is_exact else ERROR_RATIO).sort_values(
        [*keys, "measure"], ignore_index=True
    )
    if every is not None:
        found.insert(0, "started", to_utc(found.pop("bucket_ns")))
    return found


def column(percentile: float) -> str:
    """Return the name of a percentile's column: p50_ms, p99.9_ms."""
    return f"p{percentile:.12g}_ms"


def _count(table: Lazy) -> int:
    return int(collect(table.select(calls=nw.len()))["calls"].iloc[0])


def _take_exact(table: Lazy, keys: list[str], at: list[float]) -> pd.DataFrame:
    """Take percentiles, in ns, as ``engines.quantiles`` does."""
    return quantiles(table, keys, _TIME, [percentile / 100 for percentile in at])


def _take_binned(table: Lazy, keys: list[str], at: list[float]) -> pd.DataFrame:
    """Take them from counts in bins: the time in the middle of the bin that holds the call at a percentile's rank."""
    time = nw.col(_TIME)
    binned = table.with_columns(
        bin=(nw.when(time < 1).then(1).otherwise(time).log() / math.log(BIN_RATIO)).floor().cast(nw.Int64)
    )
    counts = collect(binned.group_by([*keys, "bin"]).agg(calls=nw.len(), total=time.sum(), most=time.max()))
    counts = counts.sort_values([*keys, "bin"], ignore_index=True)
    groups = counts.groupby(keys, observed=True, dropna=False, sort=False)
    upto, whole = groups["calls"].cumsum(), groups["calls"].transform("sum")
    middle = np.minimum(BIN_RATIO ** (counts["bin"] + 0.5), groups["most"].transform("max"))
    found = groups.agg(calls=("calls", "sum"), mean=("total", "sum"), most=("most", "max")).reset_index()
    found["mean"] /= found["calls"]
    for place, percentile in enumerate(at):
        rank = np.floor((whole - 1) * percentile / 100) + 1
        at_rank = counts.assign(ms=middle)[(upto >= rank) & (upto - counts["calls"] < rank)]
        found[str(place)] = at_rank["ms"].to_numpy()
    return found


def _measure(
    take: Callable[[Lazy, list[str], list[float]], pd.DataFrame],
    table: Lazy,
    keys: list[str],
    measure: str,
    at: list[float],
) -> pd.DataFrame:
    found = take(table.with_columns(_NS[measure].alias(_TIME)), keys, at)
    times = {column(percentile): found[str(place)] / NS_PER_MS for place, percentile in enumerate(at)}
    shown = found[[*keys, "calls"]].assign(**times, mean_ms=found["mean"] / NS_PER_MS, max_ms=found["most"] / NS_PER_MS)
    shown.insert(len(keys), "measure", measure)
    return shown
