"""Barrier: where and when the callers of all workers meet to verify one right code at the same instant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from locust import events
from locust.env import Environment
from locust.runners import MasterRunner

_CALL = "smscode_rally"

_rallies: dict[Environment, Barrier] = {}


@dataclass(frozen=True, slots=True)
class Meeting:
    """A message and its code, to be verified at a time in ns since 1970."""

    msg_id: str
    code: str
    at_ns: int


class Barrier:
    """What this process has heard of; a master only passes it on to all workers."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._latest: Meeting | None = None
        assert environment.runner
        environment.runner.register_message(_CALL, self._hear)

    def call(self, msg_id: str, code: str, at_ns: int) -> None:
        """Call the callers of all workers to a meeting."""
        assert self._environment.runner
        self._environment.runner.send_message(_CALL, [msg_id, code, at_ns])

    def next(self, now_ns: int) -> Meeting | None:
        """Return the meeting that is still to come, if there is one."""
        return self._latest if self._latest and self._latest.at_ns > now_ns else None

    def _hear(self, msg: Any, **_: object) -> None:
        if isinstance(self._environment.runner, MasterRunner):
            self._environment.runner.send_message(_CALL, msg.data)
        else:
            self._latest = Meeting(*msg.data)


def rally_of(environment: Environment) -> Barrier:
    """Return the rally of this process."""
    if environment not in _rallies:
        _rallies[environment] = Barrier(environment)
    return _rallies[environment]


def _take_part(environment: Environment, **_: object) -> None:
    rally_of(environment)


events.init.add_listener(_take_part)  # type: ignore[no-untyped-call]
