"""Recording: an earlier run, played again: who was sent a code when, and what was typed when."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from locust import events
from locust.env import Environment
from locust.runners import LocalRunner

from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.journeys.steps import Journey, Pause, Peek, Send, Verify
from toolkit.load_test.generator.locust_plugin.context import Worker
from toolkit.load_test.generator.locust_plugin.shutdown import begin_end
from toolkit.records.parquet import PARQUET_NAME

_COLUMNS = ["endpoint", "started_ns", "wait_ns", "return_code", "mobile_key", "msg_key"]
_RIGHT = (ReturnCode.SUCCESS, ReturnCode.VERIFIED_CODE)
_EXPECTED = (ReturnCode.OUT_OF_FREQ,)
_WRONG_CODE = "000000"
_LATE_NS = 50_000_000
_LOOK_EVERY_S = 0.1

_playbacks: dict[Environment, Playback] = {}


@dataclass(frozen=True, slots=True)
class Typed:
    """A code that was typed: when, in ns after the first call of the run, and whether it was the right one."""

    at_ns: int
    is_right: bool


@dataclass(frozen=True, slots=True)
class Recorded:
    """A send: when it was meant to start, in ns after the first call of the run, to whom, and what was typed then."""

    at_ns: int
    mobile_key: int
    typed: tuple[Typed, ...]


def read_recording(run: Path) -> list[Recorded]:
    """Read the sends of a run's folder, in the order of their starts; raise InputError where there are none."""
    path = run / PARQUET_NAME
    if not path.is_file():
        raise InputError(f"{run} holds no {PARQUET_NAME}: give the folder of a run that is over")
    rows = pq.read_table(path, columns=_COLUMNS).to_pylist()
    starts_ns = [row["started_ns"] - row["wait_ns"] for row in rows]
    typed: defaultdict[int, list[Typed]] = defaultdict(list)
    for row, start_ns in zip(rows, starts_ns, strict=True):
        if row["endpoint"] == Endpoint.VERIFY:
            typed[row["msg_key"]].append(Typed(start_ns - min(starts_ns), row["return_code"] in _RIGHT))
    sends = [
        Recorded(start_ns - min(starts_ns), row["mobile_key"], tuple(sorted(typed[row["msg_key"]], key=_at_ns)))
        for row, start_ns in zip(rows, starts_ns, strict=True)
        if row["endpoint"] == Endpoint.SEND
    ]
    if not sends:
        raise InputError(f"{run} holds no send that could be played again")
    return sorted(sends, key=_at_ns)


def _at_ns(recorded: Recorded | Typed) -> int:
    return recorded.at_ns


class Playback:
    """What one worker plays of a recording. What was one mobile then is one mobile now, though another.

    ``left``: sends that were not yet played to their end.
    """

    def __init__(self, sends: Iterable[Recorded]) -> None:
        self.began_ns = time.time_ns()
        self._sends = deque(sends)
        self._mobiles: dict[int, str] = {}
        self.left = len(self._sends)

    def next(self) -> Recorded | None:
        """Return the next send; None where all were begun."""
        return self._sends.popleft() if self._sends else None

    def mobile(self, recorded: Recorded, worker: Worker) -> str:
        """Return the mobile that stands for a recorded one."""
        if recorded.mobile_key not in self._mobiles:
            self._mobiles[recorded.mobile_key] = worker.next_mobile()
        return self._mobiles[recorded.mobile_key]


def or_else(journey: Callable[[Worker], Journey]) -> Callable[[Worker], Journey]:
    """Play the recording that the options name, one send after the other; without one, the journey."""

    @wraps(journey)
    def recorded_or_else(worker: Worker) -> Journey:
        yield from _play_next(worker) if _options(worker.environment).recording else journey(worker)

    return recorded_or_else


def _play_next(worker: Worker) -> Journey:
    """Play the next send, and what was typed after it; where nothing is left to play, end the run."""
    playback = _playback_of(worker.environment)
    recorded = playback.next()
    if recorded is None:
        yield Pause(_LOOK_EVERY_S)
        return
    yield _until(playback.began_ns + recorded.at_ns)
    if time.time_ns() - playback.began_ns - recorded.at_ns > _LATE_NS:
        worker.say("parts of the recording were played late: its callers were more at once than --users")
    yield from _play(worker, playback, recorded)
    playback.left -= 1
    if not playback.left and isinstance(worker.environment.runner, LocalRunner):
        begin_end(worker.environment)  # with workers, the master's run time does it


def _play(worker: Worker, playback: Playback, recorded: Recorded) -> Journey:
    sent = yield Send(playback.mobile(recorded, worker), expected=_EXPECTED)
    if sent.msg_id is None:
        return
    code = (yield Peek(sent.msg_id)) if worker.is_sandbox else None
    for typed in recorded.typed:
        yield _until(playback.began_ns + typed.at_ns)
        if typed.is_right and code is not None:
            yield Verify(sent.msg_id, code, _EXPECTED)
        else:
            yield Verify(sent.msg_id, _WRONG_CODE, _EXPECTED, due=ReturnCode.INVALID_CODE)


def _until(at_ns: int) -> Pause:
    return Pause(max(0, at_ns - time.time_ns()) / 1e9)


def _playback_of(environment: Environment) -> Playback:
    if environment not in _playbacks:
        options = _options(environment)
        shard, shards = getattr(environment.runner, "worker_index", 0), max(1, options.expect_workers)
        sends = read_recording(Path(options.recording))
        _playbacks[environment] = Playback(it for it in sends if it.mobile_key % shards == shard)
    return _playbacks[environment]


def _options(environment: Environment) -> Any:
    return environment.parsed_options


def _check(environment: Environment, **_: object) -> None:
    """End with one line where the recording can't be read."""
    recording = _options(environment).recording
    try:
        if recording:
            read_recording(Path(recording))
    except InputError as problem:
        raise SystemExit(str(problem)) from problem


def _begin(environment: Environment, **_: object) -> None:
    _playbacks.pop(environment, None)


_hooks: Any = events
_hooks.init.add_listener(_check)
_hooks.test_start.add_listener(_begin)
