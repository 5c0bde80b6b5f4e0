"""End a run from within, and write the reason and other notes into the run's folder.

Any process may find the reason to end. The run's folder may be on another machine than a worker, so workers send
their notes and the request to end to the master.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import WorkerRunner

from toolkit.runs import run_folder
from toolkit.runs.remote_storage import is_url
from toolkit.runs.run_folder import Cause

END_MESSAGE, NOTE_MESSAGE = "sms-end", "sms-leave"

logger = logging.getLogger(__name__)


class Shutdown:
    """Ends the run of one locust process.

    ``lacks_file`` is True once a required file of the run's folder could not be written.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self.lacks_file = False
        self._greenlet: gevent.Greenlet | None = None

    @property
    def is_running(self) -> bool:
        """True while the run is being ended."""
        return self._greenlet is not None and not self._greenlet.ready()

    def end_early(self, cause: Cause, reason: str) -> None:
        """End the run, once, and write the cause and the reason into its folder.

        It returns at once, as the caller may be a user that is about to be ended.
        """
        if isinstance(self._environment.runner, WorkerRunner):
            self._begin(self._ask_master, cause, reason)
        elif self.begin():
            logger.error("the run ends: %s", reason)
            self.lacks_file |= not self.note(run_folder.ENDED_NAME, f"{cause} {reason}")

    def begin(self) -> bool:
        """Start to end the run; return False if it is being ended already."""
        return self._begin(self.end_now)

    def end_now(self) -> None:
        """End the run, or on a worker its part. Without a web page, the process ends too."""
        runner, options = self._environment.runner, self._environment.parsed_options
        assert runner
        quits = isinstance(runner, WorkerRunner) or (options and options.headless)
        (runner.quit if quits else runner.stop)()

    def note(self, name: str, line: str) -> bool:
        """Append a line to the file ``name`` of the run's folder, if the run has a folder on this machine.

        Return False if that failed, e.g. because the disk is full.
        """
        runner, options = self._environment.runner, self._environment.parsed_options
        if isinstance(runner, WorkerRunner):
            runner.send_message(NOTE_MESSAGE, {"name": name, "line": line})
            return True
        folder = options and options.sms_run_dir
        if folder and not is_url(folder):
            try:
                with (Path(folder) / name).open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
            except OSError as error:
                logger.error("%s lacks the line %r: %s", Path(folder) / name, line, error.strerror)
                return False
        return True

    def on_end_message(self, msg: Any) -> None:
        """End the run, as a worker requests."""
        self.end_early(Cause(msg.data["cause"]), msg.data["reason"])

    def on_note_message(self, msg: Any) -> None:
        """Write a worker's note."""
        self.note(**msg.data)

    def _begin(self, end: Callable[..., None], *arguments: str) -> bool:
        if self.is_running:
            return False
        self._greenlet = gevent.spawn(end, *arguments)
        return True

    def _ask_master(self, cause: Cause, reason: str) -> None:
        """Send the request to end to the master, and stop this worker's users."""
        assert isinstance(self._environment.runner, WorkerRunner)
        self._environment.runner.send_message(END_MESSAGE, {"cause": cause, "reason": reason})
        self._environment.runner.stop()
