"""Columns: a day's calls as the Arrow table that records are kept in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.records import parquet
from toolkit.records.call_record import Failure
from toolkit.simulation import apps as cast
from toolkit.simulation import call_outcomes, msg_ids
from toolkit.simulation.people import mix

if TYPE_CHECKING:
    from toolkit.simulation.day_columns import Rows

RUN = "simulated"
_REQUEST_IDS = 7  # keys what they are made of
_ID_CHARS = 10  # no eleven digits, which a mask takes for a mobile


def texts(rows: NDArray[np.uint8], present: NDArray[np.bool_] | None = None) -> pa.Array:
    """Return ASCII texts of one width as an Arrow array; ``rows`` has them where ``present``, else there are nulls."""
    width = rows.shape[1]
    lengths = np.full(len(rows), width) if present is None else present * width
    offsets = np.concatenate([[0], lengths.cumsum()]).astype(np.int64)
    nulls = None if present is None else pa.py_buffer(np.packbits(present, bitorder="little").tobytes())
    buffers = [nulls, pa.py_buffer(offsets), pa.py_buffer(rows.tobytes())]
    return pa.LargeStringArray.from_buffers(len(lengths), buffers[1], buffers[2], buffers[0])


def to_table(calls: Rows, prefixes: NDArray[np.int64]) -> pa.Table:
    """Return CALL rows as a table of the schema of records, as the clients that made them would have written it.

    prefixes: the prefixes that the rows name by their places.
    """
    ends, verifies = calls["outcome"], calls["verifies"]
    sends, named = ~verifies, verifies | (ends == call_outcomes.SUCCESS)
    apps = [app.app_key for app in cast.APPS]
    columns = {
        "started_ns": pa.array(calls["started_ns"]),
        "run": _category(np.zeros(len(calls), np.int32), [RUN]),
        "source": _category(calls["host"], cast.HOSTS),
        "endpoint": _category(verifies, [Endpoint.SEND, Endpoint.VERIFY]),
        "http_status": _numbers(call_outcomes.HTTP_STATUS[ends], call_outcomes.HTTP_STATUS[ends] != 0),
        "return_code": _numbers(call_outcomes.RETURN_CODE[ends], call_outcomes.RETURN_CODE[ends] != 0),
        "kind": _category(_KINDS[ends], list(Kind)),
        "latency_ns": pa.array(calls["latency_ns"]),
        "wait_ns": pa.array(np.zeros(len(calls), np.int64)),
        "mobile_key": _numbers(calls["mobile_key"], sends),
        "prefix": _category(calls["prefix"], prefixes.astype(str).tolist()),
        "temp_id": _numbers(calls["temp_id"].astype(np.int64), sends),
        "msg_id": _msg_ids(calls, named),
        "msg_key": _numbers(calls["msg_key"], named),
        "app_key": _category(calls["app"], apps),
        "segments": _numbers(calls["segments"], calls["segments"] > 0),
        "error": _category(ends.astype(np.int32) - call_outcomes.FIRST_FAILURE, list(Failure)),
        "request_id": _request_ids(calls),
    }
    return pa.table(columns, parquet.schema())


def _category(places: NDArray[Any], values: Any) -> pa.Array:
    """Return a dictionary array; places below 0 are null."""
    places = places.astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(places, mask=places < 0), pa.array([str(it) for it in values]))


def _numbers(values: NDArray[Any], present: NDArray[np.bool_]) -> pa.Array:
    return pa.array(values, mask=~present)


def _msg_ids(calls: Rows, named: NDArray[np.bool_]) -> pa.Array:
    rows = msg_ids.spell(calls["msg_high"][named], calls["msg_low"][named])
    return texts(rows, named).cast(pa.string())


def _request_ids(calls: Rows) -> pa.Array:
    """Name the answers that were no success, as clients keep them: hexadecimal digits that tell nothing."""
    named = (call_outcomes.RETURN_CODE[calls["outcome"]] != 0) & (calls["outcome"] != call_outcomes.SUCCESS)
    bits = mix(calls["started_ns"][named] + calls["host"][named], _REQUEST_IDS)
    return texts(msg_ids.hexadecimal(bits)[:, :_ID_CHARS], named).cast(pa.string())


def _kind(outcome: ReturnCode | Failure) -> int:
    return list(Kind).index(outcome.kind) if isinstance(outcome, ReturnCode) else -1


_KINDS = np.array([_kind(it) for it in call_outcomes.TABLE], np.int32)
