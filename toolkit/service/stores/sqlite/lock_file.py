"""Lock a SQLite store for one process; other processes read in the lock file how to reach the owner.

Two locks are held. That of the lock file comes first, because the file also names the owner. That of the database file
belongs to its inode, so it holds if the lock file is deleted. Both are ``flock`` locks, which Linux keeps apart from
the ``fcntl`` locks of SQLite. But a process that closes any descriptor of a file loses its ``fcntl`` locks on it. So
the descriptor of the database is opened before SQLite opens the file, and closed after SQLite has closed it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from toolkit.api.errors import RunError

log = logging.getLogger(__name__)


@dataclass(slots=True)
class LockFile:
    """An exclusive lock on a store, which the system releases when the process ends."""

    _file: IO[str]
    _database: int  # a file descriptor
    _inodes: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _loss: str = ""

    @classmethod
    def acquire(cls, db_path: Path) -> LockFile:
        """Lock the store of a database file; create the file, readable by its owner alone, if it is missing.

        Raises:
            OwnedError: if another process holds one of the locks.
            RunError: if the lock file or the database cannot be created.
        """
        if db_path.is_dir():
            raise RunError(f"{db_path}: is a folder; name a file in it, such as {db_path / 'sms.db'}")
        file = database = None
        try:
            file = os.fdopen(os.open(beside(db_path, ".lock"), os.O_RDWR | os.O_CREAT, 0o600), "r+")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            database = os.open(db_path, os.O_RDWR | os.O_CREAT, 0o600)  # it holds mobiles
            fcntl.flock(database, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            owner = _read_owner(file) if file and database is None else {}
            if database is not None:
                os.close(database)
            if file:
                file.close()
            if isinstance(problem, BlockingIOError):
                raise OwnedError(db_path, owner) from None
            raise RunError(f"{db_path}: can't create a store there: {problem.strerror}") from None
        lock = cls(file, database)
        lock.write_owner(pid=os.getpid())
        return lock

    def watch(self, *paths: Path) -> None:
        """Remember which files the paths name now, for ``loss``."""
        self._inodes = {path: _inode(os.stat(path)) for path in paths}

    def loss(self) -> str:
        """Return the error for a watched file that was deleted or replaced, since writes to it are lost; else "".

        A change is logged once. A file that was moved away and back is the same one.
        """
        loss = ""
        for path, inode in self._inodes.items():
            try:
                if _inode(os.stat(path)) != inode:
                    loss = f"{path.name} was replaced while it was in use"
            except OSError as problem:
                loss = f"{path.name} was deleted or moved while it was in use: {problem.strerror}"
        if loss != self._loss:
            self._loss = loss
            if loss:
                log.error("store: %s; put the same file back, or stop the service and restore a backup", loss)
            else:
                log.warning("store: the database file is in its place again")
        return loss

    def write_owner(self, **owner: Any) -> None:
        """Replace the description of the owner, as JSON, such as its pid and the port of its control socket."""
        self._file.seek(0)
        self._file.truncate()
        json.dump(owner, self._file)
        self._file.flush()

    def release(self) -> None:
        """Erase the owner and release the locks. Close SQLite's connections first."""
        self.write_owner()
        self._file.close()
        os.close(self._database)


class OwnedError(RunError):
    """Raised if another process has the store open; ``owner`` is its description of itself."""

    def __init__(self, path: Path, owner: dict[str, Any]) -> None:
        self.owner = owner
        pid = owner.get("pid", "unknown")
        super().__init__(f"{path}: in use by another process (pid {pid}); a SQLite store has one owner at a time")


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file that belongs to a store: its name, and a suffix such as ``.lock``."""
    return path.with_name(path.name + suffix)


def _inode(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino


def _read_owner(file: IO[str]) -> dict[str, Any]:
    try:
        owner = json.loads(file.read())
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}
