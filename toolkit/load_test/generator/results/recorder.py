"""Append every call of a worker to its file in the run's folder while the run goes on.

If the folder is at a URL, the file grows on this machine and is uploaded when the recorder is closed.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from toolkit.api.errors import InputError, ProtocolError
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.load_test.generator.http.call_outcome import classify
from toolkit.load_test.generator.steps import CallResult, Send
from toolkit.records.call_record import RecordBuilder, unknown_message
from toolkit.records.packed import PACKED_SUFFIX, PackedWriter
from toolkit.records.parquet import pack_to_parquet
from toolkit.runs.remote_storage import is_url, push

_SUCCESS, _VERDICT = ReturnCode.SUCCESS, Kind.VERDICT  # looking up an enum's attribute runs Python code

logger = logging.getLogger(__name__)


class Recorder:
    """Appends calls to a file. A process that is killed loses the calls since the last ``flush``.

    Args:
        place: path or URL of the run's folder.
        worker: names the file, ``calls-<worker>.msgpack``.
        builder: gives the run's name and digests the mobiles.
        temp_id: the template of a send that names none.
    """

    def __init__(self, place: str, worker: str, builder: RecordBuilder, temp_id: int) -> None:
        self._place, self._worker, self._temp_id = place, worker, temp_id
        self._folder = Path(tempfile.mkdtemp(prefix="smscode-") if is_url(place) else place)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._writer = PackedWriter(self._folder / f"calls-{worker}{PACKED_SUFFIX}")
        self._writer.set_context((builder.run, builder.source, builder.app_key))
        self._pack, self._digest = self._writer.append_row, builder.digest

    def append(self, results: Iterable[CallResult]) -> None:
        """Append calls, each as a row of ``records.packed``."""
        pack, digest, usual_temp_id = self._pack, self._digest, self._temp_id
        for call, outcome in results:
            status = code = failure = key = prefix = temp_id = msg_id = request_id = None
            more: tuple[object, ...] | None = None
            if (response := outcome.response) is not None:
                status, code, msg_id = response.http_status, response.return_code, response.msg_id
                request_id = response.request_id
                if code is not _SUCCESS and (
                    type(code) is not ReturnCode or (response.is_valid is False and code.kind is not _VERDICT)
                ):
                    more = unknown_message(code, response.message), response.is_valid
            elif (error := outcome.error) is not None:
                failure = classify(error)
                status = error.http_status if isinstance(error, ProtocolError) else None
            if isinstance(call, Send):
                key, prefix = digest(call.mobile)
                temp_id = usual_temp_id if call.temp_id is None else call.temp_id
            else:
                msg_id = call.msg_id
            row = (
                outcome.started_ns,
                outcome.endpoint,
                status,
                code,
                outcome.latency_ns,
                outcome.wait_ns,
                key,
                prefix,
                temp_id,
                msg_id,
                None,
                request_id,
                failure,
            )
            if outcome.trace is not None:
                more = (*(more or (None, None)), outcome.trace.trace_id)
            pack(row + more if more else row)

    def flush(self) -> None:
        """Pass the calls to the operating system."""
        self._writer.flush()

    def close(self) -> None:
        """Close the file, and upload it if the folder is at a URL. If that fails, it stays on this machine."""
        self._writer.close()
        if is_url(self._place):
            pack_to_parquet(self._folder, f"calls-{self._worker}.parquet")
            try:
                push(self._folder, self._place)
                shutil.rmtree(self._folder)
            except InputError as problem:
                logger.error("%s; the calls stay in %s", problem, self._folder)
