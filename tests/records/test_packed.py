import io
import os
import resource
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
from support.records import CALLS, RECORDS, pack

from toolkit.api.return_codes import Kind
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.records.packed import PackedReader, PackedWriter


def test_records_come_back_as_they_were_packed(tmp_path: Path) -> None:
    with pack(tmp_path / "0.msgpack", CALLS).open("rb") as file:
        assert list(PackedReader(file)) == CALLS


def test_a_row_without_message_and_verdict_is_read(tmp_path: Path) -> None:
    packer = msgpack.Packer()
    row = (10**18, "send", 403, 59101, 5, 0, None, None, 1, "m-1", None, "id", None)
    (tmp_path / "0.msgpack").write_bytes(packer.pack(("r1", "w", "key")) + packer.pack(row))
    with (tmp_path / "0.msgpack").open("rb") as file:
        (call,) = PackedReader(file)
    assert (call.return_code, call.request_id, call.error, call.message, call.kind) == (59101, "id", None, None, None)


def test_a_verdict_of_any_code_and_the_message_of_an_unknown_one_are_kept(tmp_path: Path) -> None:
    says = ApiResponse(403, 59026, "no message of 13800138000", is_valid=False)
    call = RECORDS.build(Endpoint.VERIFY, 10**18, 5, response=says, msg_id="m-1")
    assert (call.kind, call.message) == (Kind.VERDICT, "no message of 1380013****")
    with pack(tmp_path / "0.msgpack", [call]).open("rb") as file:
        assert list(PackedReader(file)) == [call]


def test_the_trace_of_a_call_is_kept_beside_its_verdict(tmp_path: Path) -> None:
    refused = RECORDS.build(
        Endpoint.VERIFY, 10**18, 5, response=ApiResponse(403, 59026, "", is_valid=False), msg_id="m-1"
    )
    calls = [replace(it, trace_id=f"{number:032x}") for number, it in enumerate([refused, *CALLS], 1)]
    with pack(tmp_path / "0.msgpack", calls).open("rb") as file:
        assert list(PackedReader(file)) == calls


def test_a_writer_appends_to_an_existing_file(tmp_path: Path) -> None:
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


def test_a_full_disk_loses_no_row_and_repeats_none(tmp_path: Path) -> None:
    writer, limits = PackedWriter(tmp_path / "0.msgpack"), resource.getrlimit(resource.RLIMIT_FSIZE)
    for call in CALLS:
        writer.append(call)
    try:
        for size in (100, 150):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
            with pytest.raises(OSError, match="File too large"):
                writer.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    writer.append(CALLS[0])
    writer.close()
    with (tmp_path / "0.msgpack").open("rb") as file:
        assert list(PackedReader(file)) == [*CALLS, CALLS[0]]


def test_an_incomplete_row_is_read_when_it_is_complete(tmp_path: Path) -> None:
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


def test_a_truncated_row_is_left_out(tmp_path: Path) -> None:
    whole = pack(tmp_path / "0.msgpack", CALLS).read_bytes()
    for size in range(len(whole)):
        read = list(PackedReader(io.BytesIO(whole[:size])))
        assert read == CALLS[: len(read)]
        assert len(read) < len(CALLS)
