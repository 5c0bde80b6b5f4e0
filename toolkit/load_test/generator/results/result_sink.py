"""Tally: what came of the engine's calls, kept, counted, and told to locust.

Locust's way, an event a call, costs more than the call: that is gone only where somebody besides locust listens.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from locust.env import Environment
from locust.exception import StopUser
from locust.user.users import User

from toolkit.api.errors import CallError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.engine.bottleneck import Watch
from toolkit.load_test.generator.http.http1 import Received
from toolkit.load_test.generator.journeys.steps import Call, CallResult, Outcome
from toolkit.load_test.generator.locust_plugin.context import Worker
from toolkit.load_test.generator.locust_plugin.locust_stats import Tables
from toolkit.load_test.generator.locust_plugin.threshold_monitor import mark_inconclusive
from toolkit.load_test.generator.results.metrics import statistics_of
from toolkit.load_test.plan.schedule import Arrivals

_SUCCESS = ReturnCode.SUCCESS  # an enum's attributes are looked up by Python code

logger = logging.getLogger(__name__)
_watches: dict[Environment, Watch] = {}


class SpentError(Exception):
    """Nothing may be sent just now: what the run may send is under way."""


class Tally:
    """The engine's ledger in a locust process. ``is_ended``: a journey has ended its user, as locust's tasks may."""

    def __init__(self, user: User, worker: Worker, max_connections: int) -> None:
        self._user, self._worker = user, worker
        self._environment: Environment = user.environment
        self._hooks: Any = user.environment.events
        self._statistics = statistics_of(user.environment)
        self._tables = Tables(user.environment.stats)
        self._failures: Counter[tuple[Endpoint, str]] = Counter()
        self._watch = _watch_of(worker, user.environment, max_connections)
        self._has_right_send = self.is_ended = False
        self._is_heard = _is_heard(user.environment)

    @property
    def arrivals(self) -> Arrivals:
        """What became of the arrivals."""
        return self._statistics.arrivals

    def keep(self, kept: Sequence[CallResult]) -> None:
        """Keep what came of calls."""
        self._worker.record(kept)
        for call, outcome, expected in kept:
            answer, failure = outcome.answer, None
            if answer is None or answer.return_code is not _SUCCESS or not self._has_right_send:
                failure = self._judge(call, outcome, expected)
            if self._is_heard:
                self._fire(outcome, failure)

    def read_code(self, received: Received) -> str | None:
        """Read the code from what came of a peek."""
        return self._worker.read_code(received)

    def admit_send(self) -> None:
        """Take a message from what the run may send; raise SpentError, which ends the journey, where none is left."""
        if not self._worker.claim_message():
            raise SpentError

    def report_broken(self, error: Exception) -> None:
        """Tell that a journey raised, as locust does of a task."""
        if isinstance(error, StopUser):
            self.is_ended = True
        if isinstance(error, StopUser | SpentError):
            return
        trace = error.__traceback__
        self._hooks.user_error.fire(user_instance=self._user, exception=error, tb=trace)
        logger.error("a journey raised", exc_info=error)

    def flush(self) -> None:
        """Bring locust's tables up to date."""
        self._tables.update(self._statistics.times, Counter() if self._is_heard else self._failures, self._is_heard)
        self._failures.clear()
        self._watch.look()
        self._is_heard = _is_heard(self._environment)

    def close(self) -> None:
        """Hand on the last, and say where the load generator held the run back."""
        self.flush()
        self._watch.leave()
        if bottleneck := self._watch.bottleneck():
            self._worker.say(bottleneck)
            mark_inconclusive(self._environment, bottleneck)

    def _judge(self, call: Call, outcome: Outcome, expected: Collection[int]) -> CallError | None:
        failure = outcome.failure(call.expected)
        if outcome.return_code in expected:
            failure = None
        if failure is not None:
            self._failures[outcome.endpoint, repr(failure)] += 1
        elif outcome.endpoint is Endpoint.SEND:
            self._has_right_send = True
        self._worker.judge(outcome.endpoint, failure)
        return failure

    def _fire(self, outcome: Outcome, failure: CallError | None) -> None:
        self._hooks.request.fire(
            request_type="POST",
            name=outcome.endpoint.value,
            response_time=outcome.latency_ns / 1e6,
            response_length=outcome.body_bytes,
            exception=failure,
            context={**self._user.context(), "return_code": outcome.return_code},
        )


def _watch_of(worker: Worker, environment: Environment, max_connections: int) -> Watch:
    """Return the watch of a process's test, whose arrivals more than one engine may come to count."""
    arrivals = statistics_of(environment).arrivals
    if environment not in _watches or _watches[environment].arrivals is not arrivals:
        _watches[environment] = Watch(arrivals, max_connections, worker.folder, worker.source)
    return _watches[environment]


def _is_heard(environment: Environment) -> bool:
    """Tell whether anybody but locust's runner, which the tables are kept for, listens to requests."""
    hook: Any = environment.events.request
    return any(listener.__module__ != "locust.runners" for listener in hook._handlers)
