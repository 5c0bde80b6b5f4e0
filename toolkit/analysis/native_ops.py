"""Run the few operations that narwhals lacks, or that an engine does better itself, in the engine's own terms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import narwhals as nw
import pandas as pd
import pyarrow as pa

from toolkit.analysis.calls_table import LazyTable, collect
from toolkit.analysis.engines import arrow_to_engine, query_same_connection


def quantiles(table: LazyTable, by: Sequence[str], value: str, at: Sequence[float]) -> pd.DataFrame:
    """Compute exact quantiles of a column in each group, with linear interpolation.

    One row per group, in any order. Columns: those of ``by``, calls (int64), mean, most (the maximum), and one for each
    quantile of ``at`` (0..1), named by its position in ``at``: "0", "1", ...
    """
    names = [str(number) for number in range(len(at))]
    if table.implementation.is_duckdb():
        # One list of quantiles: DuckDB copies the values of a group once for each quantile that stands alone.
        groups = ", ".join(f'"{name}"' for name in by)
        aggregates = f'count(*) AS calls, avg("{value}") AS mean, max("{value}") AS most'
        relation: Any = table.to_native().aggregate(
            f'{groups}, {aggregates}, quantile_cont("{value}", {list(at) or [0.5]}) AS found', groups
        )
        columns = [f'found[{number + 1}] AS "{name}"' for number, name in enumerate(names)]
        return collect(nw.from_native(relation.project(", ".join([groups, "calls, mean, most", *columns]))))
    column = nw.col(value)
    found = {name: column.quantile(share, "linear") for name, share in zip(names, at, strict=True)}
    return collect(table.group_by(by).agg(calls=nw.len(), mean=column.mean(), most=column.max(), **found))


def with_previous(
    table: LazyTable,
    names: Sequence[str],
    by: Sequence[str],
    order: Sequence[str],
    start: Mapping[str, Any] | None = None,
) -> LazyTable:
    """Add the previous row's values in each group, as columns ``previous_<name>``.

    ``by`` names the columns of a group, ``order`` those that sort its rows. ``start`` holds values for the first row of
    each group, by column name; without one the value is null.
    """
    start = start or {}
    previous = {f"previous_{name}": nw.col(name).shift(1).over(*by, order_by=order) for name in names}
    filled = {f"previous_{name}": nw.col(f"previous_{name}").fill_null(value) for name, value in start.items()}
    table = table.with_columns(**previous)
    return table.with_columns(**filled) if filled else table


@contextmanager
def held(table: LazyTable) -> Iterator[LazyTable]:
    """Yield a table whose rows DuckDB has computed once for several queries, in memory or, if too large, on disk."""
    if not table.implementation.is_duckdb():
        yield table
        return
    native, name = table.to_native(), f"held_{uuid4().hex}"
    query_same_connection(native, f"CREATE TEMP TABLE {name} AS SELECT * FROM this_relation")
    try:
        yield nw.from_native(query_same_connection(native, f"SELECT * FROM {name}")).lazy()
    finally:
        query_same_connection(native, f"DROP TABLE {name}")


def to_engine(frame: pd.DataFrame, like: LazyTable) -> LazyTable:
    """Load a small pandas frame into the engine of another table, so that the two can be joined."""
    return arrow_to_engine(pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None), like)


def with_own_connection(table: LazyTable) -> LazyTable:
    """Return the same table on a separate DuckDB connection, for use in another thread.

    A DuckDB connection serves one thread at a time. Tables of other engines are returned unchanged, and so is a table
    that exists only on its own connection.
    """
    if not table.implementation.is_duckdb():
        return table
    import duckdb

    native: Any = table.to_native()
    names = ("memory_limit", "temp_directory")
    settings = f"SELECT {', '.join(f'current_setting({name!r})' for name in names)}"
    values = query_same_connection(native, settings).fetchall()[0]
    connection = duckdb.connect(config=dict(zip(names, values, strict=True)))
    try:
        moved: LazyTable = nw.from_native(connection.sql(native.sql_query())).lazy()
    except duckdb.CatalogException:
        return table
    return moved


def mark_contained(table: LazyTable, key: str, others: LazyTable, name: str) -> LazyTable:
    """Add a column of booleans: whether a row's key occurs in the one column of another table; a null key doesn't.

    ``others`` has no null, and the same connection as the table if the engine is DuckDB.
    """
    if table.implementation.is_duckdb():
        # DuckDB's mark join reads the keys once. As a left join they would have to be made distinct first, which takes
        # four times as long.
        view = f"keys_{uuid4().hex}"
        native: Any = others.to_native()
        native.create_view(view)
        mark = f'coalesce("{key}" IN (SELECT * FROM {view}), false) AS "{name}"'
        marked = query_same_connection(table.to_native(), f"SELECT *, {mark} FROM this_relation")
        result: LazyTable = nw.from_native(marked).lazy()
        return result
    marks = others.group_by(key).agg(rows=nw.len()).select(key, **{name: nw.lit(True)})
    return table.join(marks, key, "left").with_columns(nw.col(name).fill_null(False))
