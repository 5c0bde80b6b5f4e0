"""Recordings: the calls of a run that a load test plays again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from toolkit.api.errors import InputError
from toolkit.api.wire import Endpoint
from toolkit.load_test.plan.recording import RecordedSend, RecordedVerify, check_recording, read_recording
from toolkit.records.call_record import CallRecord
from toolkit.records.parquet import PARQUET_NAME, write_parquet

S = 10**9
SENT = CallRecord(1_700_000_000 * S, "run", "w", Endpoint.SEND, 200, 50000, None, S // 100, mobile_key=7, msg_key=1)
VERIFIED = replace(SENT, endpoint=Endpoint.VERIFY, mobile_key=None)


def test_sends_are_read_in_order_with_the_codes_that_were_typed(tmp_path: Path) -> None:
    wrong = replace(VERIFIED, started_ns=SENT.started_ns + S, return_code=50010, http_status=403)
    late = replace(SENT, started_ns=SENT.started_ns + 2 * S, mobile_key=8, msg_key=2)
    right = replace(VERIFIED, started_ns=SENT.started_ns + 3 * S)
    write_parquet([right, late, wrong, SENT], tmp_path / PARQUET_NAME)
    verifies = (RecordedVerify(S, is_right=False), RecordedVerify(3 * S, is_right=True))
    assert read_recording(tmp_path) == [RecordedSend(0, 7, verifies), RecordedSend(2 * S, 8, ())]


@pytest.mark.parametrize("content", [None, "no parquet", "other columns", "no sends"])
def test_a_folder_that_is_no_recording_is_refused_with_its_name(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / PARQUET_NAME
    if content == "no parquet":
        path.write_text("not a table")
    elif content == "other columns":
        pq.write_table(pa.table({"mobile": [1]}), path)
    elif content == "no sends":
        write_parquet([VERIFIED], path)
    for read in (check_recording, read_recording):
        with pytest.raises(InputError, match=f"invalid --recording '{tmp_path}'") as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)
