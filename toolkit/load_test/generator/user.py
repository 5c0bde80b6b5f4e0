"""SmsCodeUser: a locust user that speaks the API. Our reader decides what failed, by kind, never the HTTP status."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from inspect import isgeneratorfunction

import gevent
from locust import User
from locust.env import Environment
from locust.exception import StopTest, StopUser
from locust.runners import LocalRunner
from locust.user.task import LOCUST_STATE_RUNNING, LOCUST_STATE_STOPPING, LOCUST_STATE_WAITING

from toolkit.api.errors import CallError, InputError, ToolkitError, TransportError
from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.checks.registry import Check
from toolkit.load_test.generator.engine import open_loop
from toolkit.load_test.generator.engine.open_loop import Begin
from toolkit.load_test.generator.engine.pace import open_loop_of
from toolkit.load_test.generator.http.blocking import Transport
from toolkit.load_test.generator.http.encoder import Writer
from toolkit.load_test.generator.journeys.steps import (
    Call,
    Journey,
    Outcome,
    Pause,
    Peek,
    Send,
    Step,
    Verify,
    read_outcome,
)
from toolkit.load_test.generator.locust_plugin.context import Worker, worker_of
from toolkit.load_test.generator.locust_plugin.shutdown import begin_end

# An enum's attributes are looked up by Python code.
_SEND, _VERIFY = Endpoint.SEND, Endpoint.VERIFY
_NAMES = {endpoint: endpoint.value for endpoint in Endpoint}


@dataclass(frozen=True, slots=True)
class JourneyTask:
    """A task that plays a journey: what becomes of each generator function among the tasks of a ``SmsCodeUser``."""

    journey: Callable[[Worker], Journey]

    def __call__(self, user: SmsCodeUser) -> None:
        """Play it from its start to its end."""
        user.play(self.journey(user.worker))

    @property
    def __name__(self) -> str:  # locust's page lists the names of a user's tasks
        return self.journey.__name__


class SmsCodeUser(User):
    """A user with one connection of its own and the API's two calls in ``self.sms``.

    ``tasks``: journeys, which are generator functions that take the worker (``steps``), and locust's own, which take
    the user. ``expected``: return codes that are no failure for this user, such as ``{ReturnCode.OUT_OF_FREQ}``.
    ``claim``: what its calls are to show of the service. ``stages``: the rate at which its journeys begin, unless the
    options say how hard to load.
    """

    abstract = True
    expected: Collection[int] = ()
    claim: Check | None = None
    stages: str | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.tasks = [JourneyTask(task) if isgeneratorfunction(task) else task for task in cls.tasks]

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        try:
            self.worker = worker_of(environment)
            self.sms = Calls(self)
            self._loop = open_loop_of(environment)
            if self._loop:
                self._begins = gather(environment.user_classes)
                self.tasks = [type(self).play_on_schedule]
        except ToolkitError as error:  # no user could be made: locust ends the run, and says this
            environment.process_exit_code = 1
            raise StopTest(str(error)) from error

    def play(self, journey: Journey) -> None:
        """Take a journey's steps, one after the other."""
        came: object = None
        try:
            while True:
                came = self.sms.take(journey.send(came))
        except StopIteration:
            pass
        finally:
            journey.close()

    def pause(self, duration_s: float) -> None:
        """Let time pass as locust's own waits do: the end of the test doesn't wait for it, but comes in it."""
        if self._state == LOCUST_STATE_STOPPING:
            raise StopUser
        self._state = LOCUST_STATE_WAITING
        gevent.sleep(duration_s)
        self._state = LOCUST_STATE_RUNNING

    def play_on_schedule(self) -> None:
        """Play the locustfile's journeys when arrivals are due, until no more come."""
        assert self._loop
        try:
            is_over = open_loop.play(self, self.worker, self._begins, self._loop)
        except ToolkitError as error:
            raise StopTest(str(error)) from error
        if is_over and isinstance(self.environment.runner, LocalRunner):
            begin_end(self.environment)  # with workers, the master's run time does it
        raise StopUser

    def on_stop(self) -> None:
        """Close the connection."""
        self.sms.transport.close()


