"""CallRecord: one row per call, the same for a client's log, a load test, an imported log and simulated traffic.

Whole mobiles, codes and secrets never reach a record: a mobile is a keyed digest and its first 7 digits.
While calls are made, rows are appended packed (msgpack): that is quick and never stalls. Parquet is made afterwards,
or by another process that follows the file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from toolkit.api.return_codes import FREE_REFUSALS, Kind, kind_of
from toolkit.api.wire import Answer, Endpoint, parse_mobile, parse_whole

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET_NAME, PARQUET_PARTS = "calls.parquet", "calls*.parquet"  # a run's, or each worker's own
PACKED_SUFFIX = ".msgpack"
_ROW_GROUP = 50_000
_SHARED_VALUES = 3
_DIGITS, _PREFIX_DIGITS = 11, 7
_PREFIX = re.compile("1[3-9][0-9]{5}")


class Failure(StrEnum):
    """What kept an answer from being read."""

    CONNECT = "connect"  # the connection was never made
    TIMEOUT = "timeout"
    RESET = "reset"  # the connection ended before the answer did
    PROTOCOL = "protocol"  # what came isn't the API's, or isn't HTTP
    CANCELLED = "cancelled"  # the caller didn't wait for it


def may_cost(endpoint: Endpoint, outcome: int | str) -> bool:
    """Tell whether a call may have been charged: a send that was not refused for nothing, and did not fail to leave."""
    is_free = outcome == Failure.CONNECT if isinstance(outcome, str) else kind_of(outcome) in FREE_REFUSALS
    return endpoint is Endpoint.SEND and not is_free


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call, whatever its outcome. Times are integers in nanoseconds.

    started_ns: first byte out, UTC since 1970. latency_ns: from then to the whole answer, or to the failure.
    wait_ns: from the intended start to the first byte out; 0 in a closed loop. What the caller waited is their sum.
    run, source: which run, and which worker or host of it. http_status, return_code, kind: null without an answer of
    the API, kind also for a code the table doesn't know. mobile_key: keyed 64-bit digest. prefix: the mobile's first 7
    digits. msg_key: 64-bit hash of msg_id, for joins. segments: what a send was charged, where that is known.
    error: what kept an answer from being read, a Failure; null where the API answered. request_id: the X-Request-Id of
    an answer that was no success, which the service's log has too.
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
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Scribe:
    """Makes the records of one caller: holds what stays the same from call to call, and the key that digests mobiles.

    The key is made from the app's master secret: the same mobile has the same ``mobile_key`` in every run of that app,
    and nobody can try out numbers without the secret.
    """

    run: str
    source: str
    app_key: str
    keyed: hashlib.blake2b

    @classmethod
    def of(cls, run: str, source: str, app_key: str, master_secret: str) -> Scribe:
        """Make the scribe of one app in one run."""
        secret = master_secret.encode("utf-8", "surrogateescape")
        key = hashlib.blake2b(secret, digest_size=32, person=b"mobile_key").digest()
        return cls(run, source, app_key, hashlib.blake2b(key, digest_size=8))

    def record(
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
    ) -> CallRecord:
        """Record one call: its answer, or the error that kept one from being read."""
        return_code = request_id = None
        if answer:
            http_status, return_code, msg_id = answer.http_status, int(answer.return_code), msg_id or answer.msg_id
            request_id = answer.request_id
        mobile_key, prefix = (None, None) if mobile is None else self.digest(str(mobile))
        answered, times = (started_ns, endpoint, http_status, return_code), (latency_ns, wait_ns)
        row = (*answered, *times, mobile_key, prefix, temp_id, clean(msg_id), None, request_id, error)
        return CallRecord(*_read_row(row, (self.run, self.source, self.app_key)))

    def digest(self, mobile: str) -> tuple[bytes, str | None]:
        """Return a mobile's key as 8 bytes, and its first 7 digits, None where it is none.

        A load test waits for this: 11 characters are not looked at, but their prefix when it is read.
        """
        digits = mobile if len(mobile) == _DIGITS else parse_mobile(mobile)
        keyed, text = self.keyed.copy(), digits or mobile
        keyed.update(text.encode() if text.isascii() else text.encode("utf-8", "surrogatepass"))
        return keyed.digest(), digits and digits[:_PREFIX_DIGITS]


# Packed rows.


Row: TypeAlias = tuple[Any, ...]
"""What a call has of its own, packed: what it lacks of a record is the same for many calls, or follows from the rest.

started_ns, endpoint, http_status, return_code, latency_ns, wait_ns, mobile_key (8 bytes, big-endian), prefix, temp_id,
msg_id, segments, request_id, error.
"""

Shared: TypeAlias = tuple[str, str, str | None]
"""A packed row of three, which holds for the rows behind it: run, source, app_key."""


def _read_row(row: Row, shared: Shared) -> tuple[Any, ...]:
    """Return a record's values, in the order of its fields."""
    (*answered, latency_ns, wait_ns, mobile_key, prefix, temp_id, msg_id, segments, request_id, error) = row
    started_ns, endpoint, http_status, return_code = answered
    run, source, app_key = shared
    key = None if mobile_key is None else int.from_bytes(mobile_key, "big", signed=True)
    return (
        *(started_ns, run, source, endpoint, http_status, return_code, kind_of(return_code), latency_ns, wait_ns),
        *(key, read_prefix(prefix), parse_whole(temp_id), msg_id, hash64(msg_id), app_key, segments, error, request_id),
    )


def read_prefix(prefix: str | None) -> str | None:
    """Return a mobile's first 7 digits, None for what can't be those."""
    return prefix if prefix and _PREFIX.fullmatch(prefix) else None


