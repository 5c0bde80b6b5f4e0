"""Play a recorded run again: every send and every typed code at its time."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import pyarrow.parquet as pq
from locust.runners import LocalRunner

from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.locust_plugin.context import LoadContext
from toolkit.load_test.generator.steps import Journey, Pause, Peek, Send, Verify, pause_until
from toolkit.records.parquet import PARQUET_NAME

_COLUMNS = ["endpoint", "started_ns", "wait_ns", "return_code", "mobile_key", "msg_key"]
_RIGHT = (ReturnCode.SUCCESS, ReturnCode.VERIFIED_CODE)
_EXPECTED = (ReturnCode.OUT_OF_FREQ,)
_WRONG_CODE = "000000"
_LATE_NS = 50_000_000
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class RecordedVerify:
    """A recorded verify: its time in ns after the first call of the run, and whether the code was right."""

    at_ns: int
    is_right: bool


@dataclass(frozen=True, slots=True)
class RecordedSend:
    """A recorded send.

    Attributes:
        at_ns: its intended start, in ns after the first call of the run.
        mobile_key: the digest of the mobile.
        verifies: the codes that were typed for it.
    """

    at_ns: int
    mobile_key: int
    verifies: tuple[RecordedVerify, ...]


def read_recording(run: Path) -> list[RecordedSend]:
    """Read the sends of a run's folder, ordered by their starts; raise InputError if it has no sends."""
    path = run / PARQUET_NAME
    if not path.is_file():
        raise InputError(f"{run} holds no {PARQUET_NAME}: give the folder of a run that is over")
    rows = pq.read_table(path, columns=_COLUMNS).to_pylist()
    starts_ns = [row["started_ns"] - row["wait_ns"] for row in rows]
    first_ns = min(starts_ns, default=0)
    verifies: defaultdict[int, list[RecordedVerify]] = defaultdict(list)
    for row, start_ns in zip(rows, starts_ns, strict=True):
        if row["endpoint"] == Endpoint.VERIFY:
            verifies[row["msg_key"]].append(RecordedVerify(start_ns - first_ns, row["return_code"] in _RIGHT))
    sends = [
        RecordedSend(
            start_ns - first_ns,
            row["mobile_key"],
            tuple(sorted(verifies[row["msg_key"]], key=lambda verify: verify.at_ns)),
        )
        for row, start_ns in zip(rows, starts_ns, strict=True)
        if row["endpoint"] == Endpoint.SEND
    ]
    if not sends:
        raise InputError(f"{run} holds no send that could be played again")
    return sorted(sends, key=lambda send: send.at_ns)


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
        self.began_ns = time.time_ns()
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

    return recorded_or_else


def _play_next(context: LoadContext) -> Journey:
    """Play the next send and the codes typed for it. When the last one has ended, end the run."""
    playback = context.shared(Playback)
    recorded = playback.next()
    if recorded is None:
        yield Pause(_LOOK_EVERY_S)
        return
    yield pause_until(playback.began_ns + recorded.at_ns)
    if time.time_ns() - playback.began_ns - recorded.at_ns > _LATE_NS:
        context.warn("parts of the recording were played late: its callers were more at once than --users")
    yield from _play(context, playback, recorded)
    playback.left -= 1
    if not playback.left and isinstance(context.environment.runner, LocalRunner):
        context.shutdown.begin()  # with workers, the master's run time ends the run


def _play(context: LoadContext, playback: Playback, recorded: RecordedSend) -> Journey:
    sent = yield Send(playback.mobile(recorded), expected=_EXPECTED)
    if sent.msg_id is None:
        return
    code = (yield Peek(sent.msg_id)) if context.is_sandbox else None
    for verify in recorded.verifies:
        yield pause_until(playback.began_ns + verify.at_ns)
        if verify.is_right and code is not None:
            yield Verify(sent.msg_id, code, _EXPECTED)
        else:
            yield Verify(sent.msg_id, _WRONG_CODE, _EXPECTED, due=ReturnCode.INVALID_CODE)
