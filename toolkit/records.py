"""CallRecord: one row per call, the same for a client's log, a load test, an imported log and simulated traffic.

Whole mobiles, codes and secrets never reach a record: a mobile is a keyed digest and its first 7 digits.
While calls are made, rows are appended packed (msgpack): that is quick and never stalls. Parquet is made afterwards,
or by another process that follows the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from toolkit.codes import Kind, kind_of
from toolkit.wire import Answer, Endpoint, parse_mobile, parse_whole

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET_NAME = "calls.parquet"
PACKED_SUFFIX = ".msgpack"
_ROW_GROUP = 50_000


class Failure(StrEnum):
    """What kept an answer from being read."""

    CONNECT = "connect"  # the connection was never made
    TIMEOUT = "timeout"
    RESET = "reset"  # the connection ended before the answer did
    PROTOCOL = "protocol"  # what came isn't the API's, or isn't HTTP
    CANCELLED = "cancelled"  # the caller didn't wait for it


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call, whatever its outcome. Times are integers in nanoseconds.

    started_ns: first byte out, UTC since 1970. latency_ns: from then to the whole answer, or to the failure.
    wait_ns: from the intended start to the first byte out; 0 in a closed loop. What the caller waited is their sum.
    run, source: which run, and which worker or host of it. http_status, return_code, kind: null without an answer of
    the API, kind also for a code the table doesn't know. mobile_key: keyed 64-bit digest. prefix: the mobile's first 7
    digits. msg_key: 64-bit hash of msg_id, for joins. segments: what a send was charged, where that is known.
    error: what kept an answer from being read, a Failure; null where the API answered.
    """

    started_ns: int
    run: str
    source: str
    endpoint: Endpoint
    http_status: int | None
    return_code: int | None
    kind: Kind | None
    latency_ns: int
    wait_ns: int = 0
    mobile_key: int | None = None
    prefix: str | None = None
    temp_id: int | None = None
    msg_id: str | None = None
    msg_key: int | None = None
    app_key: str | None = None
    segments: int | None = None
    error: str | None = None


Row = tuple[Any, ...]
"""A record's values, in the order of its fields."""


@dataclass(frozen=True, slots=True)
class Scribe:
    """Makes the records of one caller: holds what stays the same from call to call, and the key that digests mobiles.

    The key is made from the app's master secret: the same mobile has the same ``mobile_key`` in every run of that app,
    and nobody can try out numbers without the secret.
    """

    run: str
    source: str
    app_key: str
    key: bytes

    @classmethod
    def of(cls, run: str, source: str, app_key: str, master_secret: str) -> Scribe:
        """Make the scribe of one app in one run."""
        secret = master_secret.encode("utf-8", "surrogateescape")
        return cls(run, source, app_key, hashlib.blake2b(secret, digest_size=32, person=b"mobile_key").digest())

    def record(self, endpoint: Endpoint, started_ns: int, latency_ns: int, **about: Any) -> CallRecord:
        """Record one call: its answer, or the error that kept one from being read."""
        return CallRecord(*self.row(endpoint, started_ns, latency_ns, **about))

    def row(
        self,
        endpoint: Endpoint,
        started_ns: int,
        latency_ns: int,
        *,
        answer: Answer | None = None,
        http_status: int | None = None,
        error: str | None = None,
        wait_ns: int = 0,
        mobile: str | int | None = None,
        temp_id: int | str | None = None,
        msg_id: str | None = None,
    ) -> Row:
        """Return the values of a record, which cost a load test less than the record itself."""
        return_code = kind = mobile_key = prefix = msg_key = None
        if answer:
            http_status, return_code = answer.http_status, int(answer.return_code)
            kind, msg_id = kind_of(return_code), msg_id or answer.msg_id
        if mobile is not None:
            digits = parse_mobile(mobile)
            prefix = digits[:7] if digits else None
            mobile_key = _hash64(digits or str(mobile), self.key)
        if msg_id is not None:
            msg_key = _hash64(msg_id)
            msg_id = msg_id.encode("utf-8", "replace").decode()  # JSON may hold half a character
        return (
            *(started_ns, self.run, self.source, endpoint, http_status, return_code, kind, latency_ns, wait_ns),
            *(mobile_key, prefix, None if temp_id is None else parse_whole(temp_id)),
            *(msg_id, msg_key, self.app_key, None, error),
        )


