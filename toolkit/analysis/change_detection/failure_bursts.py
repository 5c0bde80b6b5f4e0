"""Find short outages in small traffic: times in which nearly all of a few calls failed, each in another way.

Problem. An outage of 12 minutes has some 15 calls if a month has 60,000. They fail with several codes and errors, at
both endpoints, so no outcome has the 10 calls that a change of its share needs. Together they have.

Method. A scan statistic: for each stretch of 1, 2, 3, ... buckets, compute the binomial probability of as many failures
among its calls, if each call failed with three times the usual share. The least probability, times the number of
stretches, must be below 0.001. Stretches whose usual number of failures is above 1 are left to the search by outcome,
which measures the noise. J. Glaz, J. Naus and S. Wallenstein, Scan Statistics (2001), chapter 1.

Worked example. In a month of 60,000 calls 60 failed, 0.1 %. 14 of 17 calls in 3 buckets of 5 minutes failed. With 0.3 %
that has a probability of 680 * 0.003**14, so the stretch is reported. 2 of 5 calls have one of 10 * 0.003**2 = 0.00009,
and there are 70,000 stretches: chance.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from toolkit.analysis.change_detection.resampling import newcombe
from toolkit.analysis.change_detection.share_changes import ChangeRow, running
from toolkit.analysis.change_detection.time_buckets import Floats, Ints

_LENGTHS = (1, 2, 3, 4, 6, 8, 12, 24)  # buckets of a stretch
_MIN_FAILED = 3
_USUAL_TIMES = 3.0  # the usual share: failures come in clusters; higher needs more failures for a report
_MAX_EXPECTED = 1.0  # usual failures in a stretch
_SIGNIFICANT = 0.001  # false reports per log


def find_bursts(failed: Floats, calls: Floats, starts: Ints, width: int) -> Iterator[ChangeRow]:
    """Yield the stretches in which far more calls failed than usually, the most improbable first.

    ``starts``: of the buckets with calls, ns since 1970, ascending. The fields of a row are those of ``changes``.

    >>> calls = np.full(1000, 5.0)
    >>> failed = np.where(np.arange(1000) // 3 == 100, 4.0, 0.0)
    >>> [row["changed_ns"] for row in find_bursts(failed, calls, np.arange(1000) * 300, 300)]
    [90000]
    """
    from scipy.special import betainc  # takes half a second to import

    failed_sums, call_sums = running(failed), running(calls)
    tests = len(calls) * len(_LENGTHS)
    taken = np.zeros(len(calls), np.bool_)
    candidates = []
    for length in _LENGTHS:
        first = np.arange(max(0, len(calls) - length + 1))
        k, n = (sums[first + length] - sums[first] for sums in (failed_sums, call_sums))
        usual = _USUAL_TIMES * (failed_sums[-1] - k + 1) / (call_sums[-1] - n + 1)
        hits = np.flatnonzero((k >= _MIN_FAILED) & (n * usual <= _USUAL_TIMES * _MAX_EXPECTED) & (k > n * usual))
        chance = betainc(k[hits], n[hits] - k[hits] + 1, np.minimum(usual[hits], 1)) * tests
        candidates += [(p, int(start), int(start) + length) for p, start in zip(chance, hits, strict=True)]
    for p, start, end in sorted(candidates):
        if p >= _SIGNIFICANT:
            return
        if not taken[start:end].any():
            taken[start:end] = True
            with_failures = start + np.flatnonzero(failed[start:end])
            yield _row(failed, calls, starts, slice(int(with_failures[0]), int(with_failures[-1]) + 1))


def _row(failed: Floats, calls: Floats, starts: Ints, during: slice) -> ChangeRow:
    found, whole = failed[during].sum(), calls[during].sum()
    found_before, whole_before = failed.sum() - found, calls.sum() - whole
    low, high = newcombe(found_before, whole_before, found, whole)
    gain = found * np.log(found / whole * whole_before / max(found_before, 1))
    return {
        "changed_ns": int(starts[during.start]),
        "until_ns": int(starts[during.stop]) if during.stop < len(starts) else None,
        "score": float(2 * max(gain, 0)) ** 0.5,
        "before": found_before / whole_before,
        "after": found / whole,
        "difference_low": float(low),
        "difference_high": float(high),
    }
