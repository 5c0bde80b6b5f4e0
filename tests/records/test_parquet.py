from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.records import CALLS, MOBILE, RECORDS, SECRET, pack

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.records import parquet
from toolkit.records.call_record import CallRecord


def test_no_whole_mobile_and_no_secret_is_in_a_file(tmp_path: Path) -> None:
    packed = pack(tmp_path / "0.msgpack", CALLS).read_bytes()
    parquet.write_parquet(CALLS, tmp_path / "calls.parquet")
    table = repr(pq.read_table(tmp_path / "calls.parquet").to_pylist())
    assert not [word for word in (MOBILE, SECRET) if word.encode() in packed or word in table]
    assert SECRET not in repr(RECORDS)


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "calls.parquet"
    assert parquet.write_parquet(CALLS, path) == len(CALLS)
    assert [CallRecord(**row) for row in pq.read_table(path).to_pylist()] == CALLS
    assert list(tmp_path.iterdir()) == [path]


def test_the_schema_has_every_column_in_order() -> None:
    assert parquet.schema().names == [column.name for column in fields(CallRecord)]


def test_more_records_than_one_group_are_written_whole(tmp_path: Path) -> None:
    many = (replace(CALLS[0], started_ns=at) for at in range(120_001))
    assert parquet.write_parquet(many, tmp_path / "calls.parquet") == 120_001
    started = pq.read_table(tmp_path / "calls.parquet")["started_ns"]
    assert started == pa.chunked_array([range(120_001)], type=pa.int64())


def test_a_run_without_calls_has_a_table_without_rows(tmp_path: Path) -> None:
    assert parquet.write_parquet([], tmp_path / "calls.parquet") == 0
    assert pq.read_table(tmp_path / "calls.parquet").schema.equals(parquet.schema())


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken() -> object:
        yield CALLS[0]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        parquet.write_parquet(broken(), tmp_path / "calls.parquet")  # type: ignore[arg-type]
    assert not (tmp_path / "calls.parquet").exists()


def test_a_runs_packed_files_become_one_table(tmp_path: Path) -> None:
    pack(tmp_path / "0.msgpack", CALLS[:3])
    pack(tmp_path / "1.msgpack", CALLS[3:])
    assert parquet.pack_to_parquet(tmp_path) == len(CALLS)
    assert [path.name for path in tmp_path.iterdir()] == [parquet.PARQUET_NAME]


def test_a_folder_without_packed_files_is_left_as_it_is(tmp_path: Path) -> None:
    parquet.write_parquet(CALLS, tmp_path / parquet.PARQUET_NAME)
    assert parquet.pack_to_parquet(tmp_path) == 0
    assert pq.read_table(tmp_path / parquet.PARQUET_NAME).num_rows == len(CALLS)


@pytest.mark.parametrize(
    "answer",
    [
        ApiResponse(200, ReturnCode.SUCCESS, "success", msg_id="\ud800"),
        ApiResponse(999, 10**17, ""),
        ApiResponse(403, -(10**17), ""),
    ],
)
def test_any_response_can_be_recorded(tmp_path: Path, answer: ApiResponse) -> None:
    pack(tmp_path / "0.msgpack", [RECORDS.build(Endpoint.SEND, 0, 0, response=answer)])
    assert parquet.pack_to_parquet(tmp_path) == 1
