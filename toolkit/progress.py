"""Progress: how far a load test has come, folded from its records while they are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from toolkit.records import PACKED_SUFFIX, PackedReader, Row
from toolkit.wire import Endpoint

_SLOT_NS = 100_000_000
_SLOTS_PER_S = 10
_LAG_NS = 500_000_000  # by then a record has reached its file


@dataclass(frozen=True, slots=True)
class Progress:
    """A load test so far.

    ``elapsed_s``: since the first call went out. ``outcomes``: calls by endpoint and return code, or the error's name
    where no answer was read. ``calls_per_s``: calls that ended within one second, the last of which all records are in.
    """

    elapsed_s: float
    calls: int
    outcomes: Mapping[tuple[Endpoint, int | str], int]
    calls_per_s: float


class Follower:
    """Follows the packed files of a run's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Path, IO[bytes]] = {}
        self._readers: list[PackedReader] = []
        self._outcomes: Counter[tuple[str, int | str]] = Counter()
        self._ended: Counter[int] = Counter()  # calls by the tenth of a second in which they ended
        self._first_ns = self._last_ns = 0

    def read(self, now_ns: int | None = None) -> Progress:
        """Read what is new and return the progress at a time, in ns since 1970; without one, at the last call's end."""
        self._open_new()
        for reader in self._readers:
            for row in reader.rows():
                self._add(row)
        until_ns = self._last_ns if now_ns is None else now_ns - _LAG_NS
        elapsed_s = ((now_ns or self._last_ns) - self._first_ns) / 1e9 if self._first_ns else 0.0
        outcomes = {(Endpoint(endpoint), outcome): calls for (endpoint, outcome), calls in self._outcomes.items()}
        return Progress(elapsed_s, self._outcomes.total(), outcomes, self._rate(until_ns // _SLOT_NS))

    def close(self) -> None:
        """Close the files; what was read stays."""
        for file in self._files.values():
            file.close()
        self._readers.clear()

    def _open_new(self) -> None:
        for path in sorted(self._folder.glob(f"*{PACKED_SUFFIX}")):
            if path not in self._files:
                self._files[path] = path.open("rb")
                self._readers.append(PackedReader(self._files[path]))

    def _add(self, row: Row) -> None:
        started_ns, endpoint, _, return_code, latency_ns, *_, error = row
        outcome = error if return_code is None else return_code
        self._outcomes[endpoint, outcome or ""] += 1
        ended_ns = started_ns + latency_ns
        self._ended[ended_ns // _SLOT_NS] += 1
        self._first_ns = min(self._first_ns or started_ns, started_ns)
        self._last_ns = max(self._last_ns, ended_ns)

    def _rate(self, last_slot: int) -> float:
        for slot in [slot for slot in self._ended if slot <= last_slot - _SLOTS_PER_S]:
            del self._ended[slot]
        return float(sum(calls for slot, calls in self._ended.items() if slot <= last_slot))
