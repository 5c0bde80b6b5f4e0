"""The state of one load test in one locust process. It is created when the test starts and dropped when it stops.

The target and the permission to load it are part of this state. So a test can't send to the target of an earlier one,
and can't rely on a permission that was given for it.
"""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from locust.env import Environment
from locust.exception import StopUser
from locust.runners import WorkerRunner

from toolkit.api.basic_auth import Credentials
from toolkit.load_test.generator.checks.collector import CheckCollector
from toolkit.load_test.generator.http.call_outcome import read_code
from toolkit.load_test.generator.http.call_tracer import CallTracer
from toolkit.load_test.generator.http.response_parser import HttpResponse
from toolkit.load_test.generator.locust_plugin.locust_stats import BatchedStats
from toolkit.load_test.generator.locust_plugin.message_cap import MessageQuota
from toolkit.load_test.generator.locust_plugin.shutdown import Shutdown
from toolkit.load_test.generator.locust_plugin.threshold_monitor import BOTTLENECK_MESSAGE
from toolkit.load_test.generator.results.bottleneck import BottleneckMonitor
from toolkit.load_test.generator.results.in_flight import CallersRegistry
from toolkit.load_test.generator.results.metrics import Metrics
from toolkit.load_test.generator.results.recorder import Recorder
from toolkit.load_test.generator.results.result_sink import ResultSink, WarmUp
from toolkit.load_test.generator.results.telemetry import Telemetry
from toolkit.load_test.generator.steps import CallResult
from toolkit.load_test.plan.mobile_pools import parse_pool, shard_of
from toolkit.load_test.plan.options import LoadOptions, from_parsed_options
from toolkit.load_test.plan.otel_settings import OtelSettings
from toolkit.load_test.plan.target_guard import check_allowed, doubt_of, is_this_machine
from toolkit.records.call_record import RecordBuilder
from toolkit.runs import run_folder
from toolkit.runs.begun_calls import BegunCalls, open_counts
from toolkit.runs.remote_storage import check, folder_name, is_url
from toolkit.runs.thresholds import Measure
from toolkit.settings import Target, load_price, load_target

_DRIFT_RATIO = 1e-4  # of another machine's clock; a free-running quartz is within half of it
_NO_SANDBOX = "the target is not a sandbox, so no code can be read: each journey sends, then verifies one wrong code"
_NO_CODE = "the sandbox returned no code for at least one message: its journey ended after the send"

logger = logging.getLogger(__name__)
T = TypeVar("T")


