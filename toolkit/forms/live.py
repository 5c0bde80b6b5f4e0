"""Live: what a load test's records show so far, second by second, folded while they are written."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import IO

from toolkit.analysis.bins import BIN_RATIO, middle_ns
from toolkit.codes import FREE_REFUSALS, kind_of
from toolkit.forms.looks import Outcome
from toolkit.records import PACKED_SUFFIX, Failure, PackedReader, Row
from toolkit.wire import Endpoint

_SLOT_NS = 1_000_000_000
_MOST_BUCKETS = 120
_LOG = math.log(BIN_RATIO)

Bins = Counter[int]


@dataclass(frozen=True, slots=True)
class Bucket:
    """Calls that ended in one span of time, in seconds since the first call went out.

    ``waited_ms``: what callers waited, by percentile; none where no call ended.
    """

    start_s: float
    end_s: float
    calls: Counter[tuple[Endpoint, Outcome]]
    waited_ms: dict[float, float]


class Live:
    """Follows the packed files of a run's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Path, IO[bytes]] = {}
        self._readers: list[PackedReader] = []
        self._calls: defaultdict[int, Counter[tuple[Endpoint, Outcome]]] = defaultdict(Counter)
        self._waited: defaultdict[int, Bins] = defaultdict(Counter)
        self._first_ns = 0
        self.messages = 0

    def read(self) -> None:
        """Read what is new."""
        self._open_new()
        for reader in self._readers:
            for row in reader.rows():
                self._add(row)

    def close(self) -> None:
        """Close the files; what was read stays."""
        for file in self._files.values():
            file.close()
        self._readers.clear()

    def buckets(self) -> list[Bucket]:
        """Return the whole time in buckets of whole seconds, few enough to be drawn."""
        if not self._calls:
            return []
        first, last = min(self._calls), max(self._calls) + 1
        width = math.ceil((last - first) / _MOST_BUCKETS)
        return [self._bucket(first, at, min(at + width, last)) for at in range(first, last, width)]

    def waited_ms(self, percentiles: Sequence[float] = (50, 99)) -> dict[float, float]:
        """Return percentiles, 0..100, of what callers waited so far."""
        return _percentiles(self._waited.values(), percentiles)

    def _bucket(self, first: int, start: int, end: int) -> Bucket:
        slots = range(start, end)
        calls = sum((self._calls[slot] for slot in slots if slot in self._calls), Counter[tuple[Endpoint, Outcome]]())
        waited = _percentiles((self._waited[slot] for slot in slots if slot in self._waited), (50, 99))
        return Bucket(float(start - first), float(end - first), calls, waited)

    def _open_new(self) -> None:
        for path in sorted(self._folder.glob(f"*{PACKED_SUFFIX}")):
            if path not in self._files:
                self._files[path] = path.open("rb")
                self._readers.append(PackedReader(self._files[path]))

    def _add(self, row: Row) -> None:
        started_ns, endpoint, _, return_code, latency_ns, wait_ns, *_, error = row
        slot = (started_ns + latency_ns) // _SLOT_NS
        outcome = return_code if return_code is not None else error or ""
        self._calls[slot][Endpoint(endpoint), outcome] += 1
        self._waited[slot][int(math.log(max(1, latency_ns + wait_ns)) / _LOG)] += 1
        self.messages += endpoint == Endpoint.SEND and _may_cost(return_code, error)


def _may_cost(return_code: int | None, error: str | None) -> bool:
    """Tell whether a send may have been charged, as ``report.spending`` does of a run that is over."""
    if return_code is None:
        return error != Failure.CONNECT
    return kind_of(return_code) not in FREE_REFUSALS


def _percentiles(slots: Iterable[Bins], percentiles: Sequence[float]) -> dict[float, float]:
    bins = sorted(sum(slots, Bins()).items())
    if not bins:
        return {}
    upto = list(accumulate(calls for _, calls in bins))
    ranks = {it: math.ceil(upto[-1] * it / 100) for it in percentiles}
    return {it: float(middle_ns(bins[bisect_left(upto, rank)][0])) / 1e6 for it, rank in ranks.items()}
