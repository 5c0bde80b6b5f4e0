"""Journeys of attackers: they guess codes more often than the service may allow."""

from __future__ import annotations

from toolkit.api.defaults import CODE_DIGITS, CODES
from toolkit.api.return_codes import ReturnCode
from toolkit.load_test.generator.locust_plugin.context import LoadContext
from toolkit.load_test.generator.steps import Journey, Outcome, Pause, Peek, Send, Verify

_GUESSES_BEYOND_TRIES = 3
_MIN_WAIT_S = 0.1


def guess(context: LoadContext) -> Journey:
    """Guess at one message more often than its tries allow; then type the right code, which must be refused."""
    sent = yield Send(context.next_mobile())
    yield from _guess_at(context, sent.msg_id)


def guess_across(context: LoadContext) -> Journey:
    """Guess at one message of a mobile after the other, until the wrong codes that an hour allows are used up."""
    mobile, expectations = context.next_mobile(), context.expectations
    for _ in range(expectations.failures_per_hour // expectations.tries + 2):
        sent: Outcome = yield Send(mobile)
        while sent.return_code == ReturnCode.OUT_OF_FREQ:
            assert sent.response
            yield Pause(max(_MIN_WAIT_S, float(sent.response.retry_after_s or 0)))
            sent = yield Send(mobile)
        yield from _guess_at(context, sent.msg_id)


def _guess_at(context: LoadContext, msg_id: str | None) -> Journey:
    if msg_id is None:
        return
    right = (yield Peek(msg_id)) if context.is_sandbox else None
    for _ in range(context.expectations.tries + _GUESSES_BEYOND_TRIES):
        yield Verify(msg_id, f"{context.random.randrange(CODES):0{CODE_DIGITS}}")
    if right is not None:
        yield Verify(msg_id, right)
