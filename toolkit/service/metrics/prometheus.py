"""Export a service's counters and its store's gauges in the formats that Prometheus scrapes.

The calls of the API and the authentications are there from the start, at 0: ``rate`` and ``increase`` need a value from
before the first call, and a share of calls needs its denominator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.service.metrics.counters import UNKNOWN_APP, Counters, Histogram, latencies


@dataclass(frozen=True, slots=True)
class StoreState:
    """The gauges of a store.

    ``balances`` are in messages by app key, ``backlog`` is the number of messages that await delivery, and ``ahead_s``
    is how far the service clock is ahead of the machine's time of day.
    """

    balances: Mapping[str, int]
    backlog: int
    ahead_s: float = 0.0


def render(counters: Counters, store: StoreState | None, accept: str = "") -> tuple[bytes, str]:
    """Return the metrics and their media type, in the format that an Accept header asks for.

    ``store`` None means that the store did not answer: ``smscode_store_up`` is 0, and the store's gauges are absent.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(counters, store))
    ProcessCollector(registry=registry)
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


@dataclass(frozen=True, slots=True, eq=False)  # a registry identifies collectors by identity
class _Snapshot(Collector):
    counters: Counters
    store: StoreState | None

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield from _call_metrics(self.counters, self.store.balances if self.store else ())
        yield from _delivery_and_log_metrics(self.counters)
        yield from _store_metrics(self.store)


def _call_metrics(counters: Counters, apps: Iterable[str]) -> Iterator[Metric]:
    calls = CounterMetricFamily("smscode_calls", "Answered calls.", labels=("endpoint", "return_code", "kind"))
    known = {(endpoint.value, code): 0 for endpoint in Endpoint for code in ReturnCode}
    for (endpoint, code), number in sorted((known | counters.calls).items()):
        calls.add_metric((endpoint, str(int(code)), code.kind), number)
    yield calls
    durations = HistogramMetricFamily(
        "smscode_call_duration_seconds", "Time from a complete request to its response.", labels=("endpoint",)
    )
    for endpoint, histogram in sorted(({it.value: latencies() for it in Endpoint} | counters.latencies).items()):
        durations.add_metric((endpoint,), _buckets(histogram), histogram.total)
    yield durations
    yield CounterMetricFamily(
        "smscode_calls_unanswered", "Calls whose connection the sandbox dropped.", counters.unanswered
    )
    yield GaugeMetricFamily("smscode_calls_in_flight", "Calls that are being answered.", counters.in_flight)
    yield GaugeMetricFamily(
        "smscode_calls_queued", "Calls in flight that wait for the turn of their app.", counters.queued
    )
    yield GaugeMetricFamily("smscode_calls_waiting", "Calls that wait for the store.", counters.waiting)
    failed = CounterMetricFamily(
        "smscode_failed_authentications", "Calls with refused credentials, by the claimed app.", labels=("app_key",)
    )
    for app_key, number in sorted((dict.fromkeys((UNKNOWN_APP, *apps), 0) | counters.failed_auths).items()):
        failed.add_metric((app_key,), number)
    yield failed
    commits = HistogramMetricFamily("smscode_commit_calls", "Calls in each commit of the store.")
    commits.add_metric((), _buckets(counters.batches), counters.batches.total)
    yield commits


def _delivery_and_log_metrics(counters: Counters) -> Iterator[Metric]:
    attempts = CounterMetricFamily("smscode_delivery_attempts", "Delivery attempts.", labels=("provider",))
    for provider, number in sorted(counters.attempts.items()):
        attempts.add_metric((provider,), number)
    yield attempts
    deliveries = CounterMetricFamily(
        "smscode_deliveries", "Recorded results of deliveries.", labels=("provider", "state")
    )
    for outcome, number in sorted(counters.deliveries.items()):
        deliveries.add_metric(outcome, number)
    yield deliveries
    yield GaugeMetricFamily(
        "smscode_delivery_misconfigured",
        "1 while the provider refuses every message because of its settings, else 0.",
        int(bool(counters.delivery_problem)),
    )
    yield CounterMetricFamily(
        "smscode_refunded_messages",
        "Messages credited again because a wrong setting of the provider kept them from delivery.",
        counters.refunded,
    )
    yield CounterMetricFamily("smscode_log_lines_lost", "Log lines that were dropped.", counters.lost_lines)


def _store_metrics(store: StoreState | None) -> Iterator[Metric]:
    yield GaugeMetricFamily("smscode_store_up", "1 if the store answered this scrape, else 0.", int(store is not None))
    if store is None:
        return
    yield GaugeMetricFamily("smscode_delivery_backlog", "Messages that await delivery.", store.backlog)
    yield GaugeMetricFamily(
        "smscode_clock_ahead_seconds", "How far the service clock is ahead of the machine's time.", store.ahead_s
    )
    balances = GaugeMetricFamily("smscode_balance_messages", "An app's balance in messages.", labels=("app_key",))
    for app_key, balance in sorted(store.balances.items()):
        balances.add_metric((app_key,), balance)
    yield balances


def _buckets(histogram: Histogram) -> list[tuple[str, int]]:
    """Return the cumulative counts by upper bound, as Prometheus expects them."""
    bounds = [*map(str, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))
