"""Latency: how long calls took, as exact percentiles of two measures.

``latency_ms`` is the server's: from the first byte out to the whole answer. ``caller_ms`` is what the caller waited:
it starts when the call was meant to start, so a server that stalls can't hide the calls it held back. Every call
counts, also one that failed, with the time until it failed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from toolkit.thresholds import Measure

SERVER, CALLER = (measure.value for measure in Measure)
MEASURES = {SERVER: "the server's latency", CALLER: "what the caller waited"}
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
# Evenly spread on an axis that gives each further nine the same room: what a picture of the tail needs.
TAIL = tuple(100 * (1 - 0.5 * 500 ** (-step / 50)) for step in range(51))
_NS_PER_MS = 1e6


def percentiles(
    calls: pd.DataFrame, by: Sequence[str] = ("endpoint",), at: Sequence[float] = PERCENTILES
) -> pd.DataFrame:
    """Take exact percentiles of both measures in each group of calls.

    ``by`` names the columns that make a group, ``at`` the percentiles, 0..100. Between two calls the percentile is
    interpolated linearly (Hyndman and Fan's type 7, as numpy and pandas do). One row per group and measure; columns:
    those of ``by``, measure ("latency_ms" or "caller_ms", category), calls (int64), one per percentile (p50_ms, ...,
    p99.9_ms: ms, float64), max_ms (ms, float64).
    """
    waited = calls[list(by)].assign(**{SERVER: calls["latency_ns"], CALLER: calls["wait_ns"] + calls["latency_ns"]})
    table = pd.concat([_measure(waited, measure, list(by), at) for measure in MEASURES], ignore_index=True)
    table["measure"] = pd.Categorical(table["measure"], list(MEASURES))
    return table.sort_values([*by, "measure"], ignore_index=True)


def column(percentile: float) -> str:
    """Return the name of a percentile's column: p50_ms, p99.9_ms."""
    return f"p{percentile:.12g}_ms"


def _measure(waited: pd.DataFrame, measure: str, by: list[str], at: Sequence[float]) -> pd.DataFrame:
    groups = waited.groupby(by, observed=True, dropna=False)[measure]
    table = groups.size().rename("calls").reset_index()
    table.insert(len(by), "measure", measure)
    # One pass for all percentiles: they come group by group, in the order of ``table``.
    found = groups.quantile(np.asarray(at) / 100).to_numpy().reshape(-1, len(at))
    table[[column(percentile) for percentile in at]] = found / _NS_PER_MS
    return table.assign(max_ms=groups.max().to_numpy() / _NS_PER_MS)
