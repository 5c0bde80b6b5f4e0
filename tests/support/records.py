"""Five records of different outcomes, and a function that packs records into a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.records.call_record import CallRecord, RecordBuilder
from toolkit.records.packed import PackedWriter

MOBILE, SECRET = "13812345678", "the-master-secret"
RECORDS = RecordBuilder.of("r1", "worker-0", "key", SECRET)
SENT = ApiResponse(200, ReturnCode.SUCCESS, "success", msg_id="m-1")
WRONG = ApiResponse(403, ReturnCode.INVALID_CODE, "invalid code", is_valid=False)
CALLS = [
    RECORDS.build(Endpoint.SEND, 1_000, 20, response=SENT, mobile=MOBILE, temp_id=1, wait_ns=5),
    RECORDS.build(Endpoint.VERIFY, 2_000, 30, response=WRONG, msg_id="m-1"),
    RECORDS.build(Endpoint.SEND, 3_000, 40, error="timeout", mobile="12", temp_id="x"),
    RECORDS.build(Endpoint.SEND, 4_000, 50, http_status=502, error="protocol", mobile=13812345678, temp_id="2"),
    RECORDS.build(Endpoint.SEND, 5_000, 60, response=ApiResponse(403, 59101, "blocked"), mobile=MOBILE, temp_id=1),
]


def pack(path: Path, calls: Sequence[CallRecord]) -> Path:
    """Append records to a packed file and return its path."""
    writer = PackedWriter(path)
    for call in calls:
        writer.append(call)
    writer.close()
    return path
