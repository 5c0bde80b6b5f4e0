"""Write a file so that it appears whole or not at all.

The content is written to a temporary file in the same folder, which then replaces the target. A reader sees the old
file or the new file, never a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from toolkit.api.errors import InputError


def partial_path(path: Path) -> Path:
    """Return the path that a file is written to before it is renamed to ``path``."""
    return path.with_name(f"{path.name}.part")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to ``path`` if the block ends without an exception.

    The block must have closed the file. After an exception ``path`` is unchanged and the temporary file is removed.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "numbers.csv"
    >>> with replacing(target) as partial:
    ...     _ = partial.write_text("1,2,3")
    >>> target.read_text()
    '1,2,3'
    """
    partial = partial_path(path)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Write text (as UTF-8) or bytes to a file, create its folder if needed, and return its path.

    Raises InputError if the folder can't be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_bytes(content.encode("utf-8", "replace") if isinstance(content, str) else content)
    except OSError as problem:
        raise InputError(
            f"{path.parent}: can't write {path.name} there ({problem.strerror}); choose another folder"
        ) from None
    return path
