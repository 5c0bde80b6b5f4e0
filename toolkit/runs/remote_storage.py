"""Parts: a run's files in a place that a URL names, whatever pyarrow reaches, or through it fsspec.

file:///mnt/runs, s3://bucket/runs, gs://bucket/runs; with the package fsspec installed, fsspec+sftp://host/runs and the
like. What grows while a run goes on stays local, as object stores can't append; its folder is pushed at the end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolkit.api.errors import InputError


def is_url(place: str) -> bool:
    """Tell whether a place is named by a URL, not by a path."""
    return "://" in place


def check(url: str) -> None:
    """Make sure that files can be put there; raise InputError."""
    with _telling(url):
        _open(url)


def push(folder: Path, url: str) -> None:
    """Copy a folder's files there, over those of the same names; raise InputError where that can't be done."""
    from pyarrow import fs

    with _telling(url):
        filesystem, path = _open(url)
        fs.copy_files(str(folder), path, destination_filesystem=filesystem)


@contextmanager
def pulled(place: str) -> Iterator[Path]:
    """Give a place's files in a local folder: a path itself, of a URL a copy, pushed back at the end."""
    if not is_url(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="smscode-") as temporary:
        folder = pull(place, Path(temporary))
        yield folder
        push(folder, place)


def pull(url: str, within: Path) -> Path:
    """Copy a place's files into a folder of its name within another, and return that; raise InputError."""
    from pyarrow import fs

    folder = within / url.rstrip("/").rpartition("/")[2]
    folder.mkdir()
    with _telling(url):
        filesystem, path = fs.FileSystem.from_uri(url)
        fs.copy_files(path, str(folder), source_filesystem=filesystem)
    return folder


def _open(url: str) -> tuple[Any, str]:
    from pyarrow import fs

    filesystem, path = fs.FileSystem.from_uri(url)
    filesystem.create_dir(path)
    return filesystem, path


@contextmanager
def _telling(url: str) -> Iterator[None]:
    """Raise what a filesystem says as InputError; of the URL only the scheme, as the rest may hold a key."""
    try:
        yield
    except (OSError, ValueError, ImportError) as problem:
        place = f"{url.partition('://')[0]}://..."
        raise InputError(f"the place {place} can't be used: {str(problem).replace(url, place)}") from None
