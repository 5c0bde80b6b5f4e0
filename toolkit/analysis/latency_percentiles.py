"""Compute percentiles of latencies by any column, in total and over time.

``latency_ms`` is the server latency: from the first byte of the request to the end of the response. ``caller_ms`` is
the caller latency: it begins when the call was due, so that calls that a slow server delayed count with their delay.
This avoids coordinated omission (G. Tene, How NOT to Measure Latency, 2015).

A call that timed out, or that its caller ended, counts with the time until then: it took at least as long. A call that
never connected is left out: a refused connection takes a millisecond, and would make a dead server look fast.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import narwhals as nw
import pandas as pd

from toolkit.analysis import histogram_quantiles, native_ops
from toolkit.analysis.calls_table import IntoCalls, LazyTable, collect, covered_ratio, lazy, with_buckets
from toolkit.analysis.tidy_frames import returns_result
from toolkit.analysis.timestamps import NS_PER_MS, bucket_times
from toolkit.records.call_record import Failure
from toolkit.runs.thresholds import Measure
from toolkit.time_zone import UTC

SERVER, CALLER = (measure.value for measure in Measure)
MEASURES = {SERVER: "server latency", CALLER: "caller latency"}
"""Labels of the measures."""
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
# Percentiles for a picture of the tail: evenly spaced on an axis on which each further nine has the same length.
TAIL = tuple(100 * (1 - 0.5 * 500 ** (-step / 50)) for step in range(51))

Method: TypeAlias = Literal["auto", "exact", "histogram"]
EXACT_CALLS = 100_000_000  # "auto" uses histograms beyond that: exact percentiles keep every latency in memory
_TIME = "time_ns"
# A call that never connected has no latency, and neither has a call of a log without durations.
HAS_LATENCY = (nw.col("error") != Failure.CONNECT.value).fill_null(True) & ~nw.col("latency_ns").is_null()
TIME_NS = {SERVER: nw.col("latency_ns"), CALLER: nw.col("latency_ns") + nw.col("wait_ns")}


@returns_result
def latency(
    calls: IntoCalls,
    by: str | Sequence[str] = ("endpoint",),
    every: str | pd.Timedelta | None = None,
    at: Sequence[float] = PERCENTILES,
    method: Method = "auto",
    timezone: str = UTC,
) -> pd.DataFrame:
    """Compute percentiles of the server latency and of the caller latency in each group of calls.

    Args:
        calls: the result of ``read``, or a frame.
        by: columns that form a group.
        every: width of a time bucket, such as "1min"; with it, each bucket has separate rows.
        at: percentiles, 0..100.
        method: "exact" interpolates linearly between two calls (type 7 of Hyndman and Fan, as numpy and pandas do).
            "histogram" counts latencies in bins of 1 %, which takes little memory and adds up over machines; a
            percentile is within 0.5 % of the call at its rank. "auto" is exact for up to 100 million calls.

        timezone: the time zone to whose midnight buckets are aligned.

    Returns one row per bucket, group and measure. Columns:
        started, ended (datetime64[ns, timezone]), covered_ratio (float64, 0..1): of the bucket, only with ``every``; as
            in ``over_time``.
        the columns of ``by``.
        measure (category): "latency_ms" or "caller_ms".
        calls (int64): those that connected and whose latency is known.
        p50_ms, p90_ms, ... (float64, ms): one column per percentile of ``at``.
        mean_ms, max_ms (float64, ms): mean, and exact maximum.
        error_ratio (float64): largest relative error of a percentile; 0 if exact.

    Raises InputError for an invalid width and if ``calls`` isn't a frame of calls.

    Example: ``latency(read("runs/*"), by=("endpoint", "app_key"), every="1min", at=(50, 99.99))``.
    """
    table, keys = lazy(calls).filter(HAS_LATENCY), [by] if isinstance(by, str) else list(by)
    if every is not None:
        table, keys = with_buckets(table, every, timezone), ["bucket_ns", *keys]
    totals = collect(table.select(calls=nw.len(), max_wait_ns=nw.col("wait_ns").max())).iloc[0]
    has_waits = bool(pd.notna(totals["max_wait_ns"]) and totals["max_wait_ns"] > 0)
    is_exact = method == "exact" or (method == "auto" and int(totals["calls"]) <= EXACT_CALLS)
    quantiles = native_ops.quantiles if is_exact else histogram_quantiles.quantiles
    server = _percentiles(quantiles, table, keys, SERVER, list(at))
    caller = _percentiles(quantiles, table, keys, CALLER, list(at)) if has_waits else server.assign(measure=CALLER)
    found = pd.concat([server, caller]).astype({"measure": pd.CategoricalDtype(list(MEASURES), ordered=True)})
    found["error_ratio"] = 0.0 if is_exact else histogram_quantiles.ERROR_RATIO
    found = found.sort_values([*keys, "measure"], ignore_index=True)
    found.insert(len(keys), "measure", found.pop("measure"))
    if every is not None:
        started, ended = bucket_times(found.pop("bucket_ns"), every, timezone)
        found.insert(0, "started", started)
        found.insert(1, "ended", ended)
        found.insert(2, "covered_ratio", covered_ratio(table, started, ended))
    return found


def percentile_column(percentile: float) -> str:
    """Return the name of a percentile's column.

    >>> percentile_column(99.9)
    'p99_9_ms'
    """
    return f"p{percentile:.12g}_ms".replace(".", "_")  # a point would break pandas' query()


def percentile_of(column: str) -> float | None:
    """Return the percentile of a column that ``percentile_column`` named; None for another column.

    >>> percentile_of("p99_9_ms"), percentile_of("max_ms")
    (99.9, None)
    """
    found = re.fullmatch(r"p(\d+(?:_\d+)?)_ms", column)
    return float(found[1].replace("_", ".")) if found else None


def _percentiles(
    quantiles: Callable[..., pd.DataFrame], table: LazyTable, keys: list[str], measure: str, at: list[float]
) -> pd.DataFrame:
    """Return the percentiles of one measure, with the columns of ``latency``."""
    timed = table.with_columns(TIME_NS[measure].alias(_TIME))
    found = quantiles(timed, keys, _TIME, [percentile / 100 for percentile in at])
    times = {percentile_column(it): found[str(number)] / NS_PER_MS for number, it in enumerate(at)}
    return found[[*keys, "calls"]].assign(
        **times, mean_ms=found["mean"] / NS_PER_MS, max_ms=found["most"] / NS_PER_MS, measure=measure
    )
