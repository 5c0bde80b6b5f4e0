"""Ending: how a run ends itself, from whichever process finds the reason, and what it says in the run's folder.

A worker's folder may be on another machine than the run's: what there is to say, and the end, are the master's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.env import Environment
from locust.runners import WorkerRunner

from toolkit.runs import run_folder
from toolkit.runs.remote_storage import is_url
from toolkit.runs.run_folder import Cause

_END, _LEAVE = "sms-end", "sms-leave"

logger = logging.getLogger(__name__)
_endings: dict[Environment, gevent.Greenlet] = {}


def end_early(environment: Environment, cause: Cause, reason: str) -> None:
    """End the run, once, and leave the reason. Returns at once: the caller may be a user that is about to be ended."""
    if isinstance(environment.runner, WorkerRunner):
        _begin(environment, _ask_master, cause, reason)
    elif begin_end(environment):
        logger.error("the run ends: %s", reason)
        leave(environment, run_folder.ENDED_NAME, f"{cause} {reason}")


def begin_end(environment: Environment) -> bool:
    """Begin to ``end``, unless that has begun; tell whether it was begun."""
    return _begin(environment, end)


def is_ending(environment: Environment) -> bool:
    """Tell whether the run is about to end itself."""
    return environment in _endings and not _endings[environment].ready()


def end(environment: Environment) -> None:
    """End the run, or of several workers this one; and with it the process, unless it has a web UI."""
    assert environment.runner
    headless = environment.parsed_options and environment.parsed_options.headless
    leaves = headless or isinstance(environment.runner, WorkerRunner)
    (environment.runner.quit if leaves else environment.runner.stop)()


def leave(environment: Environment, name: str, line: str) -> None:
    """Append a line to a file of the run's folder, where it has one on this machine."""
    if isinstance(environment.runner, WorkerRunner):
        environment.runner.send_message(_LEAVE, {"name": name, "line": line})
        return
    folder = environment.parsed_options and environment.parsed_options.sms_run_dir
    if folder and not is_url(folder):
        with (Path(folder) / name).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _begin(environment: Environment, ending: Callable[..., None], *arguments: str) -> bool:
    if is_ending(environment):
        return False
    _endings[environment] = gevent.spawn(ending, environment, *arguments)
    return True


def _ask_master(environment: Environment, cause: Cause, reason: str) -> None:
    """Have the master end the run; until it does, this worker rests."""
    assert isinstance(environment.runner, WorkerRunner)
    environment.runner.send_message(_END, {"cause": cause, "reason": reason})
    environment.runner.stop()


def _listen_to_workers(environment: Environment, **_: object) -> None:
    runner = environment.runner
    if runner and not isinstance(runner, WorkerRunner):
        runner.register_message(
            _END, lambda msg, **_: end_early(environment, Cause(msg.data["cause"]), msg.data["reason"])
        )
        runner.register_message(_LEAVE, lambda msg, **_: leave(environment, **msg.data))


_hooks: Any = events
_hooks.init.add_listener(_listen_to_workers)
