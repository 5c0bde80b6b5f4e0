import io
import os
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Answer, Endpoint
from toolkit.records import call_record
from toolkit.records.call_record import CallRecord, PackedReader, PackedWriter, Scribe

MOBILE, SECRET = "13812345678", "the-master-secret"
SCRIBE = Scribe.of("r1", "worker-0", "key", SECRET)
SENT = Answer(200, ReturnCode.SUCCESS, "success", msg_id="m-1")
WRONG = Answer(403, ReturnCode.INVALID_CODE, "invalid code", is_valid=False)
CALLS = [
    SCRIBE.record(Endpoint.SEND, 1_000, 20, answer=SENT, mobile=MOBILE, temp_id=1, wait_ns=5),
    SCRIBE.record(Endpoint.VERIFY, 2_000, 30, answer=WRONG, msg_id="m-1"),
    SCRIBE.record(Endpoint.SEND, 3_000, 40, error="timeout", mobile="12", temp_id="x"),
    SCRIBE.record(Endpoint.SEND, 4_000, 50, http_status=502, error="protocol", mobile=13812345678, temp_id="2"),
    SCRIBE.record(Endpoint.SEND, 5_000, 60, answer=Answer(403, 50101, "blocked"), mobile=MOBILE, temp_id=1),
]


def pack(path: Path, calls: Sequence[CallRecord]) -> Path:
    writer = PackedWriter(path)
    for call in calls:
        writer.append(call)
    writer.close()
    return path


# What a record says.


def test_an_answer_is_recorded_with_its_row() -> None:
    call = CALLS[0]
    assert (call.http_status, call.return_code, call.kind, call.error) == (200, 50000, Kind.OK, None)
    assert (call.run, call.source, call.app_key, call.endpoint) == ("r1", "worker-0", "key", Endpoint.SEND)
    assert (call.started_ns, call.latency_ns, call.wait_ns, call.temp_id, call.msg_id) == (1_000, 20, 5, 1, "m-1")


def test_a_call_without_an_answer_is_recorded_with_its_error() -> None:
    timeout, protocol = CALLS[2:4]
    assert (timeout.http_status, timeout.return_code, timeout.kind, timeout.error) == (None, None, None, "timeout")
    assert (protocol.http_status, protocol.return_code, protocol.kind, protocol.error) == (502, None, None, "protocol")


def test_a_code_that_the_table_lacks_is_recorded_without_a_kind() -> None:
    assert (CALLS[4].return_code, CALLS[4].kind) == (50101, None)


def test_a_verify_joins_its_send() -> None:
    assert CALLS[0].msg_key == CALLS[1].msg_key
    assert CALLS[0].msg_key is not None


@pytest.mark.parametrize(("temp_id", "recorded"), [(7, 7), ("7", 7), ("x", None), (None, None), (10**18, None)])
def test_a_temp_id_is_recorded_where_it_is_a_number(temp_id: int | str | None, recorded: int | None) -> None:
    assert SCRIBE.record(Endpoint.SEND, 0, 0, mobile=MOBILE, temp_id=temp_id).temp_id == recorded


# What a record hides.


def test_a_mobile_has_one_key_however_it_is_written() -> None:
    written = [MOBILE, int(MOBILE), "+86" + MOBILE, "86" + MOBILE]
    calls = [SCRIBE.record(Endpoint.SEND, 0, 0, mobile=mobile) for mobile in written]
    assert {(call.mobile_key, call.prefix) for call in calls} == {(CALLS[0].mobile_key, MOBILE[:7])}


def test_a_mobile_has_another_key_in_another_app_and_the_same_in_another_run() -> None:
    def key(secret: str, run: str) -> int | None:
        return Scribe.of(run, "s", "key", secret).record(Endpoint.SEND, 0, 0, mobile=MOBILE).mobile_key

    assert key(SECRET, "r2") == CALLS[0].mobile_key
    assert key("another", "r1") != CALLS[0].mobile_key


def test_what_is_no_mobile_has_a_key_and_no_prefix() -> None:
    assert CALLS[2].mobile_key is not None
    assert CALLS[2].prefix is None


@given(mobile=st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True))
def test_no_whole_mobile_is_in_a_record(mobile: str) -> None:
    call = SCRIBE.record(Endpoint.SEND, 0, 0, answer=SENT, mobile=mobile, temp_id=1)
    others = replace(call, mobile_key=0)  # 64 bits, drawn at random: they could spell anything
    assert mobile not in repr(others)
    assert mobile[7:] not in [str(getattr(call, column.name)) for column in fields(call)]