def _hash64(text: str, key: bytes = b"") -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
    return int.from_bytes(digest, "big", signed=True)


_values = attrgetter(*(column.name for column in fields(CallRecord)))


class PackedWriter:
    """Appends records to a file, packed. A killed process loses what the buffer held; ``flush`` empties it."""

    def __init__(self, path: Path) -> None:
        import msgpack

        self._pack = msgpack.Packer().pack
        self._file = path.open("ab", buffering=1 << 16)

    def append(self, record: CallRecord) -> None:
        """Append one record."""
        self.append_row(_values(record))

    def append_row(self, row: Row) -> None:
        """Append one record, given as its values."""
        self._file.write(self._pack(row))

    def flush(self) -> None:
        """Hand what is buffered to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        self._file.close()


class PackedReader:
    """Reads packed records, and goes on where it stopped when the file has grown."""

    def __init__(self, file: IO[bytes]) -> None:
        import msgpack

        self._file = file
        self._unpacker = msgpack.Unpacker(use_list=False)

    def __iter__(self) -> Iterator[CallRecord]:
        """Yield the whole records that are there now; half a row at the end waits for its other half."""
        while chunk := self._file.read(1 << 20):
            self._unpacker.feed(chunk)
            for row in self._unpacker:
                yield CallRecord(*row)


def schema() -> pa.Schema:
    """Return the Arrow schema of the columns, in the order of CallRecord."""
    import pyarrow as pa

    category, text = pa.dictionary(pa.int32(), pa.string()), pa.string()
    types = {
        "started_ns": pa.int64(),
        "run": category,
        "source": category,
        "endpoint": category,
        "http_status": pa.int16(),
        "return_code": pa.int64(),
        "kind": category,
        "latency_ns": pa.int64(),
        "wait_ns": pa.int64(),
        "mobile_key": pa.int64(),
        "prefix": category,
        "temp_id": pa.int64(),
        "msg_id": text,
        "msg_key": pa.int64(),
        "app_key": category,
        "segments": pa.int16(),
        "error": category,
    }
    return pa.schema([(column.name, types[column.name]) for column in fields(CallRecord)])


def write_parquet(records: Iterable[CallRecord], path: Path) -> int:
    """Write records to one Parquet file (zstd) and return how many; the file appears whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns, rows, written = schema(), iter(records), 0
    partial = path.with_name(path.name + ".part")
    with pq.ParquetWriter(partial, columns, compression="zstd") as writer:
        while group := list(islice(rows, _ROW_GROUP)):
            arrays = zip(*map(_values, group), strict=True)
            writer.write_table(pa.table([pa.array(a, t) for a, t in zip(arrays, columns.types, strict=True)], columns))
            written += len(group)
    partial.replace(path)
    return written


def pack_to_parquet(folder: Path) -> int:
    """Turn a run folder's packed files into its Parquet file, remove them, and return how many records it holds.

    Where the Parquet file is there already, it was made whole from the packed files, and only their removal is left.
    A folder without packed files is left as it is; then 0 is returned.
    """
    packed, parquet = sorted(folder.glob(f"*{PACKED_SUFFIX}")), folder / PARQUET_NAME
    if not packed:
        return 0
    written = _count_rows(parquet) if parquet.exists() else write_parquet(_read_all(packed), parquet)
    for path in packed:
        path.unlink()
    return written


def _count_rows(parquet: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(parquet).num_rows)


def _read_all(paths: Iterable[Path]) -> Iterator[CallRecord]:
    for path in paths:
        with path.open("rb") as file:
            yield from PackedReader(file)
