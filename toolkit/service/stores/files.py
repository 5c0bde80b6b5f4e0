"""What a store keeps in files of its own: the lock of the process that owns it, and the key of its digests."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from toolkit.api.errors import RunError

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class FileLock:
    """The right to use a store's file, held until the process ends; beside it stands how to reach the owner."""

    _file: IO[str]

    @classmethod
    def take(cls, path: Path) -> FileLock:
        """Take the lock; raise OwnedError where another process has it, RunError where no file can be made."""
        try:
            file = os.fdopen(os.open(beside(path, ".lock"), os.O_RDWR | os.O_CREAT, 0o600), "r+")
        except OSError as problem:
            raise RunError(f"{path}: no store can be kept there: {problem.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = _read_owner(file)
            file.close()
            raise OwnedError(path, owner) from None
        lock = cls(file)
        lock.tell(pid=os.getpid())
        return lock

    def tell(self, **owner: Any) -> None:
        """Leave word of who owns the store."""
        self._file.seek(0)
        self._file.truncate()
        json.dump(owner, self._file)
        self._file.flush()

    def release(self) -> None:
        """Give the file free."""
        self.tell()
        self._file.close()


class OwnedError(RunError):
    """Another process owns the store; ``owner`` is what it told of itself."""

    def __init__(self, path: Path, owner: dict[str, Any]) -> None:
        self.owner = owner
        pid = owner.get("pid", "unknown")
        super().__init__(f"{path}: in use by another process (pid {pid}); one process owns a SQLite store")


def read_key(key_path: Path, fresh: bool) -> bytes:
    """Return the key of a store's digests; a ``fresh`` store gets a new one, in a file that only its owner can read."""
    try:
        if fresh and not key_path.exists():
            _write_key(key_path)
        key = key_path.read_bytes()
    except FileNotFoundError:
        raise RunError(
            f"{key_path}: missing; without it no secret or code of the store can be checked: restore it"
        ) from None
    except OSError as problem:
        raise RunError(f"{key_path}: the key of a store can't be read or kept there: {problem.strerror}") from None
    if len(key) != KEY_BYTES:
        raise RunError(f"{key_path}: {len(key)} bytes, not {KEY_BYTES}: restore it")
    return key


def _write_key(key_path: Path) -> None:
    with os.fdopen(os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())


def make_private(path: Path) -> None:
    """Make sure that there is a file, and that a new one can be read by its owner alone: it holds mobiles."""
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT, 0o600))


def beside(path: Path, suffix: str) -> Path:
    """Return the path of what belongs to a store's file."""
    return path.with_name(path.name + suffix)


def _read_owner(file: IO[str]) -> dict[str, Any]:
    try:
        owner = json.loads(file.read())
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}
