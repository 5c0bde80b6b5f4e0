"""Read, or create, the file that holds the key of a store's digests. It stays outside the database."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from toolkit.api.errors import RunError

KEY_BYTES = 32


def read_key(key_path: Path, is_new: bool, is_durable: bool = True) -> bytes:
    """Return the key of a store's digests.

    Args:
        key_path: the file of the key.
        is_new: whether the store holds no app yet. Then a missing file is created, readable by its owner alone.
        is_durable: whether a new file is written through to the disk.

    Raises:
        RunError: if the file is missing, cannot be read or written, or has the wrong length.
    """
    try:
        if is_new and not key_path.exists():
            with os.fdopen(os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
                if is_durable:
                    file.flush()
                    os.fsync(file.fileno())
        key = key_path.read_bytes()
    except FileNotFoundError:
        raise RunError(
            f"{key_path}: missing; without it no secret or code of the store can be checked: restore it from a backup"
        ) from None
    except OSError as problem:
        raise RunError(f"{key_path}: can't read or create the key of the store: {problem.strerror}") from None
    if len(key) != KEY_BYTES:
        raise RunError(f"{key_path}: expected a key of {KEY_BYTES} bytes, got {len(key)}: restore it from a backup")
    return key