def gather(user_classes: Sequence[type[User]]) -> list[Begin]:
    """Return how the journeys of a locustfile begin; raise InputError for a task that is none."""
    begins: list[Begin] = []
    for kind in user_classes:
        for task in kind.tasks:
            if not (issubclass(kind, SmsCodeUser) and isinstance(task, JourneyTask)):
                raise InputError(f"{kind.__name__} has a task that is no journey: it can't be begun at a rate")
            begins.append((task.journey, kind.weight / len(kind.tasks), kind.expected))
    if not begins:
        raise InputError("no journey is among the tasks: nothing can be begun at a rate")
    return begins


class Calls:
    """The API's two calls, made by one user. Refusals and failures are outcomes: nothing is raised for them."""

    def __init__(self, user: SmsCodeUser) -> None:
        self._user = user
        self._worker = user.worker
        self._events = user.environment.events.request
        self.transport = Transport(user.worker.target.base_url)
        self._write = Writer(self.transport.origin, user.worker.credentials, user.worker.target.temp_id).write

    def send_code(self, mobile: str, temp_id: int | None = None, *, expected: Collection[int] = ()) -> Outcome:
        """Send a code, with the target's template unless another is given."""
        return self.make(Send(mobile, temp_id, expected))

    def verify_code(self, msg_id: str, code: str, *, expected: Collection[int] = ()) -> Outcome:
        """Verify a typed code."""
        return self.make(Verify(msg_id, code, expected))

    def take(self, step: Step) -> Outcome | str | None:
        """Take a journey's step and return what came of it."""
        if isinstance(step, Peek):
            return self.peek(step.msg_id)
        if isinstance(step, Pause):
            self._user.pause(step.duration_s)
            return None
        return self.make(step)

    def peek(self, msg_id: str) -> str | None:
        """Read a message's code from the sandbox, None where it gives none. No call of the API: counted nowhere."""
        try:
            self.transport.connect()
            return self._worker.read_code(self.transport.move(self._write(Peek(msg_id))))
        except TransportError:
            return None

    def make(self, call: Call) -> Outcome:
        """Make a call."""
        outcome = self._move(call)
        self._keep(call, outcome)
        failure = outcome.failure(call.expected)
        if failure is not None and outcome.return_code in self._user.expected:
            failure = None
        self._report(outcome, failure)
        self._worker.judge(outcome.endpoint, failure)
        return outcome

    def _move(self, call: Call) -> Outcome:
        written = self._write(call)
        gevent.sleep(0)  # locust may have ended this user while it waited: let that come before a byte leaves
        endpoint = _SEND if isinstance(call, Send) else _VERIFY
        if endpoint is _SEND:
            self._worker.take_message()
        started_ns, clock_ns = time.time_ns(), time.perf_counter_ns()
        try:
            self.transport.connect()
            started_ns, clock_ns = time.time_ns(), time.perf_counter_ns()
            received = self.transport.move(written)
            return read_outcome(call, received, started_ns, time.perf_counter_ns() - clock_ns)
        except CallError as error:
            return Outcome(endpoint, started_ns, time.perf_counter_ns() - clock_ns, error=error)
        except BaseException as ending:  # the run ends in the middle of a call; a send may cost money all the same
            cut_off = TransportError("the run ended first")
            cut_off.__cause__ = ending
            latency_ns = time.perf_counter_ns() - clock_ns
            self._keep(call, Outcome(endpoint, started_ns, latency_ns, error=cut_off))
            raise

    def _keep(self, call: Call, outcome: Outcome) -> None:
        self._worker.record([(call, outcome, self._user.expected)])

    def _report(self, outcome: Outcome, failure: CallError | None) -> None:
        self._events.fire(
            request_type="POST",
            name=_NAMES[outcome.endpoint],
            response_time=outcome.latency_ns / 1e6,
            response_length=outcome.body_bytes,
            exception=failure,
            context={**self._user.context(), "return_code": outcome.return_code},
        )
