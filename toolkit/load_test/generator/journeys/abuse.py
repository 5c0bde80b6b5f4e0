"""Attacks: journeys of those who want in without being sent a code, or more often than they may."""

from __future__ import annotations

import time

from toolkit.api.defaults import CODE_DIGITS, CODES
from toolkit.api.return_codes import ReturnCode
from toolkit.load_test.generator.journeys.simultaneous_verify import rally_of
from toolkit.load_test.generator.journeys.steps import Journey, Outcome, Pause, Peek, Send, Verify
from toolkit.load_test.generator.locust_plugin.context import Worker

_MORE_GUESSES = 3  # than the tries
_RATE = (ReturnCode.OUT_OF_FREQ,)
_LEAD_S = 0.25  # from handing out a code until all verify it: time enough to reach every worker
_ROUND_S = 0.5
_LOOK_EVERY_S = 0.01


def guess(worker: Worker) -> Journey:
    """Guess at one message until its tries are used up and beyond; then type the right code, which must not help."""
    sent = yield Send(worker.next_mobile(), expected=_RATE)
    yield from _guess_at(worker, sent.msg_id)


def guess_across(worker: Worker) -> Journey:
    """Guess at one message of a mobile after the other, until the mobile's wrong codes of an hour are used up."""
    mobile, expectations = worker.next_mobile(), worker.expectations
    for _ in range(expectations.failures_per_hour // expectations.tries + 2):
        sent: Outcome = yield Send(mobile, expected=_RATE)
        while sent.return_code == ReturnCode.OUT_OF_FREQ:
            yield Pause(_retry_after_s(sent))
            sent = yield Send(mobile, expected=_RATE)
        yield from _guess_at(worker, sent.msg_id)


def hand_out(worker: Worker) -> Journey:
    """Get a code and hand it to the callers of all workers, who verify it at the same instant."""
    msg_id = (yield Send(worker.next_mobile())).msg_id
    code = (yield Peek(msg_id)) if msg_id else None
    if msg_id and code:
        rally_of(worker.environment).call(msg_id, code, time.time_ns() + round(_LEAD_S * 1e9))
    yield Pause(_ROUND_S)


def verify_at_once(worker: Worker) -> Journey:
    """Verify the code that was handed out last, when all others do."""
    meeting = rally_of(worker.environment).next(time.time_ns())
    if meeting is None:
        yield Pause(_LOOK_EVERY_S)
    else:
        yield Pause((meeting.at_ns - time.time_ns()) / 1e9)
        yield Verify(meeting.msg_id, meeting.code)


def _guess_at(worker: Worker, msg_id: str | None) -> Journey:
    if msg_id is None:
        return
    right = (yield Peek(msg_id)) if worker.is_sandbox else None
    for _ in range(worker.expectations.tries + _MORE_GUESSES):
        yield Verify(msg_id, f"{worker.chance.randrange(CODES):0{CODE_DIGITS}}", _RATE)
    if right is not None:
        yield Verify(msg_id, right, _RATE)


def _retry_after_s(refused: Outcome) -> float:
    answer = refused.answer
    return max(0.1, float(answer.retry_after_s or 0)) if answer else 0.1
