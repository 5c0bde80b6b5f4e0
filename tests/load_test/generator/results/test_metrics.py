"""Histograms and statistics are values: only what locust does with them needs its process."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.records.histogram import Histogram

times_ns = st.lists(st.integers(0, 2**40 - 1), min_size=1, max_size=50)
HOUR_NS = 3600 * 10**9


@given(times_ns, st.floats(0, 100))
def test_a_percentile_is_that_of_the_sorted_times_to_a_thousandth(times: list[int], percentile: float) -> None:
    rank = max(1, math.ceil(percentile / 100 * len(times)))
    true_ms = sorted(times)[rank - 1] / 1e6
    assert Histogram.of(times).percentile(percentile) == pytest.approx(true_ms, rel=1e-3)


@given(times_ns)
def test_mean_and_longest_are_exact(times: list[int]) -> None:
    histogram = Histogram.of(times)
    assert histogram.max() == max(times) / 1e6
    assert histogram.mean() == pytest.approx(sum(times) / len(times) / 1e6)


@given(times_ns, times_ns)
def test_histograms_of_two_processes_add_up_to_that_of_both(one: list[int], other: list[int]) -> None:
    sums = Histogram.of(one) + Histogram.of(other)
    assert sums.pack() == Histogram.of([*one, *other]).pack()


@given(times_ns)
def test_what_is_packed_is_unpacked(times: list[int]) -> None:
    histogram = Histogram.of(times)
    assert Histogram.unpack(histogram.pack()).pack() == histogram.pack()
    assert histogram.buckets()[1].sum() == len(histogram) == len(times)


def test_times_beyond_the_buckets_count_in_the_last_one() -> None:
    histogram = Histogram.of([-5, 0, HOUR_NS])
    assert histogram.percentile(50) == 0
    assert histogram.percentile(100) == pytest.approx(2**40 / 1e6, rel=1e-3)
    assert histogram.max() == HOUR_NS / 1e6


def test_no_times_are_zero() -> None:
    histogram = Histogram.of([])
    assert (histogram.percentile(99), histogram.mean(), histogram.max(), len(histogram)) == (0, 0, 0, 0)


# In locust's process.

COUNTED = """
import json
import locust.stats
from locust.env import Environment
from toolkit.load_test.generator.locust_plugin.locust_stats import three_digits
from toolkit.load_test.generator.results.metrics import Statistics, statistics_of
from toolkit.runs.thresholds import judge, parse
from toolkit.api.wire import Endpoint

def count(statistics, calls):
    for _ in range(calls):
        statistics.count(Endpoint.SEND, 50000, 1_000_000, 249_000_000)
    statistics.count(Endpoint.VERIFY, "timeout", 10**10, 0)
    statistics.arrivals.late += 1
"""


def in_locust(script: str) -> object:
    done = subprocess.run([sys.executable, "-c", COUNTED + script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_thresholds_read_statistics() -> None:
    verdicts = in_locust("""
statistics = Statistics()
count(statistics, 9000)
said = ["p99(send.caller_ms) < 249", "p99(send.latency_ms) < 2", "max(verify.latency_ms) <= 10000",
        "ok_ratio(verify) > 0%", "rate(send) >= 900/s", "share(50019) < 0.1%"]
print(json.dumps([judge(parse(line), statistics.figures(10.0)).status for line in said]))
""")
    assert verdicts == ["FAIL", "PASS", "PASS", "FAIL", "PASS", "PASS"]


def test_a_master_sums_what_its_workers_told_last() -> None:
    told = in_locust("""
environment = Environment()
environment.create_local_runner()
whole = lambda: sorted(statistics_of(environment).outcomes.items())
for client_id, calls in (("a", 1), ("b", 20), ("a", 300)):
    worker = Statistics()
    count(worker, calls)
    statistics_of(environment)
    environment.events.worker_report.fire(client_id=client_id, data={"smscode_statistics": worker.pack()})
late, before = statistics_of(environment).late, whole()
environment.events.test_start.fire(environment=environment)
print(json.dumps([before, late, whole()]))
""")
    assert told == [[[["send", 50000], 320], [["verify", "timeout"], 2]], 2, []]


def test_locusts_own_tables_have_three_digits() -> None:
    digits = in_locust("""
print(json.dumps([three_digits(t) for t in (0, 0.0004, 0.4237, 1.2345, 99.96, 147.4, 3432.1, 58760.0)]))
""")
    assert digits == [0, 0, 0.424, 1.23, 100.0, 147, 3430, 58800]


def test_locusts_csv_and_console_have_them_too() -> None:
    lines: Any = in_locust("""
import csv, io
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV, get_percentile_stats_summary

environment = Environment()
environment.events.init.fire(environment=environment)
from locust import events
events.init.fire(environment=environment)
for time_ms in (0.4237, 12.345, 3432.1):
    environment.stats.log_request("POST", "send", time_ms, 10)
written = io.StringIO()
StatsCSV(environment, PERCENTILES_TO_REPORT).requests_csv(csv.writer(written))
print(json.dumps([written.getvalue().splitlines()[1], get_percentile_stats_summary(environment.stats)]))
""")
    row, summary = lines
    assert (row.split(",")[-11], row.split(",")[-1]) == ("12.3", "3430.0")
    (shown,) = (line.split() for line in summary if line.startswith("POST"))
    assert (shown[2], *shown[-2:]) == ("12.3", "3430", "3")
