"""Ending: how a run ends itself, from whichever process finds the reason, and what it says in the run's folder."""

from __future__ import annotations

import logging
from pathlib import Path

import gevent
from locust.env import Environment

from toolkit import runs
from toolkit.parts import is_url
from toolkit.runs import Cause

logger = logging.getLogger(__name__)
_endings: dict[Environment, gevent.Greenlet] = {}


def end_early(environment: Environment, cause: Cause, reason: str) -> None:
    """End the run, once, and leave the reason. Returns at once: the caller may be a user that is about to be ended."""
    if begin_end(environment):
        logger.error("the run ends: %s", reason)
        leave(environment, runs.ENDED_NAME, f"{cause} {reason}")


def begin_end(environment: Environment) -> bool:
    """Begin to end the run, unless that has begun; tell whether it was begun."""
    begins = environment not in _endings or _endings[environment].ready()
    if begins:
        _endings[environment] = gevent.spawn(end, environment)
    return begins


def end(environment: Environment) -> None:
    """End the run, and with it a process without a web UI."""
    assert environment.runner
    headless = environment.parsed_options and environment.parsed_options.headless
    (environment.runner.quit if headless else environment.runner.stop)()


def leave(environment: Environment, name: str, line: str) -> None:
    """Append a line to a file of the run's folder, where it has one on this machine."""
    folder = environment.parsed_options and environment.parsed_options.sms_run_dir
    if folder and not is_url(folder):
        with (Path(folder) / name).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
