"""Buckets: calls counted by when they started, and the matrices of such counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pandas as pd

from toolkit.analysis.calls_table import LazyTable, collect
from toolkit.analysis.latency_histogram import bin_of
from toolkit.analysis.latency_percentiles import CALLER, SERVER, TIME_NS
from toolkit.analysis.tidy_frames import code_dtype
from toolkit.analysis.timestamps import bucket_start_ns
from toolkit.api.wire import Endpoint

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

SHARE = "share"
OUTCOME = ["return_code", "error"]
TEXT = pd.StringDtype("pyarrow")
LABELS: dict[str, Any] = {
    "endpoint": pd.CategoricalDtype([row.value for row in Endpoint], ordered=True),
    "measure": pd.CategoricalDtype([SHARE, SERVER, CALLER], ordered=True),
    "return_code": "Int64",
    "error": TEXT,
    "percentile": "float64",
}
"""What a row of a share or of a percentile is of."""

_WIDTHS = "100ms 200ms 500ms 1s 2s 5s 10s 15s 30s 1min 2min 5min 10min 15min 30min 1h 2h 4h 8h 1D 7D"
WIDTHS_NS = [pd.Timedelta(width).as_unit("ns").value for width in _WIDTHS.split()]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Calls counted by two things: ``rows`` and ``columns`` say what each row and column counts, sorted."""

    rows: pd.DataFrame
    columns: pd.DataFrame
    calls: Floats


def count_outcomes(table: LazyTable, width_ns: int) -> pd.DataFrame:
    """Count the outcomes of each bucket of time.

    One row per bucket_ns, endpoint, return_code and error that had calls; columns: these, calls (int64), waited (the
    longest wait of a call, ns).
    """
    counts = _count(table, width_ns, ["endpoint", *OUTCOME], waited=nw.col("wait_ns").max())
    return counts.astype({"return_code": "Int64", "error": TEXT})  # their categories differ from table to table


def count_times(table: LazyTable, width_ns: int, measure: str, ratio: float) -> pd.DataFrame:
    """Count the times of each bucket in bins, each ``ratio`` times as long as the one before; bin 0 starts at 1 ns.

    One row per bucket_ns, endpoint and bin that had calls; columns: these, calls (int64).
    """
    binned = table.with_columns(bin=bin_of(TIME_NS[measure], ratio))
    return _count(binned, width_ns, ["endpoint", "bin"])


def _count(table: LazyTable, width_ns: int, by: list[str], **more: nw.Expr) -> pd.DataFrame:
    bucket = bucket_start_ns(pd.Timedelta(width_ns, unit="ns"))
    return collect(table.with_columns(bucket_ns=bucket).group_by(["bucket_ns", *by]).agg(calls=nw.len(), **more))


def pivot(counts: pd.DataFrame, rows: list[str], columns: list[str]) -> Matrix:
    """Make a matrix of counts, in which what wasn't counted is 0."""
    (row, row_labels), (column, column_labels) = _number(counts, rows), _number(counts, columns)
    calls = np.zeros((len(row_labels), len(column_labels)))
    np.add.at(calls, (row, column), counts["calls"].to_numpy(np.float64))
    return Matrix(row_labels, column_labels, calls)


def _number(counts: pd.DataFrame, names: list[str]) -> tuple[Ints, pd.DataFrame]:
    """Number the different labels in their order; return each row's number, and the labels."""
    number = counts.groupby(names, observed=True, dropna=False, sort=True).ngroup()
    firsts = ~number.duplicated()
    labels = counts.loc[firsts, names].set_index(number[firsts]).sort_index().reset_index(drop=True)
    return np.asarray(number, np.int64), labels


def log_quantiles(calls: Floats, bins: Ints, at: float, ratio: float) -> Floats:
    """Return the logarithm (of ns) of the quantile ``at`` (0..1) of each row of counts in bins.

    The calls of a bin count as evenly spread over it. The estimate is nearly free of bias at the median of few calls as
    well (Hyndman and Fan's type 8, which they recommend), so that busy and quiet hours have the same level.
    """
    upto = np.cumsum(calls, axis=1)
    whole = upto[:, -1]
    rank = np.clip(at * (whole + 1 / 3) + 1 / 3, 1, np.maximum(whole, 1))
    low, high = (_at_rank(calls, upto, bins, one) for one in (np.floor(rank), np.ceil(rank)))
    part = rank - np.floor(rank)
    logs = (low * (1 - part) + high * part) * math.log(ratio)
    return np.where(whole > 0, logs, np.nan)


def _at_rank(calls: Floats, upto: Floats, bins: Ints, rank: Floats) -> Floats:
    """Return in which bin the call of a rank is, 1 the first, and how far through it."""
    place = np.minimum((upto < rank[:, None]).sum(axis=1), calls.shape[1] - 1)
    each = np.arange(len(calls))
    inside = np.maximum(calls[each, place], 1)
    return np.asarray(bins[place] + (rank - 0.5 - upto[each, place] + inside) / inside)


def as_codes(codes: pd.Series) -> pd.Series:
    """Return whole numbers as categories of return codes."""
    return codes.astype(code_dtype(codes))
