"""Measure the work of a master for its workers: `python benchmarks/master.py`, ten seconds on any machine.

Measured: merging one report of one worker, as it is after a minute and a half at 2,000 calls a second, in locust and in
this project; and the sum over all workers, which thresholds and locust's page need once a second. Calculated from that,
not run: the share of one core that a master needs for 100 workers.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator

import msgpack
from locust.env import Environment
from locust.runners import WORKER_REPORT_INTERVAL
from locust.stats import setup_distributed_stats_event_listeners

from toolkit.api.errors import TransportError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.load_test.generator.results.metrics import Metrics
from toolkit.load_test.generator.steps import CallResult, Outcome, Send

WORKERS = 100
CALLS_BEFORE, CALLS_BETWEEN = 180_000, 6_000
OUTCOMES = {
    (Endpoint.SEND, 50000): 45,
    (Endpoint.SEND, 50009): 3,
    (Endpoint.SEND, "timeout"): 1,
    (Endpoint.VERIFY, 50000): 42,
    (Endpoint.VERIFY, 50010): 7,
    (Endpoint.VERIFY, 50012): 2,
}
MEDIAN_NS, SPREAD = 4_000_000, 0.6  # of a log-normal latency; one call in fifty meets a stall of up to 200 ms
REPEATS = 300


def main() -> None:
    """Measure the merge and the sum, and print the estimate."""
    report = msgpack.dumps(write_report())
    environment, metrics = start(), Metrics()
    clients = [f"worker-{number}" for number in range(WORKERS)]

    def take_in(client_id: str) -> None:
        data = msgpack.loads(report, strict_map_key=False)
        environment.events.worker_report.fire(client_id=client_id, data=data)
        metrics.merge(client_id, data["smscode_statistics"])

    for client_id in clients:
        take_in(client_id)
    report_us = median_us(lambda: take_in(random.choice(clients)), REPEATS)
    sum_us = median_us(lambda: metrics.figures(60), 10)
    reports_per_s = WORKERS / WORKER_REPORT_INTERVAL
    print(f"measured: a report is {len(report) / 1024:.0f} KiB, and takes the master {report_us:,.0f} µs")
    print(f"measured: the sum over {WORKERS} workers takes {sum_us:,.0f} µs")
    print(
        f"calculated, not run: {WORKERS} workers send {reports_per_s:.1f} reports a second,"
        f" {reports_per_s * len(report) / 2**20:.1f} MiB/s; with one sum a second that is"
        f" {(reports_per_s * report_us + sum_us) / 1e6:.1%} of a core"
    )


def write_report() -> dict[str, object]:
    """Return the report of a worker that has run for a while."""
    environment, metrics = start(), Metrics()
    environment.stats.clear_all()
    for number, result in enumerate(draw_calls(CALLS_BEFORE + CALLS_BETWEEN)):
        metrics.count([result])
        environment.stats.log_request("POST", result[1].endpoint.value, result[1].latency_ns / 1e6, 60)
        if number == CALLS_BEFORE:
            environment.events.report_to_master.fire(client_id="worker", data={})  # locust tells only what is new
    data: dict[str, object] = {"smscode_statistics": metrics.pack()}
    environment.events.report_to_master.fire(client_id="worker", data=data)
    return data


def draw_calls(count: int) -> Iterator[CallResult]:
    draw = random.Random(1)
    timeout = TransportError("timeout")
    timeout.__cause__ = TimeoutError()
    for endpoint, code in draw.choices(list(OUTCOMES), OUTCOMES.values(), k=count):
        stall_ns = int(draw.random() * 200e6) if draw.random() < 0.02 else 0
        latency_ns = int(MEDIAN_NS * draw.lognormvariate(0, SPREAD))
        answer = None if code == "timeout" else ApiResponse(200, ReturnCode(code), "")
        error = timeout if answer is None else None
        yield Send("13800138000"), Outcome(endpoint, 0, latency_ns, answer, error, wait_ns=stall_ns)


def start() -> Environment:
    environment = Environment()
    setup_distributed_stats_event_listeners(environment.events, environment.stats)
    return environment


def median_us(do: Callable[[], object], repeats: int) -> float:
    took = []
    for _ in range(repeats):
        begun = time.perf_counter()
        do()
        took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1e6


if __name__ == "__main__":
    main()
