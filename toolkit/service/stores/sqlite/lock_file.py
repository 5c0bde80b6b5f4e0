"""Lock a SQLite store for one process; other processes read in the lock file how to reach the owner."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from toolkit.api.errors import RunError


@dataclass(frozen=True, slots=True)
class LockFile:
    """An exclusive lock on a store, which the system releases when the process ends."""

    _file: IO[str]

    @classmethod
    def acquire(cls, db_path: Path) -> LockFile:
        """Lock the store of a database file.

        Raises:
            OwnedError: if another process holds the lock.
            RunError: if the lock file cannot be created.
        """
        try:
            file = os.fdopen(os.open(beside(db_path, ".lock"), os.O_RDWR | os.O_CREAT, 0o600), "r+")
        except OSError as problem:
            raise RunError(f"{db_path}: can't create a store there: {problem.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = _read_owner(file)
            file.close()
            raise OwnedError(db_path, owner) from None
        lock = cls(file)
        lock.write_owner(pid=os.getpid())
        return lock

    def write_owner(self, **owner: Any) -> None:
        """Replace the description of the owner, as JSON, such as its pid and the port of its control socket."""
        self._file.seek(0)
        self._file.truncate()
        json.dump(owner, self._file)
        self._file.flush()

    def release(self) -> None:
        """Erase the owner and release the lock."""
        self.write_owner()
        self._file.close()


class OwnedError(RunError):
    """Raised if another process has the store open; ``owner`` is its description of itself."""

    def __init__(self, path: Path, owner: dict[str, Any]) -> None:
        self.owner = owner
        pid = owner.get("pid", "unknown")
        super().__init__(f"{path}: in use by another process (pid {pid}); a SQLite store has one owner at a time")


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file that belongs to a store: its name, and a suffix such as ``.lock``."""
    return path.with_name(path.name + suffix)


def _read_owner(file: IO[str]) -> dict[str, Any]:
    try:
        owner = json.loads(file.read())
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}
