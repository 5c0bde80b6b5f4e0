"""Compare the outcomes and latencies of two runs or periods, and test each difference against chance.

Problem. Errors and slow calls come in clusters: 500 failures in one minute are one event. A test that counts calls,
such as chi-square, takes them for 500 events and finds a difference between two periods that differ only by chance.

Method. The unit is a bucket of time, which is wider than a cluster. ``resampling`` gives

- a p-value by permutation: how often are buckets that are assigned to the two sides at random as different?
- an interval by bootstrap: how much does the difference vary between samples of the buckets, drawn with replacement?

All p-values of a comparison are corrected together (Holm). A percentile is tested by the share of calls above the
percentile of both sides together, because a permutation of shares needs only sums over buckets.

Worked example. Two days have 1,000 calls and 1 failure an hour, but one hour of the second day has 50 failures. That
makes 24 failures against 73. Chi-square gives p = 0.000001. But in every random assignment one side has that hour, so
each is as different, and the permutation test gives p = 1. If 3 calls fail in every hour of the second day (24 against
72), hardly any random assignment is as different, and p is the smallest possible: 1 / (permutations + 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from toolkit.analysis.calls import span
from toolkit.analysis.calls_table import IntoCalls, lazy
from toolkit.analysis.change_detection.resampling import Bools, bootstrap, cohen_h, holm, newcombe, permuted_p
from toolkit.analysis.change_detection.time_buckets import (
    LABELS,
    OUTCOME,
    SHARE,
    TEXT,
    WIDTHS_NS,
    CountMatrix,
    Floats,
    count_latencies,
    count_outcomes,
    log_quantiles,
    pivot,
)
from toolkit.analysis.histogram_quantiles import BIN_RATIO
from toolkit.analysis.latency_percentiles import CALLER, PERCENTILES, SERVER
from toolkit.analysis.tidy_frames import code_dtype, describe_codes
from toolkit.analysis.timestamps import NS_PER_MS, parse_width_ns

_BUCKETS = 24  # of the shorter side by default: more have more power, but split clusters
_MIN_BUCKETS = 8  # of a side: fewer have too few permutations for a small p-value
_MIN_BEYOND = 10  # calls of a side above and below a percentile: fewer don't determine it
_RESAMPLES = 1_000  # of the bootstrap: more make the interval's ends vary less with the seed
_SIGNIFICANT = 0.05
_DTYPES: dict[str, Any] = {
    **LABELS,
    **dict.fromkeys(("calls_a", "calls_b", "buckets_a", "buckets_b"), "int64"),
    **dict.fromkeys(("a", "b", "difference_low", "difference_high", "effect", "p_value"), "float64"),
    "note": TEXT,
}
_COLUMNS = [
    *("endpoint", "measure", "return_code", "message", "error", "percentile"),
    *("calls_a", "calls_b", "buckets_a", "buckets_b"),
    *("a", "b", "difference", "difference_low", "difference_high", "ratio", "effect"),
    *("p_value", "p_corrected", "differs", "note"),
]


def compare(
    a: IntoCalls,
    b: IntoCalls,
    every: str | pd.Timedelta | None = None,
    at: Sequence[float] = PERCENTILES,
    permutations: int = 9_999,
    seed: int = 1,
) -> pd.DataFrame:
    """Compare the share of each outcome, and percentiles of the latencies, between two runs or periods.

    With many calls even the smallest difference is significant: look at ``effect`` and the interval too.

    Arguments:
        a, b: results of ``read``, or frames.
        every: width of a time bucket, such as "1min", which should be longer than a cluster of errors. Default: the
            widest of 100 ms to 7 days that gives the shorter side 24 buckets. A side with fewer than 8 buckets that
            have calls isn't tested.
        at: percentiles, 0..100. A percentile is compared if each side has 10 calls above and below.
        permutations: number of random assignments of buckets to the sides.
        seed: of the random numbers; the same seed gives the same result.

    Returns one row per endpoint, measure, and outcome or percentile. Columns:
        endpoint (category).
        measure (category): "share", "latency_ms", or "caller_ms" (only if some call waited).
        return_code, error (category), message (string): of a share, as in ``return_codes``.
        percentile (float64, 0..100): of latencies; null for shares.
        calls_a, calls_b (int64): calls of the endpoint.
        buckets_a, buckets_b (int64): buckets with such calls.
        a, b (float64): the share (0..1), or the latency in ms, within 0.5 %.
        difference, difference_low, difference_high (float64): b - a, and its 95 % interval; null if not tested.
        ratio (float64): b / a.
        effect (float64): Cohen's h of two shares: 0.2 is small, 0.8 large. For a percentile, the shares are those of
            the calls slower than the percentile of both sides together.
        p_value, p_corrected (float64): before and after Holm's correction for the number of rows; null if not tested.
        differs (boolean): p_corrected is below 0.05; null if not tested.
        note (string): the reason if a row isn't tested, else "".

    Raises InputError for an invalid width.

    Example: ``compare(read("runs/before"), read("runs/after"))``. The method is described at the head of this module.
    """
    tables = (lazy(a), lazy(b))
    if every is None:
        periods = [period for table in tables if (period := span(table))]
        shorter = min(((last - first).value for first, last in periods), default=0)
        width = max((width for width in WIDTHS_NS if width * (_BUCKETS - 1) < shorter), default=WIDTHS_NS[0])
    else:
        width = parse_width_ns(every)
    outcomes = _concat([count_outcomes(table, width) for table in tables])
    measures = [SERVER, CALLER] if (outcomes["max_wait_ns"] > 0).any() else [SERVER]
    latencies = {it: _concat([count_latencies(table, width, it, BIN_RATIO) for table in tables]) for it in measures}
    frames = [pd.DataFrame()]
    for endpoint in sorted(outcomes["endpoint"].unique()):
        buckets = _EndpointBuckets.of(str(endpoint), outcomes, latencies)
        frames.append(_compare_shares(buckets, permutations, seed))
        frames += [_compare_latencies(buckets, measure, at, permutations, seed) for measure in measures]
    rows = [frame.reindex(columns=list(_DTYPES)).astype(_DTYPES) for frame in frames]
    return _finish(pd.concat(rows, ignore_index=True))


def _concat(sides: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([frame.assign(side=side) for side, frame in enumerate(sides)], ignore_index=True)


@dataclass(frozen=True, slots=True)
class _EndpointBuckets:
    """The counts of one endpoint; the rows of all matrices are the buckets of both sides, in the same order."""

    endpoint: str
    is_b: Bools
    outcomes: CountMatrix
    latencies: dict[str, CountMatrix]

    @classmethod
    def of(cls, endpoint: str, outcomes: pd.DataFrame, latencies: dict[str, pd.DataFrame]) -> _EndpointBuckets:
        rows = ["side", "bucket_ns"]
        matrix = pivot(outcomes[outcomes["endpoint"] == endpoint], rows, OUTCOME)
        matrices = {name: pivot(it[it["endpoint"] == endpoint], rows, ["bin"]) for name, it in latencies.items()}
        return cls(endpoint, matrix.rows["side"].to_numpy() == 1, matrix, matrices)

    @property
    def calls(self) -> Floats:
        """Return the calls of each bucket."""
        return np.asarray(self.outcomes.calls.sum(axis=1))

    @property
    def sizes(self) -> tuple[int, int]:
        """Return the number of buckets of a and of b."""
        return int((~self.is_b).sum()), int(self.is_b.sum())

    @property
    def note(self) -> str:
        """Return why nothing is tested; "" if the sides have enough buckets."""
        few = [f"{name} has {size}" for name, size in zip("ab", self.sizes, strict=True) if size < _MIN_BUCKETS]
        return f"too few buckets with calls: {' and '.join(few)} of {_MIN_BUCKETS}" if few else ""

    def sides(self, values: Floats) -> tuple[Floats, Floats]:
        """Return the rows of a and those of b."""
        return values[~self.is_b], values[self.is_b]

    def sums(self, values: Floats) -> tuple[Floats, Floats]:
        """Return the sums over a's buckets and over b's."""
        a, b = self.sides(values)
        return a.sum(axis=0), b.sum(axis=0)


def _compare_shares(buckets: _EndpointBuckets, permutations: int, seed: int) -> pd.DataFrame:
    found = buckets.outcomes.calls
    terms = np.column_stack([buckets.calls, found])

    def shares(sums: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            return sums[..., 1:] / sums[..., :1]

    sums_a, sums_b = buckets.sums(terms)
    rows = _test(buckets, found, permutations, seed)
    rows = rows.assign(measure=SHARE, **buckets.outcomes.columns, a=shares(sums_a), b=shares(sums_b))
    if buckets.note:
        return rows
    low, high = bootstrap(*buckets.sides(terms), shares, _RESAMPLES, seed)
    # An outcome in few buckets or none varies little between samples: no interval is narrower than Newcombe's.
    least, most = newcombe(sums_a[1:], sums_a[0], sums_b[1:], sums_b[0])
    return rows.assign(difference_low=np.minimum(low, least), difference_high=np.maximum(high, most))


def _compare_latencies(
    buckets: _EndpointBuckets, measure: str, at: Sequence[float], permutations: int, seed: int
) -> pd.DataFrame:
    calls, bins = buckets.latencies[measure].calls, buckets.latencies[measure].columns["bin"].to_numpy()
    fewest = min(side.sum() for side in buckets.sides(calls))
    at = [percentile for percentile in at if fewest * min(percentile, 100 - percentile) / 100 >= _MIN_BEYOND]

    def quantiles_ms(sums: Floats) -> Floats:
        logs = [log_quantiles(np.atleast_2d(sums), bins, percentile / 100, BIN_RATIO) for percentile in at]
        return np.exp(np.column_stack(logs)) / NS_PER_MS if logs else np.empty((1, 0))

    (a,), (b,) = (quantiles_ms(side) for side in buckets.sums(calls))
    # The calls of each bucket beyond the bin edge that is nearest to each percentile of both sides together.
    cumulative = np.cumsum(calls.sum(axis=0))
    edges = [int(np.abs(cumulative - cumulative[-1] * percentile / 100).argmin()) for percentile in at]
    slower = np.asarray(calls.sum(axis=1)[:, None] - np.cumsum(calls, axis=1)[:, edges])
    rows = _test(buckets, slower, permutations, seed)
    rows = rows.assign(measure=measure, percentile=at, a=a, b=b)
    if buckets.note or not at:
        return rows
    low, high = bootstrap(*buckets.sides(calls), quantiles_ms, _RESAMPLES, seed)
    return rows.assign(difference_low=low, difference_high=high)


def _test(buckets: _EndpointBuckets, found: Floats, permutations: int, seed: int) -> pd.DataFrame:
    """Return one row per column of ``found`` (buckets × outcomes), with the columns that all measures have."""
    (calls_a, calls_b), (found_a, found_b) = buckets.sums(buckets.calls), buckets.sums(found)
    rows = pd.DataFrame(index=range(found.shape[1])).assign(endpoint=buckets.endpoint, note=buckets.note)
    rows = rows.assign(calls_a=calls_a, calls_b=calls_b, buckets_a=buckets.sizes[0], buckets_b=buckets.sizes[1])
    with np.errstate(invalid="ignore"):
        rows["effect"] = cohen_h(found_a / calls_a, found_b / calls_b)
    if not buckets.note:
        rows["p_value"] = permuted_p(buckets.calls, found, buckets.is_b, permutations, seed)
    return rows


def _finish(found: pd.DataFrame) -> pd.DataFrame:
    """Sort the rows, correct the p-values, and add the columns that follow from others."""
    found = found.sort_values(["endpoint", "measure", *OUTCOME, "percentile"], ignore_index=True)
    corrected = holm(found["p_value"].to_numpy())
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = found["b"].to_numpy() / found["a"].to_numpy()
    return describe_codes(found).assign(
        return_code=found["return_code"].astype(code_dtype(found["return_code"])),
        error=found["error"].astype("category"),
        difference=found["b"] - found["a"],
        ratio=ratio,
        p_corrected=corrected,
        differs=pd.Series(corrected < _SIGNIFICANT, found.index, "boolean").mask(np.isnan(corrected)),
    )[_COLUMNS]