def clean(text: str | None) -> str | None:
    """Return text without halves of characters, which JSON may hold and Parquet may not."""
    return text and text.encode("utf-8", "replace").decode()


def hash64(text: str | None) -> int | None:
    """Return the 64-bit hash that stands for a msg_id in joins; None of None."""
    if text is None:
        return None
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


_values = attrgetter(*(column.name for column in fields(CallRecord)))


class PackedWriter:
    """Appends calls to a file, packed. They are gathered until ``flush``: a killed process loses what came since.

    ``append_row`` appends one call, given as a row of what was last shared.
    """

    def __init__(self, path: Path) -> None:
        import msgpack

        # No value may stop it, as that would lose what was gathered: None stands for one that can't be packed.
        self._packer = msgpack.Packer(autoreset=False, default=lambda _: None, unicode_errors="surrogatepass")
        self.append_row: Callable[[Row], None] = self._packer.pack
        self._file = path.open("ab")
        self._shared: Shared | None = None

    def append(self, call: CallRecord) -> None:
        """Append one record."""
        self.share((call.run, call.source, call.app_key))
        key = None if call.mobile_key is None else call.mobile_key.to_bytes(8, "big", signed=True)
        times, sent = (call.latency_ns, call.wait_ns), (key, call.prefix, call.temp_id)
        answer = (call.started_ns, call.endpoint, call.http_status, call.return_code)
        self.append_row((*answer, *times, *sent, call.msg_id, call.segments, call.request_id, call.error))

    def share(self, shared: Shared) -> None:
        """Say what the rows from here on have in common."""
        if shared != self._shared:
            self._shared = shared
            self._packer.pack(shared)

    def flush(self) -> None:
        """Hand what was gathered to the operating system."""
        self._file.write(self._packer.bytes())
        self._packer.reset()
        self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        self._file.close()


class PackedReader:
    """Reads packed records, and goes on where it stopped when the file has grown."""

    def __init__(self, file: IO[bytes]) -> None:
        import msgpack

        self._file = file
        self._unpacker = msgpack.Unpacker(use_list=False, unicode_errors="replace")
        self._shared: Shared = ("", "", None)

    def __iter__(self) -> Iterator[CallRecord]:
        """Yield the whole records that are there now; half a row at the end waits for its other half."""
        return (CallRecord(*values) for values in self.values())

    def values(self) -> Iterator[tuple[Any, ...]]:
        """Yield the same as mere values, in the order of a record's fields, which takes a fraction of the time."""
        return (_read_row(row, self._shared) for row in self.rows())

    def rows(self) -> Iterator[Row]:
        """Yield the same as rows, for whoever needs no more: a load test goes on while its progress is read."""
        while chunk := self._file.read(1 << 20):
            self._unpacker.feed(chunk)
            for row in self._unpacker:
                if len(row) == _SHARED_VALUES and isinstance(row[0], str):
                    self._shared = row
                else:
                    yield row


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
        "request_id": text,
    }
    return pa.schema([(column.name, types[column.name]) for column in fields(CallRecord)])


def encoding() -> dict[str, Any]:
    """Return the options of a ParquetWriter for records: what takes the least room.

    Times are differences, and a msg_id is there once for its send and its verifies.
    """
    times = ("started_ns", "latency_ns", "wait_ns")
    return {
        "compression": "zstd",
        "column_encoding": dict.fromkeys(times, "DELTA_BINARY_PACKED"),
        "use_dictionary": [name for name in schema().names if name not in (*times, "mobile_key")],
        "dictionary_pagesize_limit": 16 << 20,
    }


def write_parquet(records: Iterable[CallRecord], path: Path) -> int:
    """Write records to one Parquet file and return how many; the file appears whole or not at all."""
    return write_values(map(_values, records), path)


def to_table(values: Iterable[tuple[Any, ...]]) -> pa.Table:
    """Return records, given as their values in the order of the fields, as an Arrow table."""
    import pyarrow as pa

    wanted = schema()
    columns = list(zip(*values, strict=True)) or [()] * len(wanted)
    return pa.table([pa.array(a, t) for a, t in zip(columns, wanted.types, strict=True)], wanted)


def write_values(values: Iterable[tuple[Any, ...]], path: Path) -> int:
    """Write records, given as their values in the order of the fields, as ``write_parquet`` does."""
    import pyarrow.parquet as pq

    rows, written = iter(values), 0
    partial = path.with_name(path.name + ".part")
    with pq.ParquetWriter(partial, schema(), **encoding()) as writer:
        while group := list(islice(rows, _ROW_GROUP)):
            writer.write_table(to_table(group))
            written += len(group)
    partial.replace(path)
    return written


def pack_to_parquet(folder: Path, name: str = PARQUET_NAME) -> int:
    """Turn a run folder's packed files into its Parquet file, remove them, and return how many records it holds.

    Where the Parquet file is there already, it was made whole from the packed files, and only their removal is left.
    A folder without packed files is left as it is; then 0 is returned.
    """
    packed, parquet = sorted(folder.glob(f"*{PACKED_SUFFIX}")), folder / name
    if not packed:
        return 0
    written = _count_rows(parquet) if parquet.exists() else write_values(read_packed(packed), parquet)
    for path in packed:
        path.unlink()
    return written


def _count_rows(parquet: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(parquet).num_rows)


def read_packed(paths: Iterable[Path]) -> Iterator[tuple[Any, ...]]:
    """Yield the records of packed files, as values in the order of the fields."""
    for path in paths:
        with path.open("rb") as file:
            yield from PackedReader(file).values()
