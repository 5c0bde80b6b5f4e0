"""A locust user that calls the API. The kind of a response decides whether a call failed, not its HTTP status."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence, Set
from contextlib import suppress
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
from toolkit.load_test.generator.engine.open_loop import JourneyChoice, OpenLoop
from toolkit.load_test.generator.http.blocking import BlockingConnection
from toolkit.load_test.generator.http.call_outcome import read_outcome
from toolkit.load_test.generator.http.request_encoder import RequestEncoder
from toolkit.load_test.generator.http.response_parser import HttpResponse
from toolkit.load_test.generator.install import install, plugin_of
from toolkit.load_test.generator.locust_plugin.context import LoadContext
from toolkit.load_test.generator.results.in_flight import InFlight
from toolkit.load_test.generator.steps import Call, Journey, Outcome, Pause, Peek, Send, Step, Verify
from toolkit.load_test.generator.utc_clock import UTC_CLOCK

install()

_SEND, _VERIFY = Endpoint.SEND, Endpoint.VERIFY  # looking up an enum's attribute runs Python code


@dataclass(frozen=True, slots=True)
class JourneyTask:
    """A locust task that plays a journey. ``SmsCodeUser`` makes one of each generator function among its tasks."""

    journey: Callable[[LoadContext], Journey]

    def __call__(self, user: SmsCodeUser) -> None:
        """Play the journey from its start to its end."""
        user.play(self.journey(user.load_context))

    @property
    def __name__(self) -> str:  # locust's page lists the names of a user's tasks
        return self.journey.__name__

    @property
    def locust_tag_set(self) -> Set[str]:
        """The tags of locust's ``@tag``, for its options --tags and --exclude-tags."""
        return getattr(self.journey, "locust_tag_set", frozenset())


class SmsCodeUser(User):
    """A user with a connection of its own. ``self.sms`` makes the API's two calls.

    A locustfile needs nothing else: importing this class installs the permission check, the cap on messages, and the
    records. For example::

        from locust import constant
        from toolkit.load_test.generator.journeys import people
        from toolkit.load_test.generator.user import SmsCodeUser

        class Person(SmsCodeUser):
            wait_time = constant(0)
            tasks = [people.verify_right]

    Attributes:
        tasks: journeys, which are generator functions that take the ``LoadContext``, or locust's own tasks, which take
            the user.
        expected: kinds and return codes that do not count as failures here, e.g. ``{Kind.RATE}``. They hold
            for the calls of all users of the locustfile, see ``call_record.is_failed``.
        check: the property of the service that its calls are checked for.
        stages: the arrival rate over time, unless the options set the load.
    """

    abstract = True
    expected: Collection[int | str] = ()
    check: Check | None = None
    stages: str | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.tasks = [JourneyTask(task) if isgeneratorfunction(task) else task for task in cls.tasks]

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        try:
            self.load_context = plugin_of(environment).open_context()
            self.sms = ApiCalls(self)
            self._loop = self.load_context.shared(OpenLoop.of)
            if self._loop:
                self._share = self._loop.take_share(self.load_context)
                self._choices = list_journeys(environment.user_classes)
                self.tasks = [type(self).play_on_schedule]
        except ToolkitError as error:  # no user can be made: locust ends the run and logs this
            environment.process_exit_code = 1
            raise StopTest(str(error)) from error

    def play(self, journey: Journey) -> None:
        """Play a journey, one step after the other."""
        value: object = None
        try:
            while True:
                value = self.sms.take(journey.send(value))
        except StopIteration:
            pass
        finally:
            journey.close()

    def pause(self, duration_s: float) -> None:
        """Wait as locust's own users do: the end of the test interrupts it."""
        if self._state == LOCUST_STATE_STOPPING:
            raise StopUser
        self._state = LOCUST_STATE_WAITING
        gevent.sleep(duration_s)
        self._state = LOCUST_STATE_RUNNING

    def play_on_schedule(self) -> None:
        """Play the locustfile's journeys when arrivals are due, until the arrivals are over."""
        assert self._loop
        try:
            is_over = open_loop.play(self, self.load_context, self._loop, self._share, self._choices)
        except ToolkitError as error:  # no connection can be made, e.g. because the target's name has no address
            self.load_context.warn(str(error))
            raise StopTest(str(error)) from error
        if is_over and isinstance(self.environment.runner, LocalRunner):
            self.load_context.shutdown.begin()  # with workers, the master's run time ends the run
        raise StopUser

    def on_stop(self) -> None:
        """Close the connection."""
        self.load_context.callers.discard(self.sms)
        self.sms.connection.close()


