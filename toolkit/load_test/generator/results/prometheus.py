"""Export the figures of a running load test in the formats that Prometheus scrapes.

Every call counter is there from the start, at 0: ``rate`` and ``increase`` need a value from before the first call.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from toolkit.api.return_codes import ReturnCode, kind_of
from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.results.in_flight import InFlight
from toolkit.load_test.generator.results.metrics import CallKind, Metrics
from toolkit.load_test.plan.schedule import ArrivalCounts
from toolkit.records.call_record import Failure, may_cost
from toolkit.records.latency_histogram import Histogram, middles_ms
from toolkit.runs.thresholds import Measure, Status, Verdict, mark_inconclusive

_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SLOTS = np.searchsorted(_BOUNDS_S, np.array(middles_ms()) / 1000)  # the place among the bounds of each fine bucket
_DURATIONS = {
    Measure.LATENCY_MS: ("smscode_load_latency_seconds", "Time from a request's first byte to its response."),
    Measure.CALLER_MS: ("smscode_load_caller_seconds", "Time from when a call was due to its response."),
}


@dataclass(frozen=True, slots=True)
class LoadState:
    """The figures of a load test at one moment, of all its processes.

    Attributes:
        latencies, caller_times: the times of the calls by endpoint and outcome.
        failed: failed calls by endpoint.
        arrivals: the arrivals of an open loop.
        in_flight: the calls in flight.
        budget: the most messages that may be sent; None without a limit.
        verdicts: the verdicts on the thresholds so far.
        workers: processes that make calls.
        bottleneck: how the load generator held the test back; "" if it didn't, None if it is unknown.
        is_running: whether the test has not ended.
    """

    latencies: Mapping[CallKind, Histogram]
    caller_times: Mapping[CallKind, Histogram]
    failed: Mapping[Endpoint, int]
    arrivals: ArrivalCounts
    in_flight: InFlight
    budget: int | None = None
    verdicts: Sequence[Verdict] = ()
    workers: int = 1
    bottleneck: str | None = ""
    is_running: bool = True

    @classmethod
    def of(
        cls, metrics: Metrics, budget: int | None, verdicts: Sequence[Verdict], workers: int, bottleneck: str | None
    ) -> LoadState:
        """Return the figures of a test from its counts. With a bottleneck, or an unknown one, none passes."""
        if bottleneck != "":
            verdicts = list(map(mark_inconclusive, verdicts))
        times, arrivals = (metrics.latencies, metrics.caller_times), metrics.arrivals
        return cls(*times, metrics.failed, arrivals, metrics.in_flight, budget, verdicts, workers, bottleneck)

    @property
    def calls(self) -> dict[CallKind, int]:
        """The calls by endpoint and outcome, with a 0 for each known outcome that no call had."""
        known: list[int | str] = [*map(int, ReturnCode), *(it.value for it in Failure)]
        calls: dict[CallKind, int] = {(endpoint, outcome): 0 for endpoint in Endpoint for outcome in known}
        return calls | {kind: len(times) for kind, times in self.caller_times.items()}

    @property
    def messages(self) -> int:
        """The sends that were or may have been billed, without those in flight."""
        return sum(
            calls
            for (endpoint, outcome), calls in self.calls.items()
            if may_cost(endpoint, *((kind_of(outcome), None) if isinstance(outcome, int) else (None, outcome)))
        )


def render(state: LoadState | None, accept: str = "") -> tuple[bytes, str]:
    """Return the metrics and their media type, in the format that an Accept header asks for.

    ``state`` None means that no test has begun: ``smscode_load_running`` alone is there.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(state))
    ProcessCollector(registry=registry)
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


@dataclass(frozen=True, slots=True, eq=False)  # a registry identifies collectors by identity
class _Snapshot(Collector):
    state: LoadState | None

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        is_running = int(self.state is not None and self.state.is_running)
        yield GaugeMetricFamily("smscode_load_running", "1 while a load test runs.", is_running)
        if self.state is not None:
            yield from _call_metrics(self.state)
            yield from _arrival_metrics(self.state)
            yield from _verdict_metrics(self.state)


def to_rows(state: LoadState) -> list[tuple[str, str, str, list[tuple[Any, ...]]]]:
    """Return the metrics as name, type, help and samples, for ``otlp_exporter.to_metrics``.

    A sample is its labels and value. One of a histogram is its labels, the sum, the upper bounds without the infinite
    one, and the number of calls in each bucket.
    """
    return [(it.name, it.type, it.documentation, _to_samples(it)) for it in _Snapshot(state).collect()]


