"""Count calls in buckets of time, arrange the counts as matrices, and take quantiles of latencies counted in bins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pandas as pd

from toolkit.analysis.calls_table import LazyTable, collect
from toolkit.analysis.histogram_quantiles import bin_of
from toolkit.analysis.latency_percentiles import CALLER, HAS_LATENCY, SERVER, TIME_NS
from toolkit.analysis.tidy_frames import describe_codes
from toolkit.analysis.timestamps import bucket_start_ns
from toolkit.api.return_codes import Kind
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import Failure

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

SHARE, FAILED, CONVERSION, CALLS = "share", "failed", "conversion", "calls"
OUTCOME = ["return_code", "error"]
TEXT = pd.StringDtype("pyarrow")
LABELS: dict[str, Any] = {
    "endpoint": pd.CategoricalDtype([row.value for row in Endpoint], ordered=True),
    "measure": pd.CategoricalDtype([SHARE, FAILED, CONVERSION, CALLS, SERVER, CALLER], ordered=True),
    "return_code": "Int64",
    "error": TEXT,
    "percentile": "float64",
}
"""The columns that identify a share or a percentile, with their dtypes."""

_WIDTHS = "100ms 200ms 500ms 1s 2s 5s 10s 15s 30s 1min 2min 5min 10min 15min 30min 1h 2h 4h 8h 1D 7D"
WIDTHS_NS = [pd.Timedelta(width).as_unit("ns").value for width in _WIDTHS.split()]


@dataclass(frozen=True, slots=True)
class CountMatrix:
    """Calls counted by two labels.

    ``rows`` and ``columns`` are frames with the label of each row and of each column, sorted.
    """

    rows: pd.DataFrame
    columns: pd.DataFrame
    calls: Floats


def count_outcomes(table: LazyTable, width_ns: int) -> pd.DataFrame:
    """Count the outcomes in each bucket of time.

    One row per bucket, endpoint and outcome that has calls. Columns: bucket_ns (start), endpoint, return_code, error,
    calls (int64), failed (int64, calls that failed in the service or on the network), max_wait_ns (the longest wait of
    a call).
    """
    sums = {"max_wait_ns": nw.col("wait_ns").max(), "http_status": nw.col("http_status").max()}
    counts = _count(table, width_ns, ["endpoint", *OUTCOME], **sums)
    kinds = describe_codes(counts[["return_code", "http_status"]])["kind"]
    is_failed = (kinds == Kind.SERVER) | (counts["error"].notna() & (counts["error"] != Failure.CANCELLED))
    counts = counts.assign(failed=counts["calls"].where(is_failed.fillna(False), 0)).drop(columns="http_status")
    return counts.astype({"return_code": "Int64", "error": TEXT})  # categories would differ from table to table


def count_latencies(table: LazyTable, width_ns: int, measure: str, ratio: float) -> pd.DataFrame:
    """Count the latencies of each bucket of time in bins; bin n holds times from ratio**n to ratio**(n + 1) ns.

    Calls that never connected are left out, see ``latency_percentiles``. One row per bucket, endpoint and bin that has
    calls. Columns: bucket_ns (start), endpoint, bin, calls (int64).
    """
    binned = table.filter(HAS_LATENCY).with_columns(bin=bin_of(TIME_NS[measure], ratio))
    return _count(binned, width_ns, ["endpoint", "bin"])


def _count(table: LazyTable, width_ns: int, by: list[str], **more: nw.Expr) -> pd.DataFrame:
    bucket = bucket_start_ns(pd.Timedelta(width_ns, unit="ns"))
    return collect(table.with_columns(bucket_ns=bucket).group_by(["bucket_ns", *by]).agg(calls=nw.len(), **more))


def pivot(counts: pd.DataFrame, rows: list[str], columns: list[str]) -> CountMatrix:
    """Arrange counts as a matrix, with 0 for combinations of labels that have no calls."""
    (row, row_labels), (column, column_labels) = _number(counts, rows), _number(counts, columns)
    calls = np.zeros((len(row_labels), len(column_labels)))
    np.add.at(calls, (row, column), counts["calls"].to_numpy(np.float64))
    return CountMatrix(row_labels, column_labels, calls)


def _number(counts: pd.DataFrame, names: list[str]) -> tuple[Ints, pd.DataFrame]:
    """Number the distinct labels in sorted order; return each row's number and the labels."""
    if len(names) == 1:  # much faster than a group by
        codes, values = pd.factorize(counts[names[0]], sort=True)
        return np.asarray(codes, np.int64), pd.DataFrame({names[0]: values})
    number = counts.groupby(names, observed=True, dropna=False, sort=True).ngroup()
    firsts = ~number.duplicated()
    labels = counts.loc[firsts, names].set_index(number[firsts]).sort_index().reset_index(drop=True)
    return np.asarray(number, np.int64), labels


def log_quantiles(calls: Floats, bins: Ints, at: float, ratio: float) -> Floats:
    """Return the natural logarithm (of ns) of the quantile ``at`` (0..1) of each row of counts in bins; NaN if empty.

    The calls of a bin count as evenly spread over it. This is type 8 of R. J. Hyndman and Y. Fan, Sample quantiles in
    statistical packages, The American Statistician 50 (1996). It is nearly unbiased also for the median of few calls,
    so that busy and quiet hours have the same level.
    """
    cumulative = np.cumsum(calls, axis=1)
    whole = cumulative[:, -1]
    rank = np.clip(at * (whole + 1 / 3) + 1 / 3, 1, np.maximum(whole, 1))
    each = np.arange(len(calls))

    def bin_at(rank: Floats) -> Floats:
        """Return the bin of the call with a rank (from 1), with its position in the bin as the fraction."""
        column = np.minimum((cumulative < rank[:, None]).sum(axis=1), calls.shape[1] - 1)
        inside = np.maximum(calls[each, column], 1)
        return np.asarray(bins[column] + (rank - 0.5 - cumulative[each, column] + inside) / inside)

    fraction = rank - np.floor(rank)
    logs = (bin_at(np.floor(rank)) * (1 - fraction) + bin_at(np.ceil(rank)) * fraction) * math.log(ratio)
    return np.where(whole > 0, logs, np.nan)
