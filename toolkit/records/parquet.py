"""Write CallRecords to Parquet, and turn a run's packed files into its Parquet file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.atomic_write import replacing
from toolkit.records.call_record import CallRecord
from toolkit.records.packed import PACKED_SUFFIX, read_packed

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET_NAME = "calls.parquet"
PARQUET_PARTS = "calls*.parquet"  # glob: a run's file, or one file for each worker or day
_ROW_GROUP_ROWS = 50_000

_values = attrgetter(*(column.name for column in fields(CallRecord)))


def schema() -> pa.Schema:
    """Return the Arrow schema of the columns, in the order of CallRecord's fields."""
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
        "message": text,
        "trace_id": text,
    }
    return pa.schema([(column.name, types[column.name]) for column in fields(CallRecord)])


def writer_options() -> dict[str, Any]:
    """Return the options for ``pyarrow.parquet.ParquetWriter`` that make record files smallest.

    Times are stored as differences. Text is dictionary-encoded, so a msg_id is stored once for its send and verifies.
    """
    times = ("started_ns", "latency_ns", "wait_ns")
    return {
        "compression": "zstd",
        "column_encoding": dict.fromkeys(times, "DELTA_BINARY_PACKED"),
        "use_dictionary": [name for name in schema().names if name not in (*times, "mobile_key")],
        "dictionary_pagesize_limit": 16 << 20,
    }


def to_table(values: Iterable[tuple[Any, ...]]) -> pa.Table:
    """Return an Arrow table of records, given as tuples in the order of CallRecord's fields."""
    import pyarrow as pa

    wanted = schema()
    columns = list(zip(*values, strict=True)) or [()] * len(wanted)
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, wanted.types, strict=True)], wanted)


def write_parquet(records: Iterable[CallRecord], path: Path) -> int:
    """Write records to one Parquet file, atomically, and return their number."""
    return write_values(map(_values, records), path)


def write_values(values: Iterable[tuple[Any, ...]], path: Path) -> int:
    """Write records as ``write_parquet`` does, given as tuples in the order of CallRecord's fields."""
    import pyarrow.parquet as pq

    rows, written = iter(values), 0
    with replacing(path) as partial, pq.ParquetWriter(partial, schema(), **writer_options()) as writer:
        while group := list(islice(rows, _ROW_GROUP_ROWS)):
            writer.write_table(to_table(group))
            written += len(group)
    return written


def pack_to_parquet(folder: Path, name: str = PARQUET_NAME) -> int:
    """Convert a run folder's packed files to its Parquet file, delete them, and return the number of records.

    If the Parquet file exists already, an earlier conversion was interrupted between writing it and deleting the packed
    files, so they are only deleted. Without packed files the folder is left unchanged and 0 is returned.
    """
    import pyarrow.parquet as pq

    packed, parquet = sorted(folder.glob(f"*{PACKED_SUFFIX}")), folder / name
    if not packed:
        return 0
    written = (
        int(pq.read_metadata(parquet).num_rows) if parquet.exists() else write_values(read_packed(packed), parquet)
    )
    for path in packed:
        path.unlink()
    return written
