"""Measure the parts of a run that thresholds with a window are compared with.

A window of 5m has ten slots of 30 s. Each call is in the slot in which it was due. The calls of a slot are counted by
outcome, and their times by the bins of a histogram, in one query over all records; a part of the run is the sum of ten
slots in a row. So a long run needs no more memory than its slots. Percentiles are within 0.05 % of the exact ones;
means and maxima are exact.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from toolkit.analysis import Calls
from toolkit.analysis.calls_table import RESPONSE_KIND, collect, lazy
from toolkit.analysis.histogram_quantiles import bin_of, middle_ns
from toolkit.analysis.latency_percentiles import HAS_LATENCY, TIME_NS
from toolkit.analysis.timestamps import NS_PER_MS, NS_PER_S
from toolkit.api.return_codes import kind_of
from toolkit.api.wire import Endpoint
from toolkit.outcome_colours import status_outcome
from toolkit.records.call_record import is_failed
from toolkit.runs.thresholds import Measure, RunFigures

_SLOTS = 10  # of a window
_BIN_RATIO = 1.001
_MIN_PART = 0.99  # of a window: a run planned for its length ends with the last call, a little earlier
DUE_NS = nw.col("started_ns") - nw.col("wait_ns").fill_null(0)


@dataclass(frozen=True, slots=True)
class BinnedTimes:
    """Times of calls in the bins of a histogram: a ``thresholds.TimeStatistics``.

    ``bins``: a frame with the columns bin, calls, total_ns and most_ns, in any order.
    """

    bins: pd.DataFrame

    def percentile(self, percentile: float) -> float:
        """Return the middle of the bin with the call at a percentile, 0..100, in ms."""
        counts = self.bins.groupby("bin")["calls"].sum()
        rank = max(1, math.ceil(percentile / 100 * int(counts.sum())))
        place = int(np.searchsorted(counts.cumsum().to_numpy(), rank))
        return min(float(middle_ns(counts.index[place], _BIN_RATIO)) / NS_PER_MS, self.max())

    def mean(self) -> float:
        """Return the mean in ms."""
        return float(self.bins["total_ns"].sum() / self.bins["calls"].sum() / NS_PER_MS)

    def max(self) -> float:
        """Return the maximum in ms."""
        return float(self.bins["most_ns"].max() / NS_PER_MS)


def measure_windows(
    calls: Calls, window_s: float, sending_s: float, expected: Collection[int | str], about: Mapping[str, Any]
) -> list[RunFigures]:
    """Return the figures of each part of a run that is as long as a window.

    The list is empty if the run is shorter than 99 % of the window.

    Args:
        calls: the calls of the run.
        window_s: the length of the window.
        sending_s: the time in which calls were due.
        expected: outcomes that are not failures.
        about: further fields of the figures.
    """
    slot_ns = window_s * NS_PER_S / _SLOTS
    table = lazy(calls)
    ends = collect(table.select(first=DUE_NS.min(), last=DUE_NS.max())).iloc[0]
    if pd.isna(ends["first"]):
        return []
    first_ns = int(ends["first"])
    table = table.with_columns(slot=((DUE_NS - first_ns) / slot_ns).floor().cast(nw.Int64))
    plain = table.group_by("slot", "endpoint", "return_code", "http_status", "kind", "error").agg(calls=nw.len())
    counts = collect(plain.with_columns(response_kind=RESPONSE_KIND))
    times = {measure: _count_times(table, TIME_NS[measure]) for measure in Measure}
    length_ns = max(sending_s * NS_PER_S, int(ends["last"]) + 1 - first_ns)
    if length_ns < _MIN_PART * window_s * NS_PER_S:
        return []
    slots = max(_SLOTS, math.ceil(length_ns / slot_ns - 1e-9))
    parts = []
    for first in range(slots - _SLOTS + 1):
        is_in = {"first": first, "last": first + _SLOTS - 1}
        left_s = sending_s - first * slot_ns / NS_PER_S
        timed = {
            (Endpoint(str(endpoint)), measure): BinnedTimes(bins)
            for measure, frame in times.items()
            for endpoint, bins in _between(frame, **is_in).groupby("endpoint", observed=True)
        }
        parts.append(_figures(_between(counts, **is_in), timed, window_s, min(window_s, left_s), expected, about))
    return parts


def _between(frame: pd.DataFrame, first: int, last: int) -> pd.DataFrame:
    return frame[frame["slot"].between(first, last)]


def _count_times(table: Any, time_ns: nw.Expr) -> pd.DataFrame:
    timed = (
        table.filter(HAS_LATENCY).with_columns(time_ns=time_ns).with_columns(bin=bin_of(nw.col("time_ns"), _BIN_RATIO))
    )
    time = nw.col("time_ns")
    return collect(
        timed.group_by("slot", "endpoint", "bin").agg(calls=nw.len(), total_ns=time.sum(), most_ns=time.max())
    )


def _figures(
    counts: pd.DataFrame,
    times: Mapping[tuple[Endpoint, Measure], BinnedTimes],
    duration_s: float,
    sending_s: float,
    expected: Collection[int | str],
    about: Mapping[str, Any],
) -> RunFigures:
    outcomes: Counter[tuple[Endpoint, int | str]] = Counter()
    failed: Counter[Endpoint] = Counter()
    unknown: Counter[tuple[Endpoint, int]] = Counter()
    for row in counts.astype(object).where(counts.notna(), None).to_dict("records"):
        endpoint, calls = Endpoint(str(row["endpoint"])), int(row["calls"])
        code, status, error = row["return_code"], row["http_status"], row["error"] and str(row["error"])
        if code is None and error is None:
            unknown[endpoint, int(status)] += calls
        outcomes[endpoint, status_outcome(status) if code is None and error is None else error or int(code)] += calls
        failed[endpoint] += calls * is_failed(code, row["response_kind"] or kind_of(code), error, expected)
    return RunFigures(duration_s, outcomes, times, failed, max(0.0, sending_s), unknown=unknown, **about)
