"""Aggregate the records of a running load test by second, while they are written."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from toolkit.analysis.histogram_quantiles import BIN_RATIO, middle_ns
from toolkit.api.return_codes import kind_of
from toolkit.api.wire import Endpoint
from toolkit.outcome_colours import Outcome
from toolkit.records.call_record import may_cost
from toolkit.records.packed import PackedRow, main_columns

_SLOT_NS = 1_000_000_000
_MAX_BUCKETS = 120
_LOG = math.log(BIN_RATIO)

Bins = Counter[int]


@dataclass(frozen=True, slots=True)
class Bucket:
    """The calls that ended in a time span, in seconds since the first call started.

    ``waited_ms`` is the caller's time by percentile, empty if no call ended.
    """

    start_s: float
    end_s: float
    calls: Counter[tuple[Endpoint, Outcome]]
    waited_ms: dict[float, float]


class LiveResults:
    """Aggregates the rows of a run. ``messages`` counts the sends that may have been billed."""

    def __init__(self) -> None:
        self._calls: defaultdict[int, Counter[tuple[Endpoint, Outcome]]] = defaultdict(Counter)
        self._waited: defaultdict[int, Bins] = defaultdict(Counter)
        self.messages = 0

    def add(self, rows: list[PackedRow]) -> None:
        """Add rows."""
        started, endpoints, statuses, codes, latencies, waits, errors = main_columns(rows)
        latency_ns = np.array(latencies, np.int64)
        slots = ((np.array(started, np.int64) + latency_ns) // _SLOT_NS).tolist()
        waited = (np.log(np.maximum(1, latency_ns + np.array(waits, np.int64))) / _LOG).astype(int).tolist()
        counts = Counter(zip(slots, endpoints, statuses, codes, errors, strict=True))
        for (slot, endpoint, status, code, error), calls in counts.items():
            ended = Endpoint(endpoint), (error or "") if code is None else code
            self._calls[slot][ended] += calls
            self.messages += calls * may_cost(ended[0], code and kind_of(code, status), error)
        for (slot, place), calls in Counter(zip(slots, waited, strict=True)).items():
            self._waited[slot][place] += calls

    def buckets(self) -> list[Bucket]:
        """Return the time since the first call in at most 120 buckets of whole seconds."""
        if not self._calls:
            return []
        first, last = min(self._calls), max(self._calls) + 1
        width = math.ceil((last - first) / _MAX_BUCKETS)
        return [self._bucket(first, at, min(at + width, last)) for at in range(first, last, width)]

    def waited_ms(self, percentiles: Sequence[float] = (50, 99)) -> dict[float, float]:
        """Return percentiles, 0..100, of the caller's time so far, in ms."""
        return _percentiles(self._waited.values(), percentiles)

    def _bucket(self, first: int, start: int, end: int) -> Bucket:
        slots = range(start, end)
        calls = sum((self._calls[slot] for slot in slots if slot in self._calls), Counter[tuple[Endpoint, Outcome]]())
        waited = _percentiles((self._waited[slot] for slot in slots if slot in self._waited), (50, 99))
        return Bucket(float(start - first), float(end - first), calls, waited)


def _percentiles(slots: Iterable[Bins], percentiles: Sequence[float]) -> dict[float, float]:
    bins = sorted(sum(slots, Bins()).items())
    if not bins:
        return {}
    upto = list(accumulate(calls for _, calls in bins))
    ranks = {it: math.ceil(upto[-1] * it / 100) for it in percentiles}
    return {it: float(middle_ns(bins[bisect_left(upto, rank)][0])) / 1e6 for it, rank in ranks.items()}
