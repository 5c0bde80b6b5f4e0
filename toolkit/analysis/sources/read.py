"""Open recorded calls of any format as one lazy table, which may be larger than memory.

Parquet files are scanned where they are. Other files (packed records of a killed run, JSON lines, CSV, access logs) are
converted to Parquet once, in a temporary folder that is removed when the process exits. A file's content decides its
format, not its name, so rotated logs are read whole.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from glob import glob
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import msgpack
import narwhals as nw
import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.analysis.call_frames import COLUMNS, MAX_NS, NEVER_NULL, REQUIRED, check_frame, complete, without_copies
from toolkit.analysis.calls import Calls
from toolkit.analysis.source_record import SourceRecord
from toolkit.analysis.sources.log_formats import ColumnMap
from toolkit.analysis.sources.log_reader import LogReader
from toolkit.analysis.sources.text_files import STDIN, Progress, is_stream, is_text
from toolkit.api.errors import InputError
from toolkit.api.wire import Endpoint
from toolkit.records.packed import PACKED_SUFFIX, read_packed
from toolkit.records.parquet import PARQUET_NAME, PARQUET_PARTS, schema, write_values, writer_options
from toolkit.runs.remote_storage import is_url, pull
from toolkit.runs.run_folder import LOG_NAME, SUMMARY_NAME

MEMORY_LIMIT = "3GB"  # of DuckDB, which writes to disk beyond that
_PARQUET = ".parquet"
_CURE = "for a log, give columns or log_format"


class NoCallsError(InputError):
    """No line of a text file is a call."""


def read(
    *sources: str | Path,
    columns: ColumnMap | None = None,
    log_format: str | None = None,
    master_secret: str = "",
    timezone: str = "UTC",
    encoding: str | None = None,
    on_progress: Progress = lambda *_: None,
) -> Calls:
    """Open runs, files of calls and logs as one lazy table.

    Args:
        sources: each the folder of a run, of runs or of files, the URL of such a folder, a file, a glob, or "-" for
            standard input. Files are Parquet, JSON lines or CSV of call records, the JSON log of ``smscode serve``, or
            an access log. Text may be compressed (gzip, bzip2, xz, zstd, lz4, Brotli), and wrapped by Docker, CRI,
            ``docker compose logs`` or ``journalctl -o json``.
        columns: names of a log's columns by field, for example ``{"latency_s": "rt", "return_code": "rc"}``. The
            fields are ``toolkit.analysis.sources.log_formats.FIELDS``.
        log_format: nginx's log format, for an access log that isn't JSON. By default the formats ``combined`` and
            ``common`` of nginx, Apache and gunicorn are known, and that of AWS load balancers.
        master_secret: of the app. With it, a log's mobiles have the same keys as in other records; without it, keys
            that are valid in this table only.
        timezone: for times that name none, such as "Asia/Shanghai".
        encoding: of text files without a byte order mark; default UTF-8.
        on_progress: called after each few MB of a text file, see ``text_files.Progress``.

    Returns Calls, whose ``sources`` describe how each text file was read.

    Raises InputError for a source that doesn't exist or is damaged, and NoCallsError if all files hold no calls. A file
    without a call beside others is left out, and named in ``sources``.

    Example: ``read("runs/*", "access.log", columns={"latency_s": "rt"})``.
    """
    if not sources:
        raise InputError("nothing to read: give the folder of a run, or files of calls")
    scratch = _scratch_folder(os.getpid())
    reader = LogReader(columns, log_format, master_secret, timezone, encoding)
    named = chain.from_iterable(_find(str(source), scratch) for source in sources)
    files = list({path.resolve(): path for path in named}.values())
    same = _same_files(files)
    files = [path for path in files if path not in same]
    parquet: list[Path] = []
    records: list[SourceRecord] = []
    for path in files:
        folder = Path(tempfile.mkdtemp(dir=scratch))
        if path.suffix == PACKED_SUFFIX:
            write_values(_unpack(path), folder / PARQUET_NAME)
            parquet.append(folder / PARQUET_NAME)
        elif path.suffix == _PARQUET or _is_parquet(path):
            parquet.append(path)
        else:
            records.append(_convert(path, folder / PARQUET_NAME, reader, on_progress))
            if records[-1].calls:
                parquet.append(folder / PARQUET_NAME)
    if not parquet:
        _check_records(records, columns or {})
        parquet = [scratch / PARQUET_NAME]
        write_values([], parquet[0])
    foreign = [path for path in parquet if _needs_check(path)]
    connection = duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": str(scratch / "spilled")})
    calls = connection.read_parquet([str(path) for path in parquet], union_by_name=True)
    # A run that was killed before its packed files were removed has the same calls in Parquet too.
    packed_folders = {path.parent for path in files if path.suffix == PACKED_SUFFIX}
    if any(path.suffix == _PARQUET and path.parent in packed_folders for path in files):
        calls = calls.distinct()
    if foreign:
        try:
            found = check_frame(calls)
        except InputError as problem:
            raise InputError(f"{', '.join(map(str, foreign))}: {problem}") from None
    else:
        found = complete(nw.from_native(calls).lazy())
        # The calls of load tests and of simulations are written once, and need no search for copies.
        recorded = (_PARQUET, PACKED_SUFFIX)
        if not all(path.suffix in recorded and (path.parent / SUMMARY_NAME).exists() for path in files):
            found = without_copies(found)
    same_files = tuple(f"{path} (the same as {other})" for path, other in same.items())
    return Calls(
        *(
            found.table,
            tuple(records),
            found.absent & {"return_code"},
            found.inferred,
            found.copies,
            found.has_repeated_messages,
        ),
        same_files=same_files,
    )


def _convert(path: Path, parquet: Path, reader: LogReader, on_progress: Progress) -> SourceRecord:
    """Write the calls of a text file to Parquet, if it has any."""
    name = str(path)
    if not is_stream(path) and reader.encoding is None and not is_text(path):
        return SourceRecord(name, skipped="is not text; if it is UTF-16, give the encoding utf-16-le or utf-16-be")
    with ExitStack() as stack:
        writer: pq.ParquetWriter | None = None

        def write(table: pa.Table) -> None:
            nonlocal writer
            writer = writer or stack.enter_context(pq.ParquetWriter(parquet, schema(), **writer_options()))
            writer.write_table(table)

        return reader.read(name, write, on_progress)


def _check_records(records: list[SourceRecord], columns: ColumnMap) -> None:
    """Raise NoCallsError for files without a call, and name the first line of the first file that could be one.

    Raise InputError for a file that is not text: nothing is known of its content.
    """
    for record in records:
        if record.skipped:
            raise InputError(f"{record.file} {record.skipped}")
        if record.lines:
            reason = (
                f"line {record.unread[0].lines[0]}: {record.unread[0].reason}"
                if record.unread
                else "; ".join(f"{number:,} lines are {what}" for what, number in record.others.items())
            )
            reason += "".join(f"; {it}" for it in record.unused)
            is_spread = bool(record.unread) and (
                record.unread[0].text in ("[", "{") or record.unread[0].text.startswith("[{")
            )
            cure = "write each JSON object on a line, e.g. with jq -c" if is_spread else _CURE
            raise NoCallsError(f"{record.file} holds no calls: {reason}; {cure}")


def _same_files(files: Sequence[Path]) -> dict[Path, Path]:
    """Return the files whose content an earlier file has, with that file."""
    by_size: dict[int, list[Path]] = {}
    for path in files:
        if path.is_file():  # not standard input
            by_size.setdefault(path.stat().st_size, []).append(path)
    same: dict[Path, Path] = {}
    for size, paths in by_size.items():
        first: dict[bytes, Path] = {}
        for path in paths if size and len(paths) > 1 else ():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "blake2b").digest()
            if (other := first.setdefault(digest, path)) is not path:
                same[path] = other
    return same


@cache
def _scratch_folder(pid: int) -> Path:
    """Create this process's temporary folder; a forked process gets its own by its pid."""
    folder = Path(tempfile.mkdtemp(prefix="smscode-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _find(source: str, scratch: Path) -> Iterator[Path]:
    """Yield the files of a source."""
    path = pull(source, Path(tempfile.mkdtemp(dir=scratch))) if is_url(source) else Path(source)
    if source == STDIN:
        yield path
    elif path.is_dir():
        yield from _find_in_folder(path, source)
    elif path.exists():
        yield path
    elif found := sorted(name for name in glob(source, recursive=True) if name != source):  # itself: a broken link
        yield from chain.from_iterable(_find(name, scratch) for name in found)
    else:
        raise InputError(f"{source} doesn't exist: give a run folder or a Parquet file, or other files of calls")


def _find_in_folder(folder: Path, source: str) -> list[Path]:
    """Return the files of a run's folder; else the files of the runs in it; else all files in it that aren't hidden."""
    for depth in ("", "*/"):
        if parts := [*folder.glob(depth + PARQUET_PARTS), *folder.glob(f"{depth}*{PACKED_SUFFIX}")]:
            return sorted(parts)
    if (folder / LOG_NAME).exists():
        return []  # a run that recorded no call
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    if not files:
        raise InputError(
            f"{source} holds neither {PARQUET_NAME} nor *{PACKED_SUFFIX}: give the folder of a run, or files"
        )
    return sorted(files)


def _is_parquet(path: Path) -> bool:
    if is_stream(path):
        return False
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _unpack(path: Path) -> Iterator[tuple[Any, ...]]:
    try:
        yield from read_packed([path])
    except (TypeError, ValueError, msgpack.UnpackException, pa.ArrowException) as problem:
        raise InputError(f"{path} is not a file of packed calls, or is damaged: {problem}") from problem


def _needs_check(path: Path) -> bool:
    """Return whether a file's values must be checked, because its types or statistics are not those of this package.

    Raise InputError if they show that it isn't a file of calls.
    """
    try:
        metadata = pq.read_metadata(path)
    except (OSError, pa.ArrowException) as problem:
        raise InputError(f"{path} is not a Parquet file of calls, or is damaged: {problem}") from problem
    positions = {metadata.schema.column(number).name: number for number in range(metadata.num_columns)}
    if missing := [name for name in REQUIRED if name not in positions]:
        raise InputError(f"{path} is not a file of calls: it lacks {', '.join(missing)}")
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for name in NEVER_NULL:
            statistics = group.column(positions[name]).statistics
            if statistics and statistics.null_count:
                raise InputError(f"{path} has calls without {name}: write records with toolkit.records.parquet")
    types = metadata.schema.to_arrow_schema()
    is_own = all(_is_own_type(it) for it in types if it.name in COLUMNS)
    return not (is_own and _has_own_endpoints(metadata, positions) and _has_own_times(metadata, positions))


def _is_own_type(column: pa.Field) -> bool:
    type_ = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_right = pa.types.is_string if COLUMNS[column.name] is nw.String else pa.types.is_signed_integer
    return bool(is_right(type_))


def _has_own_times(metadata: Any, positions: Mapping[str, int]) -> bool:
    """Return whether the times of each row group are within the limits of a call's times."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for name in MAX_NS.keys() & positions:
            values = group.column(positions[name]).statistics
            is_null = values and values.null_count == group.num_rows
            has_limits = values and values.has_min_max
            if not is_null and not (
                has_limits and (values.min >= 0 or name == "wait_ns") and values.max <= MAX_NS[name]
            ):
                return False
    return True


def _has_own_endpoints(metadata: Any, positions: Mapping[str, int]) -> bool:
    """Return whether the smallest and the largest endpoint of each row group are the API's."""
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    statistics = [group.column(positions["endpoint"]).statistics for group in groups]
    names = {it.value for it in Endpoint}
    return all(it and it.has_min_max and {it.min, it.max} <= names for it in statistics)
