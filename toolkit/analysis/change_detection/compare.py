"""Comparison: what differs between two runs or periods, beyond what traffic differs by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from toolkit.analysis.calls import span
from toolkit.analysis.calls_table import IntoCalls, LazyTable, lazy
from toolkit.analysis.change_detection.resampling import Bools, bootstrap, cohen_h, holm, newcombe, permuted_p
from toolkit.analysis.change_detection.time_buckets import (
    LABELS,
    OUTCOME,
    SHARE,
    TEXT,
    WIDTHS_NS,
    Floats,
    Matrix,
    as_codes,
    count_outcomes,
    count_times,
    log_quantiles,
    pivot,
)
from toolkit.analysis.latency_histogram import BIN_RATIO
from toolkit.analysis.latency_percentiles import CALLER, PERCENTILES, SERVER
from toolkit.analysis.tidy_frames import describe_codes
from toolkit.analysis.timestamps import NS_PER_MS, parse_width_ns

_BUCKETS = 24  # of the shorter side, at least, where no width is given
_LEAST_BUCKETS = 8  # of a side: with fewer nothing is tested
_LEAST_BEYOND = 10  # calls of a side beyond a percentile: with fewer it isn't compared
_RESAMPLES = 1_000
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
    """Compare the shares of outcomes, and the times, of two runs or periods.

    Errors come in clusters, so what is drawn are buckets of time: a p-value says how often buckets that were dealt out
    to the two sides by chance are as far apart, an interval is of buckets drawn again. ``every`` is a bucket's width,
    which is to be longer than a cluster; without it, the widest of 100 ms to a week by which the shorter side has 24
    buckets. A side with fewer than 8 buckets that had calls isn't tested: no p-value, no interval, as ``note`` says.
    ``at``: the percentiles, 0..100; one is compared where each side has 10 calls beyond it. The same ``seed`` gives the
    same answer. Among many calls the least difference is significant: look at ``effect`` and the interval as well.

    One row per endpoint, measure, and outcome or percentile; columns: endpoint (category), measure ("share",
    "latency_ms", and "caller_ms" where callers waited; category), return_code, error (of a share, as in
    ``return_codes``), message (string), percentile (0..100, float64, null for shares), calls_a, calls_b (of the
    endpoint, int64), buckets_a, buckets_b (that had such calls, int64), a, b (share, 0..1, or time in ms, within 0.5 %;
    float64), difference (b - a), difference_low, difference_high (the ends of its 95 % interval), ratio (b / a), effect
    (Cohen's h of the two shares; for a percentile, of the shares of calls slower than that of both sides together,
    which are what is tested; 0.2 is little, 0.8 much), p_value, p_corrected (for the number of rows, Holm's; both null
    where nothing was tested), differs (p_corrected is under 5 %; boolean, null likewise), note (why nothing was tested,
    else "", string).
    """
    tables = (lazy(a), lazy(b))
    width = _choose_width(tables) if every is None else parse_width_ns(every)
    frames = [pd.DataFrame()]
    for pair in _pairs(tables, width):
        frames.append(_compare_shares(pair, permutations, seed))
        frames += [_compare_times(pair, measure, at, permutations, seed) for measure in pair.times]
    rows = [frame.reindex(columns=list(_DTYPES)).astype(_DTYPES) for frame in frames]
    return _finish(pd.concat(rows, ignore_index=True))


def _choose_width(tables: Sequence[LazyTable]) -> int:
    spans = [found for table in tables if (found := span(table))]
    shorter = min(((last - first).value for first, last in spans), default=0)
    return max((width for width in WIDTHS_NS if width * (_BUCKETS - 1) < shorter), default=WIDTHS_NS[0])


@dataclass(frozen=True, slots=True)
class _Pair:
    """An endpoint's buckets on both sides: which are b's, and what was counted in them."""

    endpoint: str
    is_b: Bools
    outcomes: Matrix
    times: dict[str, Matrix]

    @property
    def calls(self) -> Floats:
        """Calls of each bucket."""
        return np.asarray(self.outcomes.calls.sum(axis=1))

    @property
    def buckets(self) -> tuple[int, int]:
        """Buckets of a, and of b."""
        return int((~self.is_b).sum()), int(self.is_b.sum())

    @property
    def note(self) -> str:
        """Why nothing is tested; "" where it is."""
        few = [f"{name} has {count}" for name, count in zip("ab", self.buckets, strict=True) if count < _LEAST_BUCKETS]
        return f"too few buckets with calls: {' and '.join(few)} of {_LEAST_BUCKETS}" if few else ""

    def sides(self, values: Floats) -> tuple[Floats, Floats]:
        """Return the rows of a, and those of b."""
        return values[~self.is_b], values[self.is_b]

    def sums(self, values: Floats) -> tuple[Floats, Floats]:
        """Return the sums over a's buckets, and over b's."""
        a, b = self.sides(values)
        return a.sum(axis=0), b.sum(axis=0)


def _pairs(tables: Sequence[LazyTable], width: int) -> list[_Pair]:
    outcomes = _both([count_outcomes(table, width) for table in tables])
    measures = [SERVER, CALLER] if (outcomes["waited"] > 0).any() else [SERVER]
    times = {it: _both([count_times(table, width, it, BIN_RATIO) for table in tables]) for it in measures}
    return [_pair(str(endpoint), outcomes, times) for endpoint in sorted(outcomes["endpoint"].unique())]


def _both(sides: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([side.assign(side=place) for place, side in enumerate(sides)], ignore_index=True)


def _pair(endpoint: str, outcomes: pd.DataFrame, times: dict[str, pd.DataFrame]) -> _Pair:
    rows = ["side", "bucket_ns"]
    counted = pivot(outcomes[outcomes["endpoint"] == endpoint], rows, OUTCOME)
    timed = {measure: pivot(found[found["endpoint"] == endpoint], rows, ["bin"]) for measure, found in times.items()}
    return _Pair(endpoint, counted.rows["side"].to_numpy() == 1, counted, timed)


def _compare_shares(pair: _Pair, permutations: int, seed: int) -> pd.DataFrame:
    found = pair.outcomes.calls
    terms = np.column_stack([pair.calls, found])
    sums_a, sums_b = pair.sums(terms)
    rows = _compare(pair, found, permutations, seed)
    rows = rows.assign(measure=SHARE, **pair.outcomes.columns, a=_pooled(sums_a), b=_pooled(sums_b))
    if pair.note:
        return rows
    low, high = bootstrap(*pair.sides(terms), _pooled, _RESAMPLES, seed)
    # Where an outcome is in few buckets or in none, buckets know less than calls that came one by one would tell.
    least, most = newcombe(sums_a[1:], sums_a[0], sums_b[1:], sums_b[0])
    return rows.assign(difference_low=np.minimum(low, least), difference_high=np.maximum(high, most))


def _pooled(sums: Floats) -> Floats:
    """Return shares, from sums of all calls and of those found."""
    with np.errstate(invalid="ignore"):
        return sums[..., 1:] / sums[..., :1]


def _compare_times(pair: _Pair, measure: str, at: Sequence[float], permutations: int, seed: int) -> pd.DataFrame:
    calls, bins = pair.times[measure].calls, pair.times[measure].columns["bin"].to_numpy()
    fewest = min(side.sum() for side in pair.sides(calls))
    at = [one for one in at if fewest * min(one, 100 - one) / 100 >= _LEAST_BEYOND]

    def quantiles_ms(sums: Floats) -> Floats:
        logs = [log_quantiles(np.atleast_2d(sums), bins, one / 100, BIN_RATIO) for one in at]
        return np.exp(np.column_stack(logs)) / NS_PER_MS if logs else np.empty((1, 0))

    (a,), (b,) = (quantiles_ms(side) for side in pair.sums(calls))
    rows = _compare(pair, _slower(calls, at), permutations, seed)
    rows = rows.assign(measure=measure, percentile=at, a=a, b=b)
    if pair.note or not at:
        return rows
    low, high = bootstrap(*pair.sides(calls), quantiles_ms, _RESAMPLES, seed)
    return rows.assign(difference_low=low, difference_high=high)


def _slower(calls: Floats, at: Sequence[float]) -> Floats:
    """Count the calls of each bucket beyond the end of that bin which is nearest to each percentile of all."""
    upto = np.cumsum(calls.sum(axis=0))
    ends = [int(np.abs(upto - upto[-1] * one / 100).argmin()) for one in at]
    return np.asarray(calls.sum(axis=1)[:, None] - np.cumsum(calls, axis=1)[:, ends])


def _compare(pair: _Pair, found: Floats, permutations: int, seed: int) -> pd.DataFrame:
    """Return what all rows have: buckets × outcomes, tested."""
    (calls_a, calls_b), (found_a, found_b) = pair.sums(pair.calls), pair.sums(found)
    rows = pd.DataFrame(index=range(found.shape[1])).assign(endpoint=pair.endpoint, note=pair.note)
    rows = rows.assign(calls_a=calls_a, calls_b=calls_b, buckets_a=pair.buckets[0], buckets_b=pair.buckets[1])
    with np.errstate(invalid="ignore"):
        rows["effect"] = cohen_h(found_a / calls_a, found_b / calls_b)
    if not pair.note:
        rows["p_value"] = permuted_p(pair.calls, found, pair.is_b, permutations, seed)
    return rows


def _finish(found: pd.DataFrame) -> pd.DataFrame:
    """Correct p for the number of rows, and put everything in its place."""
    found = found.sort_values(["endpoint", "measure", *OUTCOME, "percentile"], ignore_index=True)
    corrected = holm(found["p_value"].to_numpy())
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = found["b"].to_numpy() / found["a"].to_numpy()
    whole = describe_codes(found).assign(
        return_code=as_codes(found["return_code"]),
        error=found["error"].astype("category"),
        difference=found["b"] - found["a"],
        ratio=ratio,
        p_corrected=corrected,
        differs=pd.Series(corrected < _SIGNIFICANT, found.index, "boolean").mask(np.isnan(corrected)),
    )
    return whole[_COLUMNS]
