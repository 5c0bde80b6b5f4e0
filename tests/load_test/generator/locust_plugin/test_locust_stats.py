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


def test_failed_calls_are_grouped_and_a_few_examples_are_kept() -> None:
    batched, by_event, merged = in_locust("""
import json
from locust.env import Environment
from locust.stats import StatsError
from toolkit.api.errors import NotConnectedError, ProtocolError, ReturnCodeError
from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.locust_plugin.locust_stats import BatchedStats
from toolkit.load_test.generator.results.failure_groups import FailureGroups

def errors(stats):
    return sorted((it.name, StatsError.parse_error(it.error), it.occurrences) for it in stats.errors.values())

def play(has_events):
    environment = Environment()
    environment.create_local_runner()
    stats, failures = BatchedStats(environment.stats, ()), FailureGroups()
    for n in range(100):
        for failure in (
            ReturnCodeError(50019, 500, f"server error, request {n}"),
            ReturnCodeError(70000 + n, 403, "a new code"),
            ProtocolError("not JSON", 503, b"<html>request %d" % n),
            NotConnectedError("no connection to the target: ConnectionRefusedError"),
        ):
            failures.add(Endpoint.SEND, failure)
            if has_events:
                environment.stats.log_error("POST", "send", failure)
        if n % 50 == 49:
            stats.update({}, failures, {}, has_events)
    environment.stats.log_error("POST", "send", ValueError("another user's"))
    return environment.stats

workers = play(False), play(True)
for key, error in workers[1].serialize_errors().items():
    workers[0].errors[key].occurrences += error["occurrences"]
print(json.dumps([errors(play(False)), errors(workers[1]), errors(workers[0])]))
""")
    assert batched == by_event
    assert sorted(row[2] for row in batched) == [1, *4 * [100]]
    assert sorted(row[2] for row in merged) == [2, *4 * [200]]
    texts = [row[1].partition(", e.g. ") for row in batched if row[2] > 1]
    text = {group: examples.split(" | ") for group, _, examples in texts}
    assert {group: len(examples) for group, examples in text.items()} == {
        "SERVER 50019 server error (HTTP 500)": 3,
        "unknown kind (HTTP 403)": 3,
        "not a response of the API (HTTP 503)": 3,
        "connect": 1,
    }
    assert text["SERVER 50019 server error (HTTP 500)"][0] == "50019 server error, request 0 (HTTP 500)"


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
