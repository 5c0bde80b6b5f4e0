"""Recorder: every call of one worker, appended to its file in the run's folder while the run goes on."""

from __future__ import annotations

from pathlib import Path

import gevent

from toolkit.records import PACKED_SUFFIX, PackedWriter, Row

_FLUSH_EVERY_S = 0.25


class Recorder:
    """Appends records; a process that is killed loses what it recorded since the last flush, a quarter of a second."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._writer = PackedWriter(folder / f"calls-{worker}{PACKED_SUFFIX}")
        self._flusher = gevent.spawn(self._flush_often)

    def append(self, row: Row) -> None:
        """Append one record, given as its values."""
        self._writer.append_row(row)

    def flush(self) -> None:
        """Hand what is buffered to the operating system."""
        self._writer.flush()

    def _flush_often(self) -> None:
        while True:
            gevent.sleep(_FLUSH_EVERY_S)
            self.flush()