def list_journeys(user_classes: Sequence[type[User]]) -> list[JourneyChoice]:
    """Return the journeys of a locustfile with their weights; raise InputError for a task that is not a journey."""
    choices: list[JourneyChoice] = []
    for kind in user_classes:
        for task in kind.tasks:
            if not (issubclass(kind, SmsCodeUser) and isinstance(task, JourneyTask)):
                raise InputError(
                    f"{kind.__name__} has a task that is not a journey, which --rate and --stages can't begin:"
                    " write it as a generator function that yields steps"
                )
            choices.append((task.journey, kind.weight / len(kind.tasks)))
    if not choices:
        raise InputError("--rate and --stages need a journey: add one to the tasks of the locustfile, or use --users")
    return choices


class ApiCalls:
    """The API's two calls, made by one user. Refusals and failures are outcomes: nothing is raised for them."""

    def __init__(self, user: SmsCodeUser) -> None:
        context = user.load_context
        self._user, self._context, self._record = user, context, context.results.record
        self.connection = BlockingConnection(context.target.base_url, context.http)
        # The call that is in flight, when it was due, and when its request was sent, in ns; 0 while it connects.
        self._in_flight: tuple[Endpoint, int, int] | None = None
        context.callers.add(self)
        encoder = RequestEncoder(self.connection.origin, context.credentials, context.target.temp_id, context.http)
        self._encode = encoder.encode

    def send_code(self, mobile: str, temp_id: int | None = None) -> Outcome:
        """Send a code, with the target's template unless another is given."""
        return self.make(Send(mobile, temp_id))

    def verify_code(self, msg_id: str, code: str) -> Outcome:
        """Verify a typed code."""
        return self.make(Verify(msg_id, code))

    def take(self, step: Step) -> Outcome | str | None:
        """Perform a step of a journey and return its value."""
        if isinstance(step, Peek):
            return self.peek(step.msg_id)
        if isinstance(step, Pause):
            self._user.pause(step.duration_s)
            return None
        return self.make(step)

    def peek(self, msg_id: str) -> str | None:
        """Read a message's code from the sandbox, or return None if it can't be read. Peeks are not counted."""
        response: HttpResponse | None = None
        with suppress(TransportError):
            self.connection.connect()
            response = self.connection.exchange(self._encode(Peek(msg_id)))
        return self._context.read_code(response)

    def make(self, call: Call) -> Outcome:
        """Make a call and record its result."""
        request, trace = self._encode(call), None
        if (tracer := self._context.tracer) is not None:
            request, trace = tracer.sample(request)
        gevent.sleep(0)  # locust may have ended this user while it waited: let that happen before a byte leaves
        endpoint = _SEND if isinstance(call, Send) else _VERIFY
        if endpoint is _SEND and (quota := self._context.quota) is not None and not quota.wait():
            raise StopUser
        due_ns = clock_ns = time.perf_counter_ns()
        started_ns, self._in_flight = UTC_CLOCK.offset_ns + due_ns, (endpoint, due_ns, 0)
        try:
            self.connection.connect()
            clock_ns = time.perf_counter_ns()
            started_ns = UTC_CLOCK.offset_ns + clock_ns
            self._in_flight = endpoint, due_ns, clock_ns
            self._context.begun[endpoint is _SEND] += 1
            response = self.connection.exchange(request)
            outcome = read_outcome(call, response, started_ns, time.perf_counter_ns() - clock_ns)
        except CallError as error:
            outcome = Outcome(endpoint, started_ns, time.perf_counter_ns() - clock_ns, error=error)
        except BaseException as ending:  # the run ends in the middle of a call; a send may cost money all the same
            cut_off = TransportError("the run ended first")
            cut_off.__cause__ = ending
            latency_ns = time.perf_counter_ns() - clock_ns
            outcome = Outcome(endpoint, started_ns, latency_ns, error=cut_off, trace=trace)
            self._record([(call, outcome)], self._user)
            raise
        finally:
            self._in_flight = None
        outcome.trace = trace
        self._record([(call, outcome)], self._user)
        return outcome

    def add_in_flight(self, in_flight: InFlight) -> None:
        """Add the call in flight, if there is one."""
        if self._in_flight is not None:
            endpoint, due_ns, sent_ns = self._in_flight
            now_ns = time.perf_counter_ns()
            # In a closed loop a call is due when its request is sent, so no time includes the wait for a connection.
            in_flight.add_call(endpoint, now_ns - sent_ns if sent_ns else None, now_ns - (sent_ns or due_ns))
