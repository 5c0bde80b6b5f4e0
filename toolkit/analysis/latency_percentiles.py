"""Percentiles: how long calls took, by any of their columns, and over time.

``latency_ms`` is the server's: from the first byte out to the whole answer. ``caller_ms`` is what the caller waited:
it starts when the call was meant to start, so a server that stalls can't hide the calls it held back. Every call
counts, also one that failed, with the time until it failed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import narwhals as nw
import pandas as pd

from toolkit.analysis import latency_histogram, native_ops
from toolkit.analysis.calls_table import IntoCalls, LazyTable, collect, lazy
from toolkit.analysis.timestamps import NS_PER_MS, bucket_start_ns, to_utc
from toolkit.runs.thresholds import Measure

SERVER, CALLER = (measure.value for measure in Measure)
MEASURES = {SERVER: "the server's latency", CALLER: "what the caller waited"}
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
# Evenly spread on an axis that gives each further nine the same room: what a picture of the tail needs.
TAIL = tuple(100 * (1 - 0.5 * 500 ** (-step / 50)) for step in range(51))

Method: TypeAlias = Literal["auto", "exact", "histogram"]
EXACT_CALLS = 100_000_000  # beyond, "auto" takes histograms: an exact percentile has to keep every time
_TIME = "time_ns"
TIME_NS = {SERVER: nw.col("latency_ns"), CALLER: nw.col("latency_ns") + nw.col("wait_ns")}


def latency(
    calls: IntoCalls,
    by: str | Sequence[str] = ("endpoint",),
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
    table, keys = lazy(calls), [by] if isinstance(by, str) else list(by)
    if every is not None:
        table, keys = table.with_columns(bucket_ns=bucket_start_ns(every)), ["bucket_ns", *keys]
    count, has_waits = _look(table)
    is_exact = method == "exact" or (method == "auto" and count <= EXACT_CALLS)
    quantiles = native_ops.quantiles if is_exact else latency_histogram.quantiles
    server = _take(quantiles, table, keys, SERVER, list(at))
    caller = _take(quantiles, table, keys, CALLER, list(at)) if has_waits else server.assign(measure=CALLER)
    found = pd.concat([server, caller]).astype({"measure": pd.CategoricalDtype(list(MEASURES), ordered=True)})
    found["error_ratio"] = 0.0 if is_exact else latency_histogram.ERROR_RATIO
    found = found.sort_values([*keys, "measure"], ignore_index=True)
    found.insert(len(keys), "measure", found.pop("measure"))
    if every is not None:
        found.insert(0, "started", to_utc(found.pop("bucket_ns")))
    return found


def column(percentile: float) -> str:
    """Return the name of a percentile's column: p50_ms, p99.9_ms."""
    return f"p{percentile:.12g}_ms"


def _look(table: LazyTable) -> tuple[int, bool]:
    """Return how many calls there are, and whether any of them began later than it was meant to."""
    found = collect(table.select(calls=nw.len(), waited=nw.col("wait_ns").max())).iloc[0]
    return int(found["calls"]), bool(pd.notna(found["waited"]) and found["waited"] > 0)


def _take(
    quantiles: Callable[..., pd.DataFrame], table: LazyTable, keys: list[str], measure: str, at: list[float]
) -> pd.DataFrame:
    """Take the percentiles of one measure; columns as ``latency`` has them."""
    timed = table.with_columns(TIME_NS[measure].alias(_TIME))
    found = quantiles(timed, keys, _TIME, [percentile / 100 for percentile in at])
    times = {column(percentile): found[str(place)] / NS_PER_MS for place, percentile in enumerate(at)}
    return found[[*keys, "calls"]].assign(
        **times, mean_ms=found["mean"] / NS_PER_MS, max_ms=found["most"] / NS_PER_MS, measure=measure
    )
