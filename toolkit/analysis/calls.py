"""Calls: a run's records as one table, one row per call.

Opens what the records were written to; what they say is for the other modules of this package.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgpack
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.codes import Kind
from toolkit.errors import InputError
from toolkit.records import PACKED_SUFFIX, PARQUET_NAME, PARQUET_PARTS, CallRecord, PackedReader, schema, to_table
from toolkit.wire import Endpoint

_BATCH_ROWS = 50_000
_values = attrgetter(*(column.name for column in fields(CallRecord)))

# Nullable integers, because a 64-bit key that passes through a float comes out as another key.
_DTYPES = {
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int64Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.string(): pd.StringDtype("pyarrow"),
}
_NEVER_NULL = ("started_ns", "endpoint", "latency_ns", "wait_ns")
_CATEGORIES = {"endpoint": [row.value for row in Endpoint], "kind": [row.value for row in Kind]}


def read(path: str | Path) -> pd.DataFrame:
    """Read a run folder (its Parquet file or its workers' parts, and what a killed run left packed), or one such file.

    One row per call, in no promised order; columns: those of CallRecord, and ``started``.
    started (UTC, datetime64[ns, UTC]); started_ns, latency_ns, wait_ns (ns, int64); http_status, segments (Int16);
    return_code (Int64); temp_id, mobile_key, msg_key (Int64); msg_id (string); run, source, endpoint, kind, prefix,
    app_key, error (category; those of endpoint and kind are complete and in the API's order).
    Raise InputError for what is not there, or not the records of calls.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise InputError(f"{path} doesn't exist: give a run folder or a Parquet file of calls")
    return _tidy(_read_parquet(path), path)


def from_records(records: Iterable[CallRecord]) -> pd.DataFrame:
    """Return records as a frame like the one ``read`` returns."""
    return _tidy(_to_table(map(_values, records)), "the records")


def duration_ns(calls: pd.DataFrame) -> int:
    """Return how long a run took, from its first start to its last end; 0 for no calls."""
    if calls.empty:
        return 0
    return int((calls["started_ns"] + calls["latency_ns"]).max() - calls["started_ns"].min())


def _read_folder(folder: Path) -> pd.DataFrame:
    parquet, packed = sorted(folder.glob(PARQUET_PARTS)), sorted(folder.glob(f"*{PACKED_SUFFIX}"))
    if not parquet and not packed:
        raise InputError(f"{folder} holds neither {PARQUET_NAME} nor *{PACKED_SUFFIX}: give the folder of one run")
    tables = [*map(_read_parquet, parquet), *map(_read_packed, packed)]
    calls = _tidy(pa.concat_tables(tables), folder)
    # A run that was killed between writing its Parquet file and removing the packed ones has its rows in both.
    return calls.drop_duplicates(ignore_index=True) if parquet and packed else calls


def _read_parquet(path: Path) -> pa.Table:
    wanted = schema()
    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in wanted.names if name not in file.schema_arrow.names]
            if missing:
                raise InputError(f"{path} is not a file of calls: it lacks {', '.join(missing)}")
            return file.read(columns=wanted.names).select(wanted.names).cast(wanted)
    except (OSError, pa.ArrowException) as problem:
        raise InputError(f"{path} is not a Parquet file of calls, or is damaged: {problem}") from problem


def _read_packed(path: Path) -> pa.Table:
    try:
        with path.open("rb") as file:
            return _to_table(PackedReader(file).values())
    except (TypeError, ValueError, msgpack.UnpackException, pa.ArrowException) as problem:
        raise InputError(f"{path} is not a file of packed calls, or is damaged: {problem}") from problem


def _to_table(values: Iterator[tuple[Any, ...]]) -> pa.Table:
    batches = iter(lambda: list(islice(values, _BATCH_ROWS)), [])
    return pa.concat_tables([schema().empty_table(), *map(to_table, batches)])


def _tidy(table: pa.Table, origin: Path | str) -> pd.DataFrame:
    incomplete = [name for name in _NEVER_NULL if table[name].null_count]
    if incomplete:
        raise InputError(f"{origin} has calls without {', '.join(incomplete)}: write records with toolkit.records")
    calls: pd.DataFrame = table.to_pandas(types_mapper=_DTYPES.get)
    calls = calls.astype({name: "int64" for name in _NEVER_NULL if name.endswith("_ns")})
    for name in _CATEGORIES:
        calls[name] = _in_order(calls[name], _CATEGORIES[name], origin)
    calls["started"] = pd.to_datetime(calls["started_ns"], unit="ns", utc=True)
    return calls


def _in_order(column: pd.Series, values: list[str], origin: Path | str) -> pd.Series:
    strange = sorted(set(column.drop_duplicates().dropna().tolist()) - set(values))
    if strange:
        raise InputError(f"{origin} has {column.name} {strange[0]!r}: it is one of {', '.join(values)}")
    return column.cat.set_categories(values)
