"""Update locust's request statistics in batches, and show its times with three significant digits.

The rows "send" and "verify" hold the server's latency. In an open loop each has a second row, with the method CALLER,
for the time from the intended start to the response. Those rows are not in locust's total, as the calls are the same.

Failed calls are grouped, see ``results.failure_groups``: a row of locust's table of errors is a group, not a message.

Locust cuts times to whole milliseconds. Its function that sorts times into buckets may be replaced; its CSV and its
console round in two methods, which are replaced too.
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
from locust.stats import PERCENTILES_TO_REPORT, RequestStats, StatsCSV, StatsEntry, StatsError
from numpy.typing import NDArray

from toolkit.api.errors import CallError
from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.results.failure_groups import FailureGroups, group_name
from toolkit.load_test.generator.results.metrics import Times
from toolkit.records.latency_histogram import Histogram, middles_ms
from toolkit.runs.thresholds import Measure

_METHODS = {Measure.LATENCY_MS: "POST", Measure.CALLER_MS: "CALLER"}


class BatchedStats:
    """Adds the calls since the last update to locust's statistics.

    Args:
        stats: locust's statistics.
        measures: the measures that get rows.
    """

    def __init__(self, stats: RequestStats, measures: tuple[Measure, ...]) -> None:
        self._stats, self._measures = stats, measures
        original = type(stats).log_error

        def log_error(method: str, name: str, error: Exception | str | None) -> None:
            original(stats, method, name, group_name(error) if isinstance(error, CallError) else error)

        stats.log_error = log_error  # type: ignore[method-assign]
        self._seen: Times = {}
        self._updated_s = time.time()

    def update(
        self,
        times: Times,
        failures: FailureGroups,
        body_bytes: Mapping[Endpoint, int],
        has_events: bool,
    ) -> None:
        """Add the new calls.

        Args:
            times: the times of all calls of the test so far.
            failures: all failed calls so far; those that an earlier update has counted are skipped.
            body_bytes: the size of the responses since the last update.
            has_events: True if locust's request event was fired for each call: locust counts those itself.
        """
        new_failures = failures.take()
        failed: Counter[str] = Counter()
        for (name, _), calls in new_failures.items():
            failed[name] += calls
        for (endpoint, measure), now in times.items():
            is_latency = measure is Measure.LATENCY_MS
            if measure not in self._measures or (has_events and is_latency):
                continue
            new = now.since(self._seen[endpoint, measure]) if (endpoint, measure) in self._seen else now
            if len(new):
                counts = (failed[endpoint.value], body_bytes.get(endpoint, 0)) if is_latency else (0, 0)
                self._add(endpoint, _METHODS[measure], new, *counts)
        self._seen, self._updated_s = dict(times), time.time()
        for (name, group), calls in new_failures.items():
            key = StatsError.create_key("POST", name, group)
            entry = self._stats.errors.setdefault(key, StatsError("POST", name, group))
            entry.error = failures.describe((name, group))  # the key stays, so that the rows of several workers add up
            if not has_events:
                entry.occurred()
                entry.occurrences += calls - 1

    def _add(self, endpoint: Endpoint, method: str, times: Histogram, failed: int, body_bytes: int) -> None:
        buckets, calls = times.buckets()
        shown_ms = _shown_ms()[buckets]
        first = np.flatnonzero(np.diff(shown_ms, prepend=-1.0))
        shown = dict(zip(shown_ms[first].tolist(), np.add.reduceat(calls, first).tolist(), strict=True))

        delta = StatsEntry(self._stats, endpoint.value, method)
        now_s = time.time()
        delta.last_request_timestamp = now_s
        delta.start_time = self._updated_s  # locust divides by the time since the first row's start
        delta.num_requests, delta.num_failures, delta.total_content_length = len(times), failed, body_bytes
        delta.total_response_time = times.total()  # type: ignore[assignment] # declared as int, but any number works
        delta.min_response_time, delta.max_response_time = min(shown), times.max()  # type: ignore[assignment]
        delta.response_times.update(shown)
        delta.num_reqs_per_sec[int(now_s)] = len(times)
        if failed:
            delta.num_fail_per_sec[int(now_s)] = failed
        self._stats.get(endpoint.value, method).extend(delta)
        if method == _METHODS[Measure.LATENCY_MS]:
            self._stats.total.extend(delta)


@cache
def _shown_ms() -> NDArray[np.float64]:
    """Return the time that stands for each bucket of a histogram."""
    return np.array([three_digits(time_ms) for time_ms in middles_ms()])


@lru_cache(maxsize=8)  # locust calls it twice for each call: for its row and for the total
def three_digits(time_ms: float) -> float:
    """Round a time to three significant digits, but not below a microsecond.

    >>> three_digits(0.4237), three_digits(3432.1)
    (0.424, 3430.0)
    """
    if time_ms < 1:
        return int(time_ms * 1000 + 0.5) / 1000  # like round, in a third of the time
    return round(time_ms, 2 - math.floor(math.log10(time_ms)))


def show_three_digits() -> None:
    """Make locust store and show its times with three significant digits."""
    stats: Any = locust.stats
    stats.bucket_response_time = three_digits
    stats.StatsCSV._percentile_fields = _percentile_fields
    stats.StatsEntry.percentile = _percentile_row


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
