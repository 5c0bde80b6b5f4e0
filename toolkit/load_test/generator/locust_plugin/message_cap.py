"""Budget: how many messages a load test may send, over all of its processes; it never sends one more.

The master, or the only process, holds what is left of it. A worker asks it for a portion, takes each message from that
before the send's first byte leaves, and asks for more before it runs out. What a worker that dies had at hand is lost,
at most two portions, and never spent twice. A send that certainly cost nothing is given back to the worker's own
portion: one that never left, and one whose answer says that it was refused. A timeout or an error of the service may
have cost a message, and counts as one.
"""

from __future__ import annotations

from typing import Any

from gevent.event import Event
from locust import events
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from toolkit.api.errors import NotConnectedError, ToolkitError
from toolkit.api.return_codes import FREE_REFUSALS
from toolkit.load_test.generator.journeys.steps import Outcome
from toolkit.load_test.generator.locust_plugin.shutdown import end_early
from toolkit.load_test.plan.target_guard import cap_messages
from toolkit.runs import run_folder
from toolkit.runs.run_folder import Cause
from toolkit.settings import load_price

_PORTIONS, _MOST_PER_PORTION = 100, 1_000
_ASK, _GRANT, _SPENT = "sms-budget-ask", "sms-budget-grant", "sms-budget-spent"

_allotments: dict[Environment, MessageQuota] = {}


class Budget:
    """What is left for all workers, held by the master or the only process."""

    def __init__(self, environment: Environment, messages: int) -> None:
        self._environment = environment
        self._messages = self._left = messages
        self._portion = min(max(1, messages // _PORTIONS), _MOST_PER_PORTION)
        self._asked: set[str] = set()
        self._spent: set[str] = set()

    def grant(self, worker: str) -> None:
        """Hand a worker its next portion, nothing where nothing is left."""
        portion = min(self._left, self._portion)
        self._left -= portion
        self._asked.add(worker)
        assert self._environment.runner
        self._environment.runner.send_message(_GRANT, portion, worker)

    def note_spent(self, worker: str) -> None:
        """Note that a worker has sent all it got."""
        self._spent.add(worker)
        self.end_when_spent()

    def end_when_spent(self, **_: object) -> None:
        """End the run where neither here nor at any worker that lives a message is left."""
        if self._asked and not self._left and _living(self._environment, self._asked) <= self._spent:
            self._environment.process_exit_code = run_folder.BUDGET_SPENT
            end_early(self._environment, Cause.BUDGET, f"{self._messages:,} messages, all it might send")


class MessageQuota:
    """What one process may send of the budget.

    ``is_spent``: nothing is at hand, under way or to be had, so that ``take`` will never succeed again.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._at_hand = self._portion = self._under_way = 0
        self._asked = self._is_last = self.is_spent = False
        self._changed = Event()

    def take(self) -> bool:
        """Take one message, where one is at hand; then ``settle`` has to follow."""
        if self._at_hand <= self._portion // 2 and not (self._asked or self._is_last):
            self._ask()
        if not self._at_hand:
            return False
        self._at_hand -= 1
        self._under_way += 1
        return True

    def wait(self) -> bool:
        """Take one message as soon as one is at hand; False where none will ever be."""
        while not self.claim():
            if self.is_spent:
                return False
            self._changed.wait()
        return True

    def claim(self) -> bool:
        """Take one message, waiting for no more than the master's answer; False where it has no more."""
        while not self.take():
            if self._is_last:
                return False
            self._changed.wait()
        return True

    def settle(self, outcome: Outcome) -> None:
        """Give a message back where its send certainly cost nothing."""
        self._under_way -= 1
        self._at_hand += _is_free(outcome)
        self._note()

    def add(self, portion: int) -> None:
        """Take in a portion; an empty one is the last."""
        self._asked, self._is_last = False, not portion
        self._at_hand += portion
        self._portion = portion
        self._note()

    def _ask(self) -> None:
        self._asked = True
        assert self._environment.runner
        self._environment.runner.send_message(_ASK)

    def _note(self) -> None:
        """Wake who waits, and tell the master when all is spent."""
        if self._is_last and not (self._at_hand or self._under_way or self.is_spent):
            self.is_spent = True
            assert self._environment.runner
            self._environment.runner.send_message(_SPENT)
        if self._is_last or self._at_hand:
            self._changed.set()
            self._changed.clear()


def allotment_of(environment: Environment) -> MessageQuota | None:
    """Return what this process may send; None where the run has no cap."""
    options: Any = environment.parsed_options
    if environment not in _allotments and (options.max_messages, options.max_cost) != (None, None):
        _allotments[environment] = MessageQuota(environment)
    return _allotments.get(environment)


def _is_free(outcome: Outcome) -> bool:
    if outcome.answer:
        return outcome.answer.kind in FREE_REFUSALS
    return isinstance(outcome.error, NotConnectedError)


def _living(environment: Environment, workers: set[str]) -> set[str]:
    runner = environment.runner
    if not isinstance(runner, MasterRunner):
        return workers
    lost = {node.id for node in runner.clients.missing}
    return {worker for worker in workers if worker in runner.clients and worker not in lost}


def _set_up(environment: Environment, **_: object) -> None:
    runner = environment.runner
    if runner and not isinstance(runner, MasterRunner):
        runner.register_message(_GRANT, lambda environment, msg: _allotments[environment].add(msg.data))
    if runner and not isinstance(runner, WorkerRunner) and (cap := _read_cap(environment)) is not None:
        budget = Budget(environment, cap)
        runner.register_message(_ASK, lambda environment, msg: budget.grant(msg.node_id))
        runner.register_message(_SPENT, lambda environment, msg: budget.note_spent(msg.node_id))
        hooks: Any = environment.events
        hooks.test_start.add_listener(budget.end_when_spent)
        hooks.worker_report.add_listener(budget.end_when_spent)  # a worker may have been lost


def _read_cap(environment: Environment) -> int | None:
    options: Any = environment.parsed_options
    try:
        return cap_messages(options.max_messages, options.max_cost, load_price())
    except ToolkitError as problem:
        raise SystemExit(str(problem)) from problem


_hooks: Any = events
_hooks.init.add_listener(_set_up)
