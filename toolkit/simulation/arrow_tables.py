"""Convert the calls of a day to an Arrow table with the schema of call records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.records import parquet
from toolkit.records.call_record import Failure
from toolkit.simulation import call_outcomes, msg_ids
from toolkit.simulation.apps import APPS, HOSTS
from toolkit.simulation.people import mix

if TYPE_CHECKING:
    from toolkit.simulation.call_arrays import Rows

_RUN = "simulated"
_REQUEST_ID_KEY = 7  # of the hash that request ids are made from
_REQUEST_ID_LENGTH = 10  # eleven digits would be masked as a mobile
_KINDS = np.array([list(Kind).index(it.kind) if isinstance(it, ReturnCode) else -1 for it in call_outcomes.TABLE])


def to_table(calls: Rows, prefixes: NDArray[np.int64]) -> pa.Table:
    """Return calls as a table with the schema of records, as a client would have recorded them.

    Args:
        calls: CALL rows.
        prefixes: The prefixes, to which the rows refer by index.
    """
    outcomes, is_verify = calls["outcome"], calls["is_verify"]
    is_send, has_msg_id = ~is_verify, is_verify | (outcomes == call_outcomes.SUCCESS)
    return_codes, statuses = call_outcomes.RETURN_CODE[outcomes], call_outcomes.HTTP_STATUS[outcomes]
    msg_id_rows = msg_ids.to_ascii(calls["msg_high"][has_msg_id], calls["msg_low"][has_msg_id])
    has_request_id = (return_codes != 0) & (outcomes != call_outcomes.SUCCESS)
    bits = mix(calls["started_ns"][has_request_id] + calls["host"][has_request_id], _REQUEST_ID_KEY)
    request_id_rows = msg_ids.hexadecimal(bits)[:, :_REQUEST_ID_LENGTH]
    columns = {
        "started_ns": pa.array(calls["started_ns"]),
        "run": category_array(np.zeros(len(calls), np.int32), [_RUN]),
        "source": category_array(calls["host"], HOSTS),
        "endpoint": category_array(is_verify, [Endpoint.SEND, Endpoint.VERIFY]),
        "http_status": _numbers(statuses, statuses != 0),
        "return_code": _numbers(return_codes, return_codes != 0),
        "kind": category_array(_KINDS[outcomes], list(Kind)),
        "latency_ns": pa.array(calls["latency_ns"]),
        "wait_ns": pa.array(np.zeros(len(calls), np.int64)),
        "mobile_key": _numbers(calls["mobile_key"], is_send),
        "prefix": category_array(calls["prefix"], prefixes.astype(str).tolist()),
        "temp_id": _numbers(calls["temp_id"].astype(np.int64), is_send),
        "msg_id": string_array(msg_id_rows, has_msg_id).cast(pa.string()),
        "msg_key": _numbers(calls["msg_key"], has_msg_id),
        "app_key": category_array(calls["app"], [app.app_key for app in APPS]),
        "segments": _numbers(calls["segments"], calls["segments"] > 0),
        "error": category_array(outcomes.astype(np.int32) - call_outcomes.FIRST_FAILURE, list(Failure)),
        "request_id": string_array(request_id_rows, has_request_id).cast(pa.string()),
        "message": pa.nulls(len(calls), pa.string()),
        "trace_id": pa.nulls(len(calls), pa.string()),
    }
    return pa.table(columns, parquet.schema())


def string_array(rows: NDArray[np.uint8], present: NDArray[np.bool_] | None = None) -> pa.Array:
    """Return ASCII texts of equal length as an Arrow array.

    Args:
        rows: One row of characters for each text that is present.
        present: Which elements of the result are not null; all if it is omitted.
    """
    length = rows.shape[1]
    lengths = np.full(len(rows), length) if present is None else present * length
    offsets = np.concatenate([[0], lengths.cumsum()]).astype(np.int64)
    validity = None if present is None else pa.py_buffer(np.packbits(present, bitorder="little").tobytes())
    return pa.LargeStringArray.from_buffers(len(lengths), pa.py_buffer(offsets), pa.py_buffer(rows.tobytes()), validity)


def category_array(indexes: NDArray[Any], values: Any) -> pa.Array:
    """Return a dictionary array; negative indexes are null."""
    indexes = indexes.astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(indexes, mask=indexes < 0), pa.array([str(it) for it in values]))


def _numbers(values: NDArray[Any], present: NDArray[np.bool_]) -> pa.Array:
    return pa.array(values, mask=~present)
