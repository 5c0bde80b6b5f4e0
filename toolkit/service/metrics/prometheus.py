"""The service's metrics as Prometheus reads them. The only home of prometheus_client; counts nothing itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from toolkit.service.metrics.counters import Counters, Histogram


@dataclass(frozen=True, slots=True)
class StoreState:
    """What a store tells when it is asked. ``balances``: in messages, by app key."""

    balances: Mapping[str, int]
    backlog: int


def render(counters: Counters, store: StoreState | None, accept: str = "") -> tuple[bytes, str]:
    """Show the metrics in the format that an Accept header asks for, and its media type; store None: no answer."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(counters, store))
    ProcessCollector(registry=registry)
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


@dataclass(frozen=True, slots=True, eq=False)  # a registry keeps collectors by identity
class _Snapshot(Collector):
    counters: Counters
    store: StoreState | None

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield from _of_calls(self.counters)
        yield from _of_work(self.counters)
        yield from _of_store(self.store)


def _of_calls(counters: Counters) -> Iterator[Metric]:
    calls = CounterMetricFamily("smscode_calls", "Answered calls.", labels=("endpoint", "return_code", "kind"))
    for (endpoint, code), number in sorted(counters.calls.items()):
        calls.add_metric((endpoint, str(int(code)), code.kind), number)
    yield calls
    latencies = HistogramMetricFamily(
        "smscode_call_duration_seconds", "From a whole request to its answer.", labels=("endpoint",)
    )
    for endpoint, histogram in sorted(counters.latencies.items()):
        latencies.add_metric((endpoint,), _buckets(histogram), histogram.total)
    yield latencies
    yield _counter("smscode_calls_unanswered", "Calls that were dropped in place of an answer.", counters.unanswered)
    yield _gauge("smscode_calls_in_flight", "Calls begun and not yet answered.", counters.in_flight)
    yield _gauge("smscode_calls_waiting", "Calls that wait for the store.", counters.waiting)


def _of_work(counters: Counters) -> Iterator[Metric]:
    batches = HistogramMetricFamily("smscode_commit_calls", "Calls that shared a commit of the store.")
    batches.add_metric((), _buckets(counters.batches), counters.batches.total)
    yield batches
    attempts = CounterMetricFamily("smscode_delivery_attempts", "Messages handed to a provider.", labels=("provider",))
    for provider, number in sorted(counters.attempts.items()):
        attempts.add_metric((provider,), number)
    yield attempts
    deliveries = CounterMetricFamily(
        "smscode_deliveries", "Messages by what became of them.", labels=("provider", "state")
    )
    for outcome, number in sorted(counters.deliveries.items()):
        deliveries.add_metric(outcome, number)
    yield deliveries
    yield _counter("smscode_log_lines_lost", "Lines of the log that nobody took.", counters.lost_lines)


def _of_store(store: StoreState | None) -> Iterator[Metric]:
    yield _gauge("smscode_store_up", "Whether the store answered this scrape.", int(store is not None))
    if store is None:
        return
    yield _gauge("smscode_delivery_backlog", "Messages that wait to be delivered.", store.backlog)
    balances = GaugeMetricFamily("smscode_balance_messages", "An app's balance.", labels=("app_key",))
    for app_key, balance in sorted(store.balances.items()):
        balances.add_metric((app_key,), balance)
    yield balances


def _buckets(histogram: Histogram) -> list[tuple[str, int]]:
    bounds: Iterable[str] = [*map(str, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))


def _counter(name: str, documentation: str, value: int) -> Metric:
    return CounterMetricFamily(name, documentation, value=value)


def _gauge(name: str, documentation: str, value: int) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)
