"""Follow the progress of a load test by reading its packed records while they are written.

The reader shares the machine with the load test, so it counts thousands of rows at once, by column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from toolkit.api.return_codes import kind_of
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import may_cost
from toolkit.records.latency_histogram import Histogram
from toolkit.records.packed import PACKED_SUFFIX, PackedReader, PackedRow, main_columns
from toolkit.runs.generator_state import GeneratorState, read_generator_state

_SLOT_NS = 100_000_000
_SLOTS_PER_S = 10
_LAG_NS = 500_000_000  # records reach their file within this time after the call's end
_CHUNK_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a load test.

    Attributes:
        elapsed_s: time since the first call started; never less than in an earlier reading.
        calls: number of calls.
        outcomes: calls by endpoint and return code, or by the error's name without a valid response.
        calls_per_s: calls that ended in the latest second whose records are complete; None before the first such one.
        messages: sends that were charged or may have been.
        p99_ms: 99th percentile of the time that callers waited, also for calls that have not ended; None without calls.
        in_flight: calls whose response is not complete.
        waiting: calls that are due and wait for a connection.
        oldest_s: age of the oldest of both.

    """

    elapsed_s: float
    calls: int
    outcomes: Mapping[tuple[Endpoint, int | str], int]
    calls_per_s: float | None
    messages: int = 0
    p99_ms: float | None = None
    in_flight: int = 0
    waiting: int = 0
    oldest_s: float = 0.0


class ProgressReader:
    """Reads the packed files of a run's folder while they grow, and sums them up."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Path, IO[bytes]] = {}
        self._readers: list[PackedReader] = []
        self._outcomes: Counter[tuple[Endpoint, int | str]] = Counter()
        self._messages = 0
        self._waits = Histogram()
        self._ended: Counter[int] = Counter()  # calls by the tenth of a second in which they ended
        self._first_ns = self._last_ns = 0
        self._elapsed_s = 0.0

    def read(
        self, now_ns: int | None = None, on_rows: Callable[[list[PackedRow]], object] = lambda _: None
    ) -> Progress:
        """Read the new rows and return the progress.

        Args:
            now_ns: current time in ns since 1970; None: the end of the last call.
            on_rows: called with the new rows, up to 10,000 at once.

        """
        for rows in self._new_rows():
            self._add(rows)
            on_rows(rows)
        until_ns = self._last_ns if now_ns is None else now_ns - _LAG_NS
        elapsed_s = ((now_ns or self._last_ns) - self._first_ns) / 1e9 if self._first_ns else 0.0
        self._elapsed_s = max(self._elapsed_s, elapsed_s)  # the last call may have ended some time ago
        last_slot = until_ns // _SLOT_NS
        for slot in [slot for slot in self._ended if slot <= last_slot - _SLOTS_PER_S]:
            del self._ended[slot]
        is_complete = bool(self._first_ns) and until_ns - self._first_ns >= _SLOTS_PER_S * _SLOT_NS
        calls_per_s = float(sum(calls for slot, calls in self._ended.items() if slot <= last_slot))
        state = (now_ns and read_generator_state(self._folder)) or GeneratorState()
        waits = sum((Histogram.of_buckets(*ages) for ages in state.caller_ages), self._waits)
        return Progress(
            self._elapsed_s,
            self._outcomes.total(),
            dict(self._outcomes),
            calls_per_s if is_complete else None,
            self._messages,
            waits.percentile(99) if len(waits) else None,
            state.in_flight,
            state.waiting,
            state.oldest_s,
        )

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        self._readers.clear()

    def _new_rows(self) -> Iterator[list[PackedRow]]:
        for path in sorted(self._folder.glob(f"*{PACKED_SUFFIX}")):
            if path not in self._files:
                with suppress(FileNotFoundError):  # the run has ended, and its rows are in Parquet files
                    self._files[path] = path.open("rb")
                    self._readers.append(PackedReader(self._files[path]))
        for reader in self._readers:
            rows = reader.rows()
            while chunk := list(islice(rows, _CHUNK_ROWS)):
                yield chunk

    def _add(self, rows: list[PackedRow]) -> None:
        started, endpoints, statuses, codes, latencies, waits, errors = main_columns(rows)
        counts = Counter(zip(endpoints, statuses, codes, errors, strict=True))
        for (endpoint, status, code, error), calls in counts.items():
            self._outcomes[Endpoint(endpoint), (error or "") if code is None else code] += calls
            self._messages += calls * may_cost(Endpoint(endpoint), code and kind_of(code, status), error)
        started_ns, latency_ns = np.array(started, np.int64), np.array(latencies, np.int64)
        ended_ns = started_ns + latency_ns
        self._waits.add(latency_ns + np.array(waits, np.int64))
        slots, calls_in = np.unique(ended_ns // _SLOT_NS, return_counts=True)
        self._ended.update(dict(zip(slots.tolist(), calls_in.tolist(), strict=True)))
        self._first_ns = min(self._first_ns or int(started_ns.min()), int(started_ns.min()))
        self._last_ns = max(self._last_ns, int(ended_ns.max()))
