"""Drive the engine from a locust user: deal out the arrivals, draw the journeys, and take the results.

With ``--rate`` or ``--stages`` the loop is open. Each locust user then plays one share of the arrivals, and there is
one user for each worker. If a worker is lost, locust starts its user on another worker, which takes over the share.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, repeat
from random import Random
from typing import Any, TypeAlias

import numpy as np
from locust.exception import StopUser
from locust.user.task import LOCUST_STATE_STOPPING
from locust.user.users import User

from toolkit.load_test.generator.engine.epoll_loop import ActiveJourney, Engine, serve_hub
from toolkit.load_test.generator.http.request_encoder import Connector
from toolkit.load_test.generator.http.response_parser import HttpResponse
from toolkit.load_test.generator.locust_plugin.context import LoadContext
from toolkit.load_test.generator.steps import CallResult, Journey
from toolkit.load_test.generator.utc_clock import UTC_CLOCK
from toolkit.load_test.plan.schedule import ArrivalCounts, Schedule, Share

_JOIN_S = 2.0  # a user that starts within this time plays from the first arrival on
_DRAWN_AT_ONCE = 1024

JourneyChoice: TypeAlias = tuple[Callable[[LoadContext], Journey], float]
"""A journey and its weight among all journeys."""

logger = logging.getLogger(__name__)


class QuotaSpentError(Exception):
    """No message may be sent now: the rest of the quota is in flight."""


@dataclass
class OpenLoop:
    """State that the engines of one process share during a test."""

    schedule: Schedule
    engines: list[Engine]
    shares_taken: Iterator[int]

    @classmethod
    def of(cls, context: LoadContext) -> OpenLoop | None:
        """Return the open loop of a test, or None if users set the pace."""
        schedule = context.options.schedule()
        return cls(schedule, [], count()) if schedule else None

    def take_share(self, context: LoadContext) -> Share:
        """Return the share of the arrivals for a user that starts now."""
        options: Any = context.environment.parsed_options
        now_s = UTC_CLOCK.now_ns() / 1e9
        elapsed_s = now_s - options.sms_began_s
        shard = (getattr(context.environment.runner, "worker_index", 0) + next(self.shares_taken)) % options.sms_shards
        is_prompt = elapsed_s <= _JOIN_S and options.sms_lost_s is None
        after_s = 0.0 if is_prompt else elapsed_s
        orphaned_s = 0.0 if options.sms_lost_s is None else max(0.0, now_s - options.sms_lost_s)
        return Share(self.schedule, context.options.seed, shard, options.sms_shards, after_s, orphaned_s)


class UserHost:
    """Runs an engine for a locust user. ``is_ended``: a journey has ended its user, as a locust task may."""

    def __init__(self, user: User, context: LoadContext, shard: int) -> None:
        self._user, self._context, self._shard = user, context, shard
        self.is_ended = False

    @property
    def arrivals(self) -> ArrivalCounts:
        """The counts of the arrivals of this process."""
        return self._context.metrics.arrivals

    def record(self, results: Sequence[CallResult]) -> None:
        """Pass the results of calls to the sink."""
        self._context.results.record(results, self._user)

    def read_code(self, response: HttpResponse | None) -> str | None:
        """Read a message's code from the response to a peek; from None if there was no response."""
        return self._context.read_code(response)

    def admit_send(self) -> None:
        """Claim a message of the quota; raise QuotaSpentError if none is left for now."""
        quota = self._context.quota
        if quota is not None and not quota.claim():
            raise QuotaSpentError

    def on_error(self, error: Exception) -> None:
        """Report the exception that ended a journey, as locust does for a task."""
        if isinstance(error, StopUser):
            self.is_ended = True
        if isinstance(error, StopUser | QuotaSpentError):
            return
        hooks: Any = self._user.environment.events
        hooks.user_error.fire(user_instance=self._user, exception=error, tb=error.__traceback__)
        logger.error("a journey raised", exc_info=error)

    def on_turn(self, lag_s: float) -> None:
        """Measure whether the process keeps up."""
        self._context.bottleneck.tick(lag_s)

    def on_due(self, until_s: float) -> None:
        """Note how far the schedule of the shard has come."""
        self._context.bottleneck.until_s[self._shard] = until_s

    def close(self) -> None:
        """Write the results and the counts of the arrivals."""
        self._context.results.flush()
        self._context.bottleneck.write()


def draw_journeys(context: LoadContext, choices: Sequence[JourneyChoice], seed: object) -> Iterator[ActiveJourney]:
    """Yield journeys without end, as often as their weights require, and the same ones for the same seed."""
    draw = np.random.default_rng(Random(f"trips/{seed}").getrandbits(64))
    weights = np.array([weight for _, weight in choices], float)
    weights /= weights.sum()

    def draw_some(_: object) -> Iterable[JourneyChoice]:
        return [choices[number] for number in draw.choice(len(choices), _DRAWN_AT_ONCE, p=weights)]

    drawn = chain.from_iterable(map(draw_some, repeat(None)))
    return (ActiveJourney(begin(context)) for begin, _ in drawn)


def play(user: User, context: LoadContext, loop: OpenLoop, share: Share, choices: Sequence[JourneyChoice]) -> bool:
    """Play journeys until the arrivals of a share are over, or until locust or a journey ends the user.

    Returns True if the arrivals are over.
    """
    host = UserHost(user, context, share.shard)
    journeys = draw_journeys(context, choices, (share.seed, share.shard))
    http = context.http
    engine = Engine(
        Connector(context.target, http),
        host,
        journeys,
        share,
        context.options.max_connections,
        http.timeout_s,
        peers=loop.engines,
        connect_timeout_s=http.connect_timeout_s,
        tracer=context.tracer,
        begun=context.begun,
    )

    def is_stopping() -> bool:
        return user._state == LOCUST_STATE_STOPPING or host.is_ended

    context.callers.add(engine)
    try:
        engine.run(serve_hub, is_stopping)
    finally:
        context.callers.discard(engine)
    return not is_stopping()
