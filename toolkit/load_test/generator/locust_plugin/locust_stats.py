"""Tables: locust's own, kept for the engine's calls in bulk.

"send" and "verify" have the server's latency. What callers waited has rows of its own, which aren't in the total: it
is the same calls.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

import locust.stats
import numpy as np
from locust import events
from locust.stats import PERCENTILES_TO_REPORT, RequestStats, StatsCSV, StatsEntry, StatsError
from numpy.typing import NDArray

from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.results.metrics import Times
from toolkit.records.histogram import Histogram, middles_ms
from toolkit.runs.thresholds import Measure

_METHODS = {Measure.LATENCY_MS: "POST", Measure.CALLER_MS: "CALLER"}


class Tables:
    """Adds what is new to locust's tables, whenever it is told what there is."""

    def __init__(self, stats: RequestStats) -> None:
        self._stats, self._shown_ms = stats, _shown_ms()
        self._seen: Times = {}
        for endpoint in Endpoint:
            for method in _METHODS.values():
                stats.get(endpoint.value, method)  # locust divides by the time since an entry was first asked for

    def update(self, times: Times, failures: Mapping[tuple[Endpoint, str], int], has_events: bool) -> None:
        """Add the calls that came since the last time; those that events told of only where they waited."""
        failed = _sums(failures)
        for (endpoint, measure), now in times.items():
            new = now.since(self._seen[endpoint, measure]) if (endpoint, measure) in self._seen else now
            is_latency = measure is Measure.LATENCY_MS
            if len(new) and not (has_events and is_latency):
                self._add(endpoint, _METHODS[measure], new, failed[endpoint] if is_latency else 0)
        self._seen = dict(times)
        for (endpoint, error), calls in failures.items():
            self._add_error(endpoint, error, calls)

    def _add(self, endpoint: Endpoint, method: str, times: Histogram, failed: int) -> None:
        delta = StatsEntry(self._stats, endpoint.value, method)
        now_s = time.time()
        shown = self._show(times)
        delta.start_time = delta.last_request_timestamp = now_s
        delta.num_requests, delta.num_failures = len(times), failed
        delta.total_response_time = times.total()  # type: ignore[assignment] # it says int; any number serves
        delta.min_response_time, delta.max_response_time = min(shown), times.max()  # type: ignore[assignment]
        delta.response_times.update(shown)  # type: ignore[arg-type]
        delta.num_reqs_per_sec[int(now_s)] = len(times)
        if failed:
            delta.num_fail_per_sec[int(now_s)] = failed
        self._stats.get(endpoint.value, method).extend(delta)
        if method == _METHODS[Measure.LATENCY_MS]:
            self._stats.total.extend(delta)

    def _show(self, times: Histogram) -> dict[float, int]:
        """Return how many calls took how long, in ms of three digits."""
        buckets, calls = times.buckets()
        shown_ms = self._shown_ms[buckets]
        first = np.flatnonzero(np.diff(shown_ms, prepend=-1.0))
        return dict(zip(shown_ms[first].tolist(), np.add.reduceat(calls, first).tolist(), strict=True))

    def _add_error(self, endpoint: Endpoint, error: str, calls: int) -> None:
        key = StatsError.create_key("POST", endpoint.value, error)
        known = self._stats.errors.setdefault(key, StatsError("POST", endpoint.value, error))
        known.occurred()
        known.occurrences += calls - 1


@cache
def _shown_ms() -> NDArray[np.float64]:
    return np.array([three_digits(time_ms) for time_ms in middles_ms()])


def _sums(failures: Mapping[tuple[Endpoint, str], int]) -> Counter[Endpoint]:
    sums: Counter[Endpoint] = Counter()
    for (endpoint, _), calls in failures.items():
        sums[endpoint] += calls
    return sums


@lru_cache(maxsize=8)  # locust asks twice of each call: for its row, and for the sum of all
def three_digits(time_ms: float) -> float:
    """Round a time to three significant digits, but not below a microsecond."""
    if time_ms < 1:
        return int(time_ms * 1000 + 0.5) / 1000  # as round would, in a third of its time
    return round(time_ms, 2 - math.floor(math.log10(time_ms)))


def _percentile_fields(csv: StatsCSV, entry: StatsEntry, use_current: bool = False) -> list[Any]:
    if not entry.num_requests:
        return csv.percentiles_na
    is_current = use_current and entry.use_response_times_cache
    percentile = entry.get_current_response_time_percentile if is_current else entry.get_response_time_percentile
    return [percentile(it) or 0 for it in csv.percentiles_to_report]


def _percentile_row(entry: StatsEntry) -> str:
    kind, name = locust.stats.STATS_TYPE_WIDTH, locust.stats.STATS_NAME_WIDTH
    times = " ".join(f"{entry.get_response_time_percentile(it):6g}" for it in PERCENTILES_TO_REPORT)
    return f"{entry.method or '':{kind}} {entry.name:{name}} {times} {entry.num_requests:6}"


def _take_part(**_: object) -> None:
    stats: Any = locust.stats
    stats.bucket_response_time = three_digits
    stats.StatsCSV._percentile_fields = _percentile_fields
    stats.StatsEntry.percentile = _percentile_row


events.init.add_listener(_take_part)  # type: ignore[no-untyped-call]
