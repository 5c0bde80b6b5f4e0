"""Receive the result of every call, and pass it to the records, the metrics, the checks and locust's statistics.

There is one sink for each test of a process. A closed-loop user records one result at a time, the open-loop engine
hundreds at once:

    user ---+                      +--> quota        refund the message of a send that was refused
            +--> ResultSink.record +--> checks       the data that each check needs
    engine -+                      +--> recorder     a row of the run's folder
                                   +--> telemetry    the spans of sampled calls
                                   +--> metrics      counts and histograms
                                   +--> locust       the request event, or a batch for its statistics

Firing locust's request event costs more than the call itself. It is fired only if another listener than locust's own
is registered; otherwise locust's statistics are updated four times a second.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gevent
from locust.env import Environment
from locust.user.users import User

from toolkit.api.errors import CallError, ReturnCodeError, TransportError
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.checks.collector import CheckCollector
from toolkit.load_test.generator.http.call_outcome import classify
from toolkit.load_test.generator.results.failure_groups import FailureGroups
from toolkit.load_test.generator.results.metrics import Metrics, Times
from toolkit.load_test.generator.results.recorder import Recorder
from toolkit.load_test.generator.steps import CallResult, Outcome, Send
from toolkit.records.call_record import Failure
from toolkit.runs.run_folder import Cause

_FLUSH_EVERY_S = 0.25
_MAX_WRONG_SENDS = 20  # of one process, without one right send
_SUCCESS, _SEND = ReturnCode.SUCCESS, Endpoint.SEND  # looking up an enum's attribute runs Python code


logger = logging.getLogger(__name__)


class Stats(Protocol):
    """Locust's statistics, as ``locust_plugin.locust_stats`` updates them."""

    def update(
        self,
        times: Times,
        failures: FailureGroups,
        body_bytes: Mapping[Endpoint, int],
        has_events: bool,
    ) -> None:
        """Add the calls since the last update."""


@dataclass(frozen=True, slots=True)
class WarmUp:
    """The warm-up of a test: ``metrics`` counts the calls that were due at ``until_ns`` or later, in ns since 1970."""

    metrics: Metrics
    until_ns: int

    def count(self, results: Sequence[CallResult]) -> None:
        """Count the calls that were due after the warm-up."""
        self.metrics.count([it for it in results if it[1].started_ns - it[1].wait_ns >= self.until_ns])


