"""Journeys of people that sign in, for ``SmsCodeUser.tasks``.

The right code is read from the sandbox. Another target keeps it secret, so there a journey ends after one wrong code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from functools import wraps

from toolkit.api.defaults import CODE_DIGITS, CODES
from toolkit.api.return_codes import ReturnCode
from toolkit.load_test.generator.locust_plugin.context import LoadContext
from toolkit.load_test.generator.steps import Journey, Pause, Peek, Send, Verify

_SIGMA = 0.5  # of the logarithm of the time to think
_MARGIN_S = 0.01  # beyond the end of a window or of a code's life, so that no answer depends on a millisecond

Typed = tuple[str, ReturnCode]
"""A typed code, and the return code that it must get."""


def verify_right(context: LoadContext) -> Journey:
    """Send a code and type it."""
    yield from _send_and_type(context, lambda code: [(code, ReturnCode.SUCCESS)])


def verify_wrong_first(context: LoadContext) -> Journey:
    """Send a code, type a wrong one, then the right one."""
    wrong = ReturnCode.INVALID_CODE
    yield from _send_and_type(context, lambda code: [(_another(code), wrong), (code, ReturnCode.SUCCESS)])


def verify_wrong(context: LoadContext) -> Journey:
    """Send a code, type a wrong one, and give up."""
    yield from _send_and_type(context, lambda code: [(_another(code), ReturnCode.INVALID_CODE)])


def verify_twice(context: LoadContext) -> Journey:
    """Send a code, type it, and type it once more."""
    again = ReturnCode.VERIFIED_CODE
    yield from _send_and_type(context, lambda code: [(code, ReturnCode.SUCCESS), (code, again)])


def verify_expired(context: LoadContext) -> Journey:
    """Send a code and type it when it has expired."""
    msg_id = (yield Send(context.next_mobile())).msg_id
    if msg_id is not None:
        yield Pause(context.expectations.caller_s(context.expectations.ttl_s) + _MARGIN_S)
        yield Verify(msg_id, "000000", expected=ReturnCode.EXPIRED_CODE)  # whatever the code


def resend(context: LoadContext) -> Journey:
    """Send a code, ask for another at once, and again when the rules allow it; type the latest."""
    mobile = context.next_mobile()
    if (yield Send(mobile)).msg_id is None:
        return
    single_s = max((rule.window_s for rule in context.expectations.rules if rule.count == 1), default=0)
    if single_s:
        early = yield Send(mobile)
        if early.return_code != ReturnCode.OUT_OF_FREQ:
            return
        yield Pause(context.expectations.caller_s(single_s) + _MARGIN_S)
    msg_id = (yield Send(mobile, expected=ReturnCode.SUCCESS)).msg_id
    yield from _type(context, msg_id, lambda code: [(code, ReturnCode.SUCCESS)])


def abandon(context: LoadContext) -> Journey:
    """Send a code and type nothing."""
    yield Send(context.next_mobile())


def thoughtful(journey: Callable[[LoadContext], Journey], median_s: float) -> Callable[[LoadContext], Journey]:
    """Return the journey with a pause to think before each typed code.

    The pause is log-normal, as reaction times are, and shorter than the life of a code. It is in the service's
    seconds: the faster clock of a sandbox makes people faster too.

    Args:
        journey: the journey to slow down.
        median_s: the median of the pause.
    """

    @wraps(journey)
    def thoughtful_journey(context: LoadContext) -> Journey:
        steps, value = journey(context), None
        with closing(steps), suppress(StopIteration):
            while True:
                step = steps.send(value)
                if isinstance(step, Verify):
                    thought_s = context.random.lognormvariate(math.log(median_s), _SIGMA)
                    yield Pause(context.expectations.caller_s(min(thought_s, context.expectations.ttl_s / 4)))
                value = yield step

    return thoughtful_journey


def _send_and_type(context: LoadContext, typed: Callable[[str], Iterable[Typed]]) -> Journey:
    msg_id = (yield Send(context.next_mobile())).msg_id
    yield from _type(context, msg_id, typed)


def _type(context: LoadContext, msg_id: str | None, typed: Callable[[str], Iterable[Typed]]) -> Journey:
    if msg_id is None:
        return
    code = (yield Peek(msg_id)) if context.is_sandbox else None
    if not context.is_sandbox:
        yield Verify(msg_id, _another("0"))
    elif code is not None:
        for digits, expected in typed(code):
            outcome = yield Verify(msg_id, digits, expected=expected)
            if outcome.return_code != expected:
                return  # the next return code can't be foretold


def _another(code: str) -> str:
    return f"{(int(code) + 1) % CODES:0{CODE_DIGITS}}"
