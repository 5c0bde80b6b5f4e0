"""Recorder: every call of one worker, appended to its file in the run's folder while the run goes on."""

from __future__ import annotations

from pathlib import Path

import gevent

from toolkit.errors import ProtocolError
from toolkit.load.steps import Call, Outcome
from toolkit.load.transport import classify
from toolkit.records import PACKED_SUFFIX, PackedWriter, Scribe

_FLUSH_EVERY_S = 0.25


class Recorder:
    """Appends calls; a process that is killed loses what it recorded since the last flush, a quarter of a second."""

    def __init__(self, folder: Path, worker: str, scribe: Scribe) -> None:
        self._writer = PackedWriter(folder / f"calls-{worker}{PACKED_SUFFIX}")
        self._writer.share((scribe.run, scribe.source, scribe.app_key))
        self._append, self._digest = self._writer.append_row, scribe.digest
        self._flusher = gevent.spawn(self._flush_often)

    def append(self, call: Call, outcome: Outcome) -> None:
        """Append one call, in the order of ``records.Row``."""
        answer, msg_id, http_status, return_code, error = outcome.answer, call.msg_id, None, None, None
        if answer:
            http_status, return_code, msg_id = answer.http_status, answer.return_code, msg_id or answer.msg_id
        elif outcome.error:
            error = classify(outcome.error)
            http_status = outcome.error.http_status if isinstance(outcome.error, ProtocolError) else None
        mobile_key, prefix = (None, None) if call.mobile is None else self._digest(call.mobile)
        self._append(
            (
                outcome.started_ns,
                call.endpoint,
                http_status,
                return_code,
                outcome.latency_ns,
                outcome.wait_ns,
                mobile_key,
                prefix,
                call.temp_id,
                msg_id,
                None,
                error,
            )
        )

    def flush(self) -> None:
        """Hand what is buffered to the operating system."""
        self._writer.flush()

    def _flush_often(self) -> None:
        while True:
            gevent.sleep(_FLUSH_EVERY_S)
            self.flush()