class ResultSink:
    """Takes the results of the calls of one test in one process.

    Args:
        environment: locust's environment.
        metrics: counts the calls.
        warm_up: counts the calls after the warm-up for the thresholds; None without a warm-up.
        checks: collects the data of the checks.
        recorder: writes the calls to the run's folder; None if the run has none.
        export_spans: exports the spans of calls that are sampled; None if no call is.
        stats: updates locust's statistics.
        settle: settles the message of a send with its quota; None without a cap on messages.
        cut_off_timeout_s: wait after which a call that the end of the run cut off is a timeout.
        end_early: ends the run with a cause and a reason, if every further call would be refused like the last one.
    """

    def __init__(
        self,
        environment: Environment,
        metrics: Metrics,
        warm_up: WarmUp | None,
        checks: CheckCollector,
        recorder: Recorder | None,
        export_spans: Callable[[Sequence[CallResult]], None] | None,
        stats: Stats,
        settle: Callable[[Outcome], None] | None,
        cut_off_timeout_s: float,
        end_early: Callable[[Cause, str], None],
    ) -> None:
        hook: Any = environment.events.request
        self._fire, self._listeners = hook.fire, hook._handlers
        self._known_listeners, self._has_events = 0, False
        self._metrics, self._warm_up, self._checks, self._recorder = metrics, warm_up, checks, recorder
        self._export_spans = export_spans
        self._stats, self._settle, self._end_early = stats, settle, end_early
        self._cut_off_timeout_ns = cut_off_timeout_s * 1e9
        self._failures = FailureGroups()
        self._body_bytes: Counter[Endpoint] = Counter()
        self._wrong_sends = self._right_sends = 0
        self._flusher = gevent.spawn(self._flush_often)

    def record(self, results: Sequence[CallResult], user: User) -> None:
        """Record the results of a user's calls."""
        settle = self._settle
        for call, outcome in results:
            if settle is not None and isinstance(call, Send):
                settle(outcome)
            if outcome.error is not None and outcome.latency_ns >= self._cut_off_timeout_ns:
                outcome.error = _as_timeout(outcome.error)
        self._checks.collect(results)
        if self._recorder is not None:
            self._recorder.append(results)
        if self._export_spans is not None:
            self._export_spans(results)
        if len(self._listeners) != self._known_listeners:
            self._look_for_listeners()  # before the calls are counted: the statistics must have them once
        self._metrics.count(results)
        if self._warm_up is not None:
            self._warm_up.count(results)
        body_bytes, has_events = self._body_bytes, self._has_events
        for _, outcome in results:
            response, failure = outcome.response, None
            if outcome.error is not None and classify(outcome.error) is Failure.CANCELLED:
                continue  # the end of the run cut the call off: plain locust would exit with 1 for such a failure
            body_bytes[outcome.endpoint] += outcome.body_bytes
            if response is None or response.return_code is not _SUCCESS or not self._right_sends:
                failure = self._find_failure(outcome)
            if has_events:
                self._fire(
                    request_type="POST",
                    name=outcome.endpoint.value,
                    response_time=outcome.latency_ns / 1e6,
                    response_length=outcome.body_bytes,
                    exception=failure,
                    context={**user.context(), "return_code": outcome.return_code},
                )

    def flush(self) -> None:
        """Pass the records to the operating system, and update locust's statistics."""
        if self._recorder is not None:
            self._recorder.flush()
        self._stats.update(self._metrics.times, self._failures, self._body_bytes, self._has_events)
        self._body_bytes.clear()

    def close(self) -> None:
        """Flush for the last time."""
        self._flusher.kill(block=False)
        self.flush()

    def _flush_often(self) -> None:
        problem = ""
        while True:
            gevent.sleep(_FLUSH_EVERY_S)
            try:
                self.flush()
            except OSError as error:
                if str(error) != problem:
                    problem = str(error)
                    logger.error("the calls can't be recorded now, and are kept in memory: %s", problem)

    def _look_for_listeners(self) -> None:
        """Check whether a listener besides locust's own, which updates the statistics, is registered."""
        self._known_listeners = len(self._listeners)
        has_events = any(listener.__module__ != "locust.runners" for listener in self._listeners)
        if has_events != self._has_events:
            self.flush()
            self._has_events = has_events

    def _find_failure(self, outcome: Outcome) -> CallError | None:
        """Return the failure of a call, if it is one, and end the run if every further call would fail the same way.

        That is so without a key, a permission or a balance, and if all sends so far were wrong requests, as with a
        template that is disabled. Timeouts and errors of the service are no such proof.
        """
        failure = outcome.failure(self._metrics.expected)
        is_send = outcome.endpoint is _SEND
        if failure is None:
            self._right_sends += is_send
            return None
        self._failures.add(outcome.endpoint, failure)
        if isinstance(failure, ReturnCodeError):
            kind = failure.kind
            if is_send:
                self._wrong_sends += kind is Kind.REQUEST
                self._right_sends += kind not in (Kind.REQUEST, Kind.SERVER)
            if kind is Kind.ACCOUNT or (self._wrong_sends >= _MAX_WRONG_SENDS and not self._right_sends):
                self._end_early(Cause.REFUSED, f"{failure.return_code:d} {failure.message}")
        return failure


def _as_timeout(error: CallError) -> CallError:
    """Return the error of a call that waited long: a timeout if the end of the run cut the call off."""
    if classify(error) is not Failure.CANCELLED:
        return error
    timeout = TransportError("no response until the run ended")
    timeout.__cause__ = TimeoutError()
    return timeout