class LoadContext:
    """State and services that the users of one process share during one load test.

    Attributes:
        environment: locust's environment.
        options: the options of the test.
        expectations: the behaviour that the service is expected to show.
        target, credentials: the service under test, and the app that calls it.
        http: timeouts, further headers and certificates.
        tracer: samples the calls; None if none is traced.
        metrics: the counts of the calls.
        results: takes the result of every call.
        recorder: writes the calls to the run's folder; None if the run has none.
        begun: counts the calls before their first byte leaves.
        callers: the users or engines of this process, which report their calls in flight.
        bottleneck: watches whether this process keeps up.
        quota: the messages that this process may send; None without a cap.
        shutdown: ends the run.
        random: draws codes, pauses and the like; seeded.
        is_sandbox: False once the target has turned out not to be a sandbox.
        folder: the run's folder on this machine, if it has one.
        source: the number of this process, which names its files.

    Raises ToolkitError if a setting is missing or invalid, if the target may not be loaded, or if nothing can be stored
    at the URL of the run's folder.
    """

    def __init__(
        self,
        environment: Environment,
        metrics: Metrics,
        measured: Metrics,
        checks: CheckCollector,
        shutdown: Shutdown,
        test: int,
        telemetry: Telemetry | None,
    ) -> None:
        runner = environment.runner
        parsed: Any = environment.parsed_options
        options = self.options = read_options(environment)
        target = self.target = permitted_target(environment.host, options)
        self.http, self.tracer, self._telemetry = options.http(), None, telemetry
        if telemetry is not None:
            self.tracer = CallTracer(OtelSettings.of(os.environ).sample_ratio)
            self.http = self.tracer.add_header(self.http)
        self.environment, self.metrics, self._measured, self.shutdown = environment, metrics, measured, shutdown
        self.expectations = checks.expectations
        self.credentials = Credentials(target.app_key, target.master_secret)
        shard, shards = 0, 1
        if isinstance(runner, WorkerRunner) and parsed:
            shard, shards = shard_of(runner.worker_index, parsed.expect_workers)
        self.source = str(shard)
        self._mobiles = parse_pool(options.mobiles)(options.seed, shard, shards)
        self.random = Random(f"{options.seed}/{shard}")
        self.is_sandbox = True
        self.quota = MessageQuota(environment, test) if options.message_cap(load_price()) is not None else None
        place = options.run_dir or ""
        if is_url(place):
            check(place)
        self.folder = Path(place) if place and not is_url(place) else None
        self._run = folder_name(place)
        builder = RecordBuilder.of(self._run, f"worker-{shard}", target.app_key, target.master_secret)
        self.recorder = Recorder(place, self.source, builder, target.temp_id) if place else None
        self.begun: BegunCalls = open_counts(self.folder, self.source) if self.folder else [0, 0]
        measures = (Measure.LATENCY_MS, Measure.CALLER_MS) if options.schedule() else (Measure.LATENCY_MS,)
        self.results = ResultSink(
            environment,
            metrics,
            WarmUp(measured, int((parsed.sms_began_s + options.warm_up_s) * 1e9)) if measured is not metrics else None,
            checks,
            self.recorder,
            self._export_spans if telemetry is not None else None,
            BatchedStats(environment.stats, measures),
            self.quota.settle if self.quota else None,
            options.cut_off_timeout_s,
            shutdown.end_early,
        )
        self.callers = CallersRegistry()
        metrics.sample_in_flight = measured.sample_in_flight = self.callers.sample
        measured.arrivals = metrics.arrivals
        most = options.max_connections if options.schedule() else None
        self.bottleneck = BottleneckMonitor(
            metrics.arrivals, self.callers.sample, most, self.folder, self.source, options.max_bottleneck_ratio
        )
        self.bottleneck.start()
        self._warned: set[str] = set()
        self._shared: dict[Callable[[LoadContext], Any], Any] = {}

    def shared(self, make: Callable[[LoadContext], T]) -> T:
        """Return the object that ``make`` made for this test. It is made at the first call.

        Journeys use it for shared state, such as the recording that they play.
        """
        if make not in self._shared:
            self._shared[make] = make(self)
        return self._shared[make]  # type: ignore[no-any-return]

    def _export_spans(self, results: Sequence[CallResult]) -> None:
        assert self._telemetry
        self._telemetry.export_spans(results, self.target.base_url, self._run, self.metrics.expected)

    def close(self) -> None:
        """End the measurement of this process, and flush the results for the last time."""
        self.results.close()
        self.bottleneck.close()
        self.report_bottleneck()
        self.metrics.sample_in_flight = self._measured.sample_in_flight = None

    def report_bottleneck(self) -> None:
        """Report whether the load generator held the run back, to the master too."""
        if text := self.bottleneck.bottleneck():
            self.warn(text)
            assert self.environment.runner
            self.environment.runner.send_message(BOTTLENECK_MESSAGE, text)

    def next_mobile(self) -> str:
        """Return the next mobile of the pool. If the pool is used up, end the run and the user."""
        mobile = next(self._mobiles, None)
        if mobile is not None:
            return mobile
        self.warn("the run ended when each of its mobiles had been used: a larger pool is --mobiles uniform")
        self.shutdown.begin()
        raise StopUser

    def shared_mobile(self, number: int) -> str:
        """Return the mobile with a number, the same one on all workers."""
        seed = Random(f"{self.options.seed}/{number}").getrandbits(32)
        return next(parse_pool(self.options.mobiles)(seed, 0, 1))

    def read_code(self, response: HttpResponse | None) -> str | None:
        """Read a message's code from the response to a peek; from None if there was no response.

        A 404 shows that the target is not a sandbox.
        """
        code = read_code(response) if response is not None else None
        if response is not None and response.http_status == 404:
            self.is_sandbox = False
            self.warn(_NO_SANDBOX)
        elif code is None:
            self.warn(_NO_CODE)
        return code

    def warn(self, note: str) -> None:
        """Log a note, once, and write it to the run's folder."""
        if note not in self._warned:
            self._warned.add(note)
            logger.warning(note)
            self.shutdown.note(run_folder.NOTES_NAME, note)


def read_options(environment: Environment) -> LoadOptions:
    """Return the options of locust's command line, page or master; raise InputError if one is invalid."""
    return from_parsed_options(environment.parsed_options or Namespace())


def permitted_target(host: str | None, options: LoadOptions) -> Target:
    """Return the target at locust's host, with the app of the settings. Without a host, the settings name it too.

    Raises SettingsError if a setting is missing, and InputError if the target may not be loaded.
    """
    target = load_target(base_url=host or None)
    check_host(target.base_url, options, lambda: doubt_of(target, options.http()))
    return target


def check_host(host: str, options: LoadOptions, find_doubt: Callable[[], str] = lambda: "") -> None:
    """Raise InputError if a host may not be loaded; see ``target_guard.check_allowed``."""
    is_capped = options.message_cap(load_price()) is not None
    check_allowed(host, options.allow_target, options.i_pay_for_this, is_capped, find_doubt)


def drift_ratio(host: str | None) -> float:
    """Return the ratio by which the clocks of a host and of this machine may drift apart."""
    return 0.0 if is_this_machine(host or "") else _DRIFT_RATIO
