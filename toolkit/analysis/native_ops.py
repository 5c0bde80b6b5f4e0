"""Engines: the few operations that narwhals lacks, or does worse than the engine itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import narwhals as nw
import pandas as pd
import pyarrow as pa

from toolkit.analysis.calls_table import Lazy, arrow_dtype, collect


def quantiles(table: Lazy, by: Sequence[str], value: str, at: Sequence[float]) -> pd.DataFrame:
    """Take exact quantiles of a column in each group, interpolated linearly.

    One row per group, in no promised order; columns: those of ``by``, calls (int64), mean, most (the largest value),
    and one for each of ``at`` (0..1), named by its place: 0, 1, ...
    """
    if table.implementation.is_duckdb():
        return _duckdb_quantiles(table.to_native(), by, value, at)
    it = nw.col(value)
    places = {str(place): it.quantile(share, "linear") for place, share in enumerate(at)}
    return collect(table.group_by(by).agg(calls=nw.len(), mean=it.mean(), most=it.max(), **places))


def _duckdb_quantiles(relation: Any, by: Sequence[str], value: str, at: Sequence[float]) -> pd.DataFrame:
    """Take them all from one list of the values: DuckDB keeps a list for each quantile that is asked for by itself."""
    groups = ", ".join(f'"{name}"' for name in by)
    sums = f'count(*) AS calls, avg("{value}") AS mean, max("{value}") AS most'
    found = relation.aggregate(f'{groups}, {sums}, quantile_cont("{value}", {list(at) or [0.5]}) AS found', groups)
    places = [f'found[{place + 1}] AS "{place}"' for place in range(len(at))]
    return collect(nw.from_native(found.project(", ".join([groups, "calls, mean, most", *places]))))


def with_last(
    table: Lazy, names: Sequence[str], by: Sequence[str], order: Sequence[str], start: Mapping[str, Any] | None = None
) -> Lazy:
    """Return a table with what the row before has, in each group in an order: ``last_`` and the column's name.

    ``start``: what a group's first row has there instead of nothing, by the column's name.
    """
    start = start or {}
    if table.implementation.is_pandas():
        frame: pd.DataFrame = table.collect().to_native().sort_values(list(order), ignore_index=True)
        groups: Any = frame.groupby(list(by), dropna=False)
        # narwhals' puts rows where they don't fit. Without a start pandas makes floats of integers, too coarse for ns.
        fills = {name: {"fill_value": start[name]} if name in start else {} for name in names}
        return nw.from_native(frame.assign(**{f"last_{it}": groups[it].shift(**fills[it]) for it in names})).lazy()
    last = {f"last_{name}": nw.col(name).shift(1).over(*by, order_by=order) for name in names}
    return table.with_columns(**last).with_columns(
        nw.col(f"last_{name}").fill_null(start[name]) if name in start else nw.col(f"last_{name}") for name in names
    )


def place(frame: pd.DataFrame, beside: Lazy) -> Lazy:
    """Bring a small frame to the engine of a table, so that the two can be joined."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    return place_table(table, beside)


def place_table(table: pa.Table, beside: Lazy) -> Lazy:
    """Bring an Arrow table to the engine of a table likewise."""
    placed: Lazy = nw.from_native(_to_engine_of(beside, table)).lazy()
    return placed


def _to_engine_of(beside: Lazy, table: pa.Table) -> Any:
    native, engine = beside.to_native(), beside.implementation
    if engine.is_pandas():
        return table.to_pandas(types_mapper=arrow_dtype)
    if engine.is_duckdb():
        return run_beside(native, "SELECT * FROM placed_table", table)
    if engine.is_pyspark():
        return native.sparkSession.createDataFrame(table)
    if engine.is_ibis():
        return import_module("ibis").memtable(table)
    return nw.from_arrow(table, backend=engine)


def run_beside(relation: Any, sql: str, placed_table: pa.Table | None = None) -> Any:
    """Run SQL on a relation's own DuckDB, the only one in which the outcome can be joined to it.

    The SQL reads the relation as ``calls_beside``, and the table as ``placed_table``.
    """
    return relation.query("calls_beside", sql)  # DuckDB finds the table by the name of this function's argument


def apart(table: Lazy) -> Lazy:
    """Return the same table on a connection of its own, where DuckDB reads it from files: it serves a thread at a time.

    A table that only its own connection knows stays there.
    """
    if not table.implementation.is_duckdb():
        return table
    import duckdb

    native: Any = table.to_native()
    names = ("memory_limit", "temp_directory")
    settings = run_beside(native, f"SELECT {', '.join(f'current_setting({name!r})' for name in names)}").fetchall()
    connection = duckdb.connect(config=dict(zip(names, settings[0], strict=True)))
    try:
        moved: Lazy = nw.from_native(connection.sql(native.sql_query())).lazy()
    except duckdb.CatalogException:
        return table
    return moved
