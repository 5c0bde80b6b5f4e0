"""Locust's times have three significant digits. Each test runs in a process of its own: importing locust patches it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def in_locust(script: str) -> Any:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_times_have_three_digits() -> None:
    digits = in_locust("""
import json
from toolkit.load_test.generator.locust_plugin.locust_stats import three_digits
print(json.dumps([three_digits(t) for t in (0, 0.0004, 0.4237, 1.2345, 99.96, 147.4, 3432.1, 58760.0)]))
""")
    assert digits == [0, 0, 0.424, 1.23, 100.0, 147, 3430, 58800]


def test_the_csv_and_the_console_show_three_digits() -> None:
    row, summary = in_locust("""
import csv, io, json
from locust import events
from locust.env import Environment
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV, get_percentile_stats_summary
from toolkit.load_test.generator import user

environment = Environment()
environment.create_local_runner()
events.init.fire(environment=environment)
for time_ms in (0.4237, 12.345, 3432.1):
    environment.stats.log_request("POST", "send", time_ms, 10)
written = io.StringIO()
StatsCSV(environment, PERCENTILES_TO_REPORT).requests_csv(csv.writer(written))
print(json.dumps([written.getvalue().splitlines()[1], get_percentile_stats_summary(environment.stats)]))
""")
    assert (row.split(",")[-11], row.split(",")[-1]) == ("12.3", "3430.0")
    (shown,) = (line.split() for line in summary if line.startswith("POST"))
    assert (shown[2], *shown[-2:]) == ("12.3", "3430", "3")
