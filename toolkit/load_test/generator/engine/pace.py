"""Pace: what drives a run: users, one call after the other, or arrivals on a schedule, as its options say.

With ``--rate`` or ``--stages`` the loop is open: each locust user stands for one share of the arrivals, and there is
one user for each worker. Where a worker is lost, locust starts its user on another one, which so takes over its share.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import count
from typing import Any

from locust import events
from locust.env import Environment
from locust.runners import WorkerRunner

from toolkit.api.errors import InputError
from toolkit.load_test.plan.options import from_parsed_options
from toolkit.load_test.plan.schedule import Schedule, Share

_PROMPT_S = 2.0  # users that come so soon are in time for the first arrival

_hooks: Any = events


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """One share of the arrivals, and the most connections to make their calls on."""

    share: Share
    max_connections: int


class Shares:
    """Deals the shares of a test out to the users of one process."""

    def __init__(self, environment: Environment) -> None:
        self._options: Any = environment.parsed_options
        self._worker = getattr(environment.runner, "worker_index", 0)
        self._dealt = count()

    def deal(self) -> OpenLoop | None:
        """Return the share of a user that starts now; None where users set the pace."""
        options, schedule = self._options, read_schedule(self._options)
        if schedule is None:
            return None
        shards, elapsed_s = options.sms_shards, time.time() - options.sms_began_s
        shard = (self._worker + next(self._dealt)) % shards
        is_prompt = elapsed_s <= _PROMPT_S and options.sms_lost_s is None
        after_s = 0.0 if is_prompt else elapsed_s
        orphaned_s = 0.0 if options.sms_lost_s is None else max(0.0, time.time() - options.sms_lost_s)
        return OpenLoop(Share(schedule, options.sms_seed, shard, shards, after_s, orphaned_s), options.max_connections)


def read_schedule(options: Any) -> Schedule | None:
    """Return when journeys begin, as the options say, None for a closed loop; raise InputError."""
    return from_parsed_options(options).schedule()


_shares: dict[Environment, Shares] = {}


def open_loop_of(environment: Environment) -> OpenLoop | None:
    """Deal a share to a user that starts now; None where users set the pace. Raises InputError."""
    if environment not in _shares:
        _shares[environment] = Shares(environment)
    return _shares[environment].deal()


def _set_up(environment: Environment, **_: object) -> None:
    """Choose as many users as there are workers; end with one line where the options are wrong."""
    options: Any = environment.parsed_options
    if isinstance(environment.runner, WorkerRunner):
        return
    if options.rate is None and options.num_users is None and not options.stages:
        own = [getattr(user_class, "stages", None) for user_class in environment.user_classes]
        options.stages = next(filter(None, own), None)
    try:
        _plan(options)
    except InputError as problem:
        raise SystemExit(str(problem)) from problem


def _plan(options: Any) -> None:
    schedule = read_schedule(options)
    if schedule is None:
        return
    if options.num_users is not None:
        raise InputError("--users and --rate exclude one another: either users or arrivals set the pace")
    options.num_users = options.spawn_rate = max(1, options.expect_workers)
    if options.run_time is None and math.isfinite(schedule.duration_s):
        options.run_time = math.ceil(schedule.duration_s) + 1


def _begin(environment: Environment, **_: object) -> None:
    """Note for all workers, to whom the master's options go, how many users share the arrivals, and since when."""
    _shares.pop(environment, None)
    options: Any = environment.parsed_options
    if environment.runner and not isinstance(environment.runner, WorkerRunner):
        options.sms_shards, options.sms_began_s = max(1, environment.runner.target_user_count), time.time()
        options.sms_lost_s = None  # when a worker was lost whose share has nobody now, as fleet notes


_hooks.init.add_listener(_set_up)
_hooks.test_start.add_listener(_begin)
