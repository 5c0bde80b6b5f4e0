"""Mark the folder of a run that is going on, and stop the run from another process.

The process that owns a run holds a lock on the folder's ``live.json``. The kernel drops the lock when the process ends,
however that happens, so no reader has to trust a process id:

    live.json exists and is locked         the run is going on
    live.json exists and is not locked     its owner was killed; run.json says "incomplete"
    no live.json                           the run has ended, and its report is written

Each page and notebook that is connected sets the time of ``live.json``. This writes no data, so it works on a full
disk. The owner measures by its own monotonic clock how long the time has not changed: neither a wrong clock nor a
machine that slept makes a run look abandoned. A page or program that wants to end the run creates ``stop.txt``, once or
more often. The owner may write its progress to ``progress.txt``.

A run is a load test, a search for the capacity or a probe.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from toolkit.api.errors import InputError
from toolkit.atomic_write import replacing, write_atomically

LIVE_NAME, STOP_NAME, PROGRESS_NAME = "live.json", "stop.txt", "progress.txt"
_MAX_CHECKED = 1000  # folders with a live.json


class RunKind(StrEnum):
    """The kind of a run."""

    LOAD_TEST = "load test"
    SEARCH = "search"
    PROBE = "probe"


class LiveRun(BaseModel):
    """The content of ``live.json``.

    Attributes:
        pid: Process id of the owner.
        kind: The kind of the run.
        scenario: Name of the scenario, or path of a locustfile; "probe" for a probe.
        load: Load in words, e.g. "50 journeys/s".
        run_time_s: Planned duration, None if unknown.
        target: Base URL of the target, None for a sandbox that was started for the run.
        is_real: Whether messages may cost money or reach a person.
        max_messages: Maximum number of messages, None if unlimited.
        price_per_send: Price of a message as a decimal number, None if unknown.
        currency: Currency of the price, None if the price is unknown.
        max_away_s: Time without a connected page or notebook after which the run is stopped; None: never.
    """

    model_config = ConfigDict(frozen=True)

    pid: int
    kind: RunKind = RunKind.LOAD_TEST
    scenario: str
    load: str = ""
    run_time_s: float | None = None
    target: str | None = None
    is_real: bool = False
    max_messages: int | None = None
    price_per_send: str | None = None
    currency: str | None = None
    max_away_s: float | None = None

    @classmethod
    def of_this_process(cls, **values: object) -> LiveRun:
        """Return the content for a run that this process owns."""
        return cls(pid=os.getpid(), **values)  # type: ignore[arg-type]


@contextmanager
def hold(folder: Path, run: LiveRun) -> Iterator[None]:
    """Mark a folder as that of a live run, until the end of the ``with`` block. A folder that is left empty is removed.

    Raises InputError if the folder can't be written to.
    """
    path = folder / LIVE_NAME
    try:
        with replacing(path) as partial:
            file = partial.open("w", encoding="utf-8")
            fcntl.flock(file, fcntl.LOCK_EX)  # before the rename: no reader sees the file without its lock
            file.write(run.model_dump_json())
            file.flush()
    except OSError as problem:
        raise InputError(f"{folder}: can't write {LIVE_NAME} there ({problem.strerror})") from None
    with file:
        try:
            yield
        finally:
            for name in (STOP_NAME, PROGRESS_NAME, LIVE_NAME):
                with suppress(OSError):
                    (folder / name).unlink(missing_ok=True)
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def read_live(folder: Path) -> LiveRun | None:
    """Return the live run of a folder; None if the run has ended or was killed."""
    try:
        with (folder / LIVE_NAME).open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return LiveRun.model_validate_json(file.read())
    except (OSError, ValidationError):
        pass
    return None


def was_killed(folder: Path) -> bool:
    """Return whether the owner of a folder's run ended without a report."""
    return (folder / LIVE_NAME).exists() and read_live(folder) is None


def find_live(out: Path) -> dict[Path, LiveRun]:
    """Return the live runs in ``out``, latest first. Only the latest 1,000 folders with a ``live.json`` are checked."""
    folders = sorted((it.parent for it in out.glob(f"*/{LIVE_NAME}")), reverse=True)[:_MAX_CHECKED]
    return {it: live for it in folders if (live := read_live(it))}


def request_stop(folder: Path) -> None:
    """Create ``stop.txt``, so that the owner of the folder's run ends it early and writes its report."""
    (folder / STOP_NAME).touch()


def is_stop_requested(folder: Path) -> bool:
    """Return whether ``stop.txt`` exists in the folder of a run, or of a trial's search."""
    return any((it / STOP_NAME).exists() for it in (folder, folder.parent))


@dataclass(frozen=True, slots=True)
class ProgressText:
    """The progress of a live run in words, and the time of its last change, in seconds since 1970."""

    text: str
    time_s: float


def show_progress(folder: Path, text: str) -> None:
    """Write ``progress.txt``. On a full disk the progress is not shown, but the run goes on."""
    with suppress(OSError):
        write_atomically(folder / PROGRESS_NAME, text)


def read_progress(folder: Path) -> ProgressText | None:
    """Return the content of ``progress.txt``, None without one."""
    path = folder / PROGRESS_NAME
    try:
        return ProgressText(path.read_text(encoding="utf-8"), path.stat().st_mtime)
    except OSError:
        return None


def show_connected(folder: Path) -> None:
    """Set the time of ``live.json``, which shows the owner that a page or a notebook is connected."""
    with suppress(OSError):  # it has just ended
        os.utime(folder / LIVE_NAME)


class Attendance:
    """Measures the time for which no page and no notebook was connected to a run.

    Args:
        folder: The folder of a live run.
        now_s: The time of a monotonic clock in seconds. The clock must stand still while the machine sleeps.
    """

    def __init__(self, folder: Path, now_s: float) -> None:
        self._path = folder / LIVE_NAME
        self._seen_s, self._seen_ns = now_s, self._read()

    def away_s(self, now_s: float) -> float:
        """Return the time in seconds since a page or a notebook was connected."""
        if (found := self._read()) != self._seen_ns:
            self._seen_s, self._seen_ns = now_s, found
        return now_s - self._seen_s

    def _read(self) -> int:
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return 0
