"""Load Arrow tables into the dataframe engine of another table, so that the two can be joined."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from typing import Any, TypeAlias

import duckdb
import narwhals as nw
import pyarrow as pa

LazyTable: TypeAlias = nw.LazyFrame[Any]


def in_memory(table: pa.Table) -> LazyTable:
    """Load an Arrow table into a DuckDB connection of its own."""
    loaded: LazyTable = nw.from_native(_database(os.getpid()).cursor().from_arrow(table)).lazy()
    return loaded


@cache
def _database(pid: int) -> duckdb.DuckDBPyConnection:
    """Open this process's database in memory; a forked process gets its own by its pid."""
    return duckdb.connect()


def arrow_to_engine(table: pa.Table, like: LazyTable) -> LazyTable:
    """Load an Arrow table into the engine of another table, so that the two can be joined."""
    native, engine = like.to_native(), like.implementation
    loaded: Any
    if engine.is_duckdb():
        loaded = query_same_connection(native, "SELECT * FROM extra_table", table)
    elif engine.is_pyspark():
        loaded = native.sparkSession.createDataFrame(table)
    elif engine.is_ibis():
        loaded = import_module("ibis").memtable(table)
    else:
        loaded = nw.from_arrow(table, backend=engine)
    result: LazyTable = nw.from_native(loaded).lazy()
    return result


def query_same_connection(relation: Any, sql: str, extra_table: pa.Table | None = None) -> Any:
    """Run SQL on a DuckDB relation's own connection: only there can the result be joined with the relation.

    In the SQL, the relation is ``this_relation`` and the Arrow table is ``extra_table``.
    """
    return relation.query("this_relation", sql)  # DuckDB finds extra_table by the name of the Python variable
