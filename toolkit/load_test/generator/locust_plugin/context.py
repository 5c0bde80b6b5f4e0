"""Worker: what the users of one locust process share, from its first user to its end.

How the parent process steers it: options (environment variables of ``runs``), and a pipe that closes when the parent is
gone.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import gevent
from gevent.socket import wait_read
from locust import events
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import LocalRunner, WorkerRunner

from toolkit.api.errors import CallError, ReturnCodeError, ToolkitError
from toolkit.api.return_codes import Kind
from toolkit.api.wire import Credentials, Endpoint
from toolkit.load_test.generator.checks.collector import read_expectations, witness_of
from toolkit.load_test.generator.http.http1 import Received
from toolkit.load_test.generator.journeys.steps import CallResult, Send, read_code
from toolkit.load_test.generator.locust_plugin import locust_stats, threshold_monitor, web_ui, worker_takeover  # noqa: F401  # their options and listeners
from toolkit.load_test.generator.locust_plugin.message_cap import allotment_of
from toolkit.load_test.generator.locust_plugin.shutdown import begin_end, end, end_early, leave
from toolkit.load_test.generator.results.metrics import statistics_of
from toolkit.load_test.generator.results.recorder import Recorder
from toolkit.load_test.plan.mobile_pools import parse_pool, shard_of
from toolkit.load_test.plan.options import add_arguments
from toolkit.load_test.plan.target_guard import check_allowed
from toolkit.records.call_record import RecordBuilder
from toolkit.runs import run_folder
from toolkit.runs.remote_storage import is_url
from toolkit.settings import Target, load_target

_ORPHAN_GRACE_S = 3.0
_SEND = Endpoint.SEND  # an enum's attributes are looked up by Python code
_GC_THRESHOLDS = (50_000, 20, 50)
_HOPELESS_SENDS = 20  # wrong ones of one process, with no right one
_NO_SANDBOX = "the target is no sandbox, so no code can be read: each journey sends, then verifies one wrong code"

logger = logging.getLogger(__name__)
_workers: dict[Environment, Worker] = {}


class Worker:
    """One locust process of a load test.

    ``chance``: for whatever its journeys draw. ``expectations``: what the service
    is to keep to. ``is_sandbox``: False once the target has turned out to be none. ``allotment``: what it may send,
    None without a cap. ``folder``: the run's, None without one.
    """

    def __init__(self, environment: Environment, target: Target) -> None:
        options: Any = environment.parsed_options
        shard, shards = _shard(environment)
        self.target = target
        self.credentials = Credentials(target.app_key, target.master_secret)
        self._mobiles = parse_pool(options.sms_mobiles)(options.sms_seed, shard, shards)
        self.chance = Random(f"{options.sms_seed}/{shard}")
        self.is_sandbox = True
        self.allotment = allotment_of(environment)
        self.expectations = read_expectations(environment)
        self._witness = witness_of(environment)
        place = options.sms_run_dir or ""
        self.folder = Path(place) if place and not is_url(place) else None
        self.source = str(shard)
        run = place.rstrip("/").rpartition("/")[2]
        self.builder = RecordBuilder.of(run, f"worker-{shard}", target.app_key, target.master_secret)
        self._recorder = Recorder(place, self.source, self.builder, target.temp_id) if place else None
        self.environment = environment
        self._said: set[str] = set()
        self._wrong_sends = self._right_sends = 0

    def next_mobile(self) -> str:
        """Draw a mobile; where the pool is used up, end the run and the user."""
        mobile = next(self._mobiles, None)
        if mobile is not None:
            return mobile
        self.say("the run ended when each of its mobiles had been used: a larger pool is --mobiles uniform")
        begin_end(self.environment)
        raise StopUser

    def take_message(self) -> None:
        """Take one of the messages that the run may send, waiting for it if need be; without one the user ends."""
        if self.allotment and not self.allotment.wait():
            raise StopUser

    def claim_message(self) -> bool:
        """Take one of the messages that the run may send, where one is left now; a refusal may still give one back."""
        return self.allotment is None or self.allotment.claim()

    def shared_mobile(self, number: int) -> str:
        """Return a mobile that is the same for a number on all workers."""
        options: Any = self.environment.parsed_options
        draw = Random(f"{options.sms_seed}/{number}")
        return next(parse_pool(options.sms_mobiles)(draw.getrandbits(32), 0, 1))

    def read_code(self, received: Received) -> str | None:
        """Read the code from what came of a peek; where the target knows no such thing, note that it is no sandbox."""
        if received.http_status == 404:
            self.is_sandbox = False
            self.say(_NO_SANDBOX)
        return read_code(received)

    def record(self, kept: Sequence[CallResult]) -> None:
        """Keep calls, where the run has a folder, count them, settle what they cost, and note what they show."""
        if self.allotment:
            for call, outcome, _ in kept:
                if isinstance(call, Send):
                    self.allotment.settle(outcome)
        self._witness.see(kept)
        if self._recorder:
            self._recorder.append(kept)
        statistics_of(self.environment).count_all(kept)

    def flush(self, **_: object) -> None:
        """Bring what was recorded into its file."""
        if self._recorder:
            self._recorder.flush()

    def close(self, **_: object) -> None:
        """End the recording."""
        if self._recorder:
            self._recorder.close()

    def say(self, note: str) -> None:
        """Tell the run's user something, once: on stderr and in the run's folder."""
        if note not in self._said:
            self._said.add(note)
            logger.warning(note)
            leave(self.environment, run_folder.NOTES_NAME, note)

    def judge(self, endpoint: Endpoint, failure: CallError | None) -> None:
        """End the run where every further call would be refused the same way.

        So is whoever has no key, no permission or no balance; and who has sent nothing but wrong requests, such as with
        a template that is disabled. No answer, and an error of the service, tell nothing of that.
        """
        is_send = endpoint is _SEND
        if failure is None:
            self._right_sends += is_send
            return
        if not isinstance(failure, ReturnCodeError):
            return
        kind = failure.kind
        if is_send:
            self._wrong_sends += kind is Kind.REQUEST
            self._right_sends += kind not in (Kind.REQUEST, Kind.SERVER)
        if kind is Kind.ACCOUNT or (self._wrong_sends >= _HOPELESS_SENDS and not self._right_sends):
            end_early(self.environment, run_folder.Cause.REFUSED, f"{failure.return_code:d} {failure.message}")


def worker_of(environment: Environment) -> Worker:
    """Return the worker of this process.

    Raise SettingsError where the target or its credentials are missing, InputError where it may not be loaded.
    """
    if environment not in _workers:
        worker = Worker(environment, _find_target(environment))
        gc.freeze()  # calls come and go by the thousand: look for garbage among what is new, and not so often
        gc.set_threshold(*_GC_THRESHOLDS)
        _listen(environment.events, test_stop=worker.flush, quit=worker.close)
        _workers[environment] = worker
    return _workers[environment]


def _find_target(environment: Environment) -> Target:
    options: Any = environment.parsed_options
    target = load_target(base_url=environment.host)
    is_capped = (options.max_messages, options.max_cost) != (None, None)
    check_allowed(target.base_url, options.allow_target, options.i_pay_for_this, is_capped)
    return target


def _shard(environment: Environment) -> tuple[int, int]:
    runner, options = environment.runner, environment.parsed_options
    if isinstance(runner, WorkerRunner) and options:
        return shard_of(runner.worker_index, options.expect_workers)
    return 0, 1


def _check_settings(environment: Environment, **_: object) -> None:
    """End with one line where settings are missing; with a web UI or a master, the host is still to come."""
    options: Any = environment.parsed_options
    if isinstance(environment.runner, LocalRunner) and options.headless:
        try:
            parse_pool(options.sms_mobiles)
            _find_target(environment)
        except ToolkitError as error:
            raise SystemExit(str(error)) from error


def _set_clock(environment: Environment, **_: object) -> None:
    """Have locust's time limit count from now: gevent's clock stands since before the imports, which take a second."""
    gevent.get_hub().loop.update_now()


def _watch_lifeline(environment: Environment, **_: object) -> None:
    options: Any = environment.parsed_options
    if options.sms_lifeline_fd is not None:
        gevent.spawn(_die_with_parent, environment, options.sms_lifeline_fd)


def _die_with_parent(environment: Environment, lifeline_fd: int) -> None:
    wait_read(lifeline_fd)
    gevent.spawn_later(_ORPHAN_GRACE_S, os._exit, 1)
    environment.stop_timeout = 0.0
    end(environment)


def _judge_scenario(environment: Environment, **_: object) -> None:
    """End with exit code 2 where a task raised: locust only logs that, and goes on."""
    if environment.runner and environment.runner.exceptions:
        environment.process_exit_code = 2


def _listen(hooks: Any, **listeners: Callable[..., None]) -> None:
    for name, listener in listeners.items():
        getattr(hooks, name).add_listener(listener)


_listen(events, init_command_line_parser=add_arguments, init=_watch_lifeline, quitting=_judge_scenario)
_listen(events, init=_check_settings)
_listen(events, init=_set_clock)