def test_no_whole_mobile_and_no_secret_is_in_a_file(tmp_path: Path) -> None:
    packed = pack(tmp_path / "0.msgpack", CALLS).read_bytes()
    call_record.write_parquet(CALLS, tmp_path / "calls.parquet")
    table = repr(pq.read_table(tmp_path / "calls.parquet").to_pylist())
    assert not [word for word in (MOBILE, SECRET) if word.encode() in packed or word in table]
    assert SECRET not in repr(SCRIBE)


# Packed.


def test_records_come_back_as_they_were_packed(tmp_path: Path) -> None:
    with pack(tmp_path / "0.msgpack", CALLS).open("rb") as file:
        assert list(PackedReader(file)) == CALLS


def test_a_writer_appends_to_what_is_there(tmp_path: Path) -> None:
    pack(tmp_path / "0.msgpack", CALLS[:2])
    with pack(tmp_path / "0.msgpack", CALLS[2:]).open("rb") as file:
        assert list(PackedReader(file)) == CALLS


def test_a_flushed_record_can_be_read_while_writing_goes_on(tmp_path: Path) -> None:
    writer = PackedWriter(tmp_path / "0.msgpack")
    with (tmp_path / "0.msgpack").open("rb") as file:
        reader = PackedReader(file)
        assert list(reader) == []
        for call in CALLS:
            writer.append(call)
            writer.flush()
            assert list(reader) == [call]
    writer.close()


def test_half_a_row_waits_for_its_other_half(tmp_path: Path) -> None:
    whole = pack(tmp_path / "0.msgpack", CALLS).read_bytes()
    file = io.BytesIO()
    reader = PackedReader(file)
    read = []
    for at, byte in enumerate(whole):
        file.seek(0, os.SEEK_END)
        file.write(bytes([byte]))
        file.seek(at)
        read += list(reader)
    assert read == CALLS


def test_a_tail_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    whole = pack(tmp_path / "0.msgpack", CALLS).read_bytes()
    for size in range(len(whole)):
        read = list(PackedReader(io.BytesIO(whole[:size])))
        assert read == CALLS[: len(read)]
        assert len(read) < len(CALLS)


# Parquet.


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "calls.parquet"
    assert call_record.write_parquet(CALLS, path) == len(CALLS)
    assert [CallRecord(**row) for row in pq.read_table(path).to_pylist()] == CALLS
    assert list(tmp_path.iterdir()) == [path]


def test_the_schema_has_every_column_in_order() -> None:
    assert call_record.schema().names == [column.name for column in fields(CallRecord)]


def test_more_records_than_one_group_are_written_whole(tmp_path: Path) -> None:
    many = (replace(CALLS[0], started_ns=at) for at in range(120_001))
    assert call_record.write_parquet(many, tmp_path / "calls.parquet") == 120_001
    started = pq.read_table(tmp_path / "calls.parquet")["started_ns"]
    assert started == pa.chunked_array([range(120_001)], type=pa.int64())


def test_a_run_without_calls_has_a_table_without_rows(tmp_path: Path) -> None:
    assert call_record.write_parquet([], tmp_path / "calls.parquet") == 0
    assert pq.read_table(tmp_path / "calls.parquet").schema.equals(call_record.schema())


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken() -> object:
        yield CALLS[0]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        call_record.write_parquet(broken(), tmp_path / "calls.parquet")  # type: ignore[arg-type]
    assert not (tmp_path / "calls.parquet").exists()


def test_a_runs_packed_files_become_one_table(tmp_path: Path) -> None:
    pack(tmp_path / "0.msgpack", CALLS[:3])
    pack(tmp_path / "1.msgpack", CALLS[3:])
    assert call_record.pack_to_parquet(tmp_path) == len(CALLS)
    assert [path.name for path in tmp_path.iterdir()] == [call_record.PARQUET_NAME]


def test_a_folder_without_packed_files_is_left_as_it_is(tmp_path: Path) -> None:
    call_record.write_parquet(CALLS, tmp_path / call_record.PARQUET_NAME)
    assert call_record.pack_to_parquet(tmp_path) == 0
    assert pq.read_table(tmp_path / call_record.PARQUET_NAME).num_rows == len(CALLS)


@pytest.mark.parametrize(
    "answer",
    [Answer(200, ReturnCode.SUCCESS, "success", msg_id="\ud800"), Answer(999, 10**17, ""), Answer(403, -(10**17), "")],
)
def test_whatever_a_server_says_can_be_kept(tmp_path: Path, answer: Answer) -> None:
    pack(tmp_path / "0.msgpack", [SCRIBE.record(Endpoint.SEND, 0, 0, answer=answer)])
    assert call_record.pack_to_parquet(tmp_path) == 1
