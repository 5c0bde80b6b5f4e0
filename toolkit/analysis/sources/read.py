"""Reading: opens what calls were recorded in, whatever it is, as one lazy table that may be larger than memory.

Parquet is read where it lies. Whatever else there is (a killed run's packed rows, JSON lines, CSV, access logs) is made
Parquet once, in a temporary folder that lives as long as the process.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from glob import glob
from itertools import chain
from pathlib import Path

import duckdb
import msgpack
import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.analysis.calls import Calls
from toolkit.analysis.calls_table import REQUIRED, lazy
from toolkit.analysis.sources.log_formats import LineReader, Map, Values
from toolkit.analysis.sources.text_files import SUFFIXES, UnreadLines, plain_suffix, read_text
from toolkit.api.errors import InputError
from toolkit.records.packed import PACKED_SUFFIX, read_packed
from toolkit.records.parquet import PARQUET_NAME, PARQUET_PARTS, write_values
from toolkit.runs.remote_storage import is_url, pull
from toolkit.runs.run_folder import LOG_NAME

MEMORY_LIMIT = "3GB"  # of DuckDB, which from there on writes to disk
_PARQUET = ".parquet"


def read(
    *sources: str | Path, columns: Map | None = None, log_format: str | None = None, master_secret: str = ""
) -> Calls:
    """Open runs, files of calls and logs as one lazy table.

    ``sources``: each the folder of a run, of runs or of files, or such a folder's URL, a file, or a glob. Files are
    Parquet, JSON lines or CSV of call records, the JSON log of ``smscode serve``, or an access log of nginx; text may
    be compressed (.gz .bz2 .xz .zst .lz4 .br). ``columns``: which field of a log says what, by the words of
    ``lines.WORDS``, over what is known of it: ``{"latency_s": "rt", "return_code": "rc"}``. ``log_format``: nginx's,
    of an access log that isn't JSON; without it ``combined``. ``master_secret``: the app's, with which a log's mobiles
    have the keys that they have in other records; without it, keys of this table alone.

    What can't be read is counted and quoted in ``unread``. Raise InputError for what isn't there, holds no calls, or is
    damaged.
    """
    if not sources:
        raise InputError("nothing to read: give the folder of a run, or files of calls")
    made, unread = _scratch(os.getpid()), UnreadLines()
    reader = LineReader(columns, master_secret)
    files = list(dict.fromkeys(chain.from_iterable(_find(str(source), made) for source in sources)))
    parquet = [_to_parquet(path, made, reader, log_format, unread) for path in files]
    if not parquet:
        write_values([], made / PARQUET_NAME)
        parquet = [made / PARQUET_NAME]
    for path in parquet:
        _check(path)
    return Calls(lazy(_scan(parquet, made, _is_doubled(files))), unread.frame())


@cache
def _scratch(pid: int) -> Path:
    """Return the temporary folder of this process, not of one that it was forked from."""
    folder = Path(tempfile.mkdtemp(prefix="smscode-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _scan(parquet: list[Path], made: Path, is_doubled: bool) -> duckdb.DuckDBPyRelation:
    connection = duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": str(made / "spilled")})
    calls = connection.read_parquet([str(path) for path in parquet], union_by_name=True)
    return calls.distinct() if is_doubled else calls


def _is_doubled(files: list[Path]) -> bool:
    """Tell whether calls may be there twice: a run's that was killed before its packed files were removed."""
    packed = {path.parent for path in files if path.suffix == PACKED_SUFFIX}
    return any(path.parent in packed for path in files if path.suffix == _PARQUET)


# Which files.


def _find(source: str, made: Path) -> Iterator[Path]:
    """Yield the files of a source."""
    path = pull(source, Path(tempfile.mkdtemp(dir=made))) if is_url(source) else Path(source)
    if path.is_dir():
        yield from _find_in(path, source)
    elif path.exists():
        yield path
    elif found := sorted(glob(source, recursive=True)):
        yield from chain.from_iterable(_find(name, made) for name in found)
    else:
        raise InputError(f"{source} doesn't exist: give a run folder or a Parquet file, or other files of calls")


def _find_in(folder: Path, source: str) -> list[Path]:
    """Return the files of a run's folder; where it is none, those of the runs in it, or the files."""
    for depth in ("", "*/"):
        if parts := [*folder.glob(depth + PARQUET_PARTS), *folder.glob(f"{depth}*{PACKED_SUFFIX}")]:
            return sorted(parts)
    if (folder / LOG_NAME).exists():
        return []  # a run that recorded no call
    files = [path for path in folder.iterdir() if path.is_file() and plain_suffix(path) in (*SUFFIXES, _PARQUET)]
    if not files:
        raise InputError(
            f"{source} holds neither {PARQUET_NAME} nor *{PACKED_SUFFIX}: give the folder of a run, or files"
        )
    return sorted(files)


# What is in them.


def _to_parquet(path: Path, made: Path, reader: LineReader, log_format: str | None, unread: UnreadLines) -> Path:
    """Return the path of a file's calls in Parquet, made where the file is something else."""
    suffix = plain_suffix(path)
    if suffix not in (*SUFFIXES, PACKED_SUFFIX):
        return path
    parquet = Path(tempfile.mkdtemp(dir=made)) / PARQUET_NAME
    write_values(_unpack(path) if suffix == PACKED_SUFFIX else read_text(path, reader, log_format, unread), parquet)
    return parquet


def _unpack(path: Path) -> Iterator[Values]:
    try:
        yield from read_packed([path])
    except (TypeError, ValueError, msgpack.UnpackException, pa.ArrowException) as problem:
        raise InputError(f"{path} is not a file of packed calls, or is damaged: {problem}") from problem


def _check(path: Path) -> None:
    """Make sure, by its schema and its statistics, that a file holds calls; raise InputError."""
    try:
        metadata = pq.read_metadata(path)
    except (OSError, pa.ArrowException) as problem:
        raise InputError(f"{path} is not a Parquet file of calls, or is damaged: {problem}") from problem
    places = {metadata.schema.column(place).name: place for place in range(metadata.num_columns)}
    if missing := [name for name in REQUIRED if name not in places]:
        raise InputError(f"{path} is not a file of calls: it lacks {', '.join(missing)}")
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for name in REQUIRED:
            statistics = group.column(places[name]).statistics
            if statistics and statistics.null_count:
                raise InputError(f"{path} has calls without {name}: write records with toolkit.records.parquet")
