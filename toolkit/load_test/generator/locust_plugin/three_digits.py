"""Digits: locust's times with three significant digits, below a millisecond too, wherever it shows percentiles.

What sorts its times into buckets is meant to be replaced. Its CSV and its console cut percentiles to whole ms in code
that isn't: for those, two methods are. The rest of its console, a row's mean and its shortest and longest time, isn't.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import locust.stats
from locust import events
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV, StatsEntry


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
