"""Journeys: what people do with the API, for ``SmsCodeUser.tasks``: a user plays one at a time, the engine many.

The right code is read from the sandbox. Elsewhere nobody can read it, and a journey ends after one wrong code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from functools import wraps

from toolkit.api.defaults import CODE_DIGITS, CODES
from toolkit.api.return_codes import ReturnCode
from toolkit.load_test.generator.journeys.steps import Journey, Pause, Peek, Send, Verify
from toolkit.load_test.generator.locust_plugin.context import Worker

_SPREAD = 0.5  # sigma of the logarithm of the time to think
_MARGIN_S = 0.01  # beyond the end of a window or of a code's life, so that nothing hangs on a ms

Typed = tuple[str, ReturnCode]
"""What is typed, and what is due for it."""


def verify_right(worker: Worker) -> Journey:
    """Send a code and type it."""
    yield from _send_and_type(worker, lambda code: [(code, ReturnCode.SUCCESS)])


def verify_wrong_first(worker: Worker) -> Journey:
    """Send a code, type a wrong one, then the right one."""
    wrong = ReturnCode.INVALID_CODE
    yield from _send_and_type(worker, lambda code: [(_another(code), wrong), (code, ReturnCode.SUCCESS)])


def verify_wrong(worker: Worker) -> Journey:
    """Send a code, type a wrong one, and give up."""
    yield from _send_and_type(worker, lambda code: [(_another(code), ReturnCode.INVALID_CODE)])


def verify_twice(worker: Worker) -> Journey:
    """Send a code, type it, and type it once more."""
    again = ReturnCode.VERIFIED_CODE
    yield from _send_and_type(worker, lambda code: [(code, ReturnCode.SUCCESS), (code, again)])


def verify_expired(worker: Worker) -> Journey:
    """Send a code and type it when it is no longer valid."""
    msg_id = (yield Send(worker.next_mobile())).msg_id
    if msg_id is not None:
        yield Pause(worker.expectations.caller_s(worker.expectations.ttl_s) + _MARGIN_S)
        yield Verify(msg_id, "000000", due=ReturnCode.EXPIRED_CODE)  # whatever is typed


def resend(worker: Worker) -> Journey:
    """Send a code, ask for another at once, and again when the rules allow it; type the latest."""
    mobile = worker.next_mobile()
    if (yield Send(mobile)).msg_id is None:
        return
    single_s = max((rule.window_s for rule in worker.expectations.rules if rule.count == 1), default=0)
    if single_s:
        early = yield Send(mobile, expected={ReturnCode.OUT_OF_FREQ})
        if early.return_code != ReturnCode.OUT_OF_FREQ:
            return
        yield Pause(worker.expectations.caller_s(single_s) + _MARGIN_S)
    msg_id = (yield Send(mobile, expected={ReturnCode.OUT_OF_FREQ}, due=ReturnCode.SUCCESS)).msg_id
    yield from _type(worker, msg_id, lambda code: [(code, ReturnCode.SUCCESS)])


def abandon(worker: Worker) -> Journey:
    """Send a code and type nothing."""
    yield Send(worker.next_mobile())


def thoughtful(journey: Callable[[Worker], Journey], median_s: float) -> Callable[[Worker], Journey]:
    """Let whoever makes a journey think before he types: log-normal about a median, as reaction times are.

    In the service's seconds: a sandbox's faster clock makes people faster too. Nobody thinks until a code expires.
    """

    @wraps(journey)
    def thoughtful_journey(worker: Worker) -> Journey:
        steps, came = journey(worker), None
        with closing(steps), suppress(StopIteration):
            while True:
                step = steps.send(came)
                if isinstance(step, Verify):
                    thought_s = worker.chance.lognormvariate(math.log(median_s), _SPREAD)
                    yield Pause(worker.expectations.caller_s(min(thought_s, worker.expectations.ttl_s / 4)))
                came = yield step

    return thoughtful_journey


def _send_and_type(worker: Worker, typed: Callable[[str], Iterable[Typed]]) -> Journey:
    msg_id = (yield Send(worker.next_mobile())).msg_id
    yield from _type(worker, msg_id, typed)


def _type(worker: Worker, msg_id: str | None, typed: Callable[[str], Iterable[Typed]]) -> Journey:
    if msg_id is None:
        return
    code = (yield Peek(msg_id)) if worker.is_sandbox else None
    if not worker.is_sandbox:
        yield Verify(msg_id, _another("0"))
    elif code is not None:
        for digits, due in typed(code):
            outcome = yield Verify(msg_id, digits, due=due)
            if outcome.return_code != due:
                return  # what is due next isn't known


def _another(code: str) -> str:
    return f"{(int(code) + 1) % CODES:0{CODE_DIGITS}}"
