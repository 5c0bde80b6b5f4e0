"""Find the times without a single call, when calls were to be expected.

A share needs calls, so a share can't show that no call arrived. Each empty stretch is compared with the calls that the
same hours of the day usually have. Usual is the value that 80 % of the days exceed, so that weekends without calls are
no silence. In a log of less than 4 days no hour has a usual value; there, calls must go on for three times as long as
the silence, before and after it, without another silence a third as long.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from toolkit.analysis.change_detection.share_changes import ChangeRow
from toolkit.analysis.change_detection.time_buckets import Floats, Ints
from toolkit.analysis.timestamps import NS_PER_DAY, NS_PER_HOUR

_MIN_EXPECTED = 30.0  # calls in a silence; fewer may be missing by chance or by a slow hour
_EXCEEDED_RATIO = 0.2  # of the days may have fewer calls in an hour than usual: two days of a week
_MIN_DAYS = 4
_STEADY_TIMES = 3  # as long as the silence, with calls, before and after it, in a short log


def find_silences(buckets: pd.DataFrame, width: int) -> Iterator[ChangeRow]:
    """Yield the silences of each endpoint, or of both (endpoint None).

    ``buckets``: one row per bucket and endpoint with calls, with bucket_ns, endpoint and calls. The fields of a row are
    those of ``changes``, with calls an hour as levels.
    """
    of_all = list(_silences(buckets, width))
    for row in of_all:
        yield row | {"endpoint": None}
    for endpoint, counts in buckets.groupby("endpoint", observed=True):
        for row in _silences(counts, width):
            if not any(row["changed_ns"] <= it["until_ns"] and it["changed_ns"] <= row["until_ns"] for it in of_all):
                yield row | {"endpoint": str(endpoint)}


def _silences(buckets: pd.DataFrame, width: int) -> Iterator[ChangeRow]:
    counts = buckets.groupby("bucket_ns")["calls"].sum().sort_index()
    starts, calls = counts.index.to_numpy(np.int64), counts.to_numpy(np.float64)
    gaps = np.flatnonzero(np.diff(starts) > width)
    if not len(gaps):
        return
    begins, ends = starts[gaps] + width, starts[gaps + 1]
    if starts[-1] - starts[0] >= _MIN_DAYS * NS_PER_DAY:
        expected = _expected_by_hour(starts, calls, begins, ends)
    else:
        expected = _expected_of_steady_calls(starts, calls, begins, ends, width)
    for begin, end, wanted in zip(begins.tolist(), ends.tolist(), expected.tolist(), strict=True):
        if wanted >= _MIN_EXPECTED:
            hours = (end - begin) / NS_PER_HOUR
            yield {"changed_ns": begin, "until_ns": end, "before": wanted / hours, "after": 0.0, "score": wanted**0.5}


def _expected_by_hour(starts: Ints, calls: Floats, begins: Ints, ends: Ints) -> Floats:
    """Return the usual calls of the hours in each gap."""
    hours = starts // NS_PER_HOUR
    by_hour = pd.Series(calls).groupby(hours).sum().reindex(np.arange(hours[0], hours[-1] + 1), fill_value=0.0)
    usual = by_hour.groupby(by_hour.index.to_numpy() % 24).quantile(_EXCEEDED_RATIO, interpolation="lower")
    per_hour = usual.reindex(np.arange(24), fill_value=0.0).to_numpy()
    running = np.concatenate([[0.0], np.cumsum(per_hour[np.arange(hours[0], hours[-1] + 2) % 24])])
    first, end = -(-begins // NS_PER_HOUR) - hours[0], ends // NS_PER_HOUR - hours[0]  # whole hours: traffic may rest
    return np.asarray(np.where(end > first, running[end] - running[np.minimum(first, end)], 0.0))


def _expected_of_steady_calls(starts: Ints, calls: Floats, begins: Ints, ends: Ints, width: int) -> Floats:
    """Return the calls that the times around each gap let expect; 0 if calls are not steady there."""
    lengths, expected = ends - begins, np.zeros(len(begins))
    for number, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
        length, reach = end - begin, _STEADY_TIMES * (end - begin)
        is_near = (ends > begin - reach) & (begins < end + reach) & (begins != begin)
        is_inside = (starts[0] <= begin - reach) and (starts[-1] + width >= end + reach)
        if is_inside and not (lengths[is_near] * _STEADY_TIMES > length).any():
            around = (starts >= begin - reach) & (starts < end + reach)
            expected[number] = calls[around].sum() / (2 * _STEADY_TIMES)
    return expected