def _to_samples(family: Metric) -> list[tuple[Any, ...]]:
    if family.type != "histogram":
        return [(it.labels, it.value) for it in family.samples]
    of_kind: dict[tuple[tuple[str, str], ...], list[float]] = defaultdict(list)  # cumulative counts, and the sum
    for sample in family.samples:
        if not sample.name.endswith("_count"):
            labels = tuple(it for it in sample.labels.items() if it[0] != "le")
            of_kind[labels].append(sample.value)
    return [
        (dict(labels), total, list(_BOUNDS_S), np.diff(cumulative, prepend=0).astype(int).tolist())
        for labels, (*cumulative, total) in of_kind.items()
    ]


def _call_metrics(state: LoadState) -> Iterator[Metric]:
    labels = ("endpoint", "outcome")
    calls = CounterMetricFamily("smscode_load_calls", "Calls that have ended.", labels=labels)
    for (endpoint, outcome), number in sorted(state.calls.items(), key=str):
        calls.add_metric((endpoint, str(outcome)), number)
    yield calls
    failed = CounterMetricFamily("smscode_load_failed_calls", "Calls that failed.", labels=("endpoint",))
    for endpoint in Endpoint:
        failed.add_metric((endpoint,), state.failed.get(endpoint, 0))
    yield failed
    for measure, by_kind in ((Measure.LATENCY_MS, state.latencies), (Measure.CALLER_MS, state.caller_times)):
        times = HistogramMetricFamily(*_DURATIONS[measure], labels=labels)
        for kind in sorted({*by_kind, *((it, int(ReturnCode.SUCCESS)) for it in Endpoint)}, key=str):
            histogram = by_kind.get(kind) or Histogram()
            times.add_metric((kind[0], str(kind[1])), _buckets(histogram), histogram.total() / 1000)
        yield times
    in_flight = state.in_flight
    yield GaugeMetricFamily("smscode_load_calls_in_flight", "Calls in flight.", in_flight.calls)
    yield GaugeMetricFamily("smscode_load_calls_waiting", "Calls that wait for a connection.", in_flight.waiting)
    oldest_s = in_flight.oldest_ns / 1e9
    yield GaugeMetricFamily("smscode_load_oldest_call_seconds", "Age of the oldest call of both.", oldest_s)
    yield CounterMetricFamily("smscode_load_messages", "Sends that were or may have been billed.", state.messages)
    if state.budget is not None:
        left = max(0, state.budget - state.messages)
        yield GaugeMetricFamily("smscode_load_budget_messages_left", "Messages that may still be sent.", left)


def _arrival_metrics(state: LoadState) -> Iterator[Metric]:
    arrivals = state.arrivals
    for name, number, text in (
        ("due", arrivals.due, "Journeys of an open loop whose time has come."),
        ("late", arrivals.late, "Journeys begun late because the load generator was busy."),
        ("queued", arrivals.queued, "Journeys that had to wait for a connection."),
        ("orphaned", arrivals.orphaned, "Journeys never begun because their worker was lost."),
    ):
        yield CounterMetricFamily(f"smscode_load_arrivals_{name}", text, number)
    text = "Due arrivals that have not begun: waiting, or dropped."  # it falls when one begins, so it is not a counter
    yield GaugeMetricFamily("smscode_load_arrivals_dropped", text, arrivals.dropped)
    yield GaugeMetricFamily("smscode_load_workers", "Processes that make calls.", state.workers)
    if state.bottleneck is not None:
        text = "1 if the load generator was the bottleneck, so that nothing passes, else 0."
        yield GaugeMetricFamily("smscode_load_bottleneck", text, int(bool(state.bottleneck)))


def _verdict_metrics(state: LoadState) -> Iterator[Metric]:
    labels = ("threshold",)
    status = GaugeMetricFamily(
        "smscode_load_threshold_status", "1 for the status of a threshold so far.", labels=(*labels, "status")
    )
    value = GaugeMetricFamily("smscode_load_threshold_value", "Measured so far, in ms, % or /s.", labels=labels)
    limit = GaugeMetricFamily("smscode_load_threshold_limit", "Limit, in ms, % or /s.", labels=labels)
    for verdict in state.verdicts:
        name = str(verdict.threshold)
        for each in Status:
            status.add_metric((name, each.value), int(verdict.status is each))
        limit.add_metric((name,), verdict.threshold.limit)
        if verdict.value is not None:
            value.add_metric((name,), verdict.value)
    yield from (status, value, limit)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return the cumulative counts by upper bound, as Prometheus expects them."""
    buckets, counts = histogram.buckets()
    summed = np.cumsum(np.bincount(_SLOTS[buckets], counts, len(_BOUNDS_S) + 1)).tolist()
    return list(zip([*map(str, _BOUNDS_S), "+Inf"], summed, strict=True))
