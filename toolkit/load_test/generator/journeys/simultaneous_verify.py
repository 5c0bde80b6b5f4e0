"""Verify one right code from many callers at the same instant, on all workers: exactly one may succeed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from toolkit.load_test.generator.locust_plugin.context import LoadContext
from toolkit.load_test.generator.steps import Journey, Pause, Peek, Send, Verify
from toolkit.load_test.generator.utc_clock import UTC_CLOCK

BARRIER_MESSAGE = "smscode_rally"
_LEAD_S = 0.25  # from sharing a code until all verify it: time enough to reach every worker
_ROUND_S = 0.5
_LOOK_EVERY_S = 0.01


@dataclass(frozen=True, slots=True)
class Meeting:
    """A message and its code, to be verified at a time in ns since 1970."""

    msg_id: str
    code: str
    at_ns: int


class Barrier:
    """Makes callers wait until they all verify a code at once. A master passes the meetings on to all workers.

    Use ``context.shared(Barrier)``: the callers of one process share it.
    """

    def __init__(self, context: LoadContext) -> None:
        self._runner = context.environment.runner
        self._latest: Meeting | None = None

    def announce(self, meeting: Meeting) -> None:
        """Announce a meeting to the callers of all workers."""
        assert self._runner
        self._runner.send_message(BARRIER_MESSAGE, [meeting.msg_id, meeting.code, meeting.at_ns])

    def next(self, now_ns: int) -> Meeting | None:
        """Return the meeting that is still to come, if there is one."""
        return self._latest if self._latest and self._latest.at_ns > now_ns else None

    def on_message(self, msg: Any) -> None:
        """Remember a meeting that was announced."""
        self._latest = Meeting(*msg.data)


def share_code(context: LoadContext) -> Journey:
    """Get a code and share it with the callers of all workers, to be verified at the same instant."""
    msg_id = (yield Send(context.next_mobile())).msg_id
    code = (yield Peek(msg_id)) if msg_id else None
    if msg_id and code:
        context.shared(Barrier).announce(Meeting(msg_id, code, UTC_CLOCK.now_ns() + round(_LEAD_S * 1e9)))
    yield Pause(_ROUND_S)


def verify_at_once(context: LoadContext) -> Journey:
    """Verify the code that was shared last, when all others do."""
    meeting = context.shared(Barrier).next(UTC_CLOCK.now_ns())
    if meeting is None:
        yield Pause(_LOOK_EVERY_S)
    else:
        yield Pause((meeting.at_ns - UTC_CLOCK.now_ns()) / 1e9)
        yield Verify(meeting.msg_id, meeting.code)
