"""Append CallRecords to a msgpack file while calls are made, and read the file while it grows.

Packing a row is fast and never blocks, so a load test can do it between calls. A file has rows of 13 values, and rows
of 3 values that hold for the rows after them:

    ("run-1", "worker-0", "app-key")                              run, source, app_key
    (1760000000000000000, "send", 200, 50000, 4200000, 0, ...)    the values of one call
    (1760000000004000000, "send", 403, 50009, 3900000, 0, ...)

Some rows have two more values, message and is_valid: those of responses with a return code beyond version 1 of the API,
or with a verdict on the typed code under another code. The rows of traced calls have these two and a third, trace_id.

``parquet`` turns packed files into Parquet when the run is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeAlias

from toolkit.api.return_codes import Kind, kind_of
from toolkit.api.wire import parse_whole
from toolkit.records.call_record import CallRecord, hash64, valid_prefix

PACKED_SUFFIX = ".msgpack"
_READ_BYTES = 1 << 20

PackedRow: TypeAlias = tuple[Any, ...]
"""The packed values of one call.

started_ns, endpoint, http_status, return_code, latency_ns, wait_ns, mobile_key (8 bytes, big-endian), prefix, temp_id,
msg_id, segments, request_id, error, and in some rows message, is_valid (False or None) and trace_id. The other fields
of a CallRecord follow from these or from the RowContext.
"""

RowContext: TypeAlias = tuple[str, str, str | None]
"""The packed values that many calls share: run, source, app_key."""

_CONTEXT_LENGTH, _ROW_LENGTH = 3, 13
_NOTHING_MORE = (None, None, None)


class PackedWriter:
    """Appends calls to a packed file.

    Rows are buffered until ``flush``; a killed process loses the rows since then. ``append_row`` is the fast path: it
    appends one PackedRow in the context that ``set_context`` set.
    """

    def __init__(self, path: Path) -> None:
        import msgpack

        # An exception here would lose the buffered rows, so a value that can't be packed becomes None.
        self._packer = msgpack.Packer(autoreset=False, default=lambda _: None, unicode_errors="surrogatepass")
        self.append_row: Callable[[PackedRow], None] = self._packer.pack
        self._file = path.open("ab", buffering=0)
        self._unwritten = b""
        self._context: RowContext | None = None

    def append(self, call: CallRecord) -> None:
        """Append one record."""
        self.set_context((call.run, call.source, call.app_key))
        key = None if call.mobile_key is None else call.mobile_key.to_bytes(8, "big", signed=True)
        times, sent = (call.latency_ns, call.wait_ns), (key, call.prefix, call.temp_id)
        response = (call.started_ns, call.endpoint, call.http_status, call.return_code)
        is_verdict = call.kind is Kind.VERDICT and kind_of(call.return_code or 0) is not Kind.VERDICT
        has_more = call.message or is_verdict or call.trace_id
        more = (call.message, False if is_verdict else None, call.trace_id) if has_more else ()
        end = (call.msg_id, call.segments, call.request_id, call.error)
        self.append_row((*response, *times, *sent, *end, *more))

    def set_context(self, context: RowContext) -> None:
        """Set the run, source and app key of the rows that follow."""
        if context != self._context:
            self._context = context
            self._packer.pack(context)

    def flush(self) -> None:
        """Write the buffered rows to the file. If that fails, as on a full disk, the next flush continues there."""
        self._unwritten += self._packer.bytes()
        self._packer.reset()
        while self._unwritten:
            self._unwritten = self._unwritten[self._file.write(self._unwritten) :]

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        self._file.close()


class PackedReader:
    """Reads a packed file. Reading again continues at the end of the last read, so it can follow a growing file."""

    def __init__(self, file: IO[bytes]) -> None:
        import msgpack

        self._file = file
        self._unpacker = msgpack.Unpacker(use_list=False, unicode_errors="replace")
        self._context: RowContext = ("", "", None)

    def __iter__(self) -> Iterator[CallRecord]:
        """Yield the records written since the last read. An incomplete row at the end is left for the next read."""
        return (CallRecord(*values) for values in self.values())

    def values(self) -> Iterator[tuple[Any, ...]]:
        """Yield the same records as tuples in the order of CallRecord's fields, which is several times faster."""
        return (_record_values(row, self._context) for row in self.rows())

    def rows(self) -> Iterator[PackedRow]:
        """Yield the same records as packed rows, which is faster still."""
        while chunk := self._file.read(_READ_BYTES):
            self._unpacker.feed(chunk)
            for row in self._unpacker:
                if len(row) == _CONTEXT_LENGTH and isinstance(row[0], str):
                    self._context = row
                else:
                    yield row


def main_columns(rows: Sequence[PackedRow]) -> tuple[tuple[Any, ...], ...]:
    """Return columns of packed rows: started_ns, endpoint, http_status, return_code, latency_ns, wait_ns, error."""
    (*first, _, _, _, _, _, _, error) = islice(zip(*rows, strict=False), _ROW_LENGTH)
    return *first, error


def read_packed(paths: Iterable[Path]) -> Iterator[tuple[Any, ...]]:
    """Yield the records of packed files as tuples in the order of CallRecord's fields."""
    for path in paths:
        with path.open("rb") as file:
            yield from PackedReader(file).values()


def _record_values(row: PackedRow, context: RowContext) -> tuple[Any, ...]:
    """Return the values of a CallRecord, in the order of its fields."""
    more = row[_ROW_LENGTH:]
    message, is_valid, trace_id = (*more, None)[:3] if more else _NOTHING_MORE
    (*response, latency_ns, wait_ns, mobile_key, prefix, temp_id, msg_id, segments, request_id, error) = row[
        :_ROW_LENGTH
    ]
    started_ns, endpoint, http_status, return_code = response
    kind = None if return_code is None else kind_of(return_code, http_status, is_valid)
    run, source, app_key = context
    key = None if mobile_key is None else int.from_bytes(mobile_key, "big", signed=True)
    return (
        *(started_ns, run, source, endpoint, http_status, return_code, kind, latency_ns, wait_ns),
        *(
            key,
            valid_prefix(prefix),
            parse_whole(temp_id),
            msg_id,
            hash64(msg_id),
            app_key,
            segments,
            error,
            request_id,
            message,
            trace_id,
        ),
    )
