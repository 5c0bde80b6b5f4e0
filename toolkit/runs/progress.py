"""Progress: how far a load test has come, folded from its records while they are written.

It shares the machine with the load test, so records are counted by columns, thousands at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from toolkit.api.wire import Endpoint
from toolkit.records.call_record import may_cost
from toolkit.records.histogram import Histogram
from toolkit.records.packed import PACKED_SUFFIX, PackedReader, PackedRow

_SLOT_NS = 100_000_000
_SLOTS_PER_S = 10
_LAG_NS = 500_000_000  # by then a record has reached its file
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Progress:
    """A load test so far.

    ``elapsed_s``: since the first call went out. ``outcomes``: calls by endpoint and return code, or the error's name
    where no answer was read. ``calls_per_s``: calls that ended in the latest second whose records are complete.
    ``p99_ms``: what 99 % of all calls' callers waited at most; 0 without calls.
    """

    elapsed_s: float
    calls: int
    outcomes: Mapping[tuple[Endpoint, int | str], int]
    calls_per_s: float
    p99_ms: float = 0.0

    @property
    def messages(self) -> int:
        """Messages that cost money, or may have: all sends but those that were refused for nothing, or never left."""
        return sum(calls for of, calls in self.outcomes.items() if may_cost(*of))


class Tail:
    """Reads on in the packed files of a run's folder while they are written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Path, IO[bytes]] = {}
        self._readers: list[PackedReader] = []

    def read(self) -> Iterator[list[PackedRow]]:
        """Yield the rows that are new, thousands at once."""
        self._open_new()
        for reader in self._readers:
            rows = reader.rows()
            while some := list(islice(rows, _ROWS_AT_ONCE)):
                yield some

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        self._readers.clear()

    def _open_new(self) -> None:
        for path in sorted(self._folder.glob(f"*{PACKED_SUFFIX}")):
            if path not in self._files:
                self._files[path] = path.open("rb")
                self._readers.append(PackedReader(self._files[path]))


class Follower:
    """Follows the packed files of a run's folder."""

    def __init__(self, folder: Path) -> None:
        self._tail = Tail(folder)
        self._outcomes: Counter[tuple[Endpoint, int | str]] = Counter()
        self._waited = Histogram()
        self._ended: Counter[int] = Counter()  # calls by the tenth of a second in which they ended
        self._first_ns = self._last_ns = 0

    def read(
        self, now_ns: int | None = None, on_rows: Callable[[list[PackedRow]], object] = lambda _: None
    ) -> Progress:
        """Read what is new and return the progress at a time, in ns since 1970; without one, at the last call's end.

        ``on_rows`` is given the rows that are new, thousands at once.
        """
        for rows in self._tail.read():
            self._add(rows)
            on_rows(rows)
        until_ns = self._last_ns if now_ns is None else now_ns - _LAG_NS
        elapsed_s = ((now_ns or self._last_ns) - self._first_ns) / 1e9 if self._first_ns else 0.0
        rate, p99_ms = self._rate(until_ns // _SLOT_NS), self._waited.percentile(99)
        return Progress(elapsed_s, self._outcomes.total(), dict(self._outcomes), rate, p99_ms)

    def close(self) -> None:
        """Close the files; what was read stays."""
        self._tail.close()

    def _add(self, rows: list[PackedRow]) -> None:
        started, endpoints, _, codes, latencies, waits, *_, errors = zip(*rows, strict=True)
        for (endpoint, code, error), calls in Counter(zip(endpoints, codes, errors, strict=True)).items():
            self._outcomes[Endpoint(endpoint), (error or "") if code is None else code] += calls
        started_ns, latency_ns = np.array(started, np.int64), np.array(latencies, np.int64)
        ended_ns = started_ns + latency_ns
        self._waited.add(latency_ns + np.array(waits, np.int64))
        slots, calls_in = np.unique(ended_ns // _SLOT_NS, return_counts=True)
        self._ended.update(dict(zip(slots.tolist(), calls_in.tolist(), strict=True)))
        self._first_ns = min(self._first_ns or int(started_ns.min()), int(started_ns.min()))
        self._last_ns = max(self._last_ns, int(ended_ns.max()))

    def _rate(self, last_slot: int) -> float:
        for slot in [slot for slot in self._ended if slot <= last_slot - _SLOTS_PER_S]:
            del self._ended[slot]
        return float(sum(calls for slot, calls in self._ended.items() if slot <= last_slot))
