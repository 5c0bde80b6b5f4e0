"""Copy a run's files to and from remote storage, named by a URL that pyarrow or fsspec can open.

Examples: file:///mnt/runs, s3://bucket/runs, gs://bucket/runs; with fsspec installed also fsspec+sftp://host/runs.
Files that grow during a run stay local, because object stores can't append; the folder is pushed at the end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from toolkit.api.errors import InputError


def is_url(place: str) -> bool:
    """Return whether a place is a URL, not a path.

    >>> is_url("s3://bucket/runs"), is_url("runs/friday")
    (True, False)
    """
    return "://" in place


def join(url: str, name: str) -> str:
    """Return the URL of a folder within the folder at a URL.

    >>> join("s3://bucket/runs/?endpoint_override=localhost:9000", "friday")
    's3://bucket/runs/friday?endpoint_override=localhost:9000'
    """
    place, mark, query = url.partition("?")
    return f"{place.rstrip('/')}/{name}{mark}{query}"


def folder_name(place: str) -> str:
    """Return the name of the folder at a URL or path.

    >>> folder_name("s3://bucket/runs/friday?region=eu-west-1"), folder_name("runs/friday/")
    ('friday', 'friday')
    """
    return _without_query(place).rstrip("/").rpartition("/")[2]


def add_suffix(place: str, suffix: str) -> str:
    """Return a URL or path with a suffix at its folder's name.

    >>> add_suffix("s3://bucket/friday?region=eu-west-1", "-2")
    's3://bucket/friday-2?region=eu-west-1'
    """
    folder = _without_query(place)
    return f"{folder.rstrip('/')}{suffix}{place[len(folder) :]}"


def check(url: str) -> None:
    """Check that files can be stored at a URL, by storing and deleting one; raise InputError if they can't."""
    with _input_errors(url):
        filesystem, path = _open(url)
        test_file = f"{path}/write-test-{uuid4().hex}"
        with filesystem.open_output_stream(test_file) as file:
            file.write(b"smscode checks that a run can be stored here")
        with suppress(OSError):  # a store may allow to write and not to delete
            filesystem.delete_file(test_file)


def push(folder: Path, url: str) -> None:
    """Copy a folder's files to a URL and overwrite files of the same names; raise InputError if that fails."""
    from pyarrow import fs

    with _input_errors(url):
        filesystem, path = _open(url)
        fs.copy_files(str(folder), path, destination_filesystem=filesystem)


@contextmanager
def pulled(place: str) -> Iterator[Path]:
    """Yield a local folder with a place's files: a path itself, or a copy of a URL that is pushed back at the end."""
    if not is_url(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="smscode-") as temporary:
        folder = pull(place, Path(temporary))
        yield folder
        push(folder, place)


def pull(url: str, within: Path) -> Path:
    """Copy the files at a URL into a new folder within another and return it; raise InputError if that fails."""
    from pyarrow import fs

    folder = within / folder_name(url)
    folder.mkdir()
    with _input_errors(url):
        filesystem, path = fs.FileSystem.from_uri(url)
        fs.copy_files(path, str(folder), source_filesystem=filesystem)
    return folder


def _open(url: str) -> tuple[Any, str]:
    from pyarrow import fs

    filesystem, path = fs.FileSystem.from_uri(url)
    filesystem.create_dir(path)
    return filesystem, path


def _without_query(place: str) -> str:
    return place.partition("?")[0] if is_url(place) else place  # a path may contain a question mark


@contextmanager
def _input_errors(url: str) -> Iterator[None]:
    """Raise a filesystem's errors as InputError. Only the URL's scheme is shown, because the rest may contain a key."""
    try:
        yield
    except (OSError, ValueError, ImportError) as problem:
        place = f"{url.partition('://')[0]}://..."
        reason = str(problem).replace(url, place)
        raise InputError(f"{place} can't be used: {reason}; give a URL such as s3://bucket/runs") from None
