"""Play a recorded run again: every send and every typed code at its time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import wraps

from locust.runners import LocalRunner

from toolkit.api.return_codes import ReturnCode
from toolkit.load_test.generator.locust_plugin.context import LoadContext
from toolkit.load_test.generator.steps import Journey, Pause, Peek, Send, Verify, pause_until
from toolkit.load_test.generator.utc_clock import UTC_CLOCK
from toolkit.load_test.plan.recording import RecordedSend, read_recording

_WRONG_CODE = "000000"
_LATE_NS = 50_000_000
_LOOK_EVERY_S = 0.1


class Playback:
    """One worker's part of a recording. Each mobile of the recording is replaced by another one, always the same.

    Use ``context.shared(Playback)``: the users of one process share it. ``left``: sends that were not yet played to
    their end.
    """

    def __init__(self, context: LoadContext) -> None:
        options, runner = context.environment.parsed_options, context.environment.runner
        shard, shards = getattr(runner, "worker_index", 0), max(1, options.expect_workers if options else 1)
        assert context.options.recording
        sends = read_recording(context.options.recording)
        self._context = context
        self._sends = deque(it for it in sends if it.mobile_key % shards == shard)
        self._mobiles: dict[int, str] = {}
        self.began_ns = UTC_CLOCK.now_ns()
        self.left = len(self._sends)

    def next(self) -> RecordedSend | None:
        """Return the next send, or None if all were begun."""
        return self._sends.popleft() if self._sends else None

    def mobile(self, recorded: RecordedSend) -> str:
        """Return the mobile that replaces a recorded one."""
        if recorded.mobile_key not in self._mobiles:
            self._mobiles[recorded.mobile_key] = self._context.next_mobile()
        return self._mobiles[recorded.mobile_key]


def or_else(journey: Callable[[LoadContext], Journey]) -> Callable[[LoadContext], Journey]:
    """Return a journey that plays the recording of ``--recording``, one send at a time, or else ``journey``."""

    @wraps(journey)
    def recorded_or_else(context: LoadContext) -> Journey:
        yield from _play_next(context) if context.options.recording else journey(context)

    recorded_or_else.plays_recording = True  # type: ignore[attr-defined]
    return recorded_or_else


def _play_next(context: LoadContext) -> Journey:
    """Play the next send and the codes typed for it. When the last one has ended, end the run."""
    playback = context.shared(Playback)
    recorded = playback.next()
    if recorded is None:
        yield Pause(_LOOK_EVERY_S)
        return
    yield pause_until(playback.began_ns + recorded.at_ns)
    if UTC_CLOCK.now_ns() - playback.began_ns - recorded.at_ns > _LATE_NS:
        context.warn("parts of the recording were replayed late: it has more simultaneous callers than --users")
    yield from _play(context, playback, recorded)
    playback.left -= 1
    if not playback.left and isinstance(context.environment.runner, LocalRunner):
        context.shutdown.begin()  # with workers, the master's run time ends the run


def _play(context: LoadContext, playback: Playback, recorded: RecordedSend) -> Journey:
    sent = yield Send(playback.mobile(recorded))
    if sent.msg_id is None:
        return
    code = (yield Peek(sent.msg_id)) if context.is_sandbox else None
    for verify in recorded.verifies:
        yield pause_until(playback.began_ns + verify.at_ns)
        if verify.is_right and code is not None:
            yield Verify(sent.msg_id, code)
        else:
            yield Verify(sent.msg_id, _WRONG_CODE, expected=ReturnCode.INVALID_CODE)
