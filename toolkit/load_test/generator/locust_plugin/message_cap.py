"""Limit the messages that a run may send, over all of its processes. The limit is never exceeded, not even by one.

The master, or the only process, holds the budget. A worker requests a portion, takes each message from that portion
before the first byte of the send leaves, and requests the next portion before this one is used up. A worker that dies
takes at most two portions with it; they are lost, never sent twice.

Refused sends are refunded, and so are sends that never left. Timeouts and errors of the service are not: the message
may have been billed.

    master                      worker
    budget 1000, portion 10
       <--------- ask --------- quota empty
       ------ grant 10 ------->  take, take, ... settle
       <--------- ask --------- 5 left
       ------ grant 10 ------->
       ------ grant 0 -------->  budget used up: this was the last portion
       <-------- spent --------  nothing left, and nothing in flight
"""

from __future__ import annotations

from typing import Any

from gevent.event import Event
from locust.env import Environment
from locust.runners import MasterRunner

from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.http.call_outcome import classify
from toolkit.load_test.generator.locust_plugin.shutdown import Shutdown
from toolkit.load_test.generator.steps import Outcome
from toolkit.number_format import plural
from toolkit.records.call_record import may_cost
from toolkit.runs.exit_codes import ExitCode
from toolkit.runs.run_folder import Cause

_PORTIONS, _MAX_PORTION = 100, 1_000  # smaller portions cost more messages to the master, larger ones die with a worker
ASK_MESSAGE, GRANT_MESSAGE, SPENT_MESSAGE = "sms-budget-ask", "sms-budget-grant", "sms-budget-spent"


class MessageBudget:
    """The messages that are left to all workers of a test, held by the master or the only process.

    ``test`` is the number of the test: a message of an earlier test's worker is ignored. ``messages`` is the limit.
    """

    def __init__(self, environment: Environment, shutdown: Shutdown, messages: int, test: int) -> None:
        self._environment, self._shutdown, self._test = environment, shutdown, test
        self.messages = self._left = messages
        self._portion = min(max(1, messages // _PORTIONS), _MAX_PORTION)
        self._workers: set[str] = set()
        self._spent: set[str] = set()

    def on_ask(self, msg: Any) -> None:
        """Grant a worker its next portion, an empty one if nothing is left."""
        if msg.data != self._test:
            return
        portion = min(self._left, self._portion)
        self._left -= portion
        self._workers.add(msg.node_id)
        assert self._environment.runner
        self._environment.runner.send_message(GRANT_MESSAGE, [self._test, portion], msg.node_id)

    def on_spent(self, msg: Any) -> None:
        """Note that a worker has sent all of its portions."""
        if msg.data == self._test:
            self._spent.add(msg.node_id)
            self.end_when_spent()

    def end_when_spent(self) -> None:
        """End the run if neither the budget nor any worker has a message left. A lost worker counts as spent."""
        if not self._workers or self._left:
            return
        runner, alive = self._environment.runner, self._workers
        if isinstance(runner, MasterRunner):
            lost = {node.id for node in runner.clients.missing}
            alive = {worker for worker in alive if worker in runner.clients and worker not in lost}
        if alive <= self._spent:
            self._environment.process_exit_code = ExitCode.BUDGET
            self._shutdown.end_early(Cause.BUDGET, f"it allowed {plural(self.messages, 'message')}")


class MessageQuota:
    """The messages that one process may send of the budget.

    ``is_spent``: no message is left, in flight or to be granted, so ``claim`` will never succeed again.
    """

    def __init__(self, environment: Environment, test: int) -> None:
        self._environment, self._test = environment, test
        self._left = self._portion = self._in_flight = 0
        self._has_asked = self._is_last = self.is_spent = False
        self._changed = Event()

    def wait(self) -> bool:
        """Claim one message, waiting until one is left; return False if that will never be."""
        while not self.claim():
            if self.is_spent:
                return False
            self._changed.wait()
        return True

    def claim(self) -> bool:
        """Claim one message, waiting at most for the master's answer; return False if it grants no more.

        ``settle`` must follow, but a refund may make a later ``claim`` succeed.
        """
        while not self._take():
            if self._is_last:
                return False
            self._changed.wait()
        return True

    def settle(self, outcome: Outcome) -> None:
        """Refund the message of a send that certainly cost nothing."""
        self._in_flight -= 1
        kind = outcome.response.kind if outcome.response else None
        error = classify(outcome.error) if outcome.error else None
        self._left += not may_cost(Endpoint.SEND, kind, error)
        self._notify()

    def on_grant(self, msg: Any) -> None:
        """Add a portion. An empty one is the last."""
        test, portion = msg.data
        if test != self._test:
            return
        self._has_asked, self._is_last = False, not portion
        self._left += portion
        self._portion = portion
        self._notify()

    def _take(self) -> bool:
        if self._left <= self._portion // 2 and not (self._has_asked or self._is_last):
            self._has_asked = True
            assert self._environment.runner
            self._environment.runner.send_message(ASK_MESSAGE, self._test)
        if not self._left:
            return False
        self._left -= 1
        self._in_flight += 1
        return True

    def _notify(self) -> None:
        """Wake the users that wait, and report to the master when all is spent."""
        if self._is_last and not (self._left or self._in_flight or self.is_spent):
            self.is_spent = True
            assert self._environment.runner
            self._environment.runner.send_message(SPENT_MESSAGE, self._test)
        if self._is_last or self._left:
            self._changed.set()
            self._changed.clear()
